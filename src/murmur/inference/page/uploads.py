"""The files that a browser sends: recordings of one patient in a temporary folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from werkzeug.datastructures import FileStorage

from murmur.errors import MurmurError
from murmur.inference.patients import ID_SITE
from murmur.logs import escape_unprintable

MAX_NAME = 200  # bytes of a file name


class Upload(NamedTuple):
    """A recording that was sent: its file, and its auscultation site if it is known."""

    path: Path
    site: str | None


def save_uploads(files: Sequence[FileStorage], sites: Sequence[str], folder: Path) -> list[Upload]:
    """Save the files of an upload in a folder, and find the recordings among them.

    Parameters
    ----------
    files : sequence of FileStorage
        The files. A WFDB record has a header (.hea) and signal files.
    sites : sequence of str
        The site of each file; empty if it is not known.
    folder : Path
        An empty folder.

    Returns
    -------
    list of Upload
        In the order of the files, without the signal files of WFDB records.

    Raises
    ------
    MurmurError
        If there is no file, or a name is missing, too long or occurs twice, or two files are equal.
    """
    paths = [folder / _check_name(file.filename or "") for file in files]
    if not paths:
        raise MurmurError("No recording was sent. Choose a file.")
    if len(sites) != len(files):
        raise MurmurError(f"Files sent: {len(files)}, sites: {len(sites)}. Send one site for each file.")
    for file, path in zip(files, paths, strict=True):
        if path.exists():
            raise MurmurError(f"Two files have the name {path.name}. Remove or rename one of them.")
        file.save(path)
    _check_contents_differ([path for path in paths if path.suffix != ".hea"])
    signals = {name for path in paths if path.suffix == ".hea" for name in _list_signal_files(path)}
    uploads = [Upload(p, s or None) for p, s in zip(paths, sites, strict=True) if p.name not in signals]
    for path, _ in uploads:
        if path.suffix == ".dat":
            raise MurmurError(f"{path.name} is a part of a WFDB record. Add its header, {path.stem}.hea.")
    return uploads


def list_patients(uploads: Sequence[Upload]) -> list[str]:
    """List the different patient IDs in the names of the recordings (ID_SITE), in order."""
    found = [ID_SITE.fullmatch(path.stem) for path, _ in uploads]
    return list(dict.fromkeys(match[1] for match in found if match))


def _check_name(filename: str) -> str:
    """Return the file name without folders, which some browsers send too."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    if name in {"", ".", ".."}:
        raise MurmurError("A file without a name was sent. Give it a name.")
    if len(name.encode(errors="replace")) > MAX_NAME or not name.isprintable():
        shown = escape_unprintable(name[:40])
        raise MurmurError(f"The name {shown}… is too long or has control characters. Rename the file.")
    return name


def _check_contents_differ(paths: Sequence[Path]) -> None:
    names: dict[bytes, str] = {}
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in names:
            raise MurmurError(
                f"{names[digest]} and {path.name} are the same recording. Remove one of them: the same "
                "recording twice is no second measurement."
            )
        names[digest] = path.name


def _list_signal_files(header: Path) -> set[str]:
    """List the files that a WFDB header names; a wrong header is reported when it is read."""
    lines = header.read_text(encoding="latin-1").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {row[0] for row in rows[1:]}
