"""Rules that pool the probabilities of parts, choose a class, and fit class weights on validation parts."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.evaluation.temperature import log_probabilities
from murmur.sections.evaluate import check_metric

EXPECTED = "expected_"  # at the beginning of a value of evaluate.thresholds


def pool_probabilities(p: np.ndarray, member: np.ndarray, n_units: int, rule: str) -> np.ndarray:
    """Pool the probabilities of the parts of each unit.

    Parameters
    ----------
    p : float array, shape [n, classes]
        The probabilities of the parts.
    member : int array, shape [n]
        The unit of each part; every unit has at least one part.
    n_units : int
        The number of units.
    rule : str
        mean_probability, any_present and regression take the mean. mean_logit takes the mean of the
        logarithms, maximum the maximum of each class; both are scaled to a sum of 1.

    Returns
    -------
    float array, shape [n_units, classes]
    """
    if rule == "maximum":
        highest = np.zeros((n_units, p.shape[1]))
        np.maximum.at(highest, member, p)
        return highest / highest.sum(axis=1, keepdims=True)
    values = log_probabilities(p) if rule == "mean_logit" else p
    sums = np.stack([np.bincount(member, column, n_units) for column in values.T], axis=1)
    mean = sums / np.bincount(member, minlength=n_units)[:, None]
    return softmax(mean, axis=1) if rule == "mean_logit" else mean


def choose_class(p: np.ndarray, weights: np.ndarray, missing: int) -> np.ndarray:
    """Choose the class with the highest weighted probability; in a tie the first.

    Parameters
    ----------
    p : float array, shape [n, classes]
        Probabilities.
    weights : float array, shape [n or 1, classes]
        The weight of each class.
    missing : int
        The class where the probabilities are NaN.

    Returns
    -------
    int array, shape [n]
    """
    return np.where(np.isnan(p).any(axis=1), missing, (p * weights).argmax(axis=1))


def choose_any_present(
    predicted: np.ndarray, member: np.ndarray, n_units: int, order: Sequence[int]
) -> np.ndarray:
    """Choose for each unit the first class in `order` that is predicted for any of its parts.

    For CirCor: Present if any recording is, else Unknown if any is, else Absent.

    Parameters
    ----------
    predicted : int array, shape [n]
        The class of each part.
    member, n_units
        As in `pool_probabilities`.
    order : sequence of int
        All classes, the most important first.

    Returns
    -------
    int array, shape [n_units]

    References
    ----------
    Niizumi et al., arXiv 2404.17107: the official rule of M2D.
    """
    rank = np.empty(max(order) + 1, int)
    rank[list(order)] = np.arange(len(order))
    lowest = np.full(n_units, len(order) - 1)
    np.minimum.at(lowest, member, rank[predicted])
    return np.asarray(order)[lowest]


def sort_positive_first(classes: Sequence[str], positive: Sequence[str]) -> list[int]:
    """Return the numbers of the classes, the positive ones first."""
    return sorted(range(len(classes)), key=lambda k: classes[k] not in positive)


def value_per_class(truth: np.ndarray, metric: str, classes: Sequence[str]) -> np.ndarray:
    """Compute the value of a right prediction of each class; the sum of values is proportional to a metric.

    Parameters
    ----------
    truth : int array, shape [n]
        Class numbers; a class that does not occur is ignored.
    metric : str
        accuracy, uar, weighted_accuracy or weighted_accuracy_official.
    classes : sequence of str
        The classes in order.

    Returns
    -------
    float array, shape [classes]

    Raises
    ------
    MurmurError
        If a weighted accuracy is not defined for these classes.
    """
    value = np.ones(len(classes))
    if metric.startswith("weighted_accuracy"):
        check_metric(metric, classes)
        value = np.array([CIRCOR_WEIGHTS[c] for c in classes], float)
    if metric in ("uar", "weighted_accuracy_official"):
        value = value / np.maximum(np.bincount(truth, minlength=len(classes)), 1)
    if metric == "weighted_accuracy_official":
        value = value * [CIRCOR_PATIENTS[c] for c in classes]
    return value


def choose_class_weights(
    truth: np.ndarray,
    p: np.ndarray,
    thresholds: str,
    classes: Sequence[str],
    temperature: float,
    uar_share: float = 0.0,
) -> np.ndarray:
    """Choose the class weights that `evaluate.thresholds` names, on the units of a validation part.

    Parameters
    ----------
    truth : int array, shape [n]
        Class numbers.
    p : float array, shape [n, classes]
        Probabilities, not calibrated.
    thresholds : str
        A metric of `value_per_class`: the weights that maximise it, from `fit_class_weights`. Or expected_
        and its name: the weights that maximise its expected value, if the calibrated probabilities are
        right. These are the values of the classes; they depend on how many units each class has, not on `p`.
    classes : sequence of str
        The classes in order.
    temperature : float
        Of the calibrated probabilities.
    uar_share : float
        Share of the UAR in what is maximised, from 0 to 1; the rest is the metric.

    Returns
    -------
    float array, shape [classes]
        Factors of the probabilities `p`.

    Notes
    -----
    The order of the classes by calibrated probability times value is that by p * value ** temperature.
    """
    value = value_per_class(truth, thresholds.removeprefix(EXPECTED), classes)
    if uar_share:
        uar = value_per_class(truth, "uar", classes)
        value = (1 - uar_share) * value / value[truth].sum() + uar_share * uar / uar[truth].sum()
    if thresholds.startswith(EXPECTED):
        return (value / value.min()) ** temperature
    return fit_class_weights(truth, p, value[truth])


def fit_class_weights(truth: np.ndarray, p: np.ndarray, value: np.ndarray, sweeps: int = 10) -> np.ndarray:
    """Find class weights that maximise the value of the right predictions; fit them on validation.

    Coordinate ascent to a local optimum: one weight after the other is set to its exact optimum, until none
    changes. An optimum is an interval of weights, and its weight is 1 (no weighting) if that lies inside,
    else the present weight if that lies inside, else the geometric mean of the ends (twice or half of the
    only end that is neither 0 nor infinite). Among equal optima the one with the weight nearest to 1 is
    chosen.

    Parameters
    ----------
    truth : int array, shape [n]
        Class numbers.
    p : float array, shape [n, classes]
        Probabilities.
    value : float array, shape [n]
        The value of a right prediction for each unit, as `value_per_class` gives it for its class.
    sweeps : int
        The most passes over all classes.

    Returns
    -------
    float array, shape [classes]
    """
    weights = np.ones(p.shape[1])
    for _ in range(sweeps):
        before = weights.copy()
        for k in range(len(weights)):
            weights[k] = _best_weight(truth, p, value, weights, k)
        if (weights == before).all():
            break
    return weights


def _best_weight(truth: np.ndarray, p: np.ndarray, value: np.ndarray, weights: np.ndarray, k: int) -> float:
    """The best weight of class k. A unit changes to class k where k exceeds the best of the other classes."""
    others = p * weights
    others[:, k] = -1
    second = others.argmax(axis=1)
    change = np.divide(others.max(axis=1), p[:, k], out=np.full(len(p), np.inf), where=p[:, k] > 0)
    order = np.argsort(change, kind="stable")
    gain = (value * ((truth == k).astype(float) - (truth == second)))[order].cumsum()
    edges = np.concatenate([[0], change[order], [np.inf]])
    totals = np.concatenate([[0], gain])
    totals[edges[1:] == edges[:-1]] = -np.inf  # an empty interval
    best = np.flatnonzero(totals >= totals.max() - 1e-12)
    inside = [_weight_between(edges[b], edges[b + 1], weights[k]) for b in best]
    return min(inside, key=lambda w: (abs(np.log(w)), w))


def _weight_between(low: float, high: float, present: float) -> float:
    """A weight between the edges: 1 or the present one if inside, else the middle of the logarithms."""
    for weight in (1.0, present):
        if low < weight < high:
            return weight
    return low * 2 if high == np.inf else high / 2 if low == 0 else float(np.sqrt(low * high))
