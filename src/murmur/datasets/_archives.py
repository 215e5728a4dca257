"""Unpacking of ZIP files."""

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from murmur.errors import MACHINE_ERRORS, MurmurError
from murmur.files import atomic_write

MAX_MEMBERS = 100_000
MAX_SIZE = 2**34  # bytes, unpacked
MAX_RATIO = 100  # unpacked size to the archive's


def unzip(archive: Path, folder: Path) -> None:
    """Unpack a ZIP file; after an error, `folder` does not exist.

    If the archive has a top folder with the name of `folder`, its content is unpacked directly into `folder`.

    Parameters
    ----------
    archive : Path
        The ZIP file.
    folder : Path
        The folder to create.

    Raises
    ------
    MurmurError
        Naming the archive, if it is damaged, too large (`MAX_MEMBERS`, `MAX_SIZE`, `MAX_RATIO`), holds links
        or two files of one name, or a file would be unpacked outside `folder`.
    """
    try:
        with atomic_write(folder) as part, zipfile.ZipFile(archive) as pack:
            part.mkdir()
            for member in (members := pack.infolist()):
                member.filename = member.filename.removeprefix(f"{folder.name}/")
            _check_members(members, archive)
            for member in members:
                if member.filename:
                    pack.extract(member, part)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if getattr(error, "errno", None) in MACHINE_ERRORS:  # a problem of this computer, not of the archive
            raise
        raise MurmurError(f"{archive}: cannot be unpacked ({error}); delete it, fetch it again") from error


def _check_members(members: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    size = sum(member.file_size for member in members)
    max_size = min(MAX_SIZE, MAX_RATIO * archive.stat().st_size)
    names = Counter(member.filename.rstrip("/") for member in members)
    for member in members:
        if not is_inside(member.filename):
            fault = f"{member.filename} leads out of the folder"
        elif stat.S_ISLNK(member.external_attr >> 16):
            fault = f"{member.filename} is a link"
        elif names[member.filename.rstrip("/")] > 1:
            fault = f"it holds {member.filename} twice"
        elif len(members) > MAX_MEMBERS or size > max_size:
            fault = f"{len(members)} files of {size} bytes are more than such an archive may hold"
        else:
            continue
        raise MurmurError(f"{archive}: {fault}; delete it, fetch it again")


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside the folder to which it is joined."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts
