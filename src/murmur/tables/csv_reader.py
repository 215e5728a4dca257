"""Reading the CSV files that murmur wrote; murmur.input_csv reads those that people wrote."""

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError

TEXT_COLUMNS = frozenset(  # the columns with text in all files; the other columns hold numbers
    {
        *("level", "group", "value", "metric", "figure", "chosen_on", "stage", "item", "reason", "curve"),
        *("kind", "actual", "predicted", "disturbance", "unit", "experiment", "test_sha256"),
        *("class", "timing", "patient_id", "recording_id", "label", "site", "sex", "age_group"),
        *("murmur_grade", "murmur_timing", "murmur_pitch"),
        *("ingredient", "row", "settings"),  # of an ablation study
    }
)
COUNTS = ("run", "fold", "inner", "epoch", "n")  # columns of whole numbers; so are n_… and shared_…
NUMBER = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,2})?"


def read_csv(
    path: str | Path, columns: Sequence[str] = (), *, again: str = "dvc repro", may_be_empty: bool = True
) -> pd.DataFrame:
    """Read a table that `write_csv` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    columns : sequence of str
        Columns that it must have.
    again : str
        The command that writes the file, for error messages.
    may_be_empty : bool
        Accept a table without rows.

    Raises
    ------
    MurmurError
        Naming the file; see `parse_csv`.
    """
    try:
        text = Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise MurmurError(f"{path}: cannot be read ({error}); make it again: {again}") from error
    table = parse_csv(text, path, columns, again=again)
    if table.empty and not may_be_empty:
        raise MurmurError(f"{path}: it has no row; make it again: {again}")
    return table


def parse_csv(
    text: str,
    name: str | Path,
    columns: Sequence[str] = (),
    *,
    words: Collection[str] = TEXT_COLUMNS,
    again: str = "dvc repro",
) -> pd.DataFrame:
    """Parse the text of a CSV file: columns of text, of whole numbers and of floats.

    Ids, labels and other names stay text, also if they look like something else (`0001`, `True`, `nan`).

    Parameters
    ----------
    text : str
        The text of the file.
    name : path-like
        The name of the file, for error messages.
    columns : sequence of str
        Columns that it must have.
    words : collection of str
        Names of the columns that hold text.
    again : str
        The command that writes the file, for error messages.

    Raises
    ------
    MurmurError
        Naming the file, the row and the column, if a column is missing or a cell is not a number.
    """
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise MurmurError(f"{name}: cannot be read as CSV ({error}); make it again: {again}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise MurmurError(f"{name}: a row has too many fields; make it again: {again}")
    if missing := [column for column in columns if column not in table]:
        raise MurmurError(f"{name}: no column {', '.join(missing)}; make it again: {again}")
    numbers = [column for column in table if column not in words]
    try:
        return table.assign(**{column: _parse_numbers(table[column]) for column in numbers})
    except ValueError as error:
        raise MurmurError(f"{name}: {error}; make it again: {again}") from None


def _parse_numbers(cells: pd.Series) -> pd.Series:
    """Parse a column of text as whole numbers if it counts something, else as floats, with nan if empty.

    Raises
    ------
    ValueError
        Naming the row and the column of the first cell that is not a number.
    """
    column = str(cells.name)
    is_whole = column in COUNTS or column.startswith(("n_", "shared_"))
    texts = cells.fillna("").astype(object)
    valid = texts.str.fullmatch("[0-9]{1,15}" if is_whole else f"({NUMBER})?").astype(bool)
    if not valid.all():
        row = int(valid.to_numpy().argmin())
        cell = texts.iloc[row]
        shown = repr(cell if len(cell) <= 100 else f"{cell[:100]}…")
        kind = "a whole number" if is_whole else "a number"
        raise ValueError(f"row {row + 2}, column {column}: {shown} is not {kind}")
    return texts.astype("int64") if is_whole else texts.replace("", "nan").astype(float)
