"""Outputs that are either whole or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it is renamed to `path` only if the block succeeds.

    Works for a file and for a folder. Whatever an error leaves under the temporary name is removed,
    so that no output is ever half written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    try:
        yield part
        if part.is_dir():
            remove(path)
        part.replace(path)
    finally:
        remove(part)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8, the same bytes on every system; it is whole or absent."""
    with beside(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
