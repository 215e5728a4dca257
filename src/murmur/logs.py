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
            print(f"{kind}: {_escape(record.getMessage())}", file=getattr(sys, self.stream))


def _escape(text: str) -> str:
    """Replace unprintable characters except line breaks, such as control sequences in the name of a file."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def show_messages(stream: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print the log messages of the library, from now on, to `stream`."""
    logger = logging.getLogger("murmur")
    logger.setLevel(logging.INFO)
    logger.handlers = [Console(stream)]
    logger.propagate = False
