"""The features of one recording in memory, for programs and notebooks, as the stages compute them."""

from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

from murmur.features import cleaning, mel, segmentation
from murmur.recordings import audio
from murmur.sections.clean import Clean
from murmur.sections.defaults import load_params
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment

find_blas = cache(ThreadpoolController)  # takes 4 ms, a quarter of the time of a recording


class FeatureParams(Protocol):
    """The sections of params.yaml that determine the features; the result of `load_params` has them."""

    @property
    def clean(self) -> Clean:
        """Section `clean`."""

    @property
    def segment(self) -> Segment:
        """Section `segment`."""

    @property
    def mel(self) -> Mel:
        """Section `mel`."""


def read_recording(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a recording: WAV, FLAC or a WFDB record.

    Parameters
    ----------
    path : path-like
        The file; of a WFDB record the header, with the ending .hea.

    Returns
    -------
    samples : ndarray, shape (n,), float32
        One channel, the mean of all channels, in the range [-1, 1].
    rate : int
        Sample rate, Hz.

    Raises
    ------
    MurmurError
        If the file is missing, of another format, empty, damaged or cut short.

    Examples
    --------
    >>> samples, rate = murmur.read_recording("data/raw/0001_AV.wav")
    """
    return audio.load(path)


def clean_recording(samples: np.ndarray, rate: int, params: FeatureParams | None = None) -> np.ndarray:
    """Resample, denoise, filter and normalise a recording, as the stage `clean` does.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The samples of one channel.
    rate : int
        Their sample rate, Hz.
    params : FeatureParams, optional
        From `load_params`; by default the default parameters. The section `clean` is used.

    Returns
    -------
    signal : ndarray, shape (m,), float32
        At `params.clean.sample_rate` Hz.

    Raises
    ------
    MurmurError
        If the filter or spectral gating cannot be computed with these parameters.
    ValueError
        If `samples` are not one channel of finite numbers.

    Examples
    --------
    >>> signal = murmur.clean_recording(samples, rate)
    """
    options = (params or load_params()).clean
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"samples: expected finite numbers of shape (n,), found shape {samples.shape}")
    n_samples = -(-len(samples) * options.sample_rate // rate)
    return cleaning.clean_signal(samples, rate, options, n_samples)


def cut_into_segments(signal: np.ndarray, params: FeatureParams | None = None) -> np.ndarray:
    """Cut a cleaned signal into segments of equal length, as the stage `segment` does.

    Parameters
    ----------
    signal : ndarray, shape (m,)
        From `clean_recording`.
    params : FeatureParams, optional
        From `load_params`; by default the default parameters. The section `segment` is used, except `first`
        where it depends on the label (`first_of`), and `clean.sample_rate`.

    Returns
    -------
    segments : ndarray, shape (k, length), float32
        Segment k starts at k * `length` * (1 - `overlap`); the last one is padded, repeated or left out,
        by `segment.short`. With `segment.mirror` the reversed segments follow.

    Raises
    ------
    MurmurError
        If the signal is too short for a segment.

    Examples
    --------
    >>> segments = murmur.cut_into_segments(signal)
    """
    params = params or load_params()
    options, rate = params.segment, params.clean.sample_rate
    if options.first_of:
        options = options.model_copy(update={"first": None, "first_of": []})
    index = pd.DataFrame({"recording_id": ["recording"], "n_samples": [len(signal)]})
    table, _ = segmentation.cut_segments(index, pd.Series({"recording": ""}), rate, options)
    starts, sizes = table["start"].to_numpy(), table["n_samples"].to_numpy()
    signal, length = np.asarray(signal, np.float32), round(options.length * rate)
    segments = mel.gather_segments(signal, starts, sizes, length, options.short == "wrap")
    is_reversed = table["reversed"].to_numpy()
    segments[is_reversed] = segments[is_reversed, ::-1]
    return segments


def compute_log_mel(segments: np.ndarray, params: FeatureParams | None = None) -> np.ndarray:
    """Compute the log-mel spectrograms of segments, as the stage `mel` does.

    Parameters
    ----------
    segments : ndarray, shape (k, length)
        From `cut_into_segments`.
    params : FeatureParams, optional
        From `load_params`; by default the default parameters. The section `mel` and `clean.sample_rate` are
        used.

    Returns
    -------
    spectrograms : ndarray, shape (k, channels, n_mels, frames)
        With the dtype `mel.dtype`, float16 by default: the same values as in data/mel. The lowest band comes
        first, and frame j is centred at j * `mel.hop_length` samples. With `mel.image` images, shape
        (k, 3, size, size), uint8.

    Raises
    ------
    MurmurError
        If a mel band contains no frequency bin.

    Examples
    --------
    >>> spectrograms = murmur.compute_log_mel(segments)
    """
    params = params or load_params()
    transform = mel.make_transform(params.clean.sample_rate, params.mel)
    with find_blas().limit(limits=1):  # as in the stage: the same bytes on any number of cores
        return transform(np.asarray(segments, np.float32)).astype(mel.stored_dtype(params.mel))
