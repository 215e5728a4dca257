"""PASCAL Classifying Heart Sounds Challenge 2011 (Bentley et al.), on Kaggle as "Heartbeat Sounds"."""

import re
from os.path import isfile
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, Field

from murmur import input_csv
from murmur.datasets import Reading, Task, _fetch, worst_labels
from murmur.errors import MurmurError

PAGE = "http://www.peterjbentley.com/heartchallenge/ or kaggle.com/datasets/kinguistics/heartbeat-sounds"
LAYOUT = "set_a/ and set_b/ with the WAV files, set_a.csv and set_b.csv beside them"
TASKS = {
    "murmur": Task(("murmur", "normal"), ("murmur",)),
    "sound": Task(
        ("normal", "murmur", "extrahls", "extrastole", "artifact"), ("murmur", "extrahls", "extrastole")
    ),
}
BY_SEVERITY = ("artifact", "normal", "extrastole", "extrahls", "murmur")
PERSONS_OF = {
    "a": "set A names no person: each recording counts as one",
    "b": "set B: the three-digit number in the file's name, which is taken as the person though undocumented",
}
PERSONS = "; ".join(PERSONS_OF.values())
LICENCE = "CC0, as stated by its mirrors"


class Options(BaseModel, extra="forbid"):
    """`sets`: a (from telephones, 44.1 kHz) and b (from a clinic, 4 kHz)."""

    sets: Annotated[list[Literal["a", "b"]], Field(min_length=1)] = ["a", "b"]


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The folder `$MURMUR_DATA/pascal`: a MurmurError says where to get the files if it is not there."""
    return _fetch.by_hand("pascal", PAGE, LAYOUT, "set_a.csv", "set_b.csv", "set_a", "set_b")


def read(root: Path, options: Options, task: str) -> Reading:
    """Read set_a.csv and set_b.csv; a patient's label is that of the most pathological recording there is.

    From murmur over extrahls, extrastole and normal to artifact. Recordings without a label, or with one
    that is no class of the task, are left out.

    Raises
    ------
    MurmurError
        Naming the file and the row: no folder, a column missing, an unknown label, a name without an id,
        a recording named twice, no recording for the task.
    """
    table = pd.concat([_read_set(root, name) for name in sorted(set(options.sets))], ignore_index=True)
    wanted = table["label"].isin(TASKS[task].classes)
    if not wanted.any():
        raise MurmurError(f"{root}: no recording of task {task} in set {', '.join(options.sets)}; add a set")
    rest = table[~wanted]
    why = [f"label {x} is no class of task {task}" if x else "has no label" for x in rest["label"]]
    others = [f"set_{name}" for name in "ab" if name not in options.sets]
    left_out = [*zip(rest["path"], why, strict=True), *_fetch.unasked(root, others, "download.pascal.sets")]
    table = table[wanted].reset_index(drop=True)
    table["patient_label"] = _patient_labels(table, root)
    persons = [patient if patient.startswith("b") else None for patient in table["patient_id"]]
    table = table.assign(person_id=persons, site="unspecified", role=None, sex=None, age_group=None)
    persons_text = "; ".join(PERSONS_OF[name] for name in sorted(set(options.sets)))
    return Reading(table, left_out, in_parts=True, persons=persons_text, severity=BY_SEVERITY)


def _patient_labels(table: pd.DataFrame, root: Path) -> pd.Series:
    there = pd.Series([isfile(root / path) for path in table["path"]], table.index)
    return worst_labels(table[there], BY_SEVERITY).reindex(table.index).fillna(table["label"])


def _read_set(root: Path, name: str) -> pd.DataFrame:
    """The recordings that a set's table names: recording_id, path, patient_id, label (None without one)."""
    where, folder = root / f"set_{name}.csv", root / f"set_{name}"
    if not folder.is_dir():
        raise MurmurError(
            f"{folder}: no such folder{input_csv.place_found(folder)}; put it there or take {name} out of "
            "download.pascal.sets"
        )
    table = input_csv.read(where, ["fname", "label"])
    keys = pd.Series([_key(Path(fname).stem) for fname in table["fname"]], table.index)
    _check_rows(where, table["label"], keys, name)
    there = {_key(path.stem): path.name for path in sorted(folder.glob("*.wav"))}
    names = [there.get(key, Path(fname).name) for key, fname in zip(keys, table["fname"], strict=True)]
    table["path"] = [f"set_{name}/{file}" for file in names]
    table["recording_id"] = [path.removesuffix(".wav") for path in table["path"]]
    table["patient_id"] = [f"{name}_{key[-1] if name == 'a' else key[-1][:3]}" for key in keys]
    return table[["recording_id", "path", "patient_id", "label"]]


def _key(stem: str) -> tuple[str, ...]:
    """What names one recording in the table and on disk: its label and sublabel, if any, and its id.

    ("normal", "noisynormal", "296_1311682952647_D") both of normal_noisynormal_296_1311682952647_D and of
    Btraining_normal_Btraining_noisynormal_296_1311682952647_D. The id alone stands under several labels.
    """
    words, number = re.fullmatch(r"(.*?)_*(\d\w*)?", stem).groups()  # type: ignore[union-attr]
    labels = [word for word in words.split("_") if word and not re.match("[AB](training|unlabelled)", word)]
    return (*labels, number or "")


def _check_rows(where: Path, labels: pd.Series, keys: pd.Series, name: str) -> None:
    known, form = ", ".join(BY_SEVERITY), {"a": r"\d+", "b": r"\d{3}_\w+"}[name]
    unknown = labels.notna() & ~labels.isin(BY_SEVERITY)
    input_csv.check_rows(where, unknown, f"the label is not one of {known}; mend it or take the row out")
    odd = ~keys.str[-1].str.fullmatch(form)
    input_csv.check_rows(where, odd, "fname does not end in a recording's id; mend it or take the row out")
    differ = labels.fillna("") != [key[0] if len(key) > 1 else "" for key in keys]
    input_csv.check_rows(where, differ, "fname and label disagree; mend one or take the row out")
    input_csv.check_rows(where, keys.duplicated(), "the recording is named twice; keep one row")
