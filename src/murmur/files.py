"""Outputs that are either whole or absent."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from murmur.errors import MurmurError, add_path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it is renamed to `path` only if the block succeeds.

    Works for a file and for a folder. Whatever an error leaves under the temporary name is removed,
    so that no output is ever half written.
    """
    path = Path(path)
    if not path.name:
        raise MurmurError(f"{str(path)!r}: is not the name of a file")
    special = path.parent.resolve() == Path("/dev") or path.parent.resolve().is_relative_to("/proc")
    if special or (path.exists() and not (path.is_file() or path.is_dir())):
        raise MurmurError(f"{path}: is a device or a pipe, not an ordinary file; name a file")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with add_path(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(path)
        try:
            yield part
            if part.is_dir():
                remove(path)
            part.replace(path)
        finally:
            remove(part)


def _remove_left_behind(path: Path) -> None:
    """Delete what killed processes left of `path`; another process may be writing it at this moment."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        pid = part.name.removesuffix(".part").rpartition(".")[2]
        if pid.isdecimal() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            remove(part)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8, the same bytes on every system; it is whole or absent."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
