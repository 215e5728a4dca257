"""Folders for the checkpoints of runs (`murmur.training.checkpoints`).

They are no outputs of the pipeline: they are in DVC's folder for temporary files, which git ignores.

- ``.dvc/tmp/murmur/checkpoints/KEY/``: a folder for each run, named by a hash of all that its networks
  depend on: the code, the versions of the packages, the features, the labels, the folds, the options and the
  hash of pretrained weights.
- A file in it for each network, such as ``fold_0`` or ``fold_0_inner_1``.

A folder is removed when the outputs of its run are written: a repeated run (`dvc repro --force`) computes
everything again. Another one is removed after a week without a new checkpoint.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from murmur import cluster
from murmur.files import remove_path

DVC = Path(".dvc")
FOLDER = DVC / "tmp/murmur/checkpoints"
MAX_AGE = 7 * 24 * 3600  # s since the last checkpoint


def find_folder(inputs: Mapping[str, object]) -> Path | None:
    """Return the folder for the checkpoints of a run, and remove old folders.

    Parameters
    ----------
    inputs : mapping
        What the networks depend on, besides the code and the versions of the packages: numbers, texts,
        arrays, sections of params.yaml, and paths of files and folders, of which the content counts.

    Returns
    -------
    Path or None
        None outside a project of DVC.
    """
    if not DVC.is_dir():
        return None
    digest = hashlib.sha256(json.dumps(cluster.describe_software()).encode())
    for name, value in inputs.items():
        digest.update(name.encode())
        _update(digest, value)
    remove_old_folders()
    return FOLDER / digest.hexdigest()


def _update(digest: Any, value: object) -> None:
    """Add a value to a hash."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _update(digest, key)
            _update(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Path) and value.is_dir():
        _update(digest, {path.name: path for path in sorted(value.iterdir())})
    elif isinstance(value, Path):
        with suppress(FileNotFoundError), value.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    elif isinstance(value, BaseModel):
        _update(digest, dict(value))
    else:
        digest.update(f"{value!r}\n".encode())


def remove_old_folders() -> None:
    """Remove the folders that have not changed for `MAX_AGE`."""
    for folder in FOLDER.glob("*"):
        with suppress(OSError):  # another process has removed it, or it is read-only
            if time.time() - folder.stat().st_mtime > MAX_AGE:
                remove_path(folder)


def remove_folder(folder: Path | None) -> None:
    """Remove the folder of a run whose outputs are written, if this is possible."""
    if folder:
        with suppress(OSError):
            remove_path(folder)
