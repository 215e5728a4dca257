"""Classification metrics from confusion matrices (any number at once) and from probabilities.

Undefined is NaN, never 0: a class that is absent from the truth has no recall, precision, F1 or ROC-AUC, and
a mean over classes that needs them is undefined too.

No predicted class (a unit without a usable segment) counts as a wrong prediction: neither a true positive nor
a true negative. Metrics of probabilities leave such units out.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from murmur.circor_weights import CIRCOR_WEIGHTS
from murmur.evaluation import challenges
from murmur.evaluation.ratio import divide_or_nan


def confusion_matrix(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    n_classes: int,
    group: np.ndarray | None = None,
    n_groups: int | None = None,
) -> np.ndarray:
    """Count the units by true and predicted class, of each group if groups are given.

    Parameters
    ----------
    y_true, y_pred : int array, shape [n]
        Class numbers; `y_pred` is `n_classes` where no class is predicted.
    n_classes : int
        The number of classes.
    group : int array, shape [n], optional
        The number of each unit's group.
    n_groups : int, optional
        The number of groups, if some may have no unit.

    Returns
    -------
    int array, shape [n_classes, n_classes + 1] or [groups, n_classes, n_classes + 1]
        Rows are true classes; the last column counts the units without a predicted class.
    """
    columns = n_classes + 1
    n = n_classes * columns
    cell = np.asarray(y_true) * columns + y_pred
    if group is None:
        return np.bincount(cell, minlength=n).reshape(n_classes, columns)
    groups = int(group.max()) + 1 if n_groups is None else n_groups
    return np.bincount(group * n + cell, minlength=groups * n).reshape(groups, n_classes, columns)


def compute_count_metrics(
    counts: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, np.ndarray]:
    """Compute all metrics that follow from confusion matrices.

    accuracy; uar, the mean recall (balanced accuracy); sensitivity and specificity of the positive classes
    together against the rest; Matthews' correlation; precision, recall and F1 of each class; macro precision
    and F1; the scores of the 2022 challenge for its classes.

    Parameters
    ----------
    counts : array, shape [..., actual, predicted]
        As from `confusion_matrix`; without the last column all units have a predicted class.
    classes, positive : sequence of str
        The classes in order, and the positive ones.

    Returns
    -------
    dict of str to array, shape [...]

    Notes
    -----
    A class that is never predicted has precision and F1 0, as in scikit-learn with `zero_division=0`.
    """
    counts = np.asarray(counts, dtype=float)
    correct, actual = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    predicted, missing = counts.sum(-2)[..., : len(classes)], counts[..., len(classes) :].sum((-2, -1))
    recall = divide_or_nan(correct, actual)
    precision = np.where(actual > 0, np.nan_to_num(divide_or_nan(correct, predicted)), np.nan)
    f1 = np.where(actual > 0, divide_or_nan(2 * correct, actual + predicted), np.nan)
    values = {"accuracy": divide_or_nan(correct.sum(-1), actual.sum(-1)), "uar": recall.mean(-1)}
    values |= _sensitivity_specificity(counts, np.isin(classes, positive))
    values |= {"precision_macro": precision.mean(-1), "f1_macro": f1.mean(-1)}
    values |= {"matthews": _matthews_corrcoef(correct, actual, predicted, missing), "n_no_answer": missing}
    if set(classes) == set(CIRCOR_WEIGHTS):
        values |= challenges.compute_murmur_scores(correct, actual, recall, classes)
    if set(classes) == {"Abnormal", "Normal"}:
        values["outcome_cost"] = challenges.outcome_cost(counts, list(classes).index("Normal"))
    for name, by_class in {"precision": precision, "recall": recall, "f1": f1}.items():
        values |= {f"{name}_{c}": by_class[..., k] for k, c in enumerate(classes)}
    return values


def _sensitivity_specificity(counts: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    """Of the positive classes (bool [classes]) together against all others together."""
    predicted = counts[..., : len(positive)]
    true_positive = predicted[..., positive, :][..., positive].sum((-2, -1))
    true_negative = predicted[..., ~positive, :][..., ~positive].sum((-2, -1))
    return {
        "sensitivity": divide_or_nan(true_positive, counts[..., positive, :].sum((-2, -1))),
        "specificity": divide_or_nan(true_negative, counts[..., ~positive, :].sum((-2, -1))),
    }


def _matthews_corrcoef(
    correct: np.ndarray, actual: np.ndarray, predicted: np.ndarray, missing: np.ndarray
) -> np.ndarray:
    """Matthews' correlation of several classes (Gorodkin, Comput. Biol. Chem. 28, 2004).

    No predicted class is one more class, which is never true. 0 where only one class is predicted, as in
    scikit-learn; NaN where only one class is true.
    """
    n = actual.sum(-1)
    covariance = correct.sum(-1) * n - (actual * predicted).sum(-1)
    of_truth, of_predicted = n**2 - (actual**2).sum(-1), n**2 - (predicted**2).sum(-1) - missing**2
    value = np.nan_to_num(divide_or_nan(covariance, np.sqrt(of_truth * of_predicted)))
    return np.where(of_truth > 0, value, np.nan)


def compute_probability_metrics(
    y_true: np.ndarray, y_proba: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, float]:
    """Compute roc_auc, pr_auc (average precision), brier and ece.

    With two classes the areas are those of the positive class, with more the mean of each class against the
    rest. They are NaN where a class is absent.

    Parameters
    ----------
    y_true : int array, shape [n]
        Class numbers.
    y_proba : float array, shape [n, classes]
        Probabilities; units with NaN are left out.
    classes, positive : sequence of str
        The classes in order, and the positive ones.
    """
    y_true, y_proba = drop_missing(y_true, y_proba)
    is_class, scores = one_vs_rest(y_true, y_proba, classes, positive)
    defined = bool((is_class.any(0) & ~is_class.all(0)).all())
    return {
        "roc_auc": float(roc_auc_score(is_class, scores)) if defined else np.nan,
        "pr_auc": float(average_precision_score(is_class, scores)) if defined else np.nan,
        "brier": brier_score_loss(y_true, y_proba),
        "ece": expected_calibration_error(y_true, y_proba),
    }


def one_vs_rest(
    y_true: np.ndarray, y_proba: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a column for each class against the rest, or one for the positive of two classes.

    Returns
    -------
    is_class : bool array, shape [n, columns]
        Whether it is the true class.
    score : float array, shape [n, columns]
        Its probability.
    """
    columns = [list(classes).index(positive[0])] if len(classes) == 2 else list(range(len(classes)))
    return np.asarray(y_true)[:, None] == columns, np.asarray(y_proba)[:, columns]


def drop_missing(y_true: np.ndarray, y_proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the units without probabilities: those with a NaN in their row of `y_proba` [n, classes]."""
    present = ~np.isnan(y_proba).any(axis=1)
    return np.asarray(y_true)[present], np.asarray(y_proba)[present]


def brier_score_loss(y_true: np.ndarray, y_proba: np.ndarray) -> float:
    """Compute the Brier score: the squared error, summed over all classes, 0 to 2.

    As scikit-learn's with `scale_by_half=False`; units with NaN are left out, NaN without any unit.

    References
    ----------
    Brier, Monthly Weather Review 78, 1950.
    """
    y_true, y_proba = drop_missing(y_true, y_proba)
    if not len(y_proba):
        return np.nan
    return float(((y_proba - np.eye(y_proba.shape[1])[y_true]) ** 2).sum(1).mean())


def expected_calibration_error(y_true: np.ndarray, y_proba: np.ndarray, bins: int = 15) -> float:
    """Compute the expected calibration error of the most probable class.

    The mean over units of |accuracy - mean confidence| of the unit's bin; NaN without units.

    Parameters
    ----------
    y_true, y_proba
        As in `compute_probability_metrics`.
    bins : int
        The number of bins of equal width.

    References
    ----------
    Naeini et al., AAAI 2015; Guo et al., ICML 2017.
    """
    bin_, confidence, is_right = bin_confidences(y_true, y_proba, bins)
    gaps = np.bincount(bin_, weights=is_right - confidence)
    return float(np.abs(gaps).sum() / len(bin_)) if len(bin_) else np.nan


def bin_confidences(
    y_true: np.ndarray, y_proba: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign each unit to a bin by its confidence, the highest of its probabilities.

    The bins divide 0 to 1 in equal widths; an edge belongs to the bin below it (Guo et al., ICML 2017).

    Returns
    -------
    bin : int array, shape [n]
        The number of the bin; units with NaN are left out.
    confidence : float array, shape [n]
        The highest probability.
    is_right : bool array, shape [n]
        Whether the most probable class is the true class.
    """
    y_true, y_proba = drop_missing(y_true, y_proba)
    confidence = y_proba.max(axis=1).astype(float)
    bin_ = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return bin_, confidence, y_proba.argmax(axis=1) == y_true
