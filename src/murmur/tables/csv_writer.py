"""Writing CSV files of results, for people and for `dvc plots`."""

from pathlib import Path

import pandas as pd

from murmur.files import write_text


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, without its index; see `format_csv`."""
    write_text(path, format_csv(frame))


def format_csv(frame: pd.DataFrame) -> str:
    """Format a table as CSV: at most six digits after the point, and the same bytes on every system."""
    return frame.round(6).to_csv(index=False, lineterminator="\n")
