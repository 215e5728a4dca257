"""The library's log messages on the console: `note: …` for information, `warning: …` for warnings."""

import logging
import sys
from typing import Literal


class Console(logging.Handler):
    """Print each message to `sys.stdout` or `sys.stderr`, whichever object that is at the time."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__(logging.INFO)
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        kind = "note" if record.levelno < logging.WARNING else "warning"
        print(f"{kind}: {record.getMessage()}", file=getattr(sys, self.stream))


def show(stream: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print the log messages of the library from now on."""
    logger = logging.getLogger("murmur")
    logger.setLevel(logging.INFO)
    logger.handlers = [Console(stream)]
    logger.propagate = False
