"""Unpacking of ZIP files."""

import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from murmur.errors import MACHINE_ERRORS, MurmurError
from murmur.files import atomic_write

MAX_MEMBERS = 100_000
MAX_NAME = 1000  # characters
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
        Naming the archive, if it is damaged, too large (`MAX_MEMBERS`, `MAX_NAME`, `MAX_SIZE`, `MAX_RATIO`),
        holds links, devices or two files of one name, or a file would be unpacked outside `folder`. Names and
        sizes are checked before anything is written. An archive in the archive is not unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as pack:
            for member in pack.infolist():
                member.filename = member.filename.removeprefix(f"{folder.name}/")
            members = [member for member in pack.infolist() if member.filename]
            _check_members(members, archive)
            with atomic_write(folder) as part:
                part.mkdir()
                for member in members:
                    pack.extract(member, part)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if getattr(error, "errno", None) in MACHINE_ERRORS:  # a problem of this computer, not of the archive
            raise
        raise MurmurError(f"{archive}: cannot be unpacked ({error}); delete it, fetch it again") from error


def _check_members(members: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    size = sum(member.file_size for member in members)
    max_size = min(MAX_SIZE, MAX_RATIO * archive.stat().st_size)
    names = Counter(_fold(member.filename) for member in members)
    files = {_fold(member.filename) for member in members if not member.filename.endswith("/")}
    for member in members:
        if len(member.filename) > MAX_NAME:
            fault = f"{member.filename[:100]}... is a name of {len(member.filename)} characters"
        elif not is_inside(member.filename):
            fault = f"{member.filename} leads out of the folder"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = f"{member.filename} is a link or a device"
        elif names[_fold(member.filename)] > 1:
            fault = f"it holds {member.filename} twice (upper and lower case count as equal)"
        elif inner := files.intersection(map(str, PurePosixPath(_fold(member.filename)).parents)):
            fault = f"{member.filename} is inside {inner.pop()}, which is a file"
        elif len(members) > MAX_MEMBERS or size > max_size:
            fault = f"{size} bytes in all (files: {len(members)}) are more than such an archive may hold"
        else:
            continue
        raise MurmurError(f"{archive}: {fault}; delete it, fetch it again")


def _fold(name: str) -> str:
    """Return a name as file systems compare it that ignore case and how accents are encoded, as of macOS."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name)).casefold())


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside the folder to which it is joined."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts
