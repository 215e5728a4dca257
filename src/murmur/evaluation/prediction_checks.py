"""Checks that the predictions are complete: exactly one for each test unit of each fold."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation.levels import find_positions
from murmur.evaluation.run_files import train_command


def check_predictions(
    predictions: Mapping[int, pd.DataFrame],
    folds: Mapping[int, pd.DataFrame],
    segments: pd.DataFrame,
    recordings: pd.DataFrame,
) -> None:
    """Check that there is exactly one prediction for each test unit of each fold.

    A recording without a segment needs no prediction.

    Parameters
    ----------
    predictions, folds : dict of int to DataFrame
        By run, as `murmur.tables.predictions` and `murmur.tables.folds`. The runs are those of `folds`.
    segments, recordings : DataFrame
        As in `murmur.tables`.

    Raises
    ------
    MurmurError
        With the run, the fold, an example, and the command that makes the predictions.
    """
    if missing := sorted(set(folds) - set(predictions)):
        raise MurmurError(
            f"no predictions of run {formatting.join_sorted(missing)}; make them: {train_command(missing)}"
        )
    columns = segments[["segment_id", "recording_id", "reversed"]]
    segments = columns.merge(recordings[["recording_id", "patient_id"]])
    expected = None
    for run in sorted(folds):
        test = predictions[run].query("role == 'test'")
        expected = _check_levels(run, set(test["level"].unique()), expected)
        for level in sorted(expected):
            required = _list_test_units(folds[run], segments, level)
            _check_units(run, level, test[test["level"] == level], required)


def _check_levels(run: int, levels: set[str], expected: set[str] | None) -> set[str]:
    """Check that a run has predictions, at the levels of the runs before it; return these levels."""
    if not levels or levels != (expected or levels):
        what = f"are of {formatting.join_sorted(levels) or 'no test unit'}"
        what += f", those of other runs of {formatting.join_sorted(expected)}" if expected else ""
        raise MurmurError(f"predictions of run {run} {what}; make them again: {train_command([run])}")
    return levels


def _list_test_units(folds: pd.DataFrame, segments: pd.DataFrame, level: str) -> pd.DataFrame:
    """fold, unit_id of the units to predict: all segments of a test recording, or those named."""
    test = folds[folds["role"] == "test"]
    by_recording = test["segment_id"].isna()
    of_recordings = test.loc[by_recording, ["fold", "recording_id"]]
    named = test.loc[~by_recording, ["fold", "segment_id"]]
    tables = [
        of_recordings.merge(segments[~segments["reversed"]], on="recording_id"),
        named.merge(segments, on="segment_id"),
    ]
    return pd.concat(tables)[["fold", f"{level}_id"]].set_axis(["fold", "unit_id"], axis=1).drop_duplicates()


def _check_units(run: int, level: str, predicted: pd.DataFrame, required: pd.DataFrame) -> None:
    """Check the predictions of a run at one level against the required fold and unit_id."""
    again = f"make them again: {train_command([run])}"
    if missing := set(required["fold"]) - set(predicted["fold"]):
        raise MurmurError(
            f"predictions of run {run}: fold {formatting.join_sorted(missing)} is missing; {again}"
        )
    names = pd.Index(required["unit_id"].unique())
    required_key, predicted_key = (
        table["fold"] * (len(names) + 1) + find_positions(names, table["unit_id"]) + 1
        for table in (required, predicted)
    )
    faults = {
        "is test but has no prediction": required[~required_key.isin(predicted_key)],
        "has a prediction but is not test": predicted[~predicted_key.isin(required_key)],
        "is predicted twice": predicted[predicted_key.duplicated()],
        "has no number as its probability": predicted[~np.isfinite(predicted.filter(like="p_")).all(axis=1)],
    }
    for fault, rows in faults.items():
        if len(rows):
            where = f"run {run}, fold {rows['fold'].iloc[0]}: {level} {rows['unit_id'].iloc[0]}"
            raise MurmurError(f"predictions of {where} {fault} ({len(rows)} such in the run); {again}")
