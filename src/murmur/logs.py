"""Printing the library's log messages: `note: …` for information, `warning: …` for warnings."""

import logging
import sys
from contextlib import suppress
from typing import Literal


class Console(logging.Handler):
    """Print each message to the current `sys.stdout` or `sys.stderr`, which may be replaced meanwhile.

    Attributes
    ----------
    stream : {"stdout", "stderr"}
    """

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__(logging.INFO)
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message; work that cannot print it goes on."""
        kind = "note" if record.levelno < logging.WARNING else "warning"
        with suppress(OSError):
            print(
                f"{kind}: {escape_unprintable(record.getMessage(), lines=True)}",
                file=getattr(sys, self.stream),
            )


def escape_unprintable(text: str, *, lines: bool = False) -> str:
    """Replace unprintable characters, such as control sequences of a terminal, by escape sequences.

    Parameters
    ----------
    text : str
        Any text.
    lines : bool
        Keep line breaks.
    """
    printable = "\n" if lines else ""
    return "".join(c if c.isprintable() or c in printable else repr(c)[1:-1] for c in text)


def show_messages(stream: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print the log messages of the library, from now on, to `stream`."""
    logger = logging.getLogger("murmur")
    logger.setLevel(logging.INFO)
    logger.handlers = [Console(stream)]
    logger.propagate = False
