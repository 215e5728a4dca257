"""Log-mel spectrograms of segments, in librosa's conventions, computed in batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft
from threadpoolctl import threadpool_limits

from murmur import workers
from murmur.errors import MurmurError
from murmur.features.mel_scale import mel_frequencies
from murmur.features.store import map_npy, open_writer
from murmur.files import atomic_write
from murmur.sections.mel import Image, Mel
from murmur.tables import parquet
from murmur.tables.recordings import check_recordings
from murmur.tables.segments import SEGMENTS
from murmur.tables.signals import SIGNALS

BATCH = 64  # segments handed to a thread at once
PIECE = 8  # segments in work: their frames stay in the cache, and the memory is used again for the next
AMIN = 1e-10  # librosa's floor under the power
EPSILON = np.float32(2**-23)  # M2D adds it to the power


def write_spectrograms(data: Path, options: Mel, *, rate: int, seconds: float, wrap: bool) -> None:
    """Compute the spectrograms of the segments in the folder `data` into its mel/array.npy or .parquet.

    Parameters
    ----------
    rate : int
        Sample rate of the signals, Hz.
    seconds : float
        Length of a segment, s.
    wrap : bool
        As `compute_spectrograms`.
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
    """Write the spectrograms of all segments to `out`: array [segments, channels, mels, frames].

    Each window of `mel.win_length` gives a channel. With `mel.image` they are colour images, uint8
    [segments, 3, size, size]. The first row is the lowest band in either case.

    Parameters
    ----------
    signals, samples: where each recording's samples lie, and the .npy of all [n] float32 at `rate` Hz.
    segments: as `tables.SEGMENTS`; row k of it is row k of the array.
    length: samples in a segment; a shorter one is filled up with its own beginning (`wrap`) or zeros.
    """
    offsets = signals.set_index("recording_id")["offset"]
    starts = (offsets.loc[segments["recording_id"]].to_numpy() + segments["start"]).to_numpy()
    sizes, backwards = segments["n_samples"].to_numpy(), segments["reversed"].to_numpy()
    _check_samples(samples, (starts + sizes).max(initial=0))
    to_mel = make_transform(rate, options)
    shape = (len(segments), *to_mel(np.zeros((1, length), np.float32)).shape[1:])

    def one(first: int) -> np.ndarray:
        rows = slice(first, first + BATCH)
        flat = np.load(samples, mmap_mode="r")  # for this batch: what is mapped counts as memory in use
        x = gather_segments(flat, starts[rows], sizes[rows], length, wrap)
        x[backwards[rows]] = x[backwards[rows], ::-1]
        batch = np.empty((len(x), *shape[1:]), stored_dtype(options))
        for k in range(0, len(x), PIECE):
            batch[k : k + PIECE] = to_mel(x[k : k + PIECE])
        return batch

    # One thread a batch: batches share the cores, and the bytes do not depend on how many there are.
    constant = None  # the one number of all spectrograms so far; NaN where there are several
    with open_writer(out, shape, stored_dtype(options)) as write, threadpool_limits(1):
        for batch in workers.stream_threads(one, range(0, len(segments), BATCH), "mel spectrograms"):
            write(batch)
            constant = batch.flat[0] if constant is None else constant
            constant = constant if not np.isnan(constant) and (batch == constant).all() else np.nan
        if constant is not None and not np.isnan(constant):
            raise MurmurError(
                f"mel: all spectrograms hold the one number {constant:g}, so there is nothing to learn; look "
                f"at mel.top_db, mel.dtype, mel.f_min and f_max, clean.bandpass and segment.length"
            )


def _check_samples(path: Path, needed: int) -> None:
    flat = map_npy(path)
    if flat.ndim != 1 or flat.dtype != np.float32 or len(flat) < needed:
        raise MurmurError(f"{path}: not the samples that the segments are cut from; dvc repro clean segment")


def stored_dtype(options: Mel) -> np.dtype:
    """The type of the numbers that are kept."""
    return np.dtype("uint8" if options.image else options.dtype)


def n_frames(length: int, options: Mel) -> int:
    """Frames of a segment of `length` samples, the first centred on its first sample; of the finest hop."""
    return 1 + (length - options.n_fft % 2) // min(hop for _, hop in options.windows)


def make_transform(rate: int, options: Mel) -> Callable[[np.ndarray], np.ndarray]:
    """The function from segments [k, n] to what is kept of them, [k, channels, mels, frames]."""
    windows = [LogMel(rate, options, *window) for window in options.windows]

    def one(x: np.ndarray) -> np.ndarray:
        logs = [to_mel(x) for to_mel in windows]
        frames = max(log.shape[2] for log in logs)
        stack = np.stack([_lengthen(log, frames, options) for log in logs], axis=1)
        if options.normalise == "minmax":
            stack = minmax(stack)
        return stack if options.image is None else render_images(stack[:, 0], options.image)

    return one


def _lengthen(log: np.ndarray, frames: int, options: Mel) -> np.ndarray:
    """Fill up [k, mels, frames] with the floor of the scale, or, as once published, with its maximum."""
    if log.shape[2] == frames:
        return log
    value = log.max(axis=(1, 2), keepdims=True)
    if options.fill == "floor":
        top = options.top_db if options.scale == "db" else None
        low = log.min(axis=(1, 2), keepdims=True)
        value = low if top is None else np.where(low < value, value - np.float32(top), low)  # low: silence
    spare = np.broadcast_to(value, (*log.shape[:2], frames - log.shape[2]))
    return np.concatenate([log, spare], axis=2)


def minmax(x: np.ndarray) -> np.ndarray:
    """Bring each spectrogram of [..., mels, frames] to 0..1; a constant one to 0."""
    low, high = x.min(axis=(-2, -1), keepdims=True), x.max(axis=(-2, -1), keepdims=True)
    return (x - low) / np.where(high > low, high - low, 1)


def render_images(x: np.ndarray, options: Image) -> np.ndarray:
    """Spectrograms [k, mels, frames] as colour images [k, 3, size, size] uint8, dark the lowest value.

    Coloured first, then resized (bilinear, smoothed where it shrinks), as pictures of plots are.
    """
    from matplotlib import colormaps  # slow to import, rarely asked for
    from PIL.Image import Resampling, fromarray

    colour = (colormaps[options.colours](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    pictures = colour[(minmax(x) * 255).round().astype(np.uint8)]
    size = (options.size, options.size)
    return np.stack([np.asarray(fromarray(p).resize(size, Resampling.BILINEAR)) for p in pictures]).transpose(
        0, 3, 1, 2
    )


def gather_segments(
    flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray, length: int, wrap: bool
) -> np.ndarray:
    """Segments [k, length] float32 out of the flat array."""
    out = np.zeros((len(starts), length), np.float32)
    for row, start, size in zip(out, starts, sizes, strict=True):
        row[:size] = flat[start : start + size]
        if wrap and size < length:
            row[size:] = np.resize(row[:size], length - size)
    return out


class LogMel:
    """x [k, n] float32 at `rate` Hz -> log-mel spectrograms [k, mels, frames] float32.

    The same as `librosa.feature.melspectrogram` (Slaney's mel scale and normalisation, Hann window,
    centred frames, zeros or a reflection beyond the ends), then `power_to_db` or the natural logarithm;
    `ln_plus` is that of M2D (Niizumi et al. 2023), ln(power + 2^-23).

    Silence has the lowest value, not the highest as in librosa, where the reference is its own maximum:
    -`top_db`, or without it the floor of the power (10^-10) relative to the highest that [-1, 1] allows.
    """

    def __init__(self, rate: int, options: Mel, win_length: int, hop_length: int):
        self.options, self.hop = options, hop_length
        spare = options.n_fft - win_length
        window = np.hanning(win_length + 1)[:-1] if win_length > 1 else np.ones(1)  # periodic
        self.window = np.pad(window, (spare // 2, spare - spare // 2)).astype(np.float32)
        bank = mel_bank(rate, options)
        if empty := int((bank.max(axis=1) == 0).sum()):
            raise MurmurError(
                f"mel.n_mels {options.n_mels}: {empty} bands hold no FFT bin; "
                "take fewer bands or a longer mel.n_fft"
            )
        used = np.flatnonzero(bank.any(axis=0))
        self.bins = slice(used[0], used[-1] + 1)
        self.bank = np.ascontiguousarray(bank[:, self.bins].T)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        half = self.options.n_fft // 2
        beyond: Any = {"zeros": "constant", "reflect": "reflect"}[self.options.edges]
        frames = sliding_window_view(np.pad(x, ((0, 0), (half, half)), beyond), self.options.n_fft, axis=1)
        spectrum = rfft(frames[:, :: self.hop] * self.window)[..., self.bins]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        power = power @ self.bank
        power[x.min(axis=1) == x.max(axis=1)] = 0  # a constant is no sound; its ends would be
        return self._log(power).transpose(0, 2, 1)

    def _log(self, power: np.ndarray) -> np.ndarray:
        o = self.options
        if o.scale == "ln_plus":
            return np.log(power + EPSILON)
        reference = power.max(axis=(1, 2), keepdims=True) if o.reference == "max" else np.float32(o.reference)
        log = np.log(np.maximum(power, AMIN)) - np.log(np.maximum(reference, AMIN))
        if o.scale == "db":
            log *= np.float32(10 / np.log(10))
            if o.top_db is not None:
                np.maximum(log, log.max(axis=(1, 2), keepdims=True) - np.float32(o.top_db), out=log)
        if o.reference == "max":
            log[reference.ravel() <= AMIN] = self._floor()
        return log

    def _floor(self) -> float:
        """The lowest value of a scale whose reference is the maximum."""
        o = self.options
        if o.scale == "db" and o.top_db is not None:
            return -o.top_db
        full_scale = np.square(self.window.sum()) * self.bank.sum(axis=0).max()
        return float(np.log(AMIN / full_scale) * (10 / np.log(10) if o.scale == "db" else 1))


def mel_bank(rate: int, options: Mel) -> np.ndarray:
    """Triangular filters [mels, bins] float32 of equal area, as `librosa.filters.mel`.

    Written out because librosa takes longer to import than a thousand recordings take here.
    """
    edges = mel_frequencies(options)[:, None]
    bins = np.fft.rfftfreq(options.n_fft, 1 / rate)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)
