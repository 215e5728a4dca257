"""What a set of answers is worth: figures from confusion counts (any number at once) and from probabilities.

One rule for what is undefined: a class that does not occur in the truth has no recall, precision, F1 or
ROC-AUC. They are NaN, never 0, and so is every mean over classes that would have needed them.

One rule for a unit without an answer (no usable segment): it is a wrong answer. A positive is not caught,
a negative is not cleared. Figures of probabilities leave it out, since there is none.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from sklearn.metrics import average_precision_score, roc_auc_score

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS

AT_ONCE = 128  # draws


def confusion(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    n_classes: int,
    group: np.ndarray | None = None,
    n_groups: int | None = None,
) -> np.ndarray:
    """Count answers: [actual, predicted], or [group, actual, predicted] where `group` is given.

    All are class or group numbers from 0, of shape [n]; `y_pred` is n_classes where there is no answer, so
    there is one more column than rows. `n_groups` keeps groups that have no unit.
    """
    columns = n_classes + 1
    n = n_classes * columns
    cell = np.asarray(y_true) * columns + y_pred
    if group is None:
        return np.bincount(cell, minlength=n).reshape(n_classes, columns)
    groups = int(group.max()) + 1 if n_groups is None else n_groups
    return np.bincount(group * n + cell, minlength=groups * n).reshape(groups, n_classes, columns)


def from_confusion(
    counts: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, np.ndarray]:
    """Every figure that confusion counts [..., actual, predicted] give, each of shape [...].

    There is a column a class and perhaps one more, of units without an answer (n_no_answer); they count as
    wrong, but no class's precision counts them.

    accuracy; uar, the mean of the recalls (the same as balanced accuracy and as macro recall); sensitivity
    and specificity after merging the classes into `positive` and the rest; matthews; precision, recall and
    F1 of each class; macro precision and F1; CirCor's weighted accuracy where the classes are its three,
    its cost where they are those of its outcome.

    A class that is in the truth but never predicted has precision 0 and so F1 0, as scikit-learn has it with
    `zero_division=0`; a class that is not in the truth has NaN for all three (see the module's rule).
    """
    counts = np.asarray(counts, dtype=float)
    hits, actual = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    predicted, none = counts.sum(-2)[..., : len(classes)], counts[..., len(classes) :].sum((-2, -1))
    recall = _ratio(hits, actual)
    precision = np.where(actual > 0, np.nan_to_num(_ratio(hits, predicted)), np.nan)
    f1 = np.where(actual > 0, _ratio(2 * hits, actual + predicted), np.nan)
    figures = {"accuracy": _ratio(hits.sum(-1), actual.sum(-1)), "uar": recall.mean(-1)}
    figures |= _merged(counts, np.isin(classes, positive))
    figures |= {"precision_macro": precision.mean(-1), "f1_macro": f1.mean(-1)}
    figures |= {"matthews": _matthews(hits, actual, predicted, none), "n_no_answer": none}
    if set(classes) == set(CIRCOR_WEIGHTS):
        figures |= _circor(hits, actual, recall, classes)
    if set(classes) == {"Abnormal", "Normal"}:
        figures["outcome_cost"] = _outcome_cost(counts, list(classes).index("Normal"))
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        figures |= {f"{name}_{c}": values[..., k] for k, c in enumerate(classes)}
    return figures


def from_probabilities(
    y_true: np.ndarray, p: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> dict[str, float]:
    """roc_auc, pr_auc (average precision), brier and ece of probabilities `p` [n, classes] for classes [n].

    Rows with NaN, units without an answer, are left out.

    With two classes the areas are those of the positive class; with more, the mean of every class against
    the rest; NaN where a class is absent.
    """
    y_true, p = answered(y_true, p)
    hits, scores = _against_rest(y_true, p, classes, positive)
    defined = bool((hits.any(0) & ~hits.all(0)).all())
    return {
        "roc_auc": float(roc_auc_score(hits, scores)) if defined else np.nan,
        "pr_auc": float(average_precision_score(hits, scores)) if defined else np.nan,
        "brier": brier(y_true, p),
        "ece": ece(y_true, p),
    }


def brier(y_true: np.ndarray, p: np.ndarray) -> float:
    """Brier's own score (Monthly Weather Review 78, 1950): the squared error summed over all classes.

    0 to 2, so twice the usual binary figure; the mean over units with an answer, NaN without one.
    """
    y_true, p = answered(y_true, p)
    return float(((p - np.eye(p.shape[1])[y_true]) ** 2).sum(1).mean()) if len(p) else np.nan


def answered(y_true: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`y_true` [n] and `p` [n, classes] without the units that have no answer: a NaN in their row."""
    there = ~np.isnan(p).any(axis=1)
    return np.asarray(y_true)[there], np.asarray(p)[there]


def ece(y_true: np.ndarray, p: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the top label (Naeini et al., AAAI 2015; Guo et al., ICML 2017).

    The mean over units of |accuracy - mean confidence| of the bin that a unit lies in. NaN without units.
    """
    place, confidence, right = top_label(y_true, p, bins)
    gaps = np.bincount(place, weights=right - confidence)
    return float(np.abs(gaps).sum() / len(place)) if len(place) else np.nan


def top_label(y_true: np.ndarray, p: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each unit with an answer the bin, the highest probability, and whether that class is the truth.

    The bins cut 0 to 1 in equal widths; an edge belongs to the bin below it, as in Guo et al. (2017).
    """
    y_true, p = answered(y_true, p)
    confidence = p.max(axis=1).astype(float)
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return place, confidence, p.argmax(axis=1) == y_true


def weighted_accuracy(
    recall: np.ndarray, classes: Sequence[str], patients: Mapping[str, float]
) -> np.ndarray:
    """CirCor's weighted accuracy at these recalls [..., classes] among `patients` of each class: [...].

    Only the proportions of `patients` count. A class of which there are none needs no recall.
    """
    shares = np.array([CIRCOR_WEIGHTS[c] * patients[c] for c in classes], dtype=float)
    return np.where(shares > 0, recall, 0) @ (shares / shares.sum())


def macc(counts: np.ndarray) -> np.ndarray:
    """The score of the 2016 PhysioNet challenge (Clifford et al., CinC 2016), modified accuracy: [...].

    counts: [..., quality, actual, predicted] with quality 0 good, 1 poor, 2 unknown (may be left out), two
    classes, and a third column of units without an answer, the challenge's "unsure".

    The mean of the two classes' shares of right answers, where no answer is right for a poor recording and
    wrong for a good one. This is the challenge's MAcc: in its Se = wa1 Aa1 / (Aa1 + Aq1 + An1) + wa2 (Aa2 +
    Aq2) / (Aa2 + Aq2 + An2) the weights are each quality's share of the abnormal, so that they cancel the
    denominators; Sp likewise. NaN where a unit's quality is unknown or a class is absent.
    """
    counts = np.asarray(counts, dtype=float)
    known, unsure = counts[..., :2, :, :], counts[..., 1, :, 2]
    right = np.diagonal(known, axis1=-2, axis2=-1).sum(-2) + unsure
    score = _ratio(right, known.sum((-3, -1))).mean(-1)
    return np.where(counts[..., 2:, :, :].sum((-3, -2, -1)) > 0, np.nan, score)


def threshold_for(hit: np.ndarray, score: np.ndarray, sensitivity: float) -> float:
    """The highest threshold at which `score` >= threshold catches at least this share of the hits [n].

    NaN where there is no hit, or where too many of them have no score (NaN), since these are never caught.
    """
    n = np.count_nonzero(hit)
    caught = np.sort(score[hit & ~np.isnan(score)])[::-1]
    needed = np.searchsorted(np.arange(1, n + 1) / n, sensitivity) if n else 0
    return float(caught[needed]) if needed < len(caught) else np.nan


def at_threshold(hit: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity of calling positive what has `score` [n] >= threshold.

    A unit without a score (NaN) is neither caught nor cleared. NaN where there is no hit, no other unit, or
    no threshold.
    """
    if np.isnan(threshold):
        return np.nan, np.nan
    caught, cleared = (score >= threshold)[hit], (score < threshold)[~hit]
    share = [float(part.mean()) if len(part) else np.nan for part in (caught, cleared)]
    return share[0], share[1]


def predictive_values(
    sensitivity: np.ndarray | float, specificity: np.ndarray | float, prevalence: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative predictive value at a prevalence, by Bayes; arrays are broadcast together.

    NaN where nobody would be called positive, or negative.
    """
    ill, well = np.asarray(prevalence), 1 - np.asarray(prevalence)
    true_positive, true_negative = sensitivity * ill, specificity * well
    return (
        _ratio(true_positive, true_positive + (1 - specificity) * well),
        _ratio(true_negative, true_negative + (1 - sensitivity) * ill),
    )


def weighted_roc_auc(
    y_true: np.ndarray,
    p: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[str],
    positive: Sequence[str],
    member: np.ndarray | None = None,
) -> np.ndarray:
    """`from_probabilities`' roc_auc under many weightings of the n units: [draws].

    The area is the share of pairs put in the right order, a tie counting half (Mann-Whitney), so one sort
    serves all draws. Rows with NaN in `p`, units without an answer, are left out.

    Parameters
    ----------
    weights: [draws, n]; or [draws, persons], where `member` [n] is the number of each unit's person.
    """
    there = ~np.isnan(p).any(axis=1)
    member = (np.arange(len(p)) if member is None else member)[there]
    hits, scores = _against_rest(*answered(y_true, p), classes, positive)
    parts = [
        np.ascontiguousarray(part.T, dtype=float)
        for part in np.array_split(weights, 1 + len(weights) // AT_ONCE)
    ]
    areas = [_weighted_area(hits[:, k], scores[:, k], parts, member) for k in range(hits.shape[1])]
    return np.mean(areas, axis=0)


def _weighted_area(
    hit: np.ndarray, score: np.ndarray, parts: Sequence[np.ndarray], member: np.ndarray
) -> np.ndarray:
    """The area [draws], weights in parts [persons, draws]; only where hits meet others does order matter."""
    tie = np.unique(score, return_inverse=True)[1]
    share = _ratio(np.bincount(tie, hit), np.bincount(tie))
    alike = (share[1:] == share[:-1]) & np.isin(share[1:], (0, 1))
    block = np.concatenate([[0], (~alike).cumsum()])[tie]
    n = int(block.max(initial=0)) + 1
    hits, others = (
        coo_array((np.ones(k.sum()), (block[k], member[k])), shape=(n, len(parts[0]))).tocsr()
        for k in (hit, ~hit)
    )
    areas = []
    for weights in parts:
        above, below = hits @ weights, others @ weights
        ordered = np.einsum("ij,ij->j", above, below.cumsum(0) - below / 2)
        areas.append(_ratio(ordered, above.sum(0) * below.sum(0)))
    return np.concatenate(areas)


def _against_rest(
    y_true: np.ndarray, p: np.ndarray, classes: Sequence[str], positive: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """One column a class that is told from the rest: whether it is the truth, and its probability."""
    columns = [list(classes).index(positive[0])] if len(classes) == 2 else list(range(len(classes)))
    return np.asarray(y_true)[:, None] == columns, np.asarray(p)[:, columns]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _merged(counts: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    answers = counts[..., : len(positive)]
    caught = answers[..., positive, :][..., positive].sum((-2, -1))
    cleared = answers[..., ~positive, :][..., ~positive].sum((-2, -1))
    return {
        "sensitivity": _ratio(caught, counts[..., positive, :].sum((-2, -1))),
        "specificity": _ratio(cleared, counts[..., ~positive, :].sum((-2, -1))),
    }


def _matthews(hits: np.ndarray, actual: np.ndarray, predicted: np.ndarray, none: np.ndarray) -> np.ndarray:
    """Matthews' correlation for several classes (Gorodkin, Comput. Biol. Chem. 28, 2004).

    No answer is one more class, which is never the truth. 0 where only one class is predicted, as
    scikit-learn has it; NaN where the truth is only one class.
    """
    n = actual.sum(-1)
    covariance = hits.sum(-1) * n - (actual * predicted).sum(-1)
    of_truth, of_answers = n**2 - (actual**2).sum(-1), n**2 - (predicted**2).sum(-1) - none**2
    return np.where(of_truth > 0, np.nan_to_num(_ratio(covariance, np.sqrt(of_truth * of_answers))), np.nan)


def _circor(
    hits: np.ndarray, actual: np.ndarray, recall: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """The murmur score of the 2022 PhysioNet challenge (Reyna et al., PLOS Digital Health 2, 2023).

    weighted_accuracy is (5 c_Present + 3 c_Unknown + c_Absent) / (5 t_Present + 3 t_Unknown + t_Absent) of c
    right among t; weighted_accuracy_official is the same with t as in all 942 CirCor ids, at these recalls.
    No answer is wrong in both; the challenge's own code takes it for Present.
    """
    weights = np.array([CIRCOR_WEIGHTS[c] for c in classes])
    return {
        "weighted_accuracy": _ratio(hits @ weights, actual @ weights),
        "weighted_accuracy_official": weighted_accuracy(recall, classes, CIRCOR_PATIENTS),
    }


def _outcome_cost(counts: np.ndarray, normal: int) -> np.ndarray:
    """The outcome score of the 2022 PhysioNet challenge: mean cost of a patient (Reyna et al. 2023).

    10 for the algorithm; an expert for all who are not called Normal, dearer the more they are; 10,000 to
    treat an Abnormal patient whom the expert sees, 50,000 to miss one. A patient without an answer goes to
    the expert, as in the challenge's own code.
    """
    n, abnormal = counts.sum((-2, -1)), counts[..., 1 - normal, :]
    seen = 1 - _ratio(counts[..., normal].sum(-1), n)
    missed = _ratio(abnormal[..., normal], n)
    expert = 25 + 397 * seen - 1718 * seen**2 + 11296 * seen**4
    return 10 + expert + 10_000 * (_ratio(abnormal.sum(-1), n) - missed) + 50_000 * missed
