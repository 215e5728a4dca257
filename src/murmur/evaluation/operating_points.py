"""Operating points: sensitivity, specificity and predictive values at a threshold."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from murmur.evaluation import scores, thresholds
from murmur.evaluation.levels import Level
from murmur.sections.evaluate import Evaluate

POSITIVE, REST, MISSING = range(3)  # the predicted classes at a threshold


def score_operating_points(level: Level, fitted: pd.DataFrame, options: Evaluate, seed: int) -> pd.DataFrame:
    """Score the prediction "positive" for units whose positive probability reaches a threshold.

    chosen_on validation: the threshold of each fold is the highest at which its validation part reaches the
    required sensitivity; scored on the test part. chosen_on curve: read from the test ROC of each run, which
    describes the curve but could not be chosen in advance, so it has no interval.

    Parameters
    ----------
    level : Level
        The predictions.
    fitted : DataFrame
        run, fold, threshold of this level. If one is NaN (the validation part is missing, or has too few
        positive units with probabilities), all that is chosen on validation is undefined.
    options : Evaluate
        `sensitivity` is required, `prevalence` is that of the predictive values, `draws` of the interval.
    seed : int
        Of the draws.

    Returns
    -------
    DataFrame
        chosen_on, figure (sensitivity, specificity, ppv, npv), mean, sd, low, high.
    """
    keys = pd.DataFrame({"run": level.run, "fold": level.fold})
    threshold = keys.merge(fitted, how="left", on=["run", "fold"])["threshold"].to_numpy()
    if np.isnan(threshold).any():
        undefined = pd.DataFrame({"sensitivity": [np.nan], "specificity": [np.nan]})
        on_validation = _summarise("validation", undefined, {}, options.prevalence)
    else:
        on_validation = _score_predictions(_apply_thresholds(level, threshold), options, seed)
    return pd.concat([on_validation, _score_curves(level, options)], ignore_index=True)


def _apply_thresholds(level: Level, threshold: np.ndarray) -> Level:
    """The level with two classes, positive and rest, predicted by the threshold of each row [n]."""
    p = level.positive_probability
    predicted = np.where(np.isnan(p), MISSING, np.where(p < threshold, REST, POSITIVE))
    is_positive = np.isin(level.classes, level.positive)[level.units.truth]
    return replace(
        level,
        units=replace(level.units, truth=np.where(is_positive, POSITIVE, REST)),
        classes=("positive", "rest"),
        positive=("positive",),
        predicted=predicted,
        probabilities=np.stack([p, 1 - p], axis=1),
        calibrated=np.full((len(level), 2), np.nan),
    )


def _score_predictions(level: Level, options: Evaluate, seed: int) -> pd.DataFrame:
    """The points chosen on validation, with intervals, of a level with the classes positive and rest."""
    run = pd.factorize(level.run)[0]
    counts = scores.count_predictions(level, run, run.max() + 1)
    runs = pd.DataFrame(scores.compute_level_metrics(counts, level))
    drawn = scores.bootstrap_persons(level, ["sensitivity", "specificity"], options.draws, seed)
    return _summarise("validation", runs, drawn, options.prevalence)


def _score_curves(level: Level, options: Evaluate) -> pd.DataFrame:
    """The points read from the ROC curve of each run."""
    is_positive, score, points = level.is_positive, level.positive_probability, []
    for run in np.unique(level.run):
        rows = level.run == run
        threshold = thresholds.find_threshold(is_positive[rows], score[rows], options.sensitivity)
        points.append(thresholds.score_threshold(is_positive[rows], score[rows], threshold))
    runs = pd.DataFrame(points, columns=["sensitivity", "specificity"])
    return _summarise("curve", runs, {}, options.prevalence)


def _summarise(chosen_on: str, runs: pd.DataFrame, drawn: scores.Drawn, prevalence: float) -> pd.DataFrame:
    """chosen_on, figure, mean, sd, low, high from sensitivity and specificity of runs and of draws."""
    values = pd.DataFrame(_with_predictive_values(runs, prevalence))
    table = scores.summarise_headline(
        values, list(values), _with_predictive_values(drawn, prevalence) if drawn else {}
    )
    rows = pd.DataFrame(table).T.rename_axis("figure").reset_index()
    return rows.assign(chosen_on=chosen_on)[["chosen_on", "figure", "mean", "sd", "low", "high"]]


def _with_predictive_values(table: Any, prevalence: float) -> dict[str, np.ndarray]:
    """sensitivity, specificity, ppv and npv from a table or dict of the first two."""
    sensitivity, specificity = (np.asarray(table[name]) for name in ("sensitivity", "specificity"))
    ppv, npv = thresholds.predictive_values(sensitivity, specificity, prevalence)
    return {"sensitivity": sensitivity, "specificity": specificity, "ppv": ppv, "npv": npv}
