"""Arrays on disk: spectrograms and embeddings (.npy or .parquet, a row for each segment), signals (.npy)."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from murmur.errors import UNFINISHED, MurmurError
from murmur.files import atomic_write


@contextmanager
def open_writer(
    out: Path, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[Callable[[np.ndarray], object]]:
    """Open an array for writing, part by part.

    Parameters
    ----------
    out : Path
        The .npy or .parquet file. It is created only after the last part has been written.
    shape : tuple of int
        Shape of the complete array.
    dtype : dtype
        Of the array.

    Yields
    ------
    write : callable
        `write(rows)` appends an array of shape (k, *shape[1:]).

    Raises
    ------
    MurmurError
        If the free space on the disk is less than a .npy file needs.
    """
    with atomic_write(out) as part:
        if out.suffix == ".npy":
            _check_free_space(out, shape, dtype)
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            with part.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                yield lambda rows: file.write(rows.data)
        else:
            kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), shape[1:])
            with pq.ParquetWriter(part, pa.schema({"mel": kind}), compression="zstd") as parquet:
                yield lambda rows: parquet.write_table(_make_table(rows, kind))


def _check_free_space(out: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    size, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(out.parent).free
    if size <= free:
        return
    if len(shape) > 1:
        what = f"{shape[0]} arrays of {' x '.join(map(str, shape[1:]))}"
        remedy = "make fewer or smaller ones (segment.overlap, mel.hop_length, mel.n_mels)"
    else:
        what = f"signals of {shape[0]} samples"
        remedy = "lower clean.sample_rate"
    raise MurmurError(
        f"{UNFINISHED.sub('', str(out))}: {what} take {size / 1e6:.1f} MB and {free / 1e6:.1f} MB are free; "
        f"free some space, or {remedy}"
    )


def _make_table(rows: np.ndarray, kind: pa.DataType) -> pa.Table:
    """Make a table with one column of tensors; it is named mel for embeddings too."""
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(values, rows[0].size)
    return pa.table({"mel": pa.ExtensionArray.from_storage(kind, storage)})


def find_array(path: str | Path) -> Path:
    """Return the file of an array.

    Parameters
    ----------
    path : str or Path
        The file, or the folder into which the mel or embed stage has written it.

    Returns
    -------
    Path
        For a folder without an array, the .npy file that it should contain.
    """
    path = Path(path)
    return next(iter(sorted(path.glob("array.*"))), path / "array.npy") if path.is_dir() else path


def read_array(path: str | Path) -> np.ndarray:
    """Read spectrograms, images or embeddings.

    Parameters
    ----------
    path : str or Path
        As `find_array`.

    Returns
    -------
    ndarray, shape (segments, channels, rows, columns)
        A memory map of a .npy file; the content of a .parquet file.

    Raises
    ------
    MurmurError
        If the file is missing, cannot be read or contains another kind of array.
    """
    path = find_array(path)
    array = map_npy(path) if path.suffix == ".npy" else _read_parquet(path)
    if array.ndim != 4 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        raise _unreadable(path, f"{array.dtype} numbers in {array.ndim} dimensions")
    return array


def _read_parquet(path: Path) -> np.ndarray:
    try:
        column = pq.read_table(path)["mel"].combine_chunks()
        flat = column.storage.flatten().to_numpy(zero_copy_only=True)
        return flat.reshape(len(column), *column.type.shape)
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def check_length(array: np.ndarray, n: int, path: str | Path) -> None:
    """Refuse an array, read from `path`, whose length is not the number of segments `n`."""
    if len(array) != n:
        raise MurmurError(f"{path}: is of {len(array)} segments, data/segments.parquet has {n}: dvc repro")


def map_npy(path: Path) -> np.ndarray:
    """Open a .npy file as a memory map.

    Raises
    ------
    MurmurError
        If the file is missing or cannot be read.
    """
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: object) -> MurmurError:
    written_by = {"signals": "clean", "embedding": "embed", "frame_labels": "label", "tracks": "train"}
    stage = written_by.get(path.stem) or written_by.get(path.parent.name, "mel")
    return MurmurError(f"{path}: cannot be read ({reason}); run the {stage} stage again: dvc repro {stage}")
