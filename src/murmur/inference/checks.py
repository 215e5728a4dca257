"""Reasons for which no class is predicted for a recording."""

import numpy as np

from murmur.inference.familiarity import Reference, compute_distance, describe_signal
from murmur.inference.quality import WINDOW, Quality

MAX_CLIPPED = 0.15  # fraction of the samples
MIN_SCORE = 0.12  # of `Quality`, for recordings of at least 4 s: in shorter ones the score of noise is higher
SILENT = "silent: all samples are equal; check the microphone or the stethoscope"


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
        f"clipped: {_format_percent(clipped)} of the samples are at the highest or lowest value, at most "
        f"{_format_percent(MAX_CLIPPED)} is allowed; record again at a lower volume"
    )


def describe_score(score: float) -> str:
    """Return the reason for a recording with this score of `Quality`."""
    return (
        f"no regular heart sounds: the quality score is {score:.2f}, at least {MIN_SCORE:.2f} is needed; "
        "record again in a quiet room"
    )


def describe_distance(distance: float, limit: float) -> str:
    """Return the reason for a recording at this distance from the training data."""
    return (
        f"unlike the training data: the distance is {distance:.1f}, at most {limit:.1f} is allowed; the "
        "model does not know recordings of this kind"
    )


def describe_length(seconds: float, minimum: float) -> str:
    """Return the reason for a recording that is shorter than `minimum` s."""
    return f"too short: {seconds:.2g} s, at least {minimum:g} s is needed; make a longer recording"


def _format_percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
