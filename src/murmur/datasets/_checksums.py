"""SHA-256 checksums that data sets publish."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from murmur.errors import MurmurError

MAX_TABLE_SIZE = 2**26  # bytes


def read_checksums(path: Path) -> dict[str, str]:
    """Read a SHA256SUMS file as {path: sha256}; {} where it does not exist.

    Raises
    ------
    MurmurError
        Naming the file and the line, if it is not such a file.
    """
    if not path.exists():
        return {}
    if path.stat().st_size > MAX_TABLE_SIZE:
        raise MurmurError(f"{path}: is larger than {MAX_TABLE_SIZE} bytes; delete the file, fetch it again")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{64})\s+\*?(.+)", line) for line in lines if line.strip()]
    if None in matches:
        raise MurmurError(
            f"{path}: line {matches.index(None) + 1} is not 'sha256 name'; delete the file, fetch it again"
        )
    return {match[2]: match[1] for match in matches if match}


def verify(root: Path, names: Iterable[str], checksums: dict[str, str]) -> None:
    """Compare files with their published checksums.

    Parameters
    ----------
    root : Path
        The data set's folder.
    names : iterable of str
        The files, relative to `root`.
    checksums : dict
        {file: sha256}; a file without one is not checked.

    Raises
    ------
    MurmurError
        Naming a file that differs or cannot be read.
    """
    for name in names:
        try:
            is_same = name not in checksums or file_sha256(root / name) == checksums[name]
        except OSError as error:
            raise MurmurError(f"{root / name}: cannot be read ({error}); fetch the file again") from error
        if not is_same:
            raise MurmurError(f"{root / name}: its sha256 is not the data set's; fetch the file again")


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
