"""The score of the validation parts, by which experiments are chosen without their test scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from murmur.evaluation import scores
from murmur.evaluation.aggregation import Fitted, Tables, compute_levels
from murmur.evaluation.levels import Level, Units
from murmur.evaluation.protocol import count_parts
from murmur.sections.evaluate import Evaluate
from murmur.tables.recordings import DatasetCard


def score_validation(
    predictions: Tables,
    folds: Tables,
    units: Mapping[str, Units],
    card: DatasetCard,
    options: Evaluate,
    fitted: Fitted,
    metric: str,
) -> dict[str, Any]:
    """Score the validation parts as the test parts are scored: same level, rule and metric.

    A run pools the validation parts of its folds. A unit that is in the validation parts of n folds counts
    1/n in each of them, so that each unit counts once in a run.

    The score is optimistic, because epoch, temperature and class weights are chosen on these parts. The rule
    `regression` predicts each patient by a regression that was fitted without that person.

    Parameters
    ----------
    predictions, folds, units, card, options
        As for `compute_levels`.
    fitted : Fitted
        The second return value of `compute_levels`.
    metric : str
        A metric of confusion matrices, as `scores.select_headline` names first.

    Returns
    -------
    dict
        metric, mean and sd over runs (NaN if undefined), and undefined_because: the reason, or None.
    """
    score: dict[str, Any] = {"metric": metric, "mean": np.nan, "sd": np.nan}
    parts = count_parts(folds)
    if without := parts["without_validation"]:
        reason = f"{without} of {parts['folds']} folds have no validation part"
        return score | {"undefined_because": reason}
    levels, _ = compute_levels(predictions, folds, units, card, options, fitted, part="validation")
    values = _score_runs(levels[options.level], metric)
    if n := int(np.isnan(values).sum()):
        reason = f"in {n} of {len(values)} runs the validation parts lack a class that it needs"
        return score | {"undefined_because": reason}
    sd = values.std(ddof=1) if len(values) > 1 else np.nan
    return score | {"mean": values.mean(), "sd": sd, "undefined_because": None}


def _score_runs(level: Level, metric: str) -> np.ndarray:
    """The metric of each run, float [runs]."""
    run = pd.factorize(level.run, sort=True)[0]
    n_runs = run.max() + 1
    folds_of_unit = pd.Series(1, range(len(level))).groupby([run, level.unit]).transform("size").to_numpy()
    most = folds_of_unit.max()
    counts = scores.count_predictions(level, run * most + folds_of_unit - 1, n_runs * most)
    weights = 1 / np.arange(1, most + 1)
    weighted = np.einsum("rm...,m->r...", counts.reshape(n_runs, most, *counts.shape[1:]), weights)
    return scores.compute_level_metrics(weighted, level)[metric]
