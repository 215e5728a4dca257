"""The one exception for what a user can mend, and how a stage says it."""

import sys
from collections.abc import Callable


class MurmurError(Exception):
    """Something the user can mend: the message names the file, key or row, and what to do."""


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; a MurmurError becomes a plain message and exit status 1, without a traceback."""
    try:
        main()
    except MurmurError as error:
        sys.exit(f"error: {error}")
