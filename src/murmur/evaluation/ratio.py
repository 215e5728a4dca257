"""Division that is undefined, not infinite, for a divisor of 0."""

import numpy as np


def divide_or_nan(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
