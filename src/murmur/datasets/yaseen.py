"""Heart sounds of Yaseen, Son and Kwon (2018): five classes of 200 short recordings of unknown persons."""

import re
import shutil
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import Reading, Task, _archives, _locations
from murmur.errors import MurmurError

PAGE = "https://github.com/yaseen21khan/Classification-of-Heart-Sound-Signal-Using-Multiple-Features-"
LAYOUT = "folders AS, MR, MS, MVP and N with New_AS_001.wav and so on, or AS.zip … (unpack a .rar yourself)"
CLASSES = ("N", "AS", "MR", "MS", "MVP")
TASKS = {"disease": Task(CLASSES, CLASSES[1:])}
PERSONS = (
    "no person is named: each recording counts as one, but nearly every one has a near-duplicate, so that "
    "no protocol on these data is free of leaks"
)
ARCHIVES = {".rar", ".7z", ".tar", ".gz", ".tgz"}  # not unpacked by this reader
LICENCE = "none stated"
MAY_BE_PASSED_ON = False


class Options(BaseModel, extra="forbid"):
    """No options."""


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return the folder `$MURMUR_DATA/yaseen`; if a class in it is a ZIP file, put all classes into `folder`.

    Raises
    ------
    MurmurError
        If the folder does not exist or a ZIP file is damaged: where to get the files.
    """
    root = _locations.require_local("yaseen", PAGE, LAYOUT, *CLASSES)
    sources = {name: source for name in CLASSES if (source := _find_source(root, name))}
    if all(source.is_dir() and source.name.isprintable() for source in sources.values()):
        return root
    for name, source in sources.items():  # also if the name of a folder is not UTF-8
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            _archives.unzip(source, folder / name)
    return folder


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the names of the files: the data set has no table.

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
        If two files have the name of one recording.
    """
    table, left_out = _list_recordings(root)
    if (repeated := table["recording_id"].duplicated()).any():
        raise MurmurError(
            f"{root / table['path'][repeated].iloc[0]}: another file has the same name; remove one of them"
        )
    local = _locations.local_folder("yaseen")
    original = local if local and local.is_dir() else root  # not the copy that `fetch` made
    absent = {name: _explain_absence(original, name) for name in CLASSES if name not in {*table["label"]}}
    table = table.assign(patient_id=table["recording_id"], person_id=None)
    table = table.assign(
        patient_label=table["label"], site="unspecified", role=None, sex=None, age_group=None
    )
    return Reading(table, left_out, absent=absent)


def _list_recordings(root: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """List the recordings (recording_id, path, label), and (path, reason) of WAV files with other names."""
    rows, left_out = [], []
    for name in CLASSES:
        source = _find_source(root, name)
        for file in sorted(source.rglob("*.wav")) if source else ():
            path = file.relative_to(root).as_posix()
            if re.fullmatch(rf"New_{name}_\d+", file.stem):
                _check_encoding(file)
                rows.append((file.stem, path, name))
            else:
                left_out.append((path, f"its name is not New_{name}_ and a number"))
    return pd.DataFrame(rows, columns=["recording_id", "path", "label"], dtype=object), left_out


def _check_encoding(path: Path) -> None:
    if (shown := str(path).encode("utf-8", "backslashreplace").decode()) != str(path):
        raise MurmurError(f"{shown}: not a name in UTF-8, as tables need; rename the file or its folder")


def _list_sources(root: Path, name: str) -> list[Path]:
    """List folders and archives of a class: AS or, as the authors name it, AS_New_3주기."""
    return sorted(path for path in root.iterdir() if re.split(r"[_.]", path.name)[0] == name)


def _find_source(root: Path, name: str) -> Path | None:
    """Return the folder of a class, else its ZIP file."""
    sources = _list_sources(root, name)
    folders = [path for path in sources if path.is_dir()]
    archives = [path for path in sources if path.suffix.lower() == ".zip"]
    return next(iter([*folders, *archives]), None)


def _explain_absence(root: Path, name: str) -> str:
    """Return why a class has no recordings, and what to do."""
    remedy = f"or leave the class out: class_map {{{name}: null}}"
    if packed := [path for path in _list_sources(root, name) if path.suffix.lower() in ARCHIVES]:
        return (
            f"{packed[0]}: is not unpacked automatically; unpack it to a folder {name} next to it, {remedy}"
        )
    if source := _find_source(root, name):
        return f"{source}: holds no files like New_{name}_001.wav; get it from {PAGE}, {remedy}"
    found = input_csv.describe_location(root / name)
    return f"{root / name}: no such folder{found}; get it from {PAGE}, {remedy}. Expected: {LAYOUT}"
