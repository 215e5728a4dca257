"""Runs of stages in copies of the project, compared with the results of the project."""

import filecmp
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from murmur.errors import MurmurError
from murmur.experiments import cached_folds, project
from murmur.tables import parquet
from murmur.tables.folds import FOLDS

PREDICTIONS = ".murmur_predictions.parquet"


def copy_code_and_params(folder: Path) -> None:
    """Copy the code and the parameters of the project into an empty folder."""
    project.copy_code(folder)
    shutil.copy("params.yaml", folder)


def is_code_unchanged(folder: Path) -> bool:
    """Return whether the project still has what `copy_code_and_params` has copied."""
    return all(is_same(Path(part), folder / part) for part in (*project.CODE, "params.yaml"))


def run_copy(command: str, inputs: Iterable[Path], code: Path, folder: Path, fold: int | None = None) -> None:
    """Run the command of a stage in a new folder, with links to its inputs.

    Parameters
    ----------
    command : str
        The command.
    inputs : iterable of Path
        Files and folders that the stage reads, relative to the project.
    code : Path
        The folder of `copy_code_and_params`.
    folder : Path
        The new folder; afterwards it holds the outputs.
    fold : int, optional
        For the stage train: the only fold to train. The results of the others are those of the project.

    Raises
    ------
    MurmurError
        If the command fails.
    """
    folder.mkdir(parents=True)
    for part in (*project.CODE, "params.yaml"):
        (folder / part).symlink_to(code / part)
    paths = {*inputs, *(path for path in project.GIVEN if path.exists())}
    for path in paths:
        if ".." in path.parts:
            raise MurmurError(f"{path} is outside the project: use an absolute path, or `dvc repro`")
        if not path.is_absolute() and paths.isdisjoint(path.parents):
            _link(path.resolve(), folder / path)
    variables = {"DVC_STAGE": "copy"}
    if fold is not None:
        _read_other_folds(fold, code / "src", folder / "src")
        variables["MURMUR_DASK"] = ""  # its workers have the code of the project
    if project.run_command(["/bin/sh", "-c", command], folder, **variables):
        raise MurmurError(f"`{command}` fails with the changed code; see its output above")


def _read_other_folds(fold: int, code: Path, copy: Path) -> None:
    """Replace a link to the code by a copy that trains one fold and reads the results of the others."""
    copy.unlink()
    shutil.copytree(code, copy)
    with (copy / "murmur/training/run.py").open("a", encoding="utf-8") as file:
        file.write(cached_folds.CODE.format(fold=fold, project=str(Path.cwd())))


def _link(path: Path, link: Path) -> None:
    """Link a file, or each file of a folder: a stage may delete files in a folder that it reads."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, link, copy_function=os.symlink)
    else:
        link.symlink_to(path)


def is_same(first: Path, second: Path) -> bool:
    """Return whether two files, or the files of two folders, have the same names and the same bytes."""
    if not first.is_dir():
        return second.is_file() and filecmp.cmp(first, second, shallow=False)
    names = _list_files(first)
    return names == _list_files(second) and all(is_same(first / name, second / name) for name in names)


def _list_files(folder: Path) -> set[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder) for path in paths}


def list_folds(path: Path) -> list[int]:
    """List the numbers of the folds in a table of folds."""
    return sorted({int(fold) for fold in parquet.read(path, FOLDS)["fold"]})


def list_differences(outputs: Iterable[Path], folder: Path) -> list[str]:
    """List the outputs of a stage that are not the same bytes in a folder of `run_copy`."""
    return [_describe(path, folder / path) for path in outputs if not is_same(path, folder / path)]


def _describe(old: Path, new: Path) -> str:
    """Describe how an output differs, if it has predictions."""
    if not (old.name.endswith(PREDICTIONS) and new.is_file()):
        return str(old)
    return f"{old} ({_compare_predictions(pq.read_table(old), pq.read_table(new))})"


def _compare_predictions(old: pa.Table, new: pa.Table) -> str:
    keys = [name for name in old.column_names if not name.startswith("p_")]
    columns = [name for name in old.column_names if name.startswith("p_")]
    if old.schema.metadata != new.schema.metadata:
        return "trained on another device or with other versions of packages"
    if old.column_names != new.column_names or not old.select(keys).equals(new.select(keys)):
        return "other rows, columns or figures"
    p, q = (np.stack([table[name].to_numpy() for name in columns]) for table in (old, new))
    difference = np.abs(p - q).max()
    return f"probabilities by up to {difference:.1g}" if difference else "the same values in another file"
