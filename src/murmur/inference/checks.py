"""Reasons for which no class is predicted for a recording."""

from collections.abc import Sequence

import numpy as np

from murmur.features.segmentation import compute_sizes
from murmur.inference.familiarity import Reference, compute_distance, describe_signal
from murmur.inference.model_info import ModelParams
from murmur.inference.quality import WINDOW, Quality

SILENT, TOO_SHORT, CLIPPED = "silent", "too short", "clipped"
IRREGULAR, UNFAMILIAR = "no regular heart sounds", "unlike the training data"
MAX_CLIPPED = 0.15  # fraction of the samples
MIN_SCORE = 0.12  # of `Quality`, for recordings of at least 4 s: in shorter ones the score of noise is higher


def find_faults(samples: np.ndarray, signal: np.ndarray, params: ModelParams) -> tuple[str, ...]:
    """List why the probabilities of a recording cannot be computed: it is silent or too short.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The recording as it was read.
    signal : ndarray, shape (m,)
        The cleaned recording.
    params : ModelParams
        Of the model.

    Returns
    -------
    tuple of str
        Empty, or one reason.
    """
    if samples.min() == samples.max():
        return (f"{SILENT}: all samples are {samples[0]:g}; check the microphone",)
    rate, options = params.clean.sample_rate, params.segment
    if len(signal) < compute_sizes(options, rate).minimum:
        required = options.length if options.short == "drop" else min(options.length, options.min_length)
        return (f"{TOO_SHORT}: {len(signal) / rate:.2f} s, the model needs {required:g} s; record again",)
    return ()


def describe_missing_sites(sites: Sequence[str]) -> str:
    """Describe that no usable recording was made at a site that the model uses."""
    return f"no usable recording at any site of the model: {', '.join(sites)}"


def find_doubts(signal: np.ndarray, rate: int, quality: Quality, reference: Reference) -> tuple[str, ...]:
    """List why the prediction for a recording cannot be trusted.

    Parameters
    ----------
    signal : ndarray, shape (m,)
        The cleaned recording.
    rate : int
        Its sample rate, Hz.
    quality : Quality
        From `measure_quality`.
    reference : Reference
        Of the training data.

    Returns
    -------
    tuple of str
        Empty, or one reason or more.
    """
    doubts = []
    if quality.clipped > MAX_CLIPPED:
        doubts.append(describe_clipping(quality.clipped))
    if quality.score < MIN_SCORE and len(signal) >= WINDOW * rate:
        doubts.append(describe_score(quality.score))
    if (distance := compute_distance(describe_signal(signal, rate), reference)) > reference.limit:
        doubts.append(describe_distance(distance, reference.limit))
    return tuple(doubts)


def describe_clipping(clipped: float) -> str:
    """Return the reason for a recording of which this fraction of the samples is clipped."""
    return (
        f"{CLIPPED}: {_format_percent(clipped)} of the samples are at the highest or lowest value, at most "
        f"{_format_percent(MAX_CLIPPED)} is allowed; record again at a lower volume"
    )


def describe_score(score: float) -> str:
    """Return the reason for a recording with this score of `Quality`."""
    return (
        f"{IRREGULAR}: the quality score is {score:.3f}, at least {MIN_SCORE:g} is needed; "
        "record again in a quiet room"
    )


def describe_distance(distance: float, limit: float) -> str:
    """Return the reason for a recording at this distance from the training data."""
    return (
        f"{UNFAMILIAR}: the distance is {distance:.1f}, at most {limit:.1f} is allowed; the "
        "model was not trained on recordings of this kind"
    )


def _format_percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
