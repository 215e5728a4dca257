"""CSV files of figures, for people and for `dvc plots`."""

from pathlib import Path

import pandas as pd

from murmur.files import write_text


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table for people and for `dvc plots`."""
    write_text(path, format_csv(frame))


def format_csv(frame: pd.DataFrame) -> str:
    """A table as CSV: six digits after the point, the same bytes on every system."""
    return frame.round(6).to_csv(index=False, lineterminator="\n")
