"""Reading and checking CSV files that people wrote or that a data set publishes.

For the CSV files that murmur writes see murmur.tables.csv_reader.
"""

import csv
import glob
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError
from murmur.spelling import normalise_name, remove_invisible

LONGEST = 1000  # characters of a cell
SPREADSHEET_ERRORS = re.compile(r"#([^\W_¡¿]|[¡¿/])+[!?]|#N/?[ADV]|#N/DISP|#GETTING_DATA", re.IGNORECASE)
ROUNDED = re.compile(r"[+-]?\d([.,]\d+)?E\+\d{2,}", re.IGNORECASE)  # how a spreadsheet shows a long number
SPREADSHEET_FORMULA = re.compile(
    r"=.|[@+-].*(\w\(|\|)"
)  # what a spreadsheet would run when it opens a CSV file
UNKNOWN = {"-", "--", ".", "?", "n/a", "na", "n.a.", "none", "null", "unknown"}
OTHER_FORMATS = {  # by the first bytes of the file
    b"\xff\xfe": "it is UTF-16, not UTF-8",
    b"\xfe\xff": "it is UTF-16, not UTF-8",
    b"PK": "it is a ZIP archive or a workbook, not a CSV",
    b"\xd0\xcf\x11\xe0": "it is a workbook, not a CSV",
}


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    only: bool = False,
    remedy: str = "fetch the data set's own table",
) -> pd.DataFrame:
    """Read a CSV file in UTF-8 as text.

    Invisible characters are removed, so that cells that look the same are the same; see
    `murmur.spelling.remove_invisible`. Rows without any text are left out.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Columns that it must have; the first one must have no empty cell.
    header : bool
        The first row holds the names of the columns. Otherwise `columns` are the names.
    only : bool
        Read only `columns`; the other columns may hold anything.
    remedy : str
        What the user should do if the file is no such table, for error messages.

    Returns
    -------
    DataFrame
        With text, or None for an empty cell or `nan`. The index is the number of the row in the file, from 1.

    Raises
    ------
    MurmurError
        Naming the file and the row or column: not readable, a column missing, repeated or without a name, a
        row with too many fields, an error or formula of a spreadsheet, a cell that is too long, no rows.
    """
    names, rows = _split_header(path, _parse(path, remedy), columns, header, remedy)
    if missing := [column for column in columns if column not in names]:
        raise MurmurError(f"{path}: no column {', '.join(missing)}; {remedy} (it is {_shorten(names)})")
    if only:
        positions = [names.index(column) for column in columns]
        rows = {k: ["".join(row[at : at + 1]) for at in positions] for k, row in rows.items()}
        names = [*columns]
    _check_header(path, names, rows)
    for k, row in rows.items():
        _check_fields(path, k, row, names)
    if not rows:
        raise MurmurError(f"{path}: has no rows; {remedy}")
    table = _build_table(names, rows)
    check_not_empty(path, table, columns[0])
    return table


def _parse(path: Path, remedy: str) -> list[list[str]]:
    """Parse a CSV file to a list of cells for each row."""
    lines = csv.reader(io.StringIO(_read_text(path, remedy), newline=""), skipinitialspace=True, strict=True)
    try:
        return [[remove_invisible(cell) for cell in line] for line in lines]
    except csv.Error as error:
        raise MurmurError(f"{path}: cannot be read (line {lines.line_num}: {error}); {remedy}") from error


def _read_text(path: Path, remedy: str) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise MurmurError(f"{path}: cannot be read (it is not an ordinary file); {remedy}")
    try:
        content = path.read_bytes()
    except OSError as error:
        deeper = describe_location(path) if isinstance(error, FileNotFoundError) else ""
        raise MurmurError(f"{path}: cannot be read ({error.strerror}){deeper}; {remedy}") from error
    for start, reason in OTHER_FORMATS.items():
        if content.startswith(start):
            raise MurmurError(f"{path}: cannot be read ({reason}); {remedy}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MurmurError(f"{path}: cannot be read ({error}); {remedy}") from error
    if "\0" in text:
        raise MurmurError(f"{path}: cannot be read (it holds NUL characters); {remedy}")
    return text


def _split_header(
    path: Path, lines: list[list[str]], columns: Sequence[str], header: bool, remedy: str
) -> tuple[list[str], dict[int, list[str]]]:
    """Return the names of the columns, and the rows with text by their number in the file."""
    if header and not lines:
        raise MurmurError(f"{path}: cannot be read (it is empty); {remedy}")
    names = lines.pop(0) if header else [*columns]
    return names, {k: row for k, row in enumerate(lines, 1 + header) if any(row)}


def _check_header(path: Path, names: list[str], rows: Mapping[int, list[str]]) -> None:
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise MurmurError(f"{path}: the column {repeated[0]} occurs twice; keep one")
    for k, name in enumerate(names):
        if not name and any(row[k : k + 1] > [""] for row in rows.values()):
            raise MurmurError(f"{path}: column {k + 1} has no name; name it in the first row or remove it")


def _check_fields(path: Path, k: int, row: list[str], names: list[str]) -> None:
    if len(row) > len(names):
        raise MurmurError(
            f"{path}: a row has too many fields: row {k} has {len(row)}, not {len(names)}; put text with a "
            "comma in quotes"
        )
    for name, cell in zip(names, row, strict=False):
        if error := _find_error(cell):
            raise MurmurError(f"{path}: row {k}: {name} {error}")


def _find_error(cell: str) -> str:
    """Return what is wrong with a cell, or an empty text."""
    if SPREADSHEET_ERRORS.fullmatch(cell):
        return f"is {cell}, a spreadsheet's error; write the value"
    if SPREADSHEET_FORMULA.match(cell):
        return f"is {cell[:80]!r}, a spreadsheet's formula; change it"
    if len(cell) > LONGEST:
        return f"has {len(cell)} characters ({cell[:20]}…), more than {LONGEST}; shorten it"
    if any(unicodedata.category(c) == "Cc" for c in cell):
        return f"holds a control character ({cell!r}); remove it"
    return ""


def _build_table(names: list[str], rows: Mapping[int, list[str]]) -> pd.DataFrame:
    """Build a table of text from rows that may be too short; empty cells and `nan` become None."""
    cells = [(row + [""] * len(names))[: len(names)] for row in rows.values()]
    table = pd.DataFrame(cells, index=[*rows], columns=names, dtype=object)
    table = table[[name for name in names if name]]
    table = table.mask(table.apply(lambda column: column.str.lower().isin(["", "nan"])), None)
    return table.astype(object).where(table.notna(), None)


def check_rows(path: Path, wrong: pd.Series, words: str) -> None:
    """Check that no row is marked as wrong.

    Parameters
    ----------
    path : Path
        The file, for the error message.
    wrong : Series of bool
        Indexed by the number of the row in the file.
    words : str
        What is wrong and what to do.

    Raises
    ------
    MurmurError
        Naming the file and the first wrong row.
    """
    if wrong.any():
        raise MurmurError(f"{path}: row {wrong.idxmax()}: {words}")


def check_not_empty(path: Path, table: pd.DataFrame, *columns: str) -> None:
    """Check that these columns have no empty cell.

    Raises
    ------
    MurmurError
        Naming the file and the first row with an empty cell.
    """
    for column in columns:
        check_rows(path, table[column].isna(), f"{column} is empty; fill it in or remove the row")


def check_ids(path: Path, ids: pd.Series) -> None:
    """Check a column of ids: each row has one, and each id has one spelling.

    Raises
    ------
    MurmurError
        Naming the file and the row: an empty cell, a word for unknown, a number that a spreadsheet has
        rounded, two spellings of what may be the same id.
    """
    remedy = "write the id in every row (also where cells were merged), or remove the column"
    check_rows(path, ids.isna(), f"{ids.name} is empty; {remedy}")
    unknown = ids.str.lower().isin(UNKNOWN)
    check_rows(path, unknown, f"{ids.name} is {_first(ids, unknown)!r}, which is not an id; {remedy}")
    rounded = ids.str.fullmatch(ROUNDED)
    check_rows(
        path,
        rounded,
        f"{ids.name} is {_first(ids, rounded)}, a number that a spreadsheet has rounded, so that two ids may "
        "have become the same; save the column as text",
    )
    check_spelling(path, ids)


def check_spelling(path: Path, *columns: pd.Series) -> None:
    """Check that each name in these columns has one spelling, not two such as P1 and p1, or 7 and 007.

    Raises
    ------
    MurmurError
        Naming the file, both spellings and their rows.
    """
    first: dict[str, tuple[str, int]] = {}
    for column in columns:
        for row, name in column.dropna().drop_duplicates().items():
            known, known_row = first.setdefault(normalise_name(name), (name, row))
            if known != name:
                raise MurmurError(
                    f"{path}: row {row}: {column.name} {name!r} differs from {known!r} of row {known_row} "
                    f"only in how it is written{_codes(name, known)}; write both in the same way, or rename "
                    "one if they are different"
                )


def check_known(path: Path, ids: pd.Series, known: Iterable[str]) -> None:
    """Check that no id is another spelling of a known id; entirely different ids are accepted.

    Raises
    ------
    MurmurError
        Naming the file, the row and both spellings.
    """
    known = {*known}
    spellings = {normalise_name(name): name for name in known}
    similar = ~ids.isin(known) & ids.notna() & ids.fillna("").map(normalise_name).isin(spellings)
    name = _first(ids, similar)
    expected = spellings.get(normalise_name(name), "")
    message = (
        f"{ids.name} {name!r} is {expected!r} in the data set{_codes(name, expected)}; use this spelling"
    )
    check_rows(path, similar, message)


def describe_location(path: Path) -> str:
    """Explain where a missing file or folder is, if it is one or two folders deeper; else an empty text."""
    name = glob.escape(path.name)
    found = [p for depth in ("*", "*/*") for p in sorted(path.parent.glob(f"{depth}/{name}"))]
    return f"; it is in {found[0].parent}: move its content to {path.parent}" if found else ""


def _shorten(names: list[str]) -> str:
    line = ", ".join(names)
    return repr(line if len(line) <= 80 else line[:80] + "…")


def _codes(*names: str) -> str:
    """Show names in ASCII, with escape sequences for other letters, which may look like Latin ones."""
    return "" if all(map(str.isascii, names)) else f" ({' and '.join(map(ascii, names))})"


def _first(column: pd.Series, rows: pd.Series) -> str:
    """Return the first of the marked cells of a column, or an empty text."""
    return next(iter(column[rows]), "")
