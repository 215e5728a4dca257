"""Resample, filter and normalise: every recording becomes a stretch of one flat array."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr

from murmur import workers
from murmur.errors import MurmurError
from murmur.features import store
from murmur.features.bandpass import apply_bandpass
from murmur.recordings import audio
from murmur.sections.clean import Clean, Denoise
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.signals import SIGNALS


def write_signals(data: Path, options: Clean) -> pd.DataFrame:
    """Clean the recordings of the folder `data` into its signals.npy and signals.parquet.

    Returns
    -------
    signals : DataFrame
        As `SIGNALS`.
    """
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    signals = clean_recordings(recordings, data / "raw", options, data / "signals.npy")
    parquet.write(signals, data / "signals.parquet", SIGNALS)
    return signals


def clean_recordings(recordings: pd.DataFrame, raw: Path, options: Clean, out: Path) -> pd.DataFrame:
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
        return clean_signal(*audio.load_recording(raw, recording), options, n_samples)

    n_samples = int(signals["n_samples"].sum())
    with store.open_writer(out, (n_samples,), np.dtype("float32")) as write:
        for samples in workers.stream_threads(one, jobs, "cleaning"):
            write(samples)
    return signals


def _layout(recordings: pd.DataFrame, rate: int) -> pd.DataFrame:
    length = -(-recordings["n_samples"] * rate // recordings["sample_rate"])
    return pd.DataFrame(
        {"recording_id": recordings["recording_id"], "offset": length.cumsum() - length, "n_samples": length}
    )


def clean_signal(samples: np.ndarray, rate: int, options: Clean, n_samples: int) -> np.ndarray:
    """One recording: samples [n] at `rate` Hz -> [n_samples] float32 at `options.sample_rate` Hz.

    Resampling (soxr, high quality), spectral gating (Sainburg's noisereduce), zero-phase Butterworth
    bandpass (forward and backward, so the order counts twice), normalisation.
    """
    x = samples if rate == options.sample_rate else soxr.resample(samples, rate, options.sample_rate)
    x = np.pad(x[:n_samples], (0, n_samples - len(x[:n_samples])))  # soxr may round the other way
    if options.denoise:
        x = _gate(x, options.sample_rate, options.denoise)
    if options.bandpass:
        x = apply_bandpass(x, options.sample_rate, options.bandpass)
    return (x * _gain(x, options.normalise)).astype(np.float32)


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
