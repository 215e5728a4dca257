"""Reasons for which no class is predicted for a recording."""

import numpy as np

from murmur.inference.familiarity import Reference, compute_distance, describe_signal
from murmur.inference.quality import Quality

MAX_CLIPPED = 0.01  # fraction of the samples


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
        doubts.append(f"clipped: {quality.clipped:.0%} of the samples are at the limit")
    if (distance := compute_distance(describe_signal(signal, rate), reference)) > reference.limit:
        doubts.append(
            f"unlike the training data: distance {distance:.1f}, the limit is {reference.limit:.1f}"
        )
    return tuple(doubts)
