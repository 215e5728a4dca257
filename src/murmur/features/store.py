"""The array of spectrograms or embeddings on disk: a .npy or .parquet file, a row a segment."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from murmur.errors import MurmurError
from murmur.files import atomic_write


@contextmanager
def open_writer(
    out: Path, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[Callable[[np.ndarray], object]]:
    """Yield write(rows), which appends to the .npy or .parquet `out` that appears whole or not at all."""
    with atomic_write(out) as part:
        size, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(out.parent).free
        if out.suffix == ".npy" and size > free:
            raise MurmurError(
                f"{out.parent}: {shape[0]} arrays of {' x '.join(map(str, shape[1:]))} take "
                f"{size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; free some space, "
                "or make fewer or smaller ones (segment.overlap, mel.hop_length, mel.n_mels)"
            )
        if out.suffix == ".npy":
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            with part.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                yield lambda rows: file.write(rows.data)
        else:
            kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), shape[1:])
            with pq.ParquetWriter(part, pa.schema({"mel": kind}), compression="zstd") as parquet:
                yield lambda rows: parquet.write_table(_as_table(rows, kind))


def _as_table(rows: np.ndarray, kind: pa.DataType) -> pa.Table:
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(values, rows[0].size)
    return pa.table({"mel": pa.ExtensionArray.from_storage(kind, storage)})


def find_array(path: str | Path) -> Path:
    """The file of an array: `path` itself, or what the mel or embed stage wrote into the folder `path`."""
    path = Path(path)
    return next(iter(sorted(path.glob("array.*"))), path / "array.npy") if path.is_dir() else path


def read_array(path: str | Path) -> np.ndarray:
    """The spectrograms [segments, channels, mels, frames] `mel` wrote: a .npy by memory map, Parquet whole.

    `path` is the file, or the folder that holds it.

    Raises
    ------
    MurmurError
        Naming the file, if it is missing or not what the mel stage writes.
    """
    path = find_array(path)
    if path.suffix == ".npy":
        found = map_npy(path)
    else:
        try:
            column = pq.read_table(path)["mel"].combine_chunks()
            flat = column.storage.flatten().to_numpy(zero_copy_only=True)
            found = flat.reshape(len(column), *column.type.shape)
        except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
    if found.ndim != 4 or (found.dtype.kind != "f" and found.dtype != np.uint8):
        raise _unreadable(path, f"{found.dtype} numbers in {found.ndim} dimensions")
    return found


def check_length(array: np.ndarray, n: int, path: str | Path) -> None:
    """Refuse an array that is not of the `n` segments there are."""
    if len(array) != n:
        raise MurmurError(f"{path}: is of {len(array)} segments, data/segments.parquet has {n}: dvc repro")


def map_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: object) -> MurmurError:
    name = path.parent.name if path.stem == "array" else path.stem
    stage = {"signals": "clean", "embedding": "embed"}.get(name, "mel")
    return MurmurError(f"{path}: cannot be read ({reason}); run the {stage} stage again: dvc repro {stage}")
