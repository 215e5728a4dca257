"""A folder of one's own: recordings at any rate, WAV or FLAC, and a CSV that names them.

The CSV has the columns `path,label` and, as far as they are known, `patient_id, person_id, site,
patient_label, role, sex, age_group, source, quality`; `path` lies in the folder and is relative to it.
"""

from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import fetch as files
from murmur.datasets import Reading, Task
from murmur.errors import MurmurError

TASKS: dict[str, Task] = {}  # any task: the classes are the labels that the CSV has
PERSONS = "person_id of the CSV; without it each patient_id, or else each recording, counts as a person"
LICENCE = "the owner's"
OPTIONAL = (
    *("patient_id", "person_id", "site", "patient_label", "role"),
    *("sex", "age_group", "source", "quality"),
)
ALLOWED = {"role": ("train", "test"), "quality": ("good", "poor")}


class Options(BaseModel, extra="forbid"):
    """`path`: the folder; `csv`: the table in it."""

    path: str = "data/folder"
    csv: str = "recordings.csv"


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The user's folder."""
    if not (root := Path(options.path)).is_dir():
        raise MurmurError(f"download.folder.path: no folder {root}; name the folder that holds {options.csv}")
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the CSV.

    Raises
    ------
    MurmurError
        Naming the file and the row: a column missing or unknown, an empty path or label, a path out of the
        folder, a recording named twice, a role or quality that is none, a patient of two persons,
        recordings of one patient that differ without a patient_label.
    """
    where = root / options.csv
    table = _read_csv(where)
    _check_paths(table, where)
    table["path"] = [Path(path).as_posix() for path in table["path"]]  # ./a.wav is a.wav
    table["recording_id"] = [Path(path).with_suffix("").as_posix() for path in table["path"]]
    _each_once(table, where)
    table["patient_id"] = table["patient_id"].fillna(table["recording_id"])
    table["person_id"] = table["person_id"].fillna(table["patient_id"])
    table["site"] = table["site"].fillna("unspecified")
    table["source"] = table["source"].fillna("folder")
    for column, words in ALLOWED.items():
        odd = table[column].notna() & ~table[column].isin(words)
        files.check_rows(where, odd, f"{column} is not {' or '.join(words)}; write one of them, or nothing")
    _check_persons(table, where)
    table["patient_label"] = _patient_labels(table, where)
    return Reading(table)


def _read_csv(where: Path) -> pd.DataFrame:
    style = {"dtype": str, "na_values": ["nan", ""], "keep_default_na": False, "skipinitialspace": True}
    try:
        table = pd.read_csv(where, skip_blank_lines=False, **style)  # so that the index counts the lines
    except (OSError, ValueError) as error:
        raise MurmurError(f"{where}: cannot be read ({error}); save it as CSV in UTF-8") from error
    if missing := [column for column in ("path", "label") if column not in table]:
        raise MurmurError(
            f"{where}: no column {', '.join(missing)}; the first line names the columns, with commas between "
            f"them: path,label (it is {', '.join(table)!r})"
        )
    if unknown := sorted(set(table) - {"path", "label", *OPTIONAL}):
        known = ", ".join(("path", "label", *OPTIONAL))
        raise MurmurError(f"{where}: unknown column {', '.join(unknown)}; known are {known}")
    if not isinstance(table.index, pd.RangeIndex):
        raise MurmurError(f"{where}: a row has more fields than the first line; quote what holds a comma")
    table.index += 2  # the line in the file
    table = table.dropna(how="all")
    if table.empty:
        raise MurmurError(f"{where}: names no recording; give each a row")
    for column in ("path", "label"):
        files.check_rows(where, table[column].isna(), f"{column} is empty; fill it in or take the row out")
    return table.reindex(columns=["path", "label", *OPTIONAL]).astype(object).where(table.notna(), None)


def _check_paths(table: pd.DataFrame, where: Path) -> None:
    paths = [Path(path) for path in table["path"]]
    out = pd.Series([p.is_absolute() or ".." in p.parts or not p.name for p in paths], index=table.index)
    words = (
        "is not a path inside the folder; put the file there, or let download.folder.path name the one above"
    )
    files.check_rows(where, out, f"{_first(table, out, 'path')} {words}")


def _each_once(table: pd.DataFrame, where: Path) -> None:
    twice = table["recording_id"].duplicated()
    words = "keep one row, or rename a file: endings do not tell recordings apart"
    files.check_rows(
        where, twice, f"recording {_first(table, twice, 'recording_id')} is named twice; {words}"
    )


def _check_persons(table: pd.DataFrame, where: Path) -> None:
    differ = table["person_id"].groupby(table["patient_id"]).transform("nunique") > 1
    files.check_rows(
        where, differ, f"patient {_first(table, differ)} is more than one person; give his rows one person_id"
    )


def _patient_labels(table: pd.DataFrame, where: Path) -> pd.Series:
    labels = table["patient_label"].fillna(table["label"])
    differ = labels.groupby(table["patient_id"]).transform("nunique") > 1
    words = "differ in their label; say the patient's own in a column patient_label"
    files.check_rows(where, differ, f"the recordings of patient {_first(table, differ)} {words}")
    return labels


def _first(table: pd.DataFrame, rows: pd.Series, column: str = "patient_id") -> str:
    return next(iter(table[column][rows]), "")
