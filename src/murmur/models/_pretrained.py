"""The local file of pretrained weights that a training reads, and its hash.

The stages train and final depend on the table that the stage check writes, not on the folder data/weights:
other files in this folder, which differ between computers, do not repeat a training.
"""

import hashlib
import json
from pathlib import Path

from murmur.errors import MurmurError
from murmur.files import write_text

FOLDER = Path("data/weights")
HASHES = Path("data/pretrained.json")


def check_folder(key: str, path: str) -> None:
    """Refuse a file of weights outside data/weights: DVC would not notice a change of its content.

    Parameters
    ----------
    key : str
        The key of params.yaml, for the message.
    path : str
        Its value.

    Raises
    ------
    MurmurError
        If the file is not in the folder, or is behind a link to another folder.
    """
    parents = [parent for parent in Path(path).parents if FOLDER in parent.parents]
    is_inside = FOLDER in Path(path).parents and ".." not in Path(path).parts
    if not is_inside or any(parent.is_symlink() for parent in parents):
        raise MurmurError(
            f"{key}: {path} is not in {FOLDER}, so a change of the file would not be noticed; put it into "
            f"this folder, as {FOLDER / Path(path).name}"
        )


def write_hashes(path: str | None) -> None:
    """Write the SHA-256 hash of the file of weights that the training reads to data/pretrained.json.

    Parameters
    ----------
    path : str or None
        The file; None if the training reads none.
    """
    hashes = {Path(path).as_posix(): _hash_file(Path(path))} if path else {}
    write_text(HASHES, json.dumps(hashes, indent=2) + "\n")


def check_hashes() -> None:
    """Check that the file of weights still has the hash in data/pretrained.json.

    Raises
    ------
    MurmurError
        If it has changed, or does not exist: the results would be recorded as those of other weights.
    """
    for path, expected in json.loads(HASHES.read_text(encoding="utf-8")).items():
        if not Path(path).is_file() or _hash_file(Path(path)) != expected:
            raise MurmurError(f"{path}: changed since the stage check has read it; run `dvc repro` again")


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
