"""The exception for errors that the user can fix, and how a stage or command reports it."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten

from murmur import logs
from murmur.logs import escape_unprintable

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
# errors of the computer, which no other file would avoid
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.\d+\.part\b")  # at the end of a name, until the file is complete
MEMORY = "the memory is not enough ({}); set MURMUR_WORKERS to fewer workers, or a smaller batch or data set"


class MurmurError(Exception):
    """An error that the user can fix: its message names the file, key or row, and what to do."""


def run_stage(main: Callable[[], object]) -> None:
    """Run the main function of a stage or command, and report errors that the user can fix in one message.

    These errors end the process with status 1: a MurmurError, an error of the operating system (disk full,
    permissions, names too long) or a lack of memory. All other errors are raised, with their traceback.
    Characters that the output cannot encode are printed as escape sequences.

    Parameters
    ----------
    main : callable
        Called without arguments.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    logs.show_messages()
    try:
        try:
            main()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:  # the process that reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (MurmurError, OSError, MemoryError, RuntimeError) as error:
        message = _describe(error)
        if message is None:
            raise
        sys.exit(f"error: {escape_unprintable(message, lines=True)}")


def _describe(error: BaseException) -> str | None:
    """Return the message for an error that the user can fix, None for other errors."""
    if isinstance(error, MurmurError):
        return str(error)
    if isinstance(error, OSError):
        return explain_os_error(error)
    if isinstance(error, MemoryError) or "memory" in str(error).lower():  # torch raises a RuntimeError
        return MEMORY.format(shorten(str(error), 200) or "MemoryError")
    return None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def explain_os_error(error: OSError) -> str:
    """Describe an error of the operating system in one line: the file, what is wrong, what to do."""
    if error.errno is None:
        return shorten(str(error), 500)
    name = UNFINISHED.sub("", str(error.filename2 or error.filename or "output"))
    name = name if len(name) <= 300 else f"{name[:140]}...{name[-140:]}"
    remedy = REMEDIES.get(error.errno)
    return f"{name}: {os.strerror(error.errno)}" + (f"; {remedy}" if remedy else "")


@contextmanager
def add_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add `path` to an error of the operating system that names no file, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise
