"""Metrics of a level by fold and by run, and their intervals over persons."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from murmur.evaluation import challenges, metrics
from murmur.evaluation.levels import Level
from murmur.evaluation.weighted_auc import weighted_roc_auc_score
from murmur.tables.levels import LEVELS

logger = logging.getLogger(__name__)

HEADLINE = ("uar", "sensitivity", "specificity", "f1_macro", "roc_auc")
LEADS = ("weighted_accuracy_official", "macc")  # the first metric of the headline, where they are defined
INTERVAL = (0.025, 0.975)  # quantiles
QUALITY = {"good": 0, "poor": 1}
Drawn = Mapping[str, np.ndarray]  # by metric: [draws, runs]


def score_units(level: Level, by: Sequence[str]) -> pd.DataFrame:
    """Compute all metrics of `murmur.evaluation.metrics` for each run, or each fold of each run.

    Parameters
    ----------
    level : Level
        The predictions.
    by : sequence of str
        ["run"] or ["run", "fold"].

    Returns
    -------
    DataFrame
        The columns `by`, n_units, n_persons, the metrics, and n_no_answer: how many units have no usable
        segment, also where they are predicted as Unknown. macc only where the quality of recordings is known.
    """
    keys = pd.DataFrame({name: getattr(level, name) for name in by})
    groups = keys.assign(unit=level.unit, person=level.person).groupby(list(by))
    table = groups.agg(n_units=("unit", "size"), n_persons=("person", "nunique")).reset_index()
    group = groups.ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    from_probabilities = [_probability_metrics(level.select(rows)) for rows in members]
    from_counts = pd.DataFrame(compute_level_metrics(count_predictions(level, group, len(table)), level))
    missing = np.bincount(group, ~level.has_probabilities, len(table)).astype(int)
    return pd.concat(
        [table, pd.DataFrame(from_probabilities), from_counts.assign(n_no_answer=missing)], axis=1
    )


def score_all_levels(levels: Iterable[Level], by: Sequence[str]) -> pd.DataFrame:
    """Return `score_units` of every level with a column level, sorted by the `by` columns, then by level."""
    table = pd.concat([score_units(level, by).assign(level=level.name) for level in levels])
    table["level"] = pd.Categorical(table["level"], LEVELS)
    table = table.sort_values([*by, "level"], ignore_index=True).astype({"level": str})
    return table[[*by, "level", *table.columns.drop([*by, "level"])]]


def select_headline(runs: pd.DataFrame) -> list[str]:
    """Name the metrics of the summary.

    The first is the data set's own (one of `LEADS`) if `runs`, the table of `score_units`, has it for all
    runs, else accuracy.
    """
    own = [name for name in LEADS if name in runs and runs[name].notna().all()]
    return [*(own or ["accuracy"]), *HEADLINE]


def bootstrap_persons(level: Level, names: Sequence[str], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Resample groups of persons with replacement, the same in every run, and compute metrics of each draw.

    Groups of persons (`Units.group`), because units of one person resemble each other. Not runs, because the
    spread over runs only shows the chance of the split: more runs make it smaller, more patients do not.
    The trained models are not resampled.

    Parameters
    ----------
    level : Level
        The predictions.
    names : sequence of str
        Metrics of `score_units` from counts, and roc_auc.
    draws, seed : int
        The number of draws and their seed.

    Returns
    -------
    dict of str to float array, shape [draws, runs]
        By metric; NaN in a draw without a class that the metric needs.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8.
    """
    groups, group = np.unique(level.group, return_inverse=True)
    runs, run = np.unique(level.run, return_inverse=True)
    n, n_runs = len(groups), len(runs)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    counts = count_predictions(level, group * n_runs + run, n * n_runs)
    drawn_counts = (weights @ counts.reshape(n, -1)).reshape(draws, n_runs, *counts.shape[1:])
    values = compute_level_metrics(drawn_counts, level)
    if "roc_auc" in names:
        truth, p = level.truth, level.probabilities
        areas = [
            weighted_roc_auc_score(truth[rows], p[rows], weights, level.classes, level.positive, group[rows])
            for rows in (np.flatnonzero(run == k) for k in range(n_runs))
        ]
        values["roc_auc"] = np.stack(areas, axis=1)
    return {name: values[name] for name in names}


def summarise_headline(runs: pd.DataFrame, names: Sequence[str], drawn: Drawn) -> dict[str, dict[str, float]]:
    """Compute mean, sample SD over runs, and 95 % percentile interval (low, high) of each metric.

    Parameters
    ----------
    runs : DataFrame
        A row for each run, from `score_units`.
    names : sequence of str
        The metrics.
    drawn : dict of str to float array, shape [draws, runs]
        From `bootstrap_persons`; a metric that is missing has no interval.

    Returns
    -------
    dict of str to dict
        By metric. Draws in which it is undefined do not count; if they are more than one in ten there is no
        interval (NaN), since it would describe only the other draws.
    """
    table = {}
    for name in names:
        values = drawn[name].mean(axis=1) if name in drawn else np.empty(0)
        defined = values[~np.isnan(values)]
        is_enough = len(defined) and len(defined) >= 0.9 * len(values)
        low, high = np.quantile(defined, INTERVAL) if is_enough else (np.nan, np.nan)
        table[name] = {"mean": runs[name].mean(skipna=False), "sd": runs[name].std(skipna=False)}
        table[name] |= {"low": low, "high": high}
    return table


def log_undefined_draws(drawn: Drawn) -> None:
    """Log in how many draws of `bootstrap_persons` a metric is undefined, because a class is absent."""
    for name, values in drawn.items():
        if n := int(np.isnan(values.mean(axis=1)).sum()):
            logger.info(f"{name} is undefined in {n} of {len(values)} draws")


def score_constant_prediction(level: Level, names: Sequence[str]) -> dict[str, Any]:
    """Score the one class that, predicted for every unit, has the highest `names[0]`.

    Returns
    -------
    dict
        answer (the class) and each of the metrics `names`.
    """
    one_group = np.zeros(len(level), int)
    counts = [
        count_predictions(replace(level, predicted=np.full(len(level), k)), one_group, 1)
        for k in range(len(level.classes))
    ]
    values = compute_level_metrics(np.concatenate(counts), level)
    values["roc_auc"] = np.full(len(level.classes), 0.5)  # all pairs are ties
    best = int(values[names[0]].argmax())
    return {"answer": level.classes[best], **{name: float(values[name][best]) for name in names}}


def count_predictions(level: Level, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Count the units of each group by quality, true and predicted class.

    Parameters
    ----------
    level : Level
        The predictions.
    group : int array, shape [n]
        The number of each row's group, below `n_groups`.
    n_groups : int
        The number of groups.

    Returns
    -------
    int array, shape [groups, qualities, actual, predicted]
        Qualities are good, poor and unknown, or one for all where no quality is known.
    """
    n_classes = len(level.classes)
    if not _has_quality(level):
        return metrics.confusion_matrix(level.truth, level.predicted, n_classes, group, n_groups)[:, None]
    quality = level.units.facts["quality"].map(QUALITY).fillna(2).to_numpy(int)[level.unit]
    cell = group * 3 + quality
    counts = metrics.confusion_matrix(level.truth, level.predicted, n_classes, cell, n_groups * 3)
    return counts.reshape(n_groups, 3, *counts.shape[1:])


def compute_level_metrics(counts: np.ndarray, level: Level) -> dict[str, np.ndarray]:
    """Compute the metrics of counts [..., qualities, actual, predicted] of the level's units."""
    values = metrics.compute_count_metrics(counts.sum(-3), level.classes, level.positive)
    return values | ({"macc": challenges.modified_accuracy(counts)} if _has_quality(level) else {})


def _probability_metrics(level: Level) -> dict[str, float]:
    truth, p, q = level.truth, level.probabilities, level.calibrated
    values = metrics.compute_probability_metrics(truth, p, level.classes, level.positive)
    values["brier_calibrated"] = metrics.brier_score_loss(truth, q)
    values["ece_calibrated"] = metrics.expected_calibration_error(truth, q)
    return values


def _has_quality(level: Level) -> bool:
    facts = level.units.facts
    return len(level.classes) == 2 and "quality" in facts and bool(facts["quality"].notna().any())
