"""The units of each level (segment, recording, patient) and the predictions for their test parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

CLASS_WITHOUT_SEGMENTS = "Unknown"  # predicted for a unit without a usable segment, where there is this class
NO_ANSWER = "no answer"  # the name of "no class predicted" in the confusion matrix
FACTS = (
    *("site", "source", "quality", "sex", "age_group"),
    *("murmur_grade", "murmur_timing", "murmur_pitch"),
    "annotated",  # fraction of the recording that is annotated; of a patient, the mean over recordings
)


@dataclass(frozen=True)
class Units:
    """All units of a level, numbered from 0 in the order of `names`.

    Attributes
    ----------
    names : Index, shape [units]
        The ids.
    truth : int array, shape [units]
        The number of the true class.
    person : int array, shape [units]
        The number of the person.
    group : int array, shape [units]
        The number of the group that the bootstrap resamples: persons who share audio are one group. The
        person's number, if groups are not known.
    parent : int array, shape [units]
        The unit of the next higher level; a patient's own number.
    facts : DataFrame, `units` rows
        Those of `FACTS` that the level has.
    """

    names: pd.Index
    truth: np.ndarray
    person: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    facts: pd.DataFrame


@dataclass(frozen=True)
class Level:
    """Predictions for the test units of one level, n rows: one for each run, fold and unit tested in it.

    Attributes
    ----------
    name : str
        segment, recording or patient.
    units : Units
        All units of the level, of which `unit` holds the numbers.
    classes, positive : tuple of str
        The classes in order, and those that count as positive.
    run, fold, unit : int array, shape [n]
        Where each prediction belongs.
    predicted : int array, shape [n]
        The number of the predicted class; `len(classes)` where no class is predicted.
    probabilities : float array, shape [n, classes]
        As the models give them, pooled over the parts of the unit; NaN without a usable segment.
    calibrated : float array, shape [n, classes]
        The same after calibration; NaN also where the fold has no validation part.
    """

    name: str
    units: Units
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    run: np.ndarray
    fold: np.ndarray
    unit: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    calibrated: np.ndarray

    def __len__(self) -> int:
        """Count the predictions."""
        return len(self.unit)

    @property
    def truth(self) -> np.ndarray:
        """The number of the true class, int [n]."""
        return self.units.truth[self.unit]

    @property
    def person(self) -> np.ndarray:
        """The number of the person, int [n]."""
        return self.units.person[self.unit]

    @property
    def group(self) -> np.ndarray:
        """The number of the group that the bootstrap resamples, int [n]."""
        return self.units.group[self.unit]

    @property
    def has_probabilities(self) -> np.ndarray:
        """Whether the unit has a usable segment, bool [n]."""
        return ~np.isnan(self.probabilities).any(axis=1)

    @property
    def is_positive(self) -> np.ndarray:
        """Whether the true class counts as positive, bool [n]."""
        return np.isin(self.classes, self.positive)[self.truth]

    @property
    def positive_probability(self) -> np.ndarray:
        """The sum of the positive classes' probabilities, float [n]."""
        return sum_positive(self.probabilities, self.classes, self.positive)

    def select(self, rows: np.ndarray) -> "Level":
        """Return the level with these rows only (their numbers, or a bool [n])."""
        names = ("run", "fold", "unit", "predicted", "probabilities", "calibrated")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def sum_positive(p: np.ndarray, classes: Sequence[str], positive: Sequence[str]) -> np.ndarray:
    """Return the sum [n] of the positive classes' probabilities `p` [n, classes]."""
    return p[:, np.isin(classes, positive)].sum(axis=1)


def class_without_segments(classes: Sequence[str]) -> int:
    """Return the number of the class predicted without a usable segment; `len(classes)` means none."""
    return list(classes).index(CLASS_WITHOUT_SEGMENTS) if CLASS_WITHOUT_SEGMENTS in classes else len(classes)


def number_units(
    recordings: pd.DataFrame, segments: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Units]:
    """Number the units of each level in the order of the tables; patients by their first recording.

    Segments and recordings have the class in `label`, patients in `patient_label`.

    Parameters
    ----------
    recordings : DataFrame
        As `murmur.tables.recordings`, possibly with the column group of `murmur.tables.groups`, and with
        annotated.
    segments : DataFrame
        As `murmur.tables.segments`.
    classes : sequence of str
        The classes in order.

    Returns
    -------
    dict of str to Units
        By level.
    """
    names, class_names = pd.Index(recordings["recording_id"]), pd.Index(classes)
    recording = find_positions(names, segments["recording_id"])
    truth = class_names.get_indexer(pd.Index(recordings["label"]))
    person = pd.factorize(recordings["person_id"])[0]
    group = pd.factorize(recordings.get("group", recordings["person_id"]))[0]
    patient, patients = pd.factorize(recordings["patient_id"])
    first = np.unique(patient, return_index=True)[1]
    patient_truth = class_names.get_indexer(pd.Index(recordings["patient_label"]))[first]
    facts = recordings.reindex(columns=FACTS).reset_index(drop=True)
    no_facts = pd.DataFrame(index=range(len(segments)))
    segment_names, numbers = pd.Index(segments["segment_id"]), np.arange(len(first))
    return {
        "segment": Units(
            segment_names, truth[recording], person[recording], group[recording], recording, no_facts
        ),
        "recording": Units(names, truth, person, group, patient, facts),
        "patient": Units(
            pd.Index(patients),
            patient_truth,
            person[first],
            group[first],
            numbers,
            _facts_of_patients(facts, patient, first),
        ),
    }


def _facts_of_patients(facts: pd.DataFrame, patient: np.ndarray, first: np.ndarray) -> pd.DataFrame:
    """Return the facts that all recordings of a patient share, else None.

    Good quality if one recording is good; annotated is the mean.
    """
    annotated = facts["annotated"].groupby(patient).mean()
    facts = facts.drop(columns=["site", "annotated"])
    same = facts.groupby(patient).nunique(dropna=False) == 1
    shared = facts.iloc[first].reset_index(drop=True).where(same, None)
    any_good = (facts["quality"] == "good").groupby(patient).any()
    return shared.assign(quality=shared["quality"].mask(any_good, "good"), annotated=annotated)


def find_positions(names: pd.Index, values: pd.Series) -> np.ndarray:
    """Return the position [n] of each of the n values in `names`, -1 where it is missing.

    The same as `names.get_indexer(values)`, but faster: Arrow compares the strings, not Python.
    """
    wanted, known = (pa.array(strings.array, pa.large_string()) for strings in (values, names))
    return pc.index_in(wanted, known).fill_null(-1).to_numpy().astype(np.int64)
