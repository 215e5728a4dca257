"""Resample, filter and normalise: every recording becomes a stretch of one flat array."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr
from scipy.signal import butter, sosfilt, sosfilt_zi, sosfreqz

from murmur import workers
from murmur.errors import MurmurError
from murmur.files import beside
from murmur.params import Bandpass, Clean, Denoise
from murmur.recordings import audio

LONGEST_RINGING = 60  # s, the time constant of a bandpass


def clean(recordings: pd.DataFrame, raw: Path, options: Clean, out: Path) -> pd.DataFrame:
    """Clean every recording into `out`, a .npy of all samples [n] float32, one recording after another.

    Recordings are written as they come, so that memory does not grow with their number.

    Returns
    -------
    signals: recording_id, offset, n_samples: where each recording's samples lie in the array.

    Raises
    ------
    MurmurError
        As `audio.load_recording`.
    """
    signals = _layout(recordings, options.sample_rate)
    jobs = list(zip(recordings.itertuples(index=False), signals["n_samples"], strict=True))

    def one(job: tuple[Any, int]) -> np.ndarray:
        recording, n_samples = job
        return clean_one(*audio.load_recording(raw, recording), options, n_samples)

    header = {"descr": "<f4", "fortran_order": False, "shape": (int(signals["n_samples"].sum()),)}
    with beside(out) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for samples in workers.stream(one, jobs, "cleaning"):
            file.write(samples.data)
    return signals


def _layout(recordings: pd.DataFrame, rate: int) -> pd.DataFrame:
    length = -(-recordings["n_samples"] * rate // recordings["sample_rate"])
    return pd.DataFrame(
        {"recording_id": recordings["recording_id"], "offset": length.cumsum() - length, "n_samples": length}
    )


def clean_one(samples: np.ndarray, rate: int, options: Clean, n_samples: int) -> np.ndarray:
    """One recording: samples [n] at `rate` Hz -> [n_samples] float32 at `options.sample_rate` Hz.

    Resampling (soxr, high quality), spectral gating (Sainburg's noisereduce), zero-phase Butterworth
    bandpass (forward and backward, so the order counts twice), normalisation.
    """
    x = samples if rate == options.sample_rate else soxr.resample(samples, rate, options.sample_rate)
    x = np.pad(x[:n_samples], (0, n_samples - len(x[:n_samples])))  # soxr may round the other way
    if options.denoise:
        x = _gate(x, options.sample_rate, options.denoise)
    if options.bandpass:
        x = bandpass(x, options.sample_rate, options.bandpass)
    return (x * _gain(x, options.normalise)).astype(np.float32)


def bandpass(x: np.ndarray, rate: int, band: Bandpass) -> np.ndarray:
    """Zero-phase Butterworth bandpass of x [n] at `rate` Hz, in float64.

    The very samples of `scipy.signal.sosfiltfilt`, which would work out its initial state anew for each
    recording, a fifth of its time.
    """
    sections, state = design(rate, band)
    edge = min(3 * (2 * len(sections) + 1), len(x) - 1)
    y = np.pad(x, edge, "reflect", reflect_type="odd")
    y, _ = sosfilt(sections, y, zi=state * y[0])
    y, _ = sosfilt(sections, y[::-1], zi=state * y[-1])
    return y[::-1][edge : edge + len(x)]


@cache
def design(rate: int, band: Bandpass) -> tuple[np.ndarray, np.ndarray]:
    """The second-order sections of the bandpass, [n, 6], and their initial state, [n, 2].

    Raises
    ------
    MurmurError
        If the filter is not stable in float64, or rings for more than a minute.
    """
    edges = [band.low, band.high]
    with np.errstate(all="ignore"):
        sections = butter(band.order, edges, "bandpass", fs=rate, output="sos")
        gains = np.abs(sosfreqz(sections, edges, fs=rate)[1])
        margin = 1 - np.abs(butter(band.order, edges, "bandpass", fs=rate, output="zpk")[1]).max()
    if not (np.allclose(gains, np.sqrt(0.5), rtol=0.01) and margin * rate * LONGEST_RINGING > 1):
        raise MurmurError(
            f"clean.bandpass: no stable filter of order {band.order}, {band.low:g}-{band.high:g} Hz, at "
            f"clean.sample_rate {rate}; lower order, or move low and high away from 0, Nyquist and each other"
        )
    return sections, sosfilt_zi(sections)


def _gate(x: np.ndarray, rate: int, options: Denoise) -> np.ndarray:
    import noisereduce  # slow to import, rarely asked for

    try:
        return noisereduce.reduce_noise(
            y=x,
            sr=rate,
            n_fft=options.n_fft,
            time_mask_smooth_ms=options.time_smooth_ms,
            freq_mask_smooth_hz=options.frequency_smooth_hz,
        )
    except ValueError as error:
        raise MurmurError(f"clean.denoise, n_fft {options.n_fft}: {error}") from error


def _gain(x: np.ndarray, normalise: str) -> float:
    if normalise == "none":
        return 1.0
    size = np.abs(x).max() if normalise == "peak" else np.sqrt(np.mean(np.square(x, dtype=np.float64)))
    return 1 / size if size > 0 else 1.0
