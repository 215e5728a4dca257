"""A folder of one's own: recordings at any rate, WAV or FLAC, and a CSV that names them.

The CSV has the columns `path,label` and, as far as they are known, `patient_id, person_id, site,
patient_label, role, sex, age_group, source, quality`; `path` lies in the folder and is relative to it.
"""

import os
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import Reading, Task
from murmur.errors import MurmurError

TASKS: dict[str, Task] = {}  # any task: the classes are the labels that the CSV has
PERSONS = "person_id of the CSV, or else its patient_id; without both each recording counts as a person"
LICENCE = "none stated; the recordings are their owner's"
MAY_BE_PASSED_ON = False  # unless the owner says so: download.folder.may_be_passed_on
IDS = ("patient_id", "person_id")
OPTIONAL = (*IDS, "site", "patient_label", "role", "sex", "age_group", "source", "quality")
ALLOWED = {"role": ("train", "test"), "quality": ("good", "poor")}
ONE_SPELLING = ("site", "source", "sex", "age_group")
MISSING = {"na", "<na>", "n/a", "n.a.", "null"}  # as R, pandas and databases write a cell without a value
HIDDEN = {".git", ".hg", ".dvc"}  # folders that DVC passes over
REMEDY = (
    "save it as CSV in UTF-8; the first line names the columns, with commas between them: path,label and, "
    f"where known, {','.join(OPTIONAL)}"
)


class Options(BaseModel, extra="forbid"):
    """`path`: the folder; `csv`: the table in it; `may_be_passed_on`: its owner lets others have it."""

    path: str = "data/folder"
    csv: str = "recordings.csv"
    may_be_passed_on: bool = False


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The user's folder.

    Raises
    ------
    MurmurError
        If it is not there, or DVC would not see all that is in it.
    """
    if not (root := Path(options.path)).is_dir():
        raise MurmurError(f"download.folder.path: no folder {root}; name the folder that holds {options.csv}")
    if _leads_out(options.csv):
        raise MurmurError(
            f"download.folder.csv: {options.csv} is not in the folder {root}, and DVC would not see a change "
            "of it; put the table there and give its name"
        )
    _check_links(root)
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the CSV.

    Raises
    ------
    MurmurError
        Naming the file and the row: a column missing or unknown, an empty path, label or id, a path out of
        the folder, a recording named twice, a role or quality that is none, ids or labels that differ only in
        their spelling, a patient of two persons, recordings of one patient that differ without a
        patient_label, or of one person in sex.
    """
    where = root / options.csv
    table = input_csv.read(where, ["path", "label"], remedy=REMEDY)
    table = _known_columns(table, where)
    input_csv.check_filled(where, table, "label")
    _check_paths(table, where)
    table["path"] = _paths_on_disk(root, table["path"], where)
    _each_once(table, where)
    given = [column for column in IDS if table[column].notna().any()]
    for column in given:
        input_csv.check_ids(where, table[column])
    for column in ONE_SPELLING:
        input_csv.check_spelling(where, table[column])
    input_csv.check_spelling(where, table["label"], table["patient_label"])
    table["patient_id"] = table["patient_id"].fillna(table["recording_id"])
    if given:
        table["person_id"] = table["person_id"].fillna(table["patient_id"])
    table["site"] = table["site"].fillna("unspecified")
    table["source"] = table["source"].fillna("folder")
    for column, words in ALLOWED.items():
        odd = table[column].notna() & ~table[column].isin(words)
        input_csv.check_rows(
            where, odd, f"{column} is not {' or '.join(words)}; write one of them, or nothing"
        )
    _check_persons(table, where)
    table["sex"] = _sexes(table, where)
    table["patient_label"] = _patient_labels(table, where)
    return Reading(table, persons=_persons_in_words(given, options.csv))


def _persons_in_words(given: list[str], name: str) -> str:
    if given:
        return f"each {given[-1]} of {name} is a person"
    return f"{name} has neither person_id nor patient_id: each recording counts as a person"


def _known_columns(table: pd.DataFrame, where: Path) -> pd.DataFrame:
    if unknown := sorted(set(table) - {"path", "label", *OPTIONAL}):
        known = ", ".join(("path", "label", *OPTIONAL))
        raise MurmurError(f"{where}: unknown column {', '.join(unknown)}; known are {known}")
    table = table.reindex(columns=["path", "label", *OPTIONAL]).astype(object)
    missing = table.map(lambda cell: str(cell).lower() in MISSING)
    missing[["path", *IDS]] = False
    return table.where(table.notna() & ~missing, None)


def _check_links(root: Path) -> None:
    """Refuse what DVC passes over in a folder that a stage depends on."""
    for folder, folders, names in os.walk(root):
        if links := [path for name in sorted(folders) if (path := Path(folder, name)).is_symlink()]:
            raise MurmurError(
                f"{links[0]}: a link to a folder, behind which DVC sees no change; put the recordings "
                f"themselves there (cp -rL), or let download.folder.path name {os.path.realpath(links[0])}"
            )
        if ".dvcignore" in names:
            raise MurmurError(f"{Path(folder, '.dvcignore')}: hides recordings from DVC; take it away")


def _leads_out(path: str) -> bool:
    parts = Path(path).parts
    return Path(path).is_absolute() or ".." in parts or not parts or not HIDDEN.isdisjoint(parts)


def _check_paths(table: pd.DataFrame, where: Path) -> None:
    out = table["path"].map(_leads_out)
    words = (
        "is not a path inside the folder; put the file there, or let download.folder.path name the one above"
    )
    input_csv.check_rows(where, out, f"{_first(table, out, 'path')} {words}")
    table["path"] = [Path(path).as_posix() for path in table["path"]]  # ./a.wav is a.wav
    table["recording_id"] = [Path(path).with_suffix("").as_posix() for path in table["path"]]


def _paths_on_disk(root: Path, paths: pd.Series, where: Path) -> list[str]:
    """The names as the disk has them, which may differ in white space and in the form of accented letters."""
    there: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        there.setdefault(input_csv.tidied(name), []).append(name)
    several = paths.map(lambda path: len(there.get(path, [])) > 1)
    name = next(iter(paths[several]), "")
    input_csv.check_rows(
        where, several, f"path {name} is one of {there.get(name)}; give the files other names"
    )
    return [there.get(path, [path])[0] for path in paths]


def _each_once(table: pd.DataFrame, where: Path) -> None:
    twice = table["recording_id"].duplicated()
    words = "keep one row, or rename a file: endings do not tell recordings apart"
    input_csv.check_rows(
        where, twice, f"recording {_first(table, twice, 'recording_id')} is named twice; {words}"
    )


def _check_persons(table: pd.DataFrame, where: Path) -> None:
    differ = table["person_id"].groupby(table["patient_id"]).transform("nunique") > 1
    input_csv.check_rows(
        where, differ, f"patient {_first(table, differ)} is more than one person; give his rows one person_id"
    )


def _sexes(table: pd.DataFrame, where: Path) -> pd.Series:
    """Of each recording its person's sex, which need not stand in every row."""
    by_person = table["sex"].groupby(table["person_id"].fillna(table["patient_id"]))
    differ = by_person.transform("nunique") > 1
    words = "differ in sex; correct it, or the ids if they are of several persons"
    input_csv.check_rows(where, differ, f"the recordings of patient {_first(table, differ)} {words}")
    sexes = by_person.transform("first")
    return sexes.astype(object).where(sexes.notna(), None)


def _patient_labels(table: pd.DataFrame, where: Path) -> pd.Series:
    labels = table["patient_label"].fillna(table["label"])
    differ = labels.groupby(table["patient_id"]).transform("nunique") > 1
    words = "differ in their label; say the patient's own in a column patient_label"
    input_csv.check_rows(where, differ, f"the recordings of patient {_first(table, differ)} {words}")
    return labels


def _first(table: pd.DataFrame, rows: pd.Series, column: str = "patient_id") -> str:
    return next(iter(table[column][rows]), "")
