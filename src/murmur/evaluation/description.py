"""The description of what was evaluated: data, scored units, versions."""

import hashlib
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from murmur import formatting
from murmur.evaluation.levels import Level
from murmur.tables.predictions import TrainingInfo
from murmur.tables.recordings import DatasetCard


def describe_data(
    recordings: pd.DataFrame, segments: pd.DataFrame, patient_facts: pd.DataFrame, card: DatasetCard
) -> dict[str, Any]:
    """Describe the data set: sizes, classes, hours, sites, persons, licence, and hashes of audio and labels.

    Parameters
    ----------
    recordings, segments : DataFrame
        As in `murmur.tables`.
    patient_facts : DataFrame
        `Units.facts` of the patients.
    card : DatasetCard
        Of the data set.
    """
    hashed = ["recording_id", "audio_sha256", "patient_label"]
    return {
        "dataset": card.dataset,
        "task": card.task,
        "classes": list(card.classes),
        "positive": list(card.positive),
        "recordings": len(recordings),
        "patients": recordings["patient_id"].nunique(),
        "persons": recordings["person_id"].nunique(),
        "unknown_persons": card.unknown_persons,
        "segments": len(segments),
        "hours": float((recordings["n_samples"] / recordings["sample_rate"]).sum() / 3600),
        "counts": _count_classes(recordings, card.classes),
        "sites": _count_values(recordings["site"]),
        "source": _count_values(recordings["source"]),
        "sample_rates": _count_sample_rates(recordings, card.classes),
        "sex": _count_values(patient_facts["sex"]),
        "age_group": _count_values(patient_facts["age_group"]),
        "licence": card.licence,
        "shareable": card.shareable,
        "sha256": _hash_table(recordings[[*hashed, "label"]]),
        "sha256_patients": _hash_table(recordings[hashed]),
    }


def _hash_table(recordings: pd.DataFrame) -> str:
    """Return the first 16 digits of a hash, which does not depend on the order of the recordings."""
    content = recordings.sort_values("recording_id").to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _count_classes(recordings: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Recordings by their own label; patients and persons by the patient's."""
    patients = recordings.drop_duplicates("patient_id")
    return {
        c: {
            "recordings": int((recordings["label"] == c).sum()),
            "patients": int((patients["patient_label"] == c).sum()),
            "persons": recordings.loc[recordings["patient_label"] == c, "person_id"].nunique(),
        }
        for c in classes
    }


def _count_values(values: pd.Series) -> dict[str, int]:
    """How often each value occurs; {} where the data set states none."""
    if values.isna().all():
        return {}
    return {str(k): int(n) for k, n in values.fillna("not stated").value_counts().sort_index().items()}


def _count_sample_rates(recordings: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many recordings of each class have each sample rate, in Hz."""
    table = pd.crosstab(recordings["sample_rate"], recordings["label"]).reindex(columns=classes, fill_value=0)
    return {str(rate): {c: int(n) for c, n in row.items()} for rate, row in table.sort_index().iterrows()}


def count_without_segments(recordings: pd.DataFrame, segments: pd.DataFrame) -> dict[str, int]:
    """Count the recordings and the patients without a usable segment."""
    usable = recordings["recording_id"].isin(segments["recording_id"].unique())
    patients = set(recordings["patient_id"]) - set(recordings.loc[usable, "patient_id"])
    return {"recording": int((~usable).sum()), "patient": len(patients)}


def count_absent_classes(folds: pd.DataFrame, level: str, classes: Sequence[str]) -> dict[str, int]:
    """Count for each class the folds in whose test part it is absent; only classes with such folds.

    Parameters
    ----------
    folds : DataFrame
        From `scores.score_all_levels` by run and fold.
    level : str
        Its rows that count.
    classes : sequence of str
        The classes in order.
    """
    at_level = folds[folds["level"] == level]
    absent = {c: int(at_level[f"recall_{c}"].isna().sum()) for c in classes}
    return {c: n for c, n in absent.items() if n}


def describe_scored(level: Level, segments: pd.DataFrame, lowest_level: str) -> dict[str, Any]:
    """Count the scored units, all units, and the runs in which a unit is scored.

    in_parts: whether folds of one run divide a unit, which then has several rows.
    """
    tested = pd.DataFrame({"run": level.run, "unit": level.unit})
    runs_of_unit = tested.drop_duplicates()["unit"].value_counts()
    copies = 0
    if level.name == "segment":  # time-reversed copies are for training only, unless the folds name them
        is_copy = segments["reversed"].to_numpy() & ~segments.index.isin(runs_of_unit.index)
        copies = int(is_copy.sum())
    return {
        "units": len(runs_of_unit),
        "of": len(level.units.names) - copies,
        "least_runs": int(runs_of_unit.min()),
        "most_runs": int(runs_of_unit.max()),
        "in_parts": bool(tested.duplicated().any()),
        "lowest_level": lowest_level,
    }


def count_resampled(level: Level) -> dict[str, int]:
    """Count the groups that the bootstrap resamples, and their persons."""
    return {"groups": len(np.unique(level.group)), "persons": len(np.unique(level.person))}


def describe_training(notes: Sequence[TrainingInfo]) -> dict[str, Any]:
    """Return device, precision and versions of the training; all that occur, if runs differ."""
    versions = {
        name: formatting.join_sorted({note.versions[name] for note in notes}) for name in notes[0].versions
    }
    return {
        "device": formatting.join_sorted({note.device for note in notes}),
        "precision": formatting.join_sorted({note.precision for note in notes}),
        "versions": {"python": platform.python_version(), **versions},
    }
