"""Writing files and folders completely or not at all."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from murmur.errors import MurmurError, add_path
from murmur.interruption import clean_up_on_signal


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
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with add_path(path), _removed_at_the_end(part):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        yield part
        with _removed_at_the_end(path.with_name(f"{path.name}.old.{os.getpid()}.part")) as old:
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
    """Yield an empty folder that is removed at the end of the block, also if a signal ends the process."""
    with TemporaryDirectory(prefix="murmur-") as name, clean_up_on_signal(partial(remove_path, Path(name))):
        yield Path(name)


def _check_is_ordinary(path: Path) -> None:
    if not path.name:
        raise MurmurError(f"{str(path)!r}: is not the name of a file")
    special = path.parent.resolve() == Path("/dev") or path.parent.resolve().is_relative_to("/proc")
    if special or (path.exists() and not (path.is_file() or path.is_dir())):
        raise MurmurError(f"{path}: is a device or a pipe, not an ordinary file; name a file")


def _remove_unfinished(path: Path) -> None:
    """Delete temporary files of `path` whose process has ended; a running process may still be writing."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        pid = part.name.removesuffix(".part").rpartition(".")[2]
        if pid.isdecimal() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            remove_path(part)


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
