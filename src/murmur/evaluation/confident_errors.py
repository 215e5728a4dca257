"""The errors with the highest predicted probability, for the picture of their spectrograms."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from murmur.evaluation.levels import Level, Units


class ConfidentError(NamedTuple):
    """A recording, or a patient, that is assigned a wrong class.

    Attributes
    ----------
    segment : int
        The number of the segment to show.
    recording_id : str
        Its recording.
    truth, predicted : str
        The classes.
    probability : float
        Of the predicted class, mean over runs.
    """

    segment: int
    recording_id: str
    truth: str
    predicted: str
    probability: float


def find_confident_errors(
    levels: Mapping[str, Level], units: Mapping[str, Units], n: int = 10
) -> list[ConfidentError]:
    """Find the n errors with the highest probability: recordings, or patients if the models predict those.

    Parameters
    ----------
    levels : dict of str to Level
        By name.
    units : dict of str to Units
        By name, of all levels.
    n : int
        The most errors.

    Returns
    -------
    list of ConfidentError
        The highest probability first. The segment is the one with the highest probability of the wrong
        class; if the models do not predict segments, the middle one of the unit.
    """
    level = levels["recording"] if "recording" in levels else levels["patient"]
    p = _average_over_runs(level)
    truth, predicted, highest = level.units.truth[p.index], p.to_numpy().argmax(1), p.to_numpy().max(1)
    wrong = np.flatnonzero(truth != predicted)
    order = wrong[np.argsort(-highest[wrong], kind="stable")][:n]
    segment_p = _average_over_runs(levels["segment"]) if "segment" in levels else None
    errors = []
    for k in order:
        segments = _segments_of(int(p.index[k]), level.name, units)
        if segment_p is None:
            segment = int(segments[len(segments) // 2])
        else:
            segment = int(segment_p.loc[segment_p.index.isin(segments), predicted[k]].idxmax())
        recording_id = str(units["recording"].names[units["segment"].parent[segment]])
        classes = level.classes[truth[k]], level.classes[predicted[k]]
        errors.append(ConfidentError(segment, recording_id, *classes, float(highest[k])))
    return errors


def _average_over_runs(level: Level) -> pd.DataFrame:
    """The mean probabilities of each unit that has some: a row for each, a column for each class."""
    return pd.DataFrame(level.probabilities).groupby(pd.Series(level.unit, name="unit")).mean().dropna()


def _segments_of(unit: int, level: str, units: Mapping[str, Units]) -> np.ndarray:
    """The numbers of the segments of a recording or patient."""
    parent = units["segment"].parent
    parent = parent if level == "recording" else units["recording"].parent[parent]
    return np.flatnonzero(parent == unit)
