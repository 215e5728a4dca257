"""CPU time of each part of clean, segment and mel alone: the calls of libraries that cannot be left out.

Their sum is the bound of the pipeline with these libraries and the same values. What it needs between them
(cutting, windows, squares, copies, tables, Python) is not timed.
"""

import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pandas as pd
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from PIL.Image import Resampling, fromarray
from plain_features import reduce_noise
from scipy.fft import rfft
from scipy.signal import sosfilt
from threadpoolctl import threadpool_limits

from murmur.features import images, mel, store
from murmur.features.bandpass import design_bandpass
from murmur.features.log_mel import LogMel
from murmur.recordings import audio, containers
from murmur.sections.clean import Clean
from murmur.sections.mel import Mel

Part = Callable[[str], object]  # a context manager that adds the time of its block to a part


def measure_parts(
    recordings: pd.DataFrame, segments: pd.DataFrame, data: Path, p: SimpleNamespace
) -> Counter[str]:
    """Measure each part on a data folder of the pipeline: CPU seconds by part."""
    times: Counter[str] = Counter()

    @contextmanager
    def part(name: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        times[name] += time.thread_time() - start

    with threadpool_limits(1), (data / "profile").open("wb") as file:
        for path in recordings["path"]:
            _measure_clean(part, data / "raw" / path, p.clean, file)
        file.seek(0)
        for x in _cut(recordings, segments, data, p):
            _measure_mel(part, x, p, file)
    return times


def _measure_clean(part: Part, path: Path, options: Clean, file: BinaryIO) -> None:
    with part("reading"):
        content = path.read_bytes()
    with part("decoding"):
        samples, rate = containers.decode(io.BytesIO(content))
        x = audio.mix_channels(samples)
    with part("hash"):
        hashlib.sha256(x.data).digest()
    if rate != options.sample_rate:
        with part("resampling"):
            x = soxr.resample(x, rate, options.sample_rate)
    if options.denoise:
        with part("noise reduction"):
            x = reduce_noise(x, options.sample_rate, options.denoise)
    if options.bandpass:
        sections, _ = design_bandpass(options.sample_rate, options.bandpass)
        y = x.astype(np.float64)
        with part("filter"):
            sosfilt(sections, sosfilt(sections, y)[::-1])
    with part("writing"):
        file.write(x.data)


def _cut(
    recordings: pd.DataFrame, segments: pd.DataFrame, data: Path, p: SimpleNamespace
) -> Iterator[np.ndarray]:
    """Yield segments, as many at once as the pipeline transforms."""
    rate = p.clean.sample_rate
    lengths = -(-recordings["n_samples"] * rate // recordings["sample_rate"])
    offsets = pd.Series((lengths.cumsum() - lengths).to_numpy(), recordings["recording_id"])
    starts = offsets.loc[segments["recording_id"]].to_numpy() + segments["start"].to_numpy()
    sizes, length = segments["n_samples"].to_numpy(), round(p.segment.length * rate)
    flat = store.map_npy(data / "signals.npy")
    for k in range(0, len(starts), mel.PIECE):
        rows = slice(k, k + mel.PIECE)
        yield mel.gather_segments(flat, starts[rows], sizes[rows], length, p.segment.short == "wrap")


def _measure_mel(part: Part, x: np.ndarray, p: SimpleNamespace, file: BinaryIO) -> None:
    options: Mel = p.mel
    transform = LogMel(p.clean.sample_rate, options, *options.windows[0])
    half = options.n_fft // 2
    frames = sliding_window_view(np.pad(x, ((0, 0), (half, half))), options.n_fft, axis=1)
    frames = frames[:, :: transform.hop_length] * transform.window
    with part("FFT"):
        spectrum = rfft(frames)
    power = np.square(np.abs(spectrum[..., transform.bins]))
    with part("mel product"):
        power = power @ transform.bank
    power = np.maximum(power, 1e-10)
    with part("logarithm"):
        log = np.log(power)
    if options.image:
        values = _measure_images(part, log.transpose(0, 2, 1), options)
    else:
        with part(f"to {options.dtype}"):
            values = log.astype(options.dtype)
    with part("writing"):
        file.write(values.data)


def _measure_images(part: Part, log: np.ndarray, options: Mel) -> np.ndarray:
    levels = (images.minmax(log) * 255).round().astype(np.uint8)
    colours, size = images.make_colours(options.image.colours), (options.image.size, options.image.size)
    with part("colours"):
        pictures = colours[levels]
    with part("resizing"):
        return np.stack([np.asarray(fromarray(x).resize(size, Resampling.BILINEAR)) for x in pictures])


def print_profile(times: Counter[str], seconds: float, pipeline: float, plain: float, workers: int) -> None:
    """Print the table of all parts.

    Parameters
    ----------
    times : Counter
        CPU seconds by part.
    seconds : float
        Of audio.
    pipeline, plain : float
        CPU seconds of the pipeline and of the plain code.
    workers : int
        Number of workers.
    """
    bound = times.total()
    print(f"{'':18}{'CPU s':>8}{'x real time':>14}{'of the pipeline':>17}")
    for name, cpu in [*times.items(), ("all parts", bound), ("pipeline", pipeline), ("plain code", plain)]:
        print(f"{name:18}{cpu:8.3f}{seconds / cpu:14,.0f}{cpu / pipeline:17.0%}")
    print(f"the pipeline takes {pipeline / bound:.2f} x the CPU time of its parts")
    ratio, ratio_of_bound = workers * plain / pipeline, workers * plain / bound
    print(f"if {workers} workers never wait, plain code takes {ratio:.2f} x the time of the pipeline", end="")
    print(f" and {ratio_of_bound:.2f} x that of the parts")
