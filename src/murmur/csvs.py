"""Tables that people made or data sets publish: CSV files read as text, and checked."""

import csv
import glob
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError

LONGEST = 1000  # characters of a cell
JOINERS = "\u200c\u200d"  # they change how letters are written, so they stay inside a word
SPREADSHEET_ERRORS = re.compile(r"#([^\W_¡¿]|[¡¿/])+[!?]|#N/?[ADV]|#N/DISP|#GETTING_DATA", re.IGNORECASE)
ROUNDED = re.compile(r"[+-]?\d([.,]\d+)?E\+\d{2,}", re.IGNORECASE)  # a long number, as a spreadsheet shows it
ALIKE = str.maketrans(  # letters that look like Latin ones in some case; the dot that a small \u0130 keeps
    "авекмнорстухіјѕԁαβεζηικμνορτυχı", "abekmhopctyxijsdabezhikmnoptyxi", "\u0307"
)
FORMULA = re.compile(r"=.|[@+-].*(\w\(|\|)")  # what a spreadsheet that opens a table of ours would run
UNKNOWN = {"-", "--", ".", "?", "n/a", "na", "n.a.", "none", "null", "unknown"}
OTHER_FORMATS = {
    b"\xff\xfe": "it is UTF-16, not UTF-8",
    b"\xfe\xff": "it is UTF-16, not UTF-8",
    b"PK": "it is a ZIP archive or a workbook, not a CSV",
    b"\xd0\xcf\x11\xe0": "it is a workbook, not a CSV",
}


def read(
    path: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    only: bool = False,
    remedy: str = "fetch the data set's own table",
) -> pd.DataFrame:
    """A CSV in UTF-8 as text, None where a cell is empty or `nan`; the index is the row in the file.

    White space, no-break and zero-width spaces around a cell are dropped, runs of them inside it are one
    space, and letters are in Unicode's normal form C, so that what looks alike is alike.

    Parameters
    ----------
    columns: must be there, the first of them never empty; without a `header` they name the fields.
    only: read these columns alone, whatever the others of a published table hold.
    remedy: what the user is to do if the file is not such a table.

    Raises
    ------
    MurmurError
        Naming the file and the row or column: not readable, no such column, a column twice or without a name,
        too many fields, an error of a spreadsheet in place of a value, a cell that is too long, no row.
    """
    lines = [[tidied(cell) for cell in line] for line in _parsed(path, remedy)]
    if header and not lines:
        raise MurmurError(f"{path}: cannot be read (it is empty); {remedy}")
    names = lines.pop(0) if header else [*columns]
    rows = dict(enumerate(lines, 1 + header))
    rows = {k: row for k, row in rows.items() if any(row)}
    if missing := [column for column in columns if column not in names]:
        raise MurmurError(f"{path}: no column {', '.join(missing)}; {remedy} (it is {_shown(names)})")
    if only:
        places = [names.index(column) for column in columns]
        rows = {k: ["".join(row[place : place + 1]) for place in places] for k, row in rows.items()}
        names = [*columns]
    _check_header(path, names, rows)
    for k, row in rows.items():
        _check_fields(path, k, row, names)
    if not rows:
        raise MurmurError(f"{path}: names nothing; {remedy}")
    filled = [(row + [""] * len(names))[: len(names)] for row in rows.values()]
    table = pd.DataFrame(filled, index=[*rows], columns=names, dtype=object)
    table = table[[name for name in names if name]]
    table = table.mask(table.apply(lambda column: column.str.lower().isin(["", "nan"])), None)
    check_filled(path, table, columns[0])
    return table.astype(object).where(table.notna(), None)


def tidied(text: str) -> str:
    """A cell's text without what cannot be seen: white space at its ends, marks without width."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf" or c in JOINERS)
    return " ".join(text.split()).strip(JOINERS)


def folded(text: str) -> str:
    """What spellings of one name have in common: letters whatever their case, numbers by their value.

    P1, p-01, `P_1.` and P1 with a Cyrillic letter that looks like P are alike; 1-1 and 11 are not.
    """
    text = tidied(text).strip("'\"") or text
    text = unicodedata.normalize("NFKC", text).casefold().translate(ALIKE)
    text = "".join(c for c in text if c not in JOINERS)
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)
    if number := re.fullmatch(r"\+?(\d+)([.,]0*)?", text):
        return number[1].lstrip("0") or "0"
    if re.fullmatch(r"\d+([.,]\d+)?e[+-]?\d{1,2}", text):
        value = float(text.replace(",", "."))
        return str(int(value)) if value.is_integer() else text
    text = "".join("-" if unicodedata.category(c) in ("Pd", "Pc", "Zs") or c == "\u2212" else c for c in text)
    text = re.sub(r"(?<![\d.,])0+(?=\d)", "", text.rstrip(".,;:") or text)  # 1.01 is not 1.1
    return re.sub(r"(?<=\D)-+|-+(?=\D)", "", text)  # 1-1 is not 11


def check_rows(path: Path, wrong: pd.Series, words: str) -> None:
    """Raise a MurmurError that names the first row marked `wrong`, if there is one."""
    if wrong.any():
        raise MurmurError(f"{path}: row {wrong.idxmax()}: {words}")


def check_filled(path: Path, table: pd.DataFrame, *columns: str) -> None:
    """Raise a MurmurError that names the first row where one of `columns` is empty."""
    for column in columns:
        check_rows(path, table[column].isna(), f"{column} is empty; fill it in or take the row out")


def check_ids(path: Path, ids: pd.Series) -> None:
    """Check a column that says who or what a row is about: filled in every row, one spelling of each id.

    Raises
    ------
    MurmurError
        Naming the file and the row: an empty cell, a word for unknown, a rounded number, two spellings of
        what may be one id.
    """
    what = "write the id in every row (also where cells were merged), or take the column out"
    check_rows(path, ids.isna(), f"{ids.name} is empty; {what}")
    unknown = ids.str.lower().isin(UNKNOWN)
    check_rows(path, unknown, f"{ids.name} is {_first(ids, unknown)!r}, which names no one; {what}")
    rounded = ids.str.fullmatch(ROUNDED)
    check_rows(
        path,
        rounded,
        f"{ids.name} is {_first(ids, rounded)}, a number that a spreadsheet has rounded, so that two ids may "
        "now be one; save the column as text",
    )
    check_spelling(path, ids)


def check_spelling(path: Path, *columns: pd.Series) -> None:
    """Refuse two spellings of what may be one name: P1 and p1, 7 and 007, 12 and 12.0.

    Raises
    ------
    MurmurError
        Naming both spellings and their rows.
    """
    first: dict[str, tuple[str, int]] = {}
    for column in columns:
        for row, name in column.dropna().drop_duplicates().items():
            other, there = first.setdefault(folded(name), (name, row))
            if other != name:
                raise MurmurError(
                    f"{path}: row {row}: {column.name} {name!r} differs from {other!r} of row {there} only "
                    f"in how it is written{_codes(name, other)}; write both alike or, if two are meant, "
                    "give one another name"
                )


def check_known(path: Path, ids: pd.Series, known: Iterable[str]) -> None:
    """Refuse an id that is not `known` but spelt almost like one that is.

    Raises
    ------
    MurmurError
        Naming the row and both spellings.
    """
    known = {*known}
    spelt = {folded(name): name for name in known}
    alike = ~ids.isin(known) & ids.notna() & ids.fillna("").map(folded).isin(spelt)
    name = _first(ids, alike)
    there = spelt.get(folded(name), "")
    words = f"{ids.name} {name!r} is {there!r} in the data set{_codes(name, there)}; write it so"
    check_rows(path, alike, words)


def place_found(path: Path) -> str:
    """Where a file or folder that is not at `path` lies instead, one or two folders deeper; "" if nowhere."""
    name = glob.escape(path.name)
    found = [p for deeper in ("*", "*/*") for p in sorted(path.parent.glob(f"{deeper}/{name}"))]
    return f"; it is in {found[0].parent}: move what is there to {path.parent}" if found else ""


def _parsed(path: Path, remedy: str) -> list[list[str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        where = place_found(path) if isinstance(error, FileNotFoundError) else ""
        raise MurmurError(f"{path}: cannot be read ({error.strerror}){where}; {remedy}") from error
    try:
        if why := next((why for start, why in OTHER_FORMATS.items() if content.startswith(start)), None):
            raise ValueError(why)
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds NUL characters")
    except ValueError as error:
        raise MurmurError(f"{path}: cannot be read ({error}); {remedy}") from error
    lines = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        return [*lines]
    except csv.Error as error:
        raise MurmurError(f"{path}: cannot be read (line {lines.line_num}: {error}); {remedy}") from error


def _check_header(path: Path, names: list[str], rows: Mapping[int, list[str]]) -> None:
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise MurmurError(f"{path}: the column {twice[0]} is there twice; keep one")
    for k, name in enumerate(names):
        if not name and any(row[k : k + 1] > [""] for row in rows.values()):
            raise MurmurError(f"{path}: column {k + 1} has no name; name it in the first row or take it out")


def _check_fields(path: Path, k: int, row: list[str], names: list[str]) -> None:
    if len(row) > len(names):
        raise MurmurError(
            f"{path}: a row has too many fields: row {k} has {len(row)}, not {len(names)}; quote what holds "
            "a comma"
        )
    for name, cell in zip(names, row, strict=False):
        if SPREADSHEET_ERRORS.fullmatch(cell):
            raise MurmurError(f"{path}: row {k}: {name} is {cell}, a spreadsheet's error; write the value")
        if FORMULA.match(cell):
            raise MurmurError(f"{path}: row {k}: {name} is {cell[:80]!r}, a spreadsheet's formula; change it")
        if len(cell) > LONGEST:
            raise MurmurError(
                f"{path}: row {k}: {name} has {len(cell)} characters ({cell[:20]}…), more than {LONGEST}; "
                "shorten it"
            )
        if any(unicodedata.category(c) == "Cc" for c in cell):
            raise MurmurError(f"{path}: row {k}: {name} holds a control character ({cell!r}); take it out")


def _shown(names: list[str]) -> str:
    line = ", ".join(names)
    return repr(line if len(line) <= 80 else line[:80] + "…")


def _codes(*names: str) -> str:
    """The names with escapes for what is not ASCII, which may look alike."""
    return "" if all(map(str.isascii, names)) else f" ({' and '.join(map(ascii, names))})"


def _first(column: pd.Series, rows: pd.Series) -> str:
    return next(iter(column[rows]), "")
