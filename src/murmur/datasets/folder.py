"""A folder of one's own: recordings at any rate, WAV or FLAC, and a CSV that names them.

The CSV has the columns `path,label` and, as far as they are known, `patient_id, person_id, site,
patient_label, role, sex, age_group`; `path` is relative to the folder.
"""

from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur.datasets import Reading, Task
from murmur.errors import MurmurError

TASKS: dict[str, Task] = {}  # any task: the classes are the labels that the CSV has
PERSONS = "person_id of the CSV; without it each patient_id, and without that each recording, counts as a person"
LICENCE = "the owner's"
OPTIONAL = ("patient_id", "person_id", "site", "patient_label", "role", "sex", "age_group")


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
        Naming the file and the row: a column missing or unknown, an empty path or label, a recording
        named twice, a role that is none, recordings of one patient that differ without a patient_label.
    """
    where = root / options.csv
    table = _read_csv(where)
    table["recording_id"] = [Path(path).with_suffix("").as_posix() for path in table["path"]]
    _each_once(table, where)
    table["patient_id"] = table["patient_id"].fillna(table["recording_id"])
    table["person_id"] = table["person_id"].fillna(table["patient_id"])
    table["site"] = table["site"].fillna("unspecified")
    _check_roles(table, where)
    table["patient_label"] = _patient_labels(table, where)
    return Reading(table)


def _read_csv(where: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(where, dtype=str, na_values=["nan", ""], keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise MurmurError(f"{where}: cannot be read ({error}); it needs the columns path,label") from error
    if missing := [column for column in ("path", "label") if column not in table]:
        raise MurmurError(f"{where}: no column {', '.join(missing)}; the first line names the columns: path,label,…")
    if unknown := sorted(set(table) - {"path", "label", *OPTIONAL}):
        raise MurmurError(f"{where}: unknown column {', '.join(unknown)}; known are path, label, {', '.join(OPTIONAL)}")
    for column in ("path", "label"):
        if table[column].isna().any():
            raise MurmurError(f"{where}: row {_row(table[column].isna())}: {column} is empty")
    return table.reindex(columns=["path", "label", *OPTIONAL]).astype(object).where(table.notna(), None)


def _each_once(table: pd.DataFrame, where: Path) -> None:
    if (twice := table["recording_id"].duplicated()).any():
        raise MurmurError(f"{where}: row {_row(twice)}: {table['path'][twice].iloc[0]} is named twice; keep one row")


def _check_roles(table: pd.DataFrame, where: Path) -> None:
    wrong = table["role"].notna() & ~table["role"].isin(["train", "test"])
    if wrong.any():
        raise MurmurError(f"{where}: row {_row(wrong)}: role is {table['role'][wrong].iloc[0]!r}, expected train or test")


def _patient_labels(table: pd.DataFrame, where: Path) -> pd.Series:
    labels = table["patient_label"].fillna(table["label"])
    differ = labels.groupby(table["patient_id"]).transform("nunique") > 1
    if differ.any():
        patient = table["patient_id"][differ].iloc[0]
        raise MurmurError(
            f"{where}: row {_row(differ)}: the recordings of patient {patient} differ in their label; "
            "say the patient's own in a column patient_label"
        )
    return labels


def _row(mask: pd.Series) -> int:
    """The line of the CSV file that the first marked row stands in."""
    return int(mask.to_numpy().argmax()) + 2
