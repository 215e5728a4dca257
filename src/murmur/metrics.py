"""What a set of answers is worth: figures from confusion counts (any number at once) and from probabilities.

One rule for what is undefined: a class that does not occur in the truth has no recall, precision, F1 or
ROC-AUC. They are NaN, never 0, and so is every mean over classes that would have needed them.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

CIRCOR_WEIGHTS = {"Present": 5, "Unknown": 3, "Absent": 1}
CIRCOR_PATIENTS = {"Present": 179, "Unknown": 68, "Absent": 695}  # the official mix, version 1.0.3


def confusion(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    n_classes: int,
    group: np.ndarray | None = None,
    n_groups: int | None = None,
) -> np.ndarray:
    """Count answers: [actual, predicted], or [group, actual, predicted] where `group` is given.

    All are class or group numbers from 0, of shape [n]. `n_groups` keeps groups that have no answer.
    """
    cell = np.asarray(y_true) * n_classes + y_pred
    if group is None:
        return np.bincount(cell, minlength=n_classes**2).reshape(n_classes, n_classes)
    groups = int(group.max()) + 1 if n_groups is None else n_groups
    return np.bincount(group * n_classes**2 + cell, minlength=groups * n_classes**2).reshape(
        groups, n_classes, n_classes
    )


def from_confusion(
    counts: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, np.ndarray]:
    """Every figure that confusion counts [..., actual, predicted] give, each of shape [...].

    accuracy; uar, the mean of the recalls (the same as balanced accuracy and as macro recall); sensitivity
    and specificity after merging the classes into `positive` and the rest; matthews; precision, recall and
    F1 of each class; macro precision and F1; CirCor's weighted accuracy where the classes are its three.

    A class that is in the truth but never predicted has precision 0 and so F1 0, as scikit-learn has it with
    `zero_division=0`; a class that is not in the truth has NaN for all three (see the module's rule).
    """
    counts = np.asarray(counts, dtype=float)
    hits, actual, predicted = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)
    recall = _ratio(hits, actual)
    precision = np.where(actual > 0, np.nan_to_num(_ratio(hits, predicted)), np.nan)
    f1 = np.where(actual > 0, _ratio(2 * hits, actual + predicted), np.nan)
    figures = {"accuracy": _ratio(hits.sum(-1), actual.sum(-1)), "uar": recall.mean(-1)}
    figures |= _merged(counts, np.isin(classes, positive))
    figures |= {"precision_macro": precision.mean(-1), "f1_macro": f1.mean(-1)}
    figures["matthews"] = _matthews(hits, actual, predicted)
    if set(classes) == set(CIRCOR_WEIGHTS):
        figures |= _circor(hits, actual, recall, classes)
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        figures |= {f"{name}_{c}": values[..., k] for k, c in enumerate(classes)}
    return figures


def from_probabilities(
    y_true: np.ndarray, p: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, float]:
    """roc_auc, pr_auc (average precision) and brier of probabilities `p` [n, classes] for class numbers [n].

    With two classes the areas are those of the positive class; with more, the mean of every class against
    the rest; NaN where a class is absent. brier is Brier's own (Monthly Weather Review 78, 1950): the
    squared error summed over all classes, 0 to 2, so twice the usual binary figure.
    """
    hits, scores = _against_rest(y_true, p, classes, positive)
    brier = float(((p - np.eye(len(classes))[y_true]) ** 2).sum(1).mean()) if len(p) else np.nan
    if not (hits.any(0) & ~hits.all(0)).all():
        return {"roc_auc": np.nan, "pr_auc": np.nan, "brier": brier}
    return {
        "roc_auc": float(roc_auc_score(hits, scores)),
        "pr_auc": float(average_precision_score(hits, scores)),
        "brier": brier,
    }


def weighted_roc_auc(
    y_true: np.ndarray, p: np.ndarray, weights: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> np.ndarray:
    """`from_probabilities`' roc_auc under many weightings `weights` [draws, n] of the n units: [draws].

    The area is the share of pairs put in the right order, a tie counting half (Mann-Whitney), so one sort
    serves all draws.
    """
    hits, scores = _against_rest(y_true, p, classes, positive)
    areas = [_weighted_area(hits[:, k], scores[:, k], weights) for k in range(hits.shape[1])]
    return np.mean(areas, axis=0)


def _weighted_area(hit: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(score, kind="stable")
    ties = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    weights = weights[:, order]
    above = np.add.reduceat(weights * hit[order], ties, axis=1)
    below = np.add.reduceat(weights * ~hit[order], ties, axis=1)
    ordered = (above * (below.cumsum(1) - below / 2)).sum(1)
    return _ratio(ordered, above.sum(1) * below.sum(1))


def _against_rest(
    y_true: np.ndarray, p: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """One column a class that is told from the rest: whether it is the truth, and its probability."""
    columns = [list(classes).index(positive[0])] if len(classes) == 2 else list(range(len(classes)))
    return np.asarray(y_true)[:, None] == columns, np.asarray(p)[:, columns]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _merged(counts: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    caught = counts[..., positive, :][..., positive].sum((-2, -1))
    cleared = counts[..., ~positive, :][..., ~positive].sum((-2, -1))
    return {
        "sensitivity": _ratio(caught, counts[..., positive, :].sum((-2, -1))),
        "specificity": _ratio(cleared, counts[..., ~positive, :].sum((-2, -1))),
    }


def _matthews(hits: np.ndarray, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Matthews' correlation for several classes (Gorodkin, Comput. Biol. Chem. 28, 2004).

    0 where only one class is predicted, as scikit-learn has it; NaN where the truth is only one class.
    """
    n = actual.sum(-1)
    covariance = hits.sum(-1) * n - (actual * predicted).sum(-1)
    of_truth, of_answers = n**2 - (actual**2).sum(-1), n**2 - (predicted**2).sum(-1)
    return np.where(of_truth > 0, np.nan_to_num(_ratio(covariance, np.sqrt(of_truth * of_answers))), np.nan)


def _circor(
    hits: np.ndarray, actual: np.ndarray, recall: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """The murmur score of the 2022 PhysioNet challenge (Reyna et al., PLOS Digital Health 2, 2023).

    weighted_accuracy is (5 c_Present + 3 c_Unknown + c_Absent) / (5 t_Present + 3 t_Unknown + t_Absent) of c
    right among t; weighted_accuracy_official is the same with t as in all 942 CirCor ids, at these recalls.
    """
    weights = np.array([CIRCOR_WEIGHTS[c] for c in classes])
    shares = weights * [CIRCOR_PATIENTS[c] for c in classes]
    return {
        "weighted_accuracy": _ratio(hits @ weights, actual @ weights),
        "weighted_accuracy_official": recall @ (shares / shares.sum()),
    }
