"""Log-mel spectrograms of all segments, computed in batches."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from murmur import workers
from murmur.errors import MurmurError
from murmur.features.images import minmax, render_images
from murmur.features.log_mel import LogMel
from murmur.features.store import map_npy, open_writer
from murmur.files import atomic_write
from murmur.sections.mel import Mel
from murmur.tables import parquet
from murmur.tables.recordings import check_recordings
from murmur.tables.segments import SEGMENTS
from murmur.tables.signals import SIGNALS

BATCH = 64  # segments that a thread computes and returns at once
MIN_DEVIATION = 0.1  # dB or nepers: noise of a recording varies more
PIECE = 8  # segments that are transformed at once: few enough for their frames to stay in the CPU cache


def write_spectrograms(data: Path, options: Mel, *, rate: int, seconds: float, wrap: bool) -> None:
    """Compute the spectrograms of all segments of a data folder.

    Parameters
    ----------
    data : Path
        A folder with signals.npy, signals.parquet and segments.parquet; mel/array.npy or mel/array.parquet
        is written into it.
    options : Mel
        Section `mel` of params.yaml.
    rate : int
        Sample rate of the signals, Hz.
    seconds : float
        Length of a segment, s.
    wrap : bool
        As `compute_spectrograms`.

    Raises
    ------
    MurmurError
        If the tables do not belong together, and as `compute_spectrograms`.
    """
    signals = parquet.read(data / "signals.parquet", SIGNALS)
    segments = parquet.read(data / "segments.parquet", SEGMENTS)
    check_recordings(segments, signals, data / "segments.parquet", data / "signals.parquet")
    with atomic_write(data / "mel") as folder:
        compute_spectrograms(
            signals,
            data / "signals.npy",
            segments,
            rate=rate,
            length=round(seconds * rate),
            wrap=wrap,
            options=options,
            out=folder / f"array.{options.format}",
        )


def compute_spectrograms(
    signals: pd.DataFrame,
    samples: Path,
    segments: pd.DataFrame,
    *,
    rate: int,
    length: int,
    wrap: bool,
    options: Mel,
    out: Path,
) -> None:
    """Compute the spectrograms of segments and write them into one array.

    Parameters
    ----------
    signals : DataFrame
        As `SIGNALS`: the position of each recording in `samples`.
    samples : Path
        A .npy file with the samples of all recordings, shape (n,), float32.
    segments : DataFrame
        As `SEGMENTS`. Row k of it is row k of the array.
    rate : int
        Sample rate, Hz.
    length : int
        Length of a segment, samples.
    wrap : bool
        Whether a shorter segment is repeated until it has this length; otherwise zeros are appended.
    options : Mel
        Section `mel` of params.yaml.
    out : Path
        The .npy or .parquet file to write: shape (segments, channels, n_mels, frames), one channel for each
        window of `mel.win_length`; with `mel.image` shape (segments, 3, size, size), uint8. The first row of
        a spectrogram or image is the lowest band.

    Raises
    ------
    MurmurError
        If a mel band contains no frequency bin, if `samples` is not the array of `signals`, or if all
        spectrograms are equal and constant.
    """
    offsets = signals.set_index("recording_id")["offset"]
    starts = (offsets.loc[segments["recording_id"]].to_numpy() + segments["start"]).to_numpy()
    sizes, is_reversed = segments["n_samples"].to_numpy(), segments["reversed"].to_numpy()
    _check_samples(samples, (starts + sizes).max(initial=0))
    transform = make_transform(rate, options)
    shape = (len(segments), *transform(np.zeros((1, length), np.float32)).shape[1:])

    def compute_batch(first: int) -> np.ndarray:
        rows = slice(first, first + BATCH)
        # Opened for each batch: mapped pages count as memory in use. Slices of an ndarray are faster.
        flat = np.load(samples, mmap_mode="r").view(np.ndarray)
        x = gather_segments(flat, starts[rows], sizes[rows], length, wrap)
        x[is_reversed[rows]] = x[is_reversed[rows], ::-1]
        batch = np.empty((len(x), *shape[1:]), stored_dtype(options))
        for k in range(0, len(x), PIECE):
            batch[k : k + PIECE] = transform(x[k : k + PIECE]).astype(batch.dtype, copy=False)
        return batch

    # One BLAS thread each: the batches share the cores, and the bytes do not depend on the number of cores.
    with open_writer(out, shape, stored_dtype(options)) as write, threadpool_limits(1):
        firsts = range(0, len(segments), BATCH)
        for batch in _refuse_constant(workers.stream_threads(compute_batch, firsts, "mel spectrograms")):
            write(batch)


def _check_samples(path: Path, n_samples: int) -> None:
    """Refuse a file that is not an array of at least `n_samples` samples."""
    flat = map_npy(path)
    if flat.ndim != 1 or flat.dtype != np.float32 or len(flat) < n_samples:
        raise MurmurError(f"{path}: not the samples that the segments are cut from; dvc repro clean segment")


def _refuse_constant(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the batches; after the last, raise an error if all values of all batches are the same."""
    value, is_constant = None, True
    for batch in batches:
        value = batch.flat[0] if value is None else value
        is_constant = is_constant and bool((batch == value).all())
        yield batch
    if value is not None and is_constant:
        raise MurmurError(
            f"mel: all values of all spectrograms are {value:g}, so a model cannot learn from them; check "
            "mel.top_db, mel.dtype, mel.f_min and f_max, clean.bandpass and segment.length"
        )


def stored_dtype(options: Mel) -> np.dtype:
    """Return the dtype of the array on disk."""
    return np.dtype("uint8" if options.image else options.dtype)


def make_transform(rate: int, options: Mel) -> Callable[[np.ndarray], np.ndarray]:
    """Make the function that transforms segments into spectrograms or images.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    options : Mel
        Section `mel` of params.yaml.

    Returns
    -------
    callable
        From segments, shape (k, n), float32, to shape (k, channels, n_mels, frames), float32, or to images,
        shape (k, 3, size, size), uint8. All channels have the frames of the shortest hop.
    """
    windows = [LogMel(rate, options, *window) for window in options.windows]

    def transform(x: np.ndarray) -> np.ndarray:
        logs = [to_log_mel(x) for to_log_mel in windows]
        n_frames = max(log.shape[2] for log in logs)
        stack = np.stack([_pad_frames(log, n_frames, options) for log in logs], axis=1)
        if options.normalise == "minmax":
            stack = minmax(stack)
        elif options.normalise == "bands":
            stack = standardise_bands(stack)
        return stack if options.image is None else render_images(stack[:, 0], options.image)

    return transform


def standardise_bands(x: np.ndarray) -> np.ndarray:
    """Standardise each band of each spectrogram to mean 0 and standard deviation 1 over its frames.

    The divisor is at least `MIN_DEVIATION`, so that silence becomes 0.

    Parameters
    ----------
    x : ndarray, shape (..., n_mels, frames), float32

    Returns
    -------
    ndarray, of the same shape, float32
    """
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.maximum(np.sqrt(np.square(x).mean(axis=-1, keepdims=True)), np.float32(MIN_DEVIATION))


def _pad_frames(log: np.ndarray, n_frames: int, options: Mel) -> np.ndarray:
    """Append frames to spectrograms, shape (k, n_mels, frames), that hold their minimum or maximum.

    With `fill: floor` it is the lowest value that the scale allows, with `max` (as in published code) the
    highest value of the spectrogram.
    """
    if log.shape[2] == n_frames:
        return log
    value = log.max(axis=(1, 2), keepdims=True)
    if options.fill == "floor":
        top_db = options.top_db if options.scale == "db" else None
        low = log.min(axis=(1, 2), keepdims=True)
        # A constant spectrogram (silence) has no range: it is continued as it is.
        value = low if top_db is None else np.where(low < value, value - np.float32(top_db), low)
    padding = np.broadcast_to(value, (*log.shape[:2], n_frames - log.shape[2]))
    return np.concatenate([log, padding], axis=2)


def gather_segments(
    flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray, length: int, wrap: bool
) -> np.ndarray:
    """Copy segments out of the array of all samples.

    Parameters
    ----------
    flat : ndarray, shape (n,), float32
        The samples of all recordings.
    starts, sizes : ndarray, shape (k,)
        First sample and number of samples of each segment.
    length, wrap
        As `compute_spectrograms`.

    Returns
    -------
    ndarray, shape (k, length), float32
    """
    out = np.zeros((len(starts), length), np.float32)
    for row, start, size in zip(out, starts, sizes, strict=True):
        row[:size] = flat[start : start + size]
        if wrap and size < length:
            row[size:] = np.resize(row[:size], length - size)
    return out
