"""Patients that are wrong in most runs: positive ones that are missed, and false alarms."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from murmur.evaluation.error_groups import FACTS
from murmur.evaluation.levels import NO_ANSWER, Level, Units


class ErrorExample(NamedTuple):
    """A patient that is wrong in most runs, for the picture of errors.

    Attributes
    ----------
    segment : int
        The number of the segment to show.
    recording_id : str
        Its recording.
    truth, predicted : str
        The class of the patient, and the class that is predicted most often.
    murmur : str
        Grade, timing and pitch of the murmur, as far as they are known.
    probability : float
        Of the positive classes together, mean over runs.
    """

    segment: int
    recording_id: str
    truth: str
    predicted: str
    murmur: str
    probability: float


def list_errors(levels: Mapping[str, Level], units: Mapping[str, Units], *, missed: bool) -> pd.DataFrame:
    """List the patients that are wrong in more than half of their runs.

    Parameters
    ----------
    levels : dict of str to Level
        By name.
    units : dict of str to Units
        By name, of all levels.
    missed : bool
        True: positive patients that are predicted as another class; False: false alarms.

    Returns
    -------
    DataFrame
        The patient's number is the index. patient_id; label; predicted (most often); n_runs; n_wrong, in how
        many of them it is wrong; probability of the positive classes, mean over runs; recording_id, of the
        recording with the highest such probability, and its site; the facts. The clearest error is first:
        the lowest probability of those missed, the highest of false alarms.
    """
    level = levels["patient"]
    names = np.array([*level.classes, NO_ANSWER])
    is_alarm = np.isin(names, level.positive)[level.predicted]
    table = pd.DataFrame(
        {"unit": level.unit, "predicted": names[level.predicted], "probability": level.positive_probability}
    ).assign(is_wrong=is_alarm != level.is_positive)
    by_unit = table[level.is_positive == missed].groupby("unit")
    found = by_unit.agg(
        predicted=("predicted", lambda values: values.mode()[0]),
        n_runs=("is_wrong", "size"),
        n_wrong=("is_wrong", "sum"),
        probability=("probability", "mean"),
    )
    found = found[found["n_wrong"] > found["n_runs"] / 2].sort_values(
        "probability", ascending=missed, kind="stable"
    )
    facts = units["patient"].facts.reindex(columns=FACTS).loc[found.index]
    recording = np.array([_choose_recording(unit, levels, units) for unit in found.index], int)
    table = pd.DataFrame(
        {
            "patient_id": units["patient"].names[found.index],
            "label": names[units["patient"].truth[found.index]],
            **{name: found[name] for name in ("predicted", "n_runs", "n_wrong", "probability")},
            "recording_id": units["recording"].names[recording],
            "site": units["recording"].facts["site"].to_numpy()[recording],
        },
        index=found.index,
    )
    return table.join(facts)


def find_examples(levels: Mapping[str, Level], units: Mapping[str, Units], n: int = 5) -> list[ErrorExample]:
    """Choose up to n positive patients that are missed, then up to n false alarms, the clearest first.

    The recording is the most informative one: that with the highest probability of the positive classes, and
    so is its segment. If the models do not predict segments, it is the middle one.
    """
    examples = []
    for missed in (True, False):
        for row in (
            list_errors(levels, units, missed=missed).dropna(subset="probability").to_dict("records")[:n]
        ):
            recording = units["recording"].names.get_loc(row["recording_id"])
            segments = np.flatnonzero(units["segment"].parent == recording)
            segment = _choose_most_positive(levels.get("segment"), segments)
            murmur = [row[name] for name in FACTS[:3] if isinstance(row[name], str)]
            classes = (row["label"], row["predicted"])
            examples.append(
                ErrorExample(segment, row["recording_id"], *classes, ", ".join(murmur), row["probability"])
            )
    return examples


def _choose_recording(patient: int, levels: Mapping[str, Level], units: Mapping[str, Units]) -> int:
    """The most informative recording of a patient, of those with segments if there are any."""
    recordings = np.flatnonzero(units["recording"].parent == patient)
    usable = recordings[np.isin(recordings, units["segment"].parent)]
    return _choose_most_positive(levels.get("recording"), usable if len(usable) else recordings)


def _choose_most_positive(level: Level | None, candidates: np.ndarray) -> int:
    """The unit with the highest probability of the positive classes; without predictions the middle one."""
    if level is None:
        return int(candidates[len(candidates) // 2])
    rows = np.isin(level.unit, candidates) & level.has_probabilities
    mean = pd.Series(level.positive_probability[rows]).groupby(level.unit[rows]).mean()
    return int(candidates[len(candidates) // 2] if mean.empty else mean.idxmax())
