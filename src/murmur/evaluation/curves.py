"""The data of the plots: confusion matrix, ROC, precision-recall, reliability and learning curves."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from murmur.evaluation import calibration
from murmur.evaluation.levels import NO_ANSWER, Level

GRID = np.linspace(0, 1, 101)
LEARNING_CURVES = {
    "train_loss": "train loss",
    "validation_loss": "validation loss",
    "validation_uar": "validation UAR",
    "learning_rate": "learning rate",
}


def count_confusions(level: Level) -> pd.DataFrame:
    """Count the units of each true and predicted class, over all runs.

    Returns
    -------
    DataFrame
        actual, predicted, n: a row for each pair of classes in their order, also where n is 0. The last
        predicted class is "no answer" if a unit has no predicted class.
    """
    names = [*level.classes, NO_ANSWER]
    counts = confusion_matrix(level.truth, level.predicted, labels=range(len(names)))[:-1]
    if not counts[:, -1].any():
        names, counts = names[:-1], counts[:, :-1]
    pairs = pd.MultiIndex.from_product([level.classes, names], names=["actual", "predicted"])
    return pd.DataFrame({"n": counts.ravel()}, pairs).reset_index()


def compute_roc(level: Level) -> pd.DataFrame:
    """Compute the ROC curve of the positive classes against the rest, mean over folds.

    Folds without both are left out. The band shows the spread of the folds; it is not a confidence interval.

    Returns
    -------
    DataFrame
        fpr (0, 0.01, … 1), tpr, low, high: the mean and one sample SD below and above; chance: the tpr of
        random scores.
    """
    curves = []
    for is_positive, score in _iterate_folds(level):
        fpr, tpr, _ = roc_curve(is_positive, score)
        curves.append(np.interp(GRID, fpr, tpr))
    return _average_curves(curves, GRID, ("fpr", "tpr")).assign(chance=GRID)


def compute_precision_recall(level: Level) -> pd.DataFrame:
    """Compute the precision-recall curve in the same way as `compute_roc`.

    Returns
    -------
    DataFrame
        recall (0.01, 0.02, … 1), precision, low, high. Of each fold it is the precision of the highest
        threshold that reaches the recall. chance: the precision of random scores, which is the fraction of
        positive units, mean over folds.
    """
    curves, fractions = [], []
    for is_positive, score in _iterate_folds(level):
        precision, recall, _ = precision_recall_curve(is_positive, score)
        last = np.searchsorted(-recall, -GRID[1:] + 1e-12, side="right") - 1  # recall decreases
        curves.append(precision[last])
        fractions.append(is_positive.mean())
    chance = np.mean(fractions) if fractions else np.nan
    return _average_curves(curves, GRID[1:], ("recall", "precision")).assign(chance=chance)


def _iterate_folds(level: Level) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Truth and score of the units with probabilities, for each fold with positive and other units."""
    is_positive, score, present = level.is_positive, level.positive_probability, level.has_probabilities
    folds = pd.DataFrame({"run": level.run, "fold": level.fold}).groupby(["run", "fold"]).indices
    for indices in folds.values():
        rows = indices[present[indices]]
        if 0 < is_positive[rows].sum() < len(rows):
            yield is_positive[rows], score[rows]


def _average_curves(curves: list[np.ndarray], grid: np.ndarray, names: tuple[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(np.array(curves or [np.full(len(grid), np.nan)]))
    mean, sd = table.mean().to_numpy(), table.std().to_numpy()
    return pd.DataFrame(
        {names[0]: grid, names[1]: mean, "low": (mean - sd).clip(0, 1), "high": (mean + sd).clip(0, 1)}
    )


def compute_reliability_curve(level: Level) -> pd.DataFrame:
    """Return `calibration.compute_reliability` before and after calibration.

    Returns
    -------
    DataFrame
        kind ("as predicted" or "calibrated"), confidence, accuracy, n.
    """
    truth, tables = level.truth, []
    for kind, p in (("as predicted", level.probabilities), ("calibrated", level.calibrated)):
        tables.append(calibration.compute_reliability(truth, p).assign(kind=kind))
    return pd.concat(tables, ignore_index=True)[["kind", "confidence", "accuracy", "n"]]


def average_histories(histories: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Average the learning curves over the fits that have not stopped before an epoch.

    Parameters
    ----------
    histories : iterable of DataFrame
        Of each run: fold, epoch and some columns of `LEARNING_CURVES`.

    Returns
    -------
    DataFrame
        curve, epoch (from 1; in the histories it is from 0), mean, low, high (one sample SD below and above),
        n_fits.
    """
    table = pd.concat(histories)
    table["epoch"] += 1
    names = {column: name for column, name in LEARNING_CURVES.items() if column in table}
    long = table.rename(columns=names).melt("epoch", list(names.values()), "curve")
    groups = long.groupby(["curve", "epoch"], sort=False)["value"]
    mean, sd = groups.mean(), groups.std()
    return pd.DataFrame(
        {"mean": mean, "low": mean - sd, "high": mean + sd, "n_fits": groups.size()}
    ).reset_index()
