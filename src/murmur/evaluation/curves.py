"""The tables behind the pictures: curves with a band over folds, calibration, the most confident errors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from murmur.evaluation import calibration
from murmur.evaluation.levels import NO_ANSWER, Units, positive_probabilities
from murmur.tables.recordings import Card

GRID = np.linspace(0, 1, 101)
CURVES = {
    "train_loss": "train loss",
    "validation_loss": "validation loss",
    "validation_uar": "validation UAR",
    "learning_rate": "learning rate",
}


class Mistake(NamedTuple):
    """A confident error: the segment that shows it best, its recording, truth, answer and probability."""

    segment: int
    recording_id: str
    truth: str
    answer: str
    probability: float


def count_confusions(scores: pd.DataFrame, units: Units, classes: Sequence[str]) -> pd.DataFrame:
    """actual, predicted: a row a unit and run."""
    names = np.array([*classes, NO_ANSWER])
    return pd.DataFrame({"actual": names[units.truth[scores["unit"]]], "predicted": names[scores["answer"]]})


def compute_roc(scores: pd.DataFrame, units: Units, card: Card) -> pd.DataFrame:
    """fpr (101 points), tpr, low, high: positive classes against the rest, over folds with both.

    tpr is the mean over folds, low and high are one sample SD of them apart from it: a spread of folds, not
    an interval of the mean.
    """
    curves = []
    for hit, said in _folds(scores, units, card):
        fpr, tpr, _ = roc_curve(hit, said)
        curves.append(np.interp(GRID, fpr, tpr))
    return _band(curves, GRID, ("fpr", "tpr"))


def compute_precision_recall(scores: pd.DataFrame, units: Units, card: Card) -> pd.DataFrame:
    """recall (.01 to 1), precision, low, high, as `roc`; the precision of the first threshold to reach it."""
    curves = []
    for hit, said in _folds(scores, units, card):
        precision, recall, _ = precision_recall_curve(hit, said)
        reached = np.searchsorted(-recall, -GRID[1:] + 1e-12, side="right") - 1  # recall falls
        curves.append(precision[reached])
    return _band(curves, GRID[1:], ("recall", "precision"))


def _folds(scores: pd.DataFrame, units: Units, card: Card) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    p = scores[[f"p_{c}" for c in card.classes]].to_numpy()
    hit, said = positive_probabilities(units.truth[scores["unit"]], p, card)
    there = ~np.isnan(said)
    for rows in scores.groupby(["run", "fold"]).indices.values():
        rows = rows[there[rows]]
        if 0 < hit[rows].sum() < len(rows):
            yield hit[rows], said[rows]


def _band(curves: list[np.ndarray], grid: np.ndarray, names: tuple[str, str]) -> pd.DataFrame:
    many = pd.DataFrame(np.array(curves or [np.full(len(grid), np.nan)]))
    mean, sd = many.mean().to_numpy(), many.std().to_numpy()
    return pd.DataFrame(
        {names[0]: grid, names[1]: mean, "low": (mean - sd).clip(0, 1), "high": (mean + sd).clip(0, 1)}
    )


def compute_reliability_curve(scores: pd.DataFrame, units: Units, classes: Sequence[str]) -> pd.DataFrame:
    """kind (as predicted, calibrated), confidence, accuracy, n: a row a tenth of the confidence."""
    truth, parts = units.truth[scores["unit"]], []
    for kind, prefix in (("as predicted", "p_"), ("calibrated", "q_")):
        table = calibration.compute_reliability(truth, scores[[prefix + c for c in classes]].to_numpy())
        parts.append(table.assign(kind=kind))
    return pd.concat(parts, ignore_index=True)[["kind", "confidence", "accuracy", "n"]]


def average_histories(histories: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """curve, epoch, mean, low, high (mean -+ sample SD), n_fits: over the fits still running."""
    every = pd.concat(histories)
    there = {column: name for column, name in CURVES.items() if column in every}
    long = every.rename(columns=there).melt("epoch", list(there.values()), "curve")
    groups = long.groupby(["curve", "epoch"], sort=False)["value"]
    mean, sd = groups.mean(), groups.std()
    return pd.DataFrame(
        {"mean": mean, "low": mean - sd, "high": mean + sd, "n_fits": groups.size()}
    ).reset_index()


def find_confident_errors(
    scores: Mapping[str, pd.DataFrame], units: Mapping[str, Units], classes: Sequence[str], n: int = 10
) -> list[Mistake]:
    """The recordings (or patients, if a model speaks of those) most surely taken for another class.

    By the mean probability over runs. Of each the segment is shown that speaks loudest for the wrong class;
    where no segment speaks, the middle one.
    """
    level = "recording" if "recording" in scores else "patient"
    p = _mean_over_runs(scores[level], classes)
    truth, said, sure = units[level].truth[p.index], p.to_numpy().argmax(1), p.to_numpy().max(1)
    wrong = np.flatnonzero(truth != said)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:n]
    segment_p = _mean_over_runs(scores["segment"], classes) if "segment" in scores else None
    found = []
    for k in order:
        segment = _loudest(int(p.index[k]), level, units, segment_p, int(said[k]))
        name = str(units["recording"].names[units["segment"].parent[segment]])
        found.append(Mistake(segment, name, classes[truth[k]], classes[said[k]], float(sure[k])))
    return found


def _mean_over_runs(scores: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    return scores.groupby("unit")[[f"p_{c}" for c in classes]].mean().dropna()


def _loudest(
    unit: int, level: str, units: Mapping[str, Units], segment_p: pd.DataFrame | None, said: int
) -> int:
    recording = units["segment"].parent
    of_unit = recording if level == "recording" else units["recording"].parent[recording]
    rows = np.flatnonzero(of_unit == unit)
    if segment_p is None:
        return int(rows[len(rows) // 2])
    return int(segment_p.loc[segment_p.index.isin(rows)].iloc[:, said].idxmax())
