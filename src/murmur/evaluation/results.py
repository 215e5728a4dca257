"""The evaluation of all runs: tables of metrics at each level, details, and the data of the plots.

A unit (segment, recording or patient) is scored only by the model of the fold in which it is tested. That
model was trained on other persons, and its class weights and temperature come from its validation part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from murmur.errors import MurmurError
from murmur.evaluation import curves, description, scores
from murmur.evaluation.aggregation import compute_levels
from murmur.evaluation.error_groups import score_error_groups
from murmur.evaluation.levels import Level, number_units
from murmur.evaluation.missed import ErrorExample, find_examples, list_errors
from murmur.evaluation.operating_points import score_operating_points
from murmur.evaluation.prediction_checks import check_predictions
from murmur.evaluation.protocol import count_parts, describe_leaks
from murmur.evaluation.subgroups import score_subgroups
from murmur.evaluation.summary import select_summary
from murmur.evaluation.validation_score import score_validation
from murmur.sections.evaluate import Evaluate
from murmur.tables.predictions import TrainingInfo
from murmur.tables.recordings import DatasetCard


@dataclass(frozen=True)
class Results:
    """The results of an evaluation, as `output.write_results` writes them.

    Attributes
    ----------
    summary : dict
        The few figures of metrics/summary.json.
    details : dict
        The content of metrics/details.json.
    tables, plots : dict of str to DataFrame
        By the name of the file in metrics/ and plots/.
    examples : list of ErrorExample
        Patients that are missed, and false alarms.
    """

    summary: dict[str, Any]
    details: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    plots: dict[str, pd.DataFrame]
    examples: list[ErrorExample]


def evaluate_predictions(
    recordings: pd.DataFrame,
    card: DatasetCard,
    segments: pd.DataFrame,
    folds: Mapping[int, pd.DataFrame],
    predictions: Mapping[int, pd.DataFrame],
    histories: Mapping[int, pd.DataFrame],
    *,
    options: Evaluate,
    seed: int,
    notes: Sequence[TrainingInfo],
    audit: pd.DataFrame,
    protocol: Mapping[str, Any],
    left_out: int,
) -> Results:
    """Score the predictions of all runs; nothing is written.

    The metrics of a run are those of the test units of all its folds together, so that a class that is absent
    from one fold is defined. Its roc_auc therefore compares probabilities of different models.

    Parameters
    ----------
    recordings, card, segments : DataFrame, Card, DataFrame
        As in `murmur.tables`; recordings with the column group of `murmur.tables.groups`, without which
        persons are resampled.
    folds, predictions, histories : dict of int to DataFrame
        By run; a history has a row for each epoch of each fold.
    options : Evaluate
        `level` is that of the headline metrics and of the plots.
    seed : int
        Of the bootstrap.
    notes : sequence of TrainingInfo
        Of the runs.
    audit : DataFrame
        A row for each fold; the columns shared_… count what training and test part have in common.
    protocol : dict
        From `protocol.describe_protocol` and `protocol.describe_selection`.
    left_out : int
        How many recordings and pieces of recordings the stages left out.

    Raises
    ------
    MurmurError
        If a test unit has no prediction, or the models predict units above `options.level`.
    """
    check_predictions(predictions, folds, segments, recordings)
    units = number_units(recordings, segments, card.classes)
    levels, fitted = compute_levels(predictions, folds, units, card, options)
    if options.level not in levels:
        raise MurmurError(
            f"evaluate.level: {options.level} is below {next(iter(levels))}, the level of the predictions"
        )
    level = levels[options.level]
    by_fold, by_run = (scores.score_all_levels(levels.values(), by) for by in (["run", "fold"], ["run"]))
    runs = by_run[by_run["level"] == level.name]
    names, decisions = scores.select_headline(runs), fitted.decisions
    decisions_here = decisions[decisions["level"] == level.name]
    tables = {
        "folds": by_fold,
        "runs": by_run,
        "subgroups": score_subgroups(levels, names, options.draws, seed),
        "operating_points": score_operating_points(level, decisions_here, options, seed),
        "calibration": decisions,
        "regression": fitted.regression,
        "errors": score_error_groups(levels, options.draws, seed),
        "missed": list_errors(levels, units, missed=True).reset_index(drop=True),
    }
    patients = units["patient"].facts
    details = {
        **_describe_scores(level, runs, names, options, seed),
        "validation": score_validation(predictions, folds, units, card, options, fitted, names[0]),
        "no_answer": description.count_without_segments(recordings, segments),
        "missed": len(tables["missed"]),
        "absent": description.count_absent_classes(by_fold, level.name, card.classes),
        "scored": description.describe_scored(level, segments, lowest_level=next(iter(levels))),
        "resampled": description.count_resampled(level),
        "parts": count_parts(folds),
        "data": description.describe_data(recordings, segments, patients, card) | {"left_out": left_out},
        "protocol": {**protocol, "runs": len(folds), **describe_leaks(audit, protocol)},
        **description.describe_training(notes),
    }
    plots = _compute_plots(level, histories)
    plots["score_per_fold"] = by_fold[by_fold["level"] == level.name][["run", "fold", *names]]
    return Results(select_summary(details), details, tables, plots, find_examples(levels, units))


def _describe_scores(
    level: Level, runs: pd.DataFrame, names: Sequence[str], options: Evaluate, seed: int
) -> dict[str, Any]:
    """The details of the headline: level, rule, headline, baseline."""
    drawn = scores.bootstrap_persons(level, names, options.draws, seed)
    scores.log_undefined_draws(drawn)
    return {
        "level": level.name,
        "rule": options.model_dump(include={"rule", "thresholds", "uar_share", "sensitivity", "prevalence"}),
        "headline": scores.summarise_headline(runs, names, drawn),
        "baseline": scores.score_constant_prediction(level, names),
    }


def _compute_plots(level: Level, histories: Mapping[int, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {
        "confusion": curves.count_confusions(level),
        "roc": curves.compute_roc(level),
        "precision_recall": curves.compute_precision_recall(level),
        "reliability": curves.compute_reliability_curve(level),
        "learning_curves": curves.average_histories(histories.values()),
    }
