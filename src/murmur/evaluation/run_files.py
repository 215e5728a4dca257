"""The files of each run that the stage train has written."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from murmur import formatting
from murmur.errors import MurmurError
from murmur.files import remove_path

logger = logging.getLogger(__name__)


def find_run_files(folder: str | Path, runs: Iterable[int], suffix: str = ".parquet") -> dict[int, Path]:
    """Find the file run_<run><suffix> of each listed run; a note names the files of other runs.

    Parameters
    ----------
    folder : path
        Where the files are.
    runs : iterable of int
        The listed runs.
    suffix : str
        The end of the file names.

    Returns
    -------
    dict of int to Path
        By run, in their order.

    Raises
    ------
    MurmurError
        If a file is missing; the message has all missing runs and the command that makes them.
    """
    files = {path.name: path for path in sorted(Path(folder).glob(f"run_*{suffix}"))}
    listed = {run: f"run_{run}{suffix}" for run in sorted(runs)}
    if missing := [run for run, name in listed.items() if name not in files]:
        raise MurmurError(
            f"{folder}: no file for run {formatting.join_sorted(missing)}; make it: {train_command(missing)}"
        )
    for name in sorted(files.keys() - set(listed.values())):
        logger.info(f"{files[name]} is not read: its run is not in split.runs")
    return {run: files[name] for run, name in listed.items()}


def remove_other_runs(folder: str | Path, listed: Iterable[Path]) -> None:
    """Delete the files of runs that are not listed; DVC's cache keeps them.

    Stages such as evaluate depend on the folder. With these files in it, dvc.lock would depend on runs that
    were trained earlier, and another clone could not reproduce it.
    """
    pattern = re.compile(r"run_\d+(\.murmur_\w+)?\.(parquet|csv|npy)")  # these names and earlier ones
    others = {path for path in Path(folder).glob("run_*") if pattern.fullmatch(path.name)} - {*listed}
    for path in others:
        remove_path(path)
    if others:
        logger.info(
            f"{folder}: removed {formatting.format_count(len(others), 'file')} of no run in split.runs; "
            "DVC's cache keeps them"
        )


def train_command(runs: Iterable[int]) -> str:
    """Return the command that trains these runs."""
    return "dvc repro " + " ".join(f"train@{run}" for run in runs)
