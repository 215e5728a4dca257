"""The ROC-AUC for many weightings of the same units at once, as the bootstrap needs it."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array

from murmur.evaluation.metrics import drop_missing, one_vs_rest
from murmur.evaluation.ratio import divide_or_nan

BATCH = 128  # weightings


def weighted_roc_auc_score(
    y_true: np.ndarray,
    y_proba: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[str],
    positive: Sequence[str],
    member: np.ndarray | None = None,
) -> np.ndarray:
    """Compute roc_auc of `metrics.compute_probability_metrics` for many weightings of the units.

    The area is the share of pairs in the right order, where a tie counts half (Mann-Whitney). One sort is
    enough for all weightings.

    Parameters
    ----------
    y_true : int array, shape [n]
        Class numbers.
    y_proba : float array, shape [n, classes]
        Probabilities; units with NaN are left out.
    weights : array, shape [draws, n] or [draws, persons]
        The weights of the units, or of persons if `member` is given.
    classes, positive : sequence of str
        The classes in order, and the positive ones.
    member : int array, shape [n], optional
        The person of each unit.

    Returns
    -------
    array, shape [draws]
    """
    present = ~np.isnan(y_proba).any(axis=1)
    member = (np.arange(len(y_proba)) if member is None else member)[present]
    is_class, scores = one_vs_rest(*drop_missing(y_true, y_proba), classes, positive)
    batches = [
        np.ascontiguousarray(part.T, dtype=float)
        for part in np.array_split(weights, 1 + len(weights) // BATCH)
    ]
    areas = [_weighted_area(is_class[:, k], scores[:, k], batches, member) for k in range(is_class.shape[1])]
    return np.mean(areas, axis=0)


def _weighted_area(
    is_class: np.ndarray, score: np.ndarray, batches: Sequence[np.ndarray], member: np.ndarray
) -> np.ndarray:
    """The area [draws] of a class [n] against the rest; weights come in batches [persons, draws].

    Neighbours in the order of the scores that are all of the class, or all of the rest, form one block, since
    their order does not matter.
    """
    tie = np.unique(score, return_inverse=True)[1]
    share = divide_or_nan(np.bincount(tie, is_class), np.bincount(tie))
    same_block = (share[1:] == share[:-1]) & np.isin(share[1:], (0, 1))
    block = np.concatenate([[0], (~same_block).cumsum()])[tie]
    n = int(block.max(initial=0)) + 1
    of_class, of_rest = (
        coo_array((np.ones(rows.sum()), (block[rows], member[rows])), shape=(n, len(batches[0]))).tocsr()
        for rows in (is_class, ~is_class)
    )
    areas = []
    for weights in batches:
        above, below = of_class @ weights, of_rest @ weights
        ordered = np.einsum("ij,ij->j", above, below.cumsum(0) - below / 2)
        areas.append(divide_or_nan(ordered, above.sum(0) * below.sum(0)))
    return np.concatenate(areas)
