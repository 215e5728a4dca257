"""Heart sounds of Yaseen, Son and Kwon (2018): five classes of 200 short pieces, no person named."""

import re
import shutil
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import fetch as files
from murmur.datasets import Reading, Task
from murmur.errors import MurmurError

PAGE = "https://github.com/yaseen21khan/Classification-of-Heart-Sound-Signal-Using-Multiple-Features-"
LAYOUT = "folders AS, MR, MS, MVP and N with New_AS_001.wav and so on, or AS.zip … (unpack a .rar yourself)"
CLASSES = ("N", "AS", "MR", "MS", "MVP")
TASKS = {"disease": Task(CLASSES, CLASSES[1:])}
PERSONS = (
    "nobody is named: each recording counts as a person, but nearly every one has a near-duplicate, so that "
    "no protocol on these data is free of leaks"
)
LICENCE = "none stated"
MAY_BE_PASSED_ON = False


class Options(BaseModel, extra="forbid"):
    """None."""


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The folder `$MURMUR_DATA/yaseen`; where a class lies there as a ZIP file, all are put into `folder`.

    Raises
    ------
    MurmurError
        If the folder or a class is not there, or a ZIP file is broken: where to get what.
    """
    root = files.by_hand("yaseen", PAGE, LAYOUT)
    places = {name: _place(root, name) for name in CLASSES}
    if all(place.is_dir() for place in places.values()):
        return root
    for name, place in places.items():
        if place.is_dir():
            shutil.copytree(place, folder / name)
        else:
            files.unzip(place, folder / name)
    return folder


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the names of the files: there is no table.

    Raises
    ------
    MurmurError
        If a class has no folder or no recording, or a recording is there twice.
    """
    found = [(name, path) for name in CLASSES for path in sorted(_place(root, name).rglob("*.wav"))]
    named = [(name, path) for name, path in found if re.fullmatch(rf"New_{name}_\d+", path.stem)]
    left_out = [
        (path.relative_to(root).as_posix(), f"its name is not New_{name}_ and a number")
        for name, path in found
        if (name, path) not in named
    ]
    table = pd.DataFrame(
        {"recording_id": path.stem, "path": path.relative_to(root).as_posix(), "label": name}
        for name, path in named
    )
    _check(table, root)
    table = table.assign(patient_id=table["recording_id"], person_id=None)
    table = table.assign(
        patient_label=table["label"], site="unspecified", role=None, sex=None, age_group=None
    )
    return Reading(table, left_out)


def _place(root: Path, name: str) -> Path:
    """The folder of a class, else its ZIP file: AS or, as the authors call it, AS_New_3주기."""
    places = [path for path in root.iterdir() if path.stem.split("_")[0] == name]
    folders = sorted(path for path in places if path.is_dir())
    archives = sorted(path for path in places if path.suffix.lower() == ".zip")
    if not (folders or archives):
        raise MurmurError(f"{root / name}: no such folder; get it from {PAGE}. Expected: {LAYOUT}")
    return [*folders, *archives][0]


def _check(table: pd.DataFrame, root: Path) -> None:
    for name in CLASSES:
        if table.empty or name not in set(table["label"]):
            raise MurmurError(f"{root / name}: holds no New_{name}_001.wav or the like; get it from {PAGE}")
    if (twice := table["recording_id"].duplicated()).any():
        raise MurmurError(f"{root / table['path'][twice].iloc[0]}: is there twice; take one away")
