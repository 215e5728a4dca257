"""Resample, denoise, filter and normalise the recordings into one flat array of samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr

from murmur import cluster
from murmur.errors import MurmurError
from murmur.features import store
from murmur.features.bandpass import apply_bandpass
from murmur.recordings import audio
from murmur.sections.clean import Clean, Denoise
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.signals import SIGNALS


def write_signals(data: Path, options: Clean) -> pd.DataFrame:
    """Clean all recordings of a data folder.

    Parameters
    ----------
    data : Path
        A folder with raw/ and recordings.parquet; signals.npy and signals.parquet are written into it.
    options : Clean
        Section `clean` of params.yaml.

    Returns
    -------
    signals : DataFrame
        As `SIGNALS`.

    Raises
    ------
    MurmurError
        As `clean_recordings`.
    """
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    signals = clean_recordings(recordings, data / "raw", options, data / "signals.npy")
    parquet.write(signals, data / "signals.parquet", SIGNALS)
    return signals


def clean_recordings(recordings: pd.DataFrame, raw: Path, options: Clean, out: Path) -> pd.DataFrame:
    """Clean recordings and write their samples, one recording after another, into one file.

    The memory in use does not grow with the number of recordings.

    Parameters
    ----------
    recordings : DataFrame
        As `RECORDINGS`.
    raw : Path
        The folder of the audio files.
    options : Clean
        Section `clean` of params.yaml.
    out : Path
        The .npy file to write: all samples, shape (n,), float32.

    Returns
    -------
    signals : DataFrame
        As `SIGNALS`: the position of each recording in the array.

    Raises
    ------
    MurmurError
        If an audio file cannot be read or has changed (see `audio.load_recording`), or if the filter or
        spectral gating cannot be computed with these parameters.
    """
    signals = _compute_positions(recordings, options.sample_rate)
    jobs = list(zip(recordings.itertuples(index=False), signals["n_samples"], strict=True))

    def clean(job: tuple[Any, int]) -> np.ndarray:
        recording, n_samples = job
        return clean_signal(*audio.load_recording(raw, recording), options, n_samples)

    total = int(signals["n_samples"].sum())
    with store.open_writer(out, (total,), np.dtype("float32")) as write:
        for samples in cluster.stream_recordings(clean, jobs, "cleaning"):
            write(samples)
    return signals


def _compute_positions(recordings: pd.DataFrame, rate: int) -> pd.DataFrame:
    """Compute the offset and length of each recording at `rate` Hz; lengths are rounded up."""
    length = -(-recordings["n_samples"] * rate // recordings["sample_rate"])
    return pd.DataFrame(
        {"recording_id": recordings["recording_id"], "offset": length.cumsum() - length, "n_samples": length}
    )


def clean_signal(samples: np.ndarray, rate: int, options: Clean, n_samples: int) -> np.ndarray:
    """Clean one recording: resampling, spectral gating, bandpass, normalisation, in this order.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The samples of one channel.
    rate : int
        Their sample rate, Hz.
    options : Clean
        Section `clean` of params.yaml.
    n_samples : int
        Length of the result. soxr may return one sample more or less; it is cut or filled up with zeros.

    Returns
    -------
    ndarray, shape (n_samples,), float32
        At `options.sample_rate` Hz.

    References
    ----------
    Spectral gating: Sainburg et al. (2020), PLoS Computational Biology 16(10), package `noisereduce`.
    Resampling: package `soxr`, high quality.
    """
    x = samples if rate == options.sample_rate else soxr.resample(samples, rate, options.sample_rate)
    x = x[:n_samples]
    if len(x) < n_samples:
        x = np.pad(x, (0, n_samples - len(x)))
    if options.denoise:
        x = _reduce_noise(x, options.sample_rate, options.denoise)
    if options.bandpass:
        x = apply_bandpass(x, options.sample_rate, options.bandpass)
    return (x * _compute_gain(x, options.normalise)).astype(np.float32)


def _reduce_noise(x: np.ndarray, rate: int, options: Denoise) -> np.ndarray:
    import noisereduce  # slow to import, rarely used

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


def _compute_gain(x: np.ndarray, normalise: str) -> float:
    """Compute the factor that brings the peak or RMS of `x` to 1; 1 for silence and for "none"."""
    if normalise == "none":
        return 1.0
    level = np.abs(x).max() if normalise == "peak" else np.sqrt(np.mean(np.square(x, dtype=np.float64)))
    return 1 / level if level > 0 else 1.0
