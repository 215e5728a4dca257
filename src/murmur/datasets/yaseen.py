"""Heart sounds of Yaseen, Son and Kwon (2018): five classes of 200 short pieces, no person named."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import Reading, Task, _fetch
from murmur.errors import MurmurError

PAGE = "https://github.com/yaseen21khan/Classification-of-Heart-Sound-Signal-Using-Multiple-Features-"
LAYOUT = "folders AS, MR, MS, MVP and N with New_AS_001.wav and so on, or AS.zip … (unpack a .rar yourself)"
CLASSES = ("N", "AS", "MR", "MS", "MVP")
TASKS = {"disease": Task(CLASSES, CLASSES[1:])}
PERSONS = (
    "no person is named: each recording counts as one, but nearly every one has a near-duplicate, so that "
    "no protocol on these data is free of leaks"
)
ARCHIVES = {".rar", ".7z", ".tar", ".gz", ".tgz"}  # that are not unpacked here
LICENCE = "none stated"
MAY_BE_PASSED_ON = False


class Options(BaseModel, extra="forbid"):
    """None."""


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The folder `$MURMUR_DATA/yaseen`; where a class lies there as a ZIP file, all are put into `folder`.

    Raises
    ------
    MurmurError
        If the folder is not there, or a ZIP file is broken: where to get what.
    """
    root = _fetch.by_hand("yaseen", PAGE, LAYOUT, *CLASSES)
    places = {name: place for name in CLASSES if (place := _place(root, name))}
    if not places or all(place.is_dir() and place.name.isprintable() for place in places.values()):
        return root
    for name, place in places.items():  # also where a folder's name is not UTF-8
        if place.is_dir():
            shutil.copytree(place, folder / name)
        else:
            _fetch.unzip(place, folder / name)
    return folder


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the names of the files: there is no table.

    Raises
    ------
    MurmurError
        If a recording is there twice.
    """
    places = {name: _place(root, name) for name in CLASSES}
    found = [(name, path) for name, place in places.items() if place for path in sorted(place.rglob("*.wav"))]
    named = [(name, path) for name, path in found if re.fullmatch(rf"New_{name}_\d+", path.stem)]
    _check_names(path for _, path in named)
    left_out = [
        (path.relative_to(root).as_posix(), f"its name is not New_{name}_ and a number")
        for name, path in found
        if (name, path) not in named
    ]
    table = pd.DataFrame(
        {"recording_id": path.stem, "path": path.relative_to(root).as_posix(), "label": name}
        for name, path in named
    ).reindex(columns=["recording_id", "path", "label"])
    if (twice := table["recording_id"].duplicated()).any():
        raise MurmurError(f"{root / table['path'][twice].iloc[0]}: is there twice; take one away")
    lent = _fetch.named("yaseen")
    home = lent if lent and lent.is_dir() else root  # not the copy that `fetch` made
    absent = {name: _why_absent(home, name) for name in CLASSES if name not in {*table["label"]}}
    table = table.assign(patient_id=table["recording_id"], person_id=None)
    table = table.assign(
        patient_label=table["label"], site="unspecified", role=None, sex=None, age_group=None
    )
    return Reading(table, left_out, absent=absent)


def _check_names(paths: Iterable[Path]) -> None:
    for path in paths:
        if (shown := str(path).encode("utf-8", "backslashreplace").decode()) != str(path):
            raise MurmurError(f"{shown}: not a name in UTF-8, as tables need; rename the file or its folder")


def _places(root: Path, name: str) -> list[Path]:
    """What there is of a class: AS or, as the authors call it, AS_New_3주기."""
    return sorted(path for path in root.iterdir() if re.split(r"[_.]", path.name)[0] == name)


def _place(root: Path, name: str) -> Path | None:
    """The folder of a class, else its ZIP file."""
    places = _places(root, name)
    folders = [path for path in places if path.is_dir()]
    archives = [path for path in places if path.suffix.lower() == ".zip"]
    return next(iter([*folders, *archives]), None)


def _why_absent(root: Path, name: str) -> str:
    remedy = f"or leave the class out: class_map {{{name}: null}}"
    if packed := [path for path in _places(root, name) if path.suffix.lower() in ARCHIVES]:
        return f"{packed[0]}: is not unpacked here; unpack it to a folder {name} beside it, {remedy}"
    if place := _place(root, name):
        return f"{place}: holds no New_{name}_001.wav or the like; get it from {PAGE}, {remedy}"
    where = input_csv.place_found(root / name)
    return f"{root / name}: no such folder{where}; get it from {PAGE}, {remedy}. Expected: {LAYOUT}"
