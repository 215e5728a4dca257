"""The files of each run that training has written."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation import levels
from murmur.files import remove

logger = logging.getLogger(__name__)


def find_run_files(folder: str | Path, runs: Iterable[int], suffix: str = ".parquet") -> dict[int, Path]:
    """The files run_R of the listed runs; a file of another run is not read, and a note says so.

    Raises
    ------
    MurmurError
        Naming every listed run without a file, and how to make it.
    """
    found = {path.name: path for path in sorted(Path(folder).glob(f"run_*{suffix}"))}
    listed = {run: f"run_{run}{suffix}" for run in sorted(runs)}
    if missing := [run for run, name in listed.items() if name not in found]:
        raise MurmurError(
            f"{folder}: no file for run {formatting.join_sorted(missing)}; make it: "
            f"{levels.train_command(missing)}"
        )
    for name in sorted(found.keys() - set(listed.values())):
        logger.info(f"{found[name]} is not read: its run is not in split.runs")
    return {run: found[name] for run, name in listed.items()}


def remove_other_runs(folder: str | Path, listed: Iterable[Path]) -> None:
    """Delete the files of runs that are not listed; DVC's cache keeps them.

    They are in a folder that the stage depends on: left there, dvc.lock would name them, and no other clone
    could come to the same dvc.lock.
    """
    written = re.compile(r"run_\d+(\.murmur_\w+)?\.(parquet|csv)")  # by train, also before the present names
    others = {path for path in Path(folder).glob("run_*") if written.fullmatch(path.name)} - {*listed}
    for path in others:
        remove(path)
    if others:
        logger.info(
            f"{folder}: {len(others)} files of no run in split.runs are removed; DVC's cache keeps them"
        )
