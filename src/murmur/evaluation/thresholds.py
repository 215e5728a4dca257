"""Thresholds of the positive probability, their sensitivity and specificity, and predictive values."""

import numpy as np

from murmur.evaluation.ratio import divide_or_nan


def find_threshold(is_positive: np.ndarray, score: np.ndarray, sensitivity: float) -> float:
    """Find the highest threshold with at least the required sensitivity.

    Parameters
    ----------
    is_positive : bool array, shape [n]
        The true class.
    score : float array, shape [n]
        A unit is predicted positive if its score is at least the threshold; never, if its score is NaN.
    sensitivity : float
        The required share of the positive units, 0 to 1.

    Returns
    -------
    float
        NaN without a positive unit, or where too many of them have no score.
    """
    n = np.count_nonzero(is_positive)
    scores = np.sort(score[is_positive & ~np.isnan(score)])[::-1]
    needed = np.searchsorted(np.arange(1, n + 1) / n, sensitivity) if n else 0
    return float(scores[needed]) if needed < len(scores) else np.nan


def score_threshold(is_positive: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, float]:
    """Compute sensitivity and specificity of a threshold.

    A unit without a score (NaN) is predicted neither positive nor negative, so it counts as wrong.

    Parameters
    ----------
    is_positive, score
        As in `find_threshold`.
    threshold : float
        A unit is predicted positive if its score is at least this.

    Returns
    -------
    sensitivity, specificity : float
        NaN without a threshold, or without a unit of the class.
    """
    if np.isnan(threshold):
        return np.nan, np.nan
    true_positive, true_negative = (score >= threshold)[is_positive], (score < threshold)[~is_positive]
    shares = [float(part.mean()) if len(part) else np.nan for part in (true_positive, true_negative)]
    return shares[0], shares[1]


def predictive_values(
    sensitivity: np.ndarray | float, specificity: np.ndarray | float, prevalence: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the predictive values at a prevalence by Bayes' theorem; arrays are broadcast together.

    Returns
    -------
    ppv, npv : array
        Positive and negative predictive value; NaN where no unit would be predicted positive, or negative.
    """
    positive, negative = np.asarray(prevalence), 1 - np.asarray(prevalence)
    true_positive, true_negative = sensitivity * positive, specificity * negative
    return (
        divide_or_nan(true_positive, true_positive + (1 - specificity) * negative),
        divide_or_nan(true_negative, true_negative + (1 - sensitivity) * positive),
    )
