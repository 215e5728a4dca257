"""Runs of stages in copies of the project, compared with the results of the project."""

import filecmp
import os
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.tables import parquet
from murmur.tables.folds import FOLDS


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
        For the stage train: the only fold to train.

    Raises
    ------
    MurmurError
        If the command fails.
    """
    folder.mkdir(parents=True)
    for part in (*project.CODE, "params.yaml"):
        (folder / part).symlink_to(code / part)
    for path in {*inputs, *(path for path in project.GIVEN if path.exists())}:
        if ".." in path.parts:
            raise MurmurError(f"{path} is outside the project: use an absolute path, or `dvc repro`")
        if not path.is_absolute():
            _link(path.resolve(), folder / path)
        if fold is not None and path.parent.name == "folds":
            table = parquet.read(path, FOLDS)
            parquet.write(table[table["fold"] == fold], folder / path, FOLDS)
    if project.run_command(["/bin/sh", "-c", command], folder, DVC_STAGE="copy"):
        raise MurmurError(f"`{command}` fails with the changed code; see its output above")


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


def find_first_fold(folds: Path) -> int:
    """Return the lowest number of a fold in a table of folds."""
    return int(parquet.read(folds, FOLDS)["fold"].min())


def list_fold_differences(run: str, fold: int, folder: Path) -> list[str]:
    """Compare one fold of a run with the results of the project.

    Parameters
    ----------
    run : str
        The name of the run in the names of its files, such as ``run_0``.
    fold : int
        The fold.
    folder : Path
        The folder in which the stage train has trained this fold alone.

    Returns
    -------
    list of str
        What is not the same bytes; empty if all is.
    """
    predictions = Path(f"data/predictions/{run}.murmur_predictions.parquet")
    history = Path(f"data/history/{run}.murmur_history.csv")
    tracks = Path(f"data/tracks/{run}.murmur_tracks.npy")
    weights = Path(f"models/{run}.murmur_weights")
    table, new = pq.read_table(predictions), pq.read_table(folder / predictions)
    old = table.filter(pc.equal(table["fold"], fold))
    is_test = table.filter(pc.equal(table["role"], "test"))["fold"].to_numpy() == fold
    new_rows = (folder / history).read_text(encoding="utf-8").splitlines()
    same = {
        f"predictions ({_describe(old, new)})": _to_bytes(old) == _to_bytes(new),
        "learning curve": _read_rows(history, fold) == new_rows,
        "tracks": _have_same_rows(np.load(tracks), np.load(folder / tracks), is_test),
        "weights": _have_same_weights(weights, folder / weights, fold),
    }
    return [name for name, is_equal in same.items() if not is_equal]


def _have_same_rows(old: np.ndarray, new: np.ndarray, chosen: np.ndarray) -> bool:
    """Return whether the chosen rows of an array, if it has rows, are those of another."""
    rows = old[chosen] if len(old) else old
    return (rows.shape, rows.dtype, rows.tobytes()) == (new.shape, new.dtype, new.tobytes())


def _have_same_weights(old: Path, new: Path, fold: int) -> bool:
    """Return whether the files of a fold in one folder are all files of another."""
    names = {path for path in _list_files(old) if path.stem == f"fold_{fold}"}
    return names == _list_files(new) and all(is_same(old / name, new / name) for name in names)


def _to_bytes(table: pa.Table) -> bytes:
    """Return the values, the schema and the metadata of a table as bytes."""
    file = BytesIO()
    pq.write_table(table.combine_chunks(), file)
    return file.getvalue()


def _describe(old: pa.Table, new: pa.Table) -> str:
    """Describe how predictions differ."""
    columns = [name for name in old.column_names if name.startswith("p_")]
    if old.schema.metadata != new.schema.metadata:
        return "trained on another device or with other versions of packages"
    if old.num_rows != new.num_rows or old.column_names != new.column_names:
        return "other rows or columns"
    p, q = (np.stack([table[name].to_numpy() for name in columns]) for table in (old, new))
    return f"probabilities by up to {np.abs(p - q).max():.1g}"


def _read_rows(path: Path, fold: int) -> list[str]:
    """Return the header of a CSV file and its rows of a fold."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    k = header.split(",").index("fold")
    return [header, *(row for row in rows if row.split(",")[k] == str(fold))]
