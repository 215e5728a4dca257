"""The official scores of the PhysioNet challenges of 2016 and 2022."""

from collections.abc import Mapping, Sequence

import numpy as np

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.evaluation.ratio import divide_or_nan


def compute_murmur_scores(
    correct: np.ndarray, actual: np.ndarray, recall: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Compute the weighted accuracy of the 2022 challenge, for the data as they are and at the official mix.

    weighted_accuracy is (5 c_Present + 3 c_Unknown + c_Absent) / (5 t_Present + 3 t_Unknown + t_Absent) for c
    correct predictions of t patients. weighted_accuracy_official has the same recalls, but t as in all 942
    patients of CirCor. No predicted class counts as wrong in both; the challenge's code counts it as Present.

    Parameters
    ----------
    correct, actual, recall : array, shape [..., classes]
        Of each class the number of correct predictions, of units, and their ratio.
    classes : sequence of str
        Present, Unknown and Absent, in the order of the arrays.

    References
    ----------
    Reyna et al., PLOS Digital Health 2, 2023.
    """
    weights = np.array([CIRCOR_WEIGHTS[c] for c in classes])
    return {
        "weighted_accuracy": divide_or_nan(correct @ weights, actual @ weights),
        "weighted_accuracy_official": weighted_accuracy_score(recall, classes, CIRCOR_PATIENTS),
    }


def weighted_accuracy_score(
    recall: np.ndarray, classes: Sequence[str], patients: Mapping[str, float]
) -> np.ndarray:
    """Compute CirCor's weighted accuracy from recalls, for a given number of patients of each class.

    Parameters
    ----------
    recall : array, shape [..., classes]
        NaN is allowed for a class without patients.
    classes : sequence of str
        The classes in the order of `recall`.
    patients : dict of str to float
        By class; only the proportions count.

    Returns
    -------
    array, shape [...]
    """
    shares = np.array([CIRCOR_WEIGHTS[c] * patients[c] for c in classes], dtype=float)
    return np.where(shares > 0, recall, 0) @ (shares / shares.sum())


def outcome_cost(counts: np.ndarray, normal: int) -> np.ndarray:
    """Compute the outcome score of the 2022 challenge: the mean cost of a patient, lower is better.

    10 for the algorithm; an expert for each patient who is not predicted Normal, more expensive the more
    there are; 10,000 for the treatment of an Abnormal patient whom the expert sees, 50,000 for one who is
    missed. A patient without a predicted class is seen by the expert, as in the challenge's code.

    Parameters
    ----------
    counts : array, shape [..., actual, predicted]
        Counts of two classes, perhaps with a third column of units without a predicted class.
    normal : int
        The number of the class Normal.

    References
    ----------
    Reyna et al., PLOS Digital Health 2, 2023.
    """
    n, abnormal = counts.sum((-2, -1)), counts[..., 1 - normal, :]
    referred = 1 - divide_or_nan(counts[..., normal].sum(-1), n)
    missed = divide_or_nan(abnormal[..., normal], n)
    expert = 25 + 397 * referred - 1718 * referred**2 + 11296 * referred**4
    return 10 + expert + 10_000 * (divide_or_nan(abnormal.sum(-1), n) - missed) + 50_000 * missed


def modified_accuracy(counts: np.ndarray) -> np.ndarray:
    """Compute the modified accuracy (MAcc), the score of the 2016 challenge.

    The mean over the two classes of the share of right predictions. No predicted class ("unsure" in the
    challenge) is right for a recording of poor quality and wrong for one of good quality.

    Parameters
    ----------
    counts : array, shape [..., quality, actual, predicted]
        Quality is 0 good, 1 poor, 2 unknown (may be missing); two classes; a third column counts the units
        without a predicted class.

    Returns
    -------
    array, shape [...]
        NaN where the quality of a unit is unknown or a class is absent.

    Notes
    -----
    The challenge defines Se = wa1 Aa1 / (Aa1 + Aq1 + An1) + wa2 (Aa2 + Aq2) / (Aa2 + Aq2 + An2), where the
    weights are the share of each quality among the abnormal recordings. The weights cancel the denominators,
    which gives the share above. Sp likewise.

    References
    ----------
    Clifford et al., Computing in Cardiology, 2016.
    """
    counts = np.asarray(counts, dtype=float)
    known, unsure = counts[..., :2, :, :], counts[..., 1, :, 2]
    right = np.diagonal(known, axis1=-2, axis2=-1).sum(-2) + unsure
    score = divide_or_nan(right, known.sum((-3, -1))).mean(-1)
    return np.where(counts[..., 2:, :, :].sum((-3, -2, -1)) > 0, np.nan, score)
