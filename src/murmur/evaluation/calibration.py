"""Probabilities that mean what they say: one temperature for all of them, and how far off they are."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from murmur.evaluation import metrics

LEAST = 1e-7  # of a probability, so that its logarithm is finite
BOUNDS = (1 / 20, 20)  # of a temperature


def fit_temperature(y_true: np.ndarray, p: np.ndarray) -> float:
    """The temperature T that makes `soften(p, T)` likeliest (Guo et al., ICML 2017), from 1/20 to 20.

    Above 1 the probabilities `p` [n, classes] of the class numbers `y_true` [n] were too sure. Rows with NaN,
    units without an answer, are left out. T is 1 where nothing is left, where all are of one class (the
    likeliest T would then be a bound), and where no other T is likelier. Fit it to other units than those
    that are scored.
    """
    y_true, p = metrics.answered(y_true, p)
    if len(np.unique(y_true)) < 2:
        return 1.0
    scores = log_probabilities(p)

    def loss(log_t: float) -> float:
        return -float(log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(p)), y_true].mean())

    found = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def apply_temperature(p: np.ndarray, T: float | np.ndarray) -> np.ndarray:
    """softmax(log p / T) of probabilities `p` [n, classes]; T is one for all, or one a row [n, 1].

    The order of the classes stays; they come closer together where T is above 1. NaN stays NaN.
    """
    return softmax(log_probabilities(p) / T, axis=1)


def compute_reliability(y_true: np.ndarray, p: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """A reliability diagram's rows: confidence and accuracy (means) and n of each bin of the top label.

    Bins as in `metrics.ece`, of which the mean of |accuracy - confidence| weighted by n is the figure for as
    many bins; a bin without a unit has no row. Rows of `p` [n, classes] with NaN are left out.
    """
    place, confidence, right = metrics.top_label(y_true, p, bins)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right.astype(float)}).groupby(place)
    return table.mean().assign(n=table.size()).reset_index(drop=True)


def log_probabilities(p: np.ndarray) -> np.ndarray:
    """log p, finite where p is 0: `softmax` makes p of it again."""
    return np.log(np.clip(p.astype(float), LEAST, None))
