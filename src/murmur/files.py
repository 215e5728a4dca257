"""Writing files and folders completely or not at all."""

import glob
import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from murmur.errors import MurmurError, add_path
from murmur.interruption import clean_up_on_signal

PART = re.compile(r".+\.(?P<machine>[0-9a-f]{8})\.(?P<pid>\d+)\.part")
MAX_AGE = 24 * 3600  # s without a change, after which an unfinished file of another machine is removed


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` at the end of the block.

    If the block raises an error or a signal ends the process, the temporary file or folder is removed and
    `path` stays as it was.

    Parameters
    ----------
    path : path-like
        A file or a folder; its parent folders are made. The block decides which by what it writes.

    Raises
    ------
    MurmurError
        If `path` is not the name of a file, or is a device or a pipe.
    """
    path = Path(path)
    _check_is_ordinary(path)
    part = path.with_name(f"{path.name}.{_name_process()}.part")
    with add_path(path), _removed_at_the_end(part):
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if other.name.endswith(f".{_name_process()}.part") or _is_unfinished(other):
                remove_path(other)
        yield part
        with _removed_at_the_end(path.with_name(f"{path.name}.old.{_name_process()}.part")) as old:
            if part.is_dir() and os.path.lexists(path):  # a folder is not replaced in one step
                path.replace(old)
            part.replace(path)


@contextmanager
def _removed_at_the_end(path: Path) -> Iterator[Path]:
    """Remove a file or folder at the end of the block, also if a signal ends the process."""
    with clean_up_on_signal(partial(remove_path, path)):
        try:
            yield path
        finally:
            remove_path(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is removed at the end of the block, also if a signal ends the process.

    The folders of processes that were killed are removed first.
    """
    for other in Path(gettempdir()).glob("murmur-*.part"):
        with suppress(OSError):  # of another user, or another process removes it
            if _is_unfinished(other):
                remove_path(other)
    with (
        TemporaryDirectory(prefix="murmur-", suffix=f".{_name_process()}.part") as name,
        clean_up_on_signal(partial(remove_path, Path(name))),
    ):
        yield Path(name)


def _check_is_ordinary(path: Path) -> None:
    if not path.name:
        raise MurmurError(f"{str(path)!r}: is not the name of a file")
    special = path.parent.resolve() == Path("/dev") or path.parent.resolve().is_relative_to("/proc")
    if special or (path.exists() and not (path.is_file() or path.is_dir())):
        raise MurmurError(f"{path}: is a device or a pipe, not an ordinary file; name a file")


def remove_unfinished(folder: Path, but_not: Sequence[Path] = ()) -> list[Path]:
    """Delete the temporary files and folders of `atomic_write` whose process has ended; return their paths.

    Parameters
    ----------
    folder : Path
        It is searched with the folders in it.
    but_not : sequence of Path
        Folders that are not searched.
    """
    removed = []
    for parent, folders, names in os.walk(folder):
        for part in (Path(parent, name) for name in (*folders, *names) if name.endswith(".part")):
            if _is_unfinished(part):
                remove_path(part)
                removed.append(part)
        folders[:] = [name for name in folders if Path(parent, name) not in but_not]
    return removed


def _name_process() -> str:
    """Return the part of the names of temporary files that differs between the processes that share it."""
    return f"{_name_machine()}.{os.getpid()}"


def _name_machine() -> str:
    """Return eight digits that differ between machines, and between containers of one machine."""
    space = 0  # in which process numbers are unique
    with suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _is_unfinished(part: Path) -> bool:
    """Return whether the process that was writing a temporary file has ended.

    Of a process on another machine this is assumed if the file has not changed for `MAX_AGE`.
    """
    if not (match := PART.fullmatch(part.name)):
        return False
    if match["machine"] == _name_machine():
        return not _is_running(int(match["pid"]))
    with suppress(FileNotFoundError):
        return time.time() - part.lstat().st_mtime > MAX_AGE
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends no signal, only checks
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file completely or not at all: UTF-8, and the same line ends on every system."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def remove_path(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
