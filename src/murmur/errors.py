"""The one exception for what a user can mend, and how a stage says it."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten

from murmur import logs

REMEDIES = {
    errno.ENOSPC: "free some space there, then run it again",
    errno.EDQUOT: "free some space there, then run it again",
    errno.EROFS: "it is mounted read-only: choose another folder",
    errno.EACCES: "change its permissions, or choose another folder",
    errno.EPERM: "change its permissions, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "a file is expected, not a folder",
    errno.EEXIST: "choose another name",
    errno.ENOTDIR: "a folder is expected, not a file",
    errno.EMFILE: "raise the number of open files (ulimit -n), or set MURMUR_WORKERS to fewer workers",
}
LINES = "\n"
LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}  # no file's fault
MEMORY = "the memory is not enough ({}); set MURMUR_WORKERS to fewer workers, or a smaller batch or data set"


class MurmurError(Exception):
    """Something the user can mend: the message names the file, key or row, and what to do."""


def escape_unprintable(text: str, keep: str = "") -> str:
    """A text with what cannot be printed, such as the commands of a terminal, as escapes."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def run_stage(main: Callable[[], object]) -> None:
    """Run a stage or a command; what a user can fix becomes one plain message and exit status 1.

    That is a MurmurError, an error of the operating system (disk full, permissions, names too long) or a
    lack of memory. What the output cannot encode is printed as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logs.show()
    try:
        try:
            main()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except MurmurError as error:
        sys.exit(f"error: {escape_unprintable(str(error), keep=LINES)}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(f"error: {escape_unprintable(explain_os_error(error), keep=LINES)}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            sys.exit(f"error: {MEMORY.format(shorten(str(error), 200) or 'MemoryError')}")
        raise


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def explain_os_error(error: OSError) -> str:
    """An error of the operating system in one line: the file, what is wrong, what to do."""
    if error.errno is None:
        return shorten(str(error), 500)
    name = re.sub(r"\.\d+\.part\b", "", str(error.filename2 or error.filename or "output"))
    name = name if len(name) <= 300 else f"{name[:140]}...{name[-140:]}"
    remedy = REMEDIES.get(error.errno)
    return f"{name}: {os.strerror(error.errno)}" + (f"; {remedy}" if remedy else "")


@contextmanager
def add_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of the operating system that names no file, such as a full disk, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise
