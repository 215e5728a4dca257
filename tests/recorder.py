"""Record the files that a stage and its worker processes read.

A copy of this file, as src/sitecustomize.py, is imported first by each Python process of a stage. It also
prevents imports of another `murmur`, such as an installed one.
"""

import atexit
import os
import sys
from pathlib import Path

ROOT = Path.cwd()
OPENED, ACCESSED = ROOT / "opened.txt", ROOT / "accessed.txt"


def keep_only_this_library() -> None:
    """Remove all other places from which `murmur` can be imported."""
    sys.path[:] = [p for p in sys.path if Path(p) == ROOT / "src" or not Path(p, "murmur").is_dir()]
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]


def record_opened() -> None:
    """Record each file that Python opens."""
    record = os.open(OPENED, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def write(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and isinstance(args[0], str | os.PathLike):
            os.write(record, f"{os.path.abspath(args[0])}\n".encode())

    sys.addaudithook(write)


def record_accessed() -> None:
    """Record at the end the files that were accessed: pyarrow and libsndfile open files without Python."""
    files = [path for path in ROOT.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns))

    def write() -> None:
        accessed = [path for path in files if path.exists() and path.stat().st_atime_ns]
        ACCESSED.write_text("".join(f"{path}\n" for path in accessed))

    atexit.register(write)


if __name__ == "sitecustomize":
    keep_only_this_library()
    if Path(sys.orig_argv[1]).parent.name == "stages":  # not in a worker process
        record_accessed()
    record_opened()
