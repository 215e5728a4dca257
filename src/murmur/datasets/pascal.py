"""PASCAL Classifying Heart Sounds Challenge 2011 (Bentley et al.), on Kaggle as "Heartbeat Sounds"."""

import re
from os.path import isfile
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, Field

from murmur import input_csv
from murmur.datasets import Reading, Task, _locations, find_worst_labels
from murmur.errors import MurmurError

PAGE = "http://www.peterjbentley.com/heartchallenge/ or kaggle.com/datasets/kinguistics/heartbeat-sounds"
LAYOUT = "set_a/ and set_b/ with the WAV files; set_a.csv and set_b.csv next to them"
TASKS = {
    "murmur": Task(("murmur", "normal"), ("murmur",)),
    "sound": Task(
        ("normal", "murmur", "extrahls", "extrastole", "artifact"), ("murmur", "extrahls", "extrastole")
    ),
}
SEVERITY = ("artifact", "normal", "extrastole", "extrahls", "murmur")
PERSONS_OF = {
    "a": "set A names no person: each recording counts as one",
    "b": "set B: the three-digit number in the file's name, which is taken as the person though undocumented",
}
PERSONS = "; ".join(PERSONS_OF.values())
LICENCE = "CC0, as stated by its mirrors"


class Options(BaseModel, extra="forbid"):
    """The options of this data set.

    Attributes
    ----------
    sets : list of {"a", "b"}
        The sets to use: a was recorded with telephones (44.1 kHz), b in a clinic (4 kHz).
    """

    sets: Annotated[list[Literal["a", "b"]], Field(min_length=1)] = ["a", "b"]


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return the folder `$MURMUR_DATA/pascal`.

    Raises
    ------
    MurmurError
        If it does not exist: where to get the files and where to put them.
    """
    return _locations.require_local("pascal", PAGE, LAYOUT, "set_a.csv", "set_b.csv", "set_a", "set_b")


def read(root: Path, options: Options, task: str) -> Reading:
    """Read set_a.csv and set_b.csv; a patient has the most severe label of its recordings (`SEVERITY`).

    Recordings without a label, or with a label that is not a class of the task, are left out.

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
        Naming the file and the row: a missing folder or column, an unknown label, a name without an id,
        a recording in two rows, no recording for the task.
    """
    table = pd.concat([_read_set(root, name) for name in sorted(set(options.sets))], ignore_index=True)
    is_used = table["label"].isin(TASKS[task].classes)
    if not is_used.any():
        raise MurmurError(f"{root}: no recording of task {task} in set {', '.join(options.sets)}; add a set")
    unused = table[~is_used]
    reasons = [f"label {x} is not a class of task {task}" if x else "has no label" for x in unused["label"]]
    others = [f"set_{name}" for name in "ab" if name not in options.sets]
    left_out = [
        *zip(unused["path"], reasons, strict=True),
        *_locations.list_unselected(root, others, "download.pascal.sets"),
    ]
    table = table[is_used].reset_index(drop=True)
    table["patient_label"] = _compute_patient_labels(table, root)
    persons = [patient if patient.startswith("b") else None for patient in table["patient_id"]]
    table = table.assign(person_id=persons, site="unspecified", role=None, sex=None, age_group=None)
    description = "; ".join(PERSONS_OF[name] for name in sorted(set(options.sets)))
    return Reading(table, left_out, in_parts=True, persons=description, severity=SEVERITY)


def _compute_patient_labels(table: pd.DataFrame, root: Path) -> pd.Series:
    """Return the patient's label for each recording, from the recordings whose files exist."""
    exists = pd.Series([isfile(root / path) for path in table["path"]], table.index)
    return find_worst_labels(table[exists], SEVERITY).reindex(table.index).fillna(table["label"])


def _read_set(root: Path, name: str) -> pd.DataFrame:
    """Read a set's table: recording_id, path, patient_id and label (None where there is none)."""
    path, folder = root / f"set_{name}.csv", root / f"set_{name}"
    if not folder.is_dir():
        raise MurmurError(
            f"{folder}: no such folder{input_csv.describe_location(folder)}; add it or remove {name} from "
            "download.pascal.sets"
        )
    table = input_csv.read_table(path, ["fname", "label"])
    keys = pd.Series([_parse_name(Path(fname).stem) for fname in table["fname"]], table.index)
    _check_rows(path, table["label"], keys, name)
    files = {_parse_name(file.stem): file.name for file in sorted(folder.glob("*.wav"))}
    names = [files.get(key, Path(fname).name) for key, fname in zip(keys, table["fname"], strict=True)]
    table["path"] = [f"set_{name}/{file}" for file in names]
    table["recording_id"] = [path.removesuffix(".wav") for path in table["path"]]
    table["patient_id"] = [f"{name}_{key[-1] if name == 'a' else key[-1][:3]}" for key in keys]
    return table[["recording_id", "path", "patient_id", "label"]]


def _parse_name(stem: str) -> tuple[str, ...]:
    """Return the label, the sublabel (if any) and the id in a name.

    The table and the files write the same name differently: both normal_noisynormal_296_1311682952647_D and
    Btraining_normal_Btraining_noisynormal_296_1311682952647_D give ("normal", "noisynormal",
    "296_1311682952647_D"). The id alone is not unique.
    """
    words, number = re.fullmatch(r"(.*?)_*(\d\w*)?", stem).groups()  # type: ignore[union-attr]
    labels = [word for word in words.split("_") if word and not re.match("[AB](training|unlabelled)", word)]
    return (*labels, number or "")


def _check_rows(path: Path, labels: pd.Series, keys: pd.Series, name: str) -> None:
    remedy = "correct or remove the row"
    unknown = labels.notna() & ~labels.isin(SEVERITY)
    input_csv.check_rows(path, unknown, f"the label is not one of {', '.join(SEVERITY)}; {remedy}")
    invalid = ~keys.str[-1].str.fullmatch({"a": r"\d+", "b": r"\d{3}_\w+"}[name])
    input_csv.check_rows(path, invalid, f"fname does not end in a recording's id; {remedy}")
    differ = labels.fillna("") != [key[0] if len(key) > 1 else "" for key in keys]
    input_csv.check_rows(path, differ, f"fname and label disagree; {remedy}")
    input_csv.check_rows(path, keys.duplicated(), "the recording is in two rows; keep one")
