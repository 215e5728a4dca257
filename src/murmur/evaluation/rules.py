"""From segments to recordings to patients: named rules, and class weights fitted on validation parts."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.errors import MurmurError
from murmur.evaluation import calibration


def pool_probabilities(p: np.ndarray, member: np.ndarray, n_units: int, rule: str) -> np.ndarray:
    """Probabilities of units [n_units, classes] from those of their parts [n, classes], unit numbers [n].

    mean_probability and any_present take the mean; mean_logit the mean of the logarithms, maximum the
    greatest of each class, both scaled to a sum of one. Every unit must have a part.
    """
    if rule == "maximum":
        most = np.zeros((n_units, p.shape[1]))
        np.maximum.at(most, member, p)
        return most / most.sum(axis=1, keepdims=True)
    values = calibration.log_probabilities(p) if rule == "mean_logit" else p
    sums = np.stack([np.bincount(member, column, n_units) for column in values.T], axis=1)
    mean = sums / np.bincount(member, minlength=n_units)[:, None]
    return softmax(mean, axis=1) if rule == "mean_logit" else mean


def choose_class(p: np.ndarray, weights: np.ndarray, silent: int) -> np.ndarray:
    """The class [n] with the greatest weight [n or 1, classes] times probability [n, classes].

    `silent` where the probabilities are NaN; in a tie the first class.
    """
    return np.where(np.isnan(p).any(axis=1), silent, (p * weights).argmax(axis=1))


def choose_any_present(
    answers: np.ndarray, member: np.ndarray, n_units: int, order: Sequence[int]
) -> np.ndarray:
    """The answer of units [n_units] whose parts have these answers [n]: the first in `order` that occurs.

    For CirCor: Present if any recording is, else Unknown if any is, else Absent, as the official M2D rule
    has it (Niizumi et al., arXiv 2404.17107).
    """
    rank = np.empty(max(order) + 1, int)
    rank[list(order)] = np.arange(len(order))
    least = np.full(n_units, len(order) - 1)
    np.minimum.at(least, member, rank[answers])
    return np.asarray(order)[least]


def weigh_units(truth: np.ndarray, metric: str, classes: Sequence[str]) -> np.ndarray:
    """What a right answer on each unit [n] is worth, so that their sum is `metric` up to a factor.

    Of the classes that are there: one that is absent from a validation part has no say.
    """
    each = np.ones(len(classes))
    if metric.startswith("weighted_accuracy"):
        if set(classes) != set(CIRCOR_WEIGHTS):
            raise MurmurError(
                f"evaluate.thresholds: {metric} is of the classes {', '.join(CIRCOR_WEIGHTS)}, these are "
                f"{', '.join(classes)}; choose uar or accuracy"
            )
        each = np.array([CIRCOR_WEIGHTS[c] for c in classes], float)
    if metric in ("uar", "weighted_accuracy_official"):
        each = each / np.maximum(np.bincount(truth, minlength=len(classes)), 1)
    if metric == "weighted_accuracy_official":
        each = each * [CIRCOR_PATIENTS[c] for c in classes]
    return each[truth]


def fit_class_weights(truth: np.ndarray, p: np.ndarray, worth: np.ndarray, sweeps: int = 10) -> np.ndarray:
    """Class weights [classes] whose answers on these units are worth the most; to be fitted on validation.

    One weight at a time, each to its exact best, until none gains: a local optimum. Of equal bests the one
    nearest to 1, where the likeliest class answers, and else the middle of its interval.
    """
    weights = np.ones(p.shape[1])
    for _ in range(sweeps):
        before = weights.copy()
        for k in range(len(weights)):
            weights[k] = _best_weight(truth, p, worth, weights, k)
        if (weights == before).all():
            break
    return weights


def _best_weight(truth: np.ndarray, p: np.ndarray, worth: np.ndarray, weights: np.ndarray, k: int) -> float:
    """Class k answers where its weight is above the point at which it beats the best of the others."""
    others = p * weights
    others[:, k] = -1
    rival = others.argmax(axis=1)
    point = np.divide(others.max(axis=1), p[:, k], out=np.full(len(p), np.inf), where=p[:, k] > 0)
    order = np.argsort(point, kind="stable")
    gain = (worth * ((truth == k).astype(float) - (truth == rival)))[order].cumsum()
    edges = np.concatenate([[0], point[order], [np.inf]])
    totals = np.concatenate([[0], gain])
    totals[edges[1:] == edges[:-1]] = -np.inf  # between equal points there is no room
    bests = np.flatnonzero(totals >= totals.max() - 1e-12)
    inside = [_inside(edges[b], edges[b + 1], weights[k]) for b in bests]
    return min(inside, key=lambda w: (abs(np.log(w)), w))


def _inside(low: float, high: float, now: float) -> float:
    """A weight between the edges: 1 or the present one if they lie there, else the middle by logarithm."""
    for weight in (1.0, now):
        if low < weight < high:
            return weight
    return low * 2 if high == np.inf else high / 2 if low == 0 else float(np.sqrt(low * high))
