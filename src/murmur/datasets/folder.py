"""Your own recordings: a folder with WAV or FLAC files or WFDB records, and a CSV that names them.

The CSV has the columns `path,label` and, where they are known, `patient_id, person_id, site, patient_label,
role, sex, age_group, source, quality`; `path` is relative to the folder, and the file is inside it. The
path of a WFDB record is that of its header, NAME.hea. In the `metadata.csv` of Hugging Face's AudioFolder
the column `path` has the name `file_name`. An `annotations.csv` may hold annotated heart cycles:
`path,start,end,event`.
"""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from murmur import input_csv, spelling
from murmur.datasets import Reading, Task
from murmur.errors import MurmurError
from murmur.tables.annotations import EVENTS

logger = logging.getLogger(__name__)

TASKS: dict[str, Task] = {}  # any task: the classes are the labels in the CSV
PERSONS = "person_id of the CSV, else its patient_id; without both each recording counts as a person"
LICENCE = "none stated; the recordings are their owner's"
MAY_BE_PASSED_ON = False  # unless the owner permits it: download.folder.may_be_passed_on
IDS = ("patient_id", "person_id")
OPTIONAL = (*IDS, "site", "patient_label", "role", "sex", "age_group", "source", "quality")
ALLOWED = {"role": ("train", "test"), "quality": ("good", "poor")}
CHECKED_SPELLING = ("site", "source", "sex", "age_group")
MISSING = {"na", "<na>", "n/a", "n.a.", "null"}  # as R, pandas and databases write a cell without a value
IGNORED = {".git", ".hg", ".dvc"}  # folders that DVC ignores
REMEDY = (
    "save it as CSV in UTF-8; the first line names the columns, separated by commas: {paths},label and, "
    f"where known, {','.join(OPTIONAL)}"
)
AUDIO_FOLDER = "metadata.csv"  # the table of Hugging Face's AudioFolder
ANNOTATIONS = "annotations.csv"  # annotated heart cycles
ANNOTATIONS_REMEDY = f"write the columns path,start,end,event (in s; {', '.join(EVENTS)}), or rename the file"
SPLITS = {"train", "validation", "test"}  # folders that are a split in Hugging Face's AudioFolder


class Options(BaseModel, extra="forbid"):
    """The options of this data set.

    Attributes
    ----------
    path : str
        The folder.
    csv : str
        The name of the table in it. If the folder has no recordings.csv, metadata.csv is read in its place.
    may_be_passed_on : bool
        Whether the owner permits sharing the recordings.
    """

    path: str = "data/folder"
    csv: str = "recordings.csv"
    may_be_passed_on: bool = False


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return the user's folder.

    Raises
    ------
    MurmurError
        If it does not exist, or if DVC would not detect all changes in it.
    """
    if not (root := Path(options.path)).is_dir():
        raise MurmurError(f"download.folder.path: no folder {root}; name the folder that holds {options.csv}")
    if _leads_out(options.csv):
        raise MurmurError(
            f"download.folder.csv: {options.csv} is not in the folder {root}, so DVC would not detect "
            "a change of it; put the table into the folder and set its name"
        )
    _check_links(root)
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the CSV.

    Parameters
    ----------
    root : Path
        The folder of the data set.
    options : Options
        The options in params.yaml.
    task : str
        A name in `TASKS`.

    Returns
    -------
    Reading
        The recordings.

    Raises
    ------
    MurmurError
        Naming the file and the row: a missing or unknown column, an empty path, label or id, a path outside
        the folder, a recording in two rows, an unknown role or quality, ids or labels that differ only in
        their spelling, a patient with two person_ids, a patient with different labels and no patient_label, a
        person with two sexes.
    """
    path = _find_table(root, options.csv)
    paths = "file_name" if path.name == AUDIO_FOLDER else "path"
    table = input_csv.read_table(path, [paths, "label"], remedy=_write_remedy(path, paths))
    table = _select_columns(table, path, paths)
    input_csv.check_not_empty(path, table, "label")
    _check_paths(table, path)
    table["path"] = _match_files(root, table["path"], path)
    _check_headers_are_named(root, table["path"], path)
    _check_unique(table, path)
    id_columns = [column for column in IDS if table[column].notna().any()]
    _check_values(table, id_columns, path)
    table["patient_id"] = table["patient_id"].fillna(table["recording_id"])
    if id_columns:
        table["person_id"] = table["person_id"].fillna(table["patient_id"])
    table["site"] = table["site"].fillna("unspecified")
    table["source"] = table["source"].fillna("folder")
    _log_unused_splits(table)
    _check_persons(table, path)
    table["sex"] = _fill_sex(table, path)
    table["patient_label"] = _fill_patient_labels(table, path)
    annotations = _read_annotations(root, table) if (root / ANNOTATIONS).exists() else None
    return Reading(table, persons=_describe_persons(id_columns, path.name), annotations=annotations)


def _read_annotations(root: Path, recordings: pd.DataFrame) -> pd.DataFrame:
    """Read the intervals of annotations.csv; `recordings` is the table of recordings."""
    path = root / ANNOTATIONS
    table = input_csv.read_table(
        path, ["path", "start", "end", "event"], only=True, remedy=ANNOTATIONS_REMEDY
    )
    paths = recordings["path"].map(spelling.remove_invisible)
    known = dict(zip(paths, recordings["recording_id"], strict=True))
    names = table["path"].map(lambda name: known.get(Path(name).as_posix()))
    unknown = names.isna()
    first = _first(table, unknown, "path")
    input_csv.check_rows(path, unknown, f"no recording has the path {first}; write it as in the other table")
    invalid = ~table["event"].isin(EVENTS)
    input_csv.check_rows(path, invalid, f"event is not one of {', '.join(EVENTS)}; correct it")
    times = table[["start", "end"]].apply(pd.to_numeric, errors="coerce")
    invalid = ~((times["start"] >= 0) & (times["end"] > times["start"]) & (times["end"] < np.inf))
    input_csv.check_rows(path, invalid, "start and end are not an interval in s; correct or remove the row")
    return times.assign(recording_id=names, event=table["event"])


def _write_remedy(path: Path, paths: str) -> str:
    """What to do if the table is missing or is no such table; `paths` is its column of files."""
    remedy = REMEDY.format(paths=paths)
    if path.name == Options().csv and path.exists():
        return f"{remedy}; a table with the column file_name must have the name {AUDIO_FOLDER}"
    if path.name == Options().csv:
        return f"{remedy}. Or add {AUDIO_FOLDER}, with the column file_name in place of path"
    return remedy


def _find_table(root: Path, name: str) -> Path:
    """Return the path of the table: `name`, or an AudioFolder's where the folder has no recordings.csv."""
    path, other = root / name, root / AUDIO_FOLDER
    if name != Options().csv or not os.path.lexists(other):
        return _find_audio_folder(root, path)
    if path.exists():
        raise MurmurError(
            f"{root} holds both {name} and {AUDIO_FOLDER}; delete or rename one, or set "
            f"download.folder.csv={AUDIO_FOLDER}"
        )
    return other


def _find_audio_folder(root: Path, path: Path) -> Path:
    """Return `path`; if it is missing, refuse forms of AudioFolder that are not read."""
    if path.exists():
        return path
    if others := [file for end in ("jsonl", "parquet") if (file := root / f"metadata.{end}").exists()]:
        raise MurmurError(
            f"{others[0]}: of an AudioFolder only {AUDIO_FOLDER} is read; save this table as CSV"
        )
    if others := sorted(file for name in SPLITS if (file := root / name / AUDIO_FOLDER).exists()):
        raise MurmurError(
            f"{others[0]}: the table must be {root / AUDIO_FOLDER}; write one table with the rows of all "
            f"folders, file_name beginning with the folder ({others[0].parent.name}/…); for this split add a "
            "column role (train, test) and set split.method: role"
        )
    return path


def _check_values(table: pd.DataFrame, id_columns: list[str], path: Path) -> None:
    """Check ids, spellings, and columns that allow only certain values."""
    for column in id_columns:
        input_csv.check_ids(path, table[column])
    for column in CHECKED_SPELLING:
        input_csv.check_spelling(path, table[column])
    input_csv.check_spelling(path, table["label"], table["patient_label"])
    for column, values in ALLOWED.items():
        invalid = table[column].notna() & ~table[column].isin(values)
        input_csv.check_rows(
            path, invalid, f"{column} is not {' or '.join(values)}; write one of them, or nothing"
        )


def _describe_persons(id_columns: list[str], csv: str) -> str:
    if id_columns:
        return f"each {id_columns[-1]} of {csv} is a person"
    return f"{csv} has neither person_id nor patient_id: each recording counts as a person"


def _select_columns(table: pd.DataFrame, path: Path, paths: str) -> pd.DataFrame:
    """Return the table with all known columns, `paths` as path; cells without a value are None."""
    columns = [paths, "label", *OPTIONAL]
    if unknown := sorted(set(table) - {*columns}):
        raise MurmurError(
            f"{path}: unknown column {', '.join(unknown)}; remove it or rename it; the columns are "
            f"{', '.join(columns)}"
        )
    table = table.reindex(columns=columns).astype(object)
    missing = table.map(lambda cell: str(cell).lower() in MISSING)
    missing[[paths, *IDS]] = False
    return table.where(table.notna() & ~missing, None).rename(columns={paths: "path"})


def _check_links(root: Path) -> None:
    """Refuse links to folders, and any .dvcignore file: DVC would not detect all changes."""
    for folder, folders, names in os.walk(root):
        if links := [path for name in sorted(folders) if (path := Path(folder, name)).is_symlink()]:
            raise MurmurError(
                f"{links[0]}: a link to a folder, in which DVC detects no change; copy the recordings "
                f"into this folder (cp -rL), or set download.folder.path to {os.path.realpath(links[0])}"
            )
        if ".dvcignore" in names:
            raise MurmurError(f"{Path(folder, '.dvcignore')}: hides recordings from DVC; delete it")


def _leads_out(path: str) -> bool:
    """Whether a path is not relative to the folder and inside it, or is ignored by DVC."""
    parts = Path(path).parts
    return Path(path).is_absolute() or ".." in parts or not parts or not IGNORED.isdisjoint(parts)


def _check_paths(table: pd.DataFrame, path: Path) -> None:
    """Check the paths, write them in one form, and add `recording_id`, the path without its suffix."""
    outside = table["path"].map(_leads_out)
    input_csv.check_rows(
        path,
        outside,
        f"{_first(table, outside, 'path')} is not a path inside the folder; put the file into the folder, or "
        "set download.folder.path to the folder above",
    )
    table["path"] = [Path(name).as_posix() for name in table["path"]]  # ./a.wav is a.wav
    table["recording_id"] = [Path(name).with_suffix("").as_posix() for name in table["path"]]


def _match_files(root: Path, names: pd.Series, path: Path) -> list[str]:
    """Return the names of the files, which may differ from `names` in spaces and in the form of accents."""
    files: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        files.setdefault(spelling.remove_invisible(name), []).append(name)
    is_ambiguous = names.map(lambda name: len(files.get(name, [])) > 1)
    first = next(iter(names[is_ambiguous]), "")
    input_csv.check_rows(
        path, is_ambiguous, f"path {first} matches {files.get(first)}; give the files other names"
    )
    return [files.get(name, [name])[0] for name in names]


def _check_headers_are_named(root: Path, names: pd.Series, path: Path) -> None:
    """Refuse the signal file or the bare name of a WFDB record where its header exists."""
    headers = names.map(lambda name: Path(name).with_suffix(".hea").as_posix())
    is_header = headers.map(lambda header: (root / header).is_file())
    wrong = is_header & names.map(lambda name: Path(name).suffix in {"", ".dat"})
    header = next(iter(headers[wrong]), "")
    input_csv.check_rows(path, wrong, f"name the header of the WFDB record, {header}")


def _check_unique(table: pd.DataFrame, path: Path) -> None:
    repeated = table["recording_id"].duplicated()
    name = _first(table, repeated, "recording_id")
    remedy = "keep one row, or rename a file so that more than the suffix differs"
    input_csv.check_rows(path, repeated, f"recording {name} is in two rows; {remedy}")


def _log_unused_splits(table: pd.DataFrame) -> None:
    """Log a note if the recordings are in folders that Hugging Face's AudioFolder would use as a split."""
    folders = {path.split("/")[0] for path in table["path"] if "/" in path}
    if "test" in folders and folders <= SPLITS and table["role"].isna().all():
        logger.info(
            f"the folders {', '.join(sorted(folders))} are not used as a split; to use them, add a column "
            "role (train, test) and set split.method: role"
        )


def _check_persons(table: pd.DataFrame, path: Path) -> None:
    differ = table["person_id"].groupby(table["patient_id"]).transform("nunique") > 1
    input_csv.check_rows(
        path,
        differ,
        f"patient {_first(table, differ)} has more than one person_id; write the same one in all its rows",
    )


def _fill_sex(table: pd.DataFrame, path: Path) -> pd.Series:
    """Return the sex of each recording's person; one row of the person is enough."""
    by_person = table["sex"].groupby(table["person_id"].fillna(table["patient_id"]))
    differ = by_person.transform("nunique") > 1
    fault = "differ in sex; correct it, or the ids if they are of several persons"
    input_csv.check_rows(path, differ, f"the recordings of patient {_first(table, differ)} {fault}")
    sexes = by_person.transform("first")
    return sexes.astype(object).where(sexes.notna(), None)


def _fill_patient_labels(table: pd.DataFrame, path: Path) -> pd.Series:
    """Return the patient's label for each recording: patient_label, else the one label of all recordings."""
    labels = table["patient_label"].fillna(table["label"])
    differ = labels.groupby(table["patient_id"]).transform("nunique") > 1
    fault = "differ in their label; write the patient's label in a column patient_label"
    input_csv.check_rows(path, differ, f"the recordings of patient {_first(table, differ)} {fault}")
    return labels


def _first(table: pd.DataFrame, rows: pd.Series, column: str = "patient_id") -> str:
    """Return the value of `column` in the first row marked in `rows`; "" if none is."""
    return next(iter(table[column][rows]), "")
