"""Calibration of probabilities by a temperature."""

import numpy as np
from scipy.special import softmax

SMALLEST = 1e-7  # probability, so that its logarithm is finite


def apply_temperature(p: np.ndarray, T: float | np.ndarray) -> np.ndarray:
    """Return softmax(log p / T), which keeps the order of the classes.

    Parameters
    ----------
    p : float array, shape [n, classes]
        Probabilities; NaN stays NaN.
    T : float or array, shape [n, 1]
        The temperature, of all units or of each.
    """
    return softmax(log_probabilities(p) / T, axis=1)


def log_probabilities(p: np.ndarray) -> np.ndarray:
    """Return log p, finite where p is 0."""
    return np.log(np.clip(p.astype(float), SMALLEST, None))
