"""Reading the CSV files of figures."""

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError

TEXT_COLUMNS = frozenset(  # the columns of CSV files that hold text; all others hold numbers
    {
        *("level", "group", "value", "metric", "figure", "chosen_on", "stage", "item", "reason", "curve"),
        *("kind", "actual", "predicted", "disturbance", "unit", "experiment", "test_sha256"),
    }
)


NUMBER = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,2})?"


def read_csv(
    path: str | Path, columns: Sequence[str] = (), *, again: str = "dvc repro", may_be_empty: bool = True
) -> pd.DataFrame:
    """Read a table that `write_csv` wrote; see `parse_csv`."""
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
    """A table from its CSV text: `words` as they are written, counts as whole numbers, the rest as floats.

    Ids, labels and other names stay text whatever they look like (`0001`, `True`, `nan`).

    Parameters
    ----------
    name, again: the file, and the command that makes it, for messages.
    columns: those that must be there.

    Raises
    ------
    MurmurError
        Naming the file, the row and the column, if a cell is not the number that it must be.
    """
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise MurmurError(f"{name}: cannot be read as CSV ({error}); make it again: {again}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise MurmurError(f"{name}: a row has too many fields; make it again: {again}")
    if missing := [column for column in columns if column not in table]:
        raise MurmurError(f"{name}: no column {', '.join(missing)}; make it anew: {again}")
    numbers = [column for column in table if column not in words]
    try:
        return table.assign(**{column: _numbers(table[column]) for column in numbers})
    except ValueError as error:
        raise MurmurError(f"{name}: {error}; make it again: {again}") from None


def _numbers(cells: pd.Series) -> pd.Series:
    """The numbers in a column of text: whole where it counts or numbers something, else NaN where empty."""
    column = str(cells.name)
    whole = column in ("run", "fold", "epoch", "n") or column.startswith(("n_", "shared_"))
    texts = cells.fillna("").astype(object)
    good = texts.str.fullmatch("[0-9]{1,15}" if whole else f"({NUMBER})?").astype(bool)
    if not good.all():
        row = int(good.to_numpy().argmin())
        what = "a whole number" if whole else "a number"
        cell = texts.iloc[row]
        shown = repr(cell if len(cell) <= 100 else f"{cell[:100]}…")
        raise ValueError(f"row {row + 2}, column {column}: {shown} is not {what}")
    return texts.astype("int64") if whole else texts.replace("", "nan").astype(float)
