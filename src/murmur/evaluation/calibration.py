"""Temperature scaling of probabilities, and the reliability diagram."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from murmur.evaluation import metrics
from murmur.evaluation.temperature import log_probabilities

BOUNDS = (1 / 20, 20)  # of the temperature


def fit_temperature(y_true: np.ndarray, p: np.ndarray) -> float:
    """Find the temperature from 1/20 to 20 that minimises the log loss of `apply_temperature(p, T)`.

    Above 1 the probabilities were too confident. Fit it to other units than those that are scored.

    Parameters
    ----------
    y_true : int array, shape [n]
        Class numbers.
    p : float array, shape [n, classes]
        Probabilities; units with NaN are left out.

    Returns
    -------
    float
        1 where no temperature is better, without units, and where all units are of one class (the best
        temperature would be a bound).

    References
    ----------
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    y_true, p = metrics.drop_missing(y_true, p)
    if len(np.unique(y_true)) < 2:
        return 1.0
    logits = log_probabilities(p)

    def log_loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(p)), y_true].mean())

    best = minimize_scalar(log_loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x)) if best.fun < log_loss(0.0) else 1.0


def compute_reliability(y_true: np.ndarray, p: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Compute the points of a reliability diagram of the most probable class.

    Parameters
    ----------
    y_true, p
        As in `fit_temperature`.
    bins : int
        The number of bins, which are those of `metrics.expected_calibration_error`.

    Returns
    -------
    DataFrame
        confidence and accuracy (means) and n of each bin that has a unit.
    """
    bin_, confidence, is_right = metrics.bin_confidences(y_true, p, bins)
    table = pd.DataFrame({"confidence": confidence, "accuracy": is_right.astype(float)}).groupby(bin_)
    return table.mean().assign(n=table.size()).reset_index(drop=True)
