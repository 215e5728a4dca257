"""The protocol of an experiment: how recordings were split, how the epoch was selected, and what is leaky."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from murmur.sections.segment import Segment
from murmur.sections.split import Split
from murmur.sections.train import Train
from murmur.tables.recordings import DatasetCard


def describe_protocol(
    split: Split, segment: Segment, card: DatasetCard, folds: int, has_validation: bool = False
) -> dict[str, Any]:
    """Describe how the recordings were split, and whether the protocol is leaky.

    It is leaky, whatever the audit finds, if the test part selects the epoch, if the label decides which
    segments are used, or if the data set does not name the person of each recording.

    Parameters
    ----------
    split, segment : Split, Segment
        Sections of params.yaml.
    card : DatasetCard
        Of the data set.
    folds : int
        The number of folds of a run.
    has_validation : bool
        Whether every fold has a validation part, which a published split may define.

    Returns
    -------
    dict
        Some keys of `split`, person, leaky, and flaws: the reasons, joined by ", ".
    """
    flaws = {
        "validate_on": split.validate_on == "test" and not has_validation,
        "data set": not card.names_all_persons,
        "first_of": bool(segment.first and segment.first_of),
    }
    return {
        "method": split.method,
        "folds": folds,
        "group_by": split.group_by,
        "merge_near_duplicates": split.merge_near_duplicates,
        "on_leak": split.on_leak,
        "validate_on": split.validate_on,
        "inner": split.inner,
        "person": card.persons,
        "leaky": any(flaws.values()),
        "flaws": ", ".join(name for name, is_flaw in flaws.items() if is_flaw) or "none",
    }


def describe_selection(train: Train) -> dict[str, Any]:
    """Describe what selects the epoch (select_on), the rules that stop the training (stops), and refit."""
    rules = train.model_dump(include={"patience", "stop_accuracy", "stop_one_class"})
    stops = [f"{name} {value}" for name, value in rules.items() if value is not None and value is not False]
    return {"select_on": train.select_on, "stops": ", ".join(stops) or "none", "refit": train.refit}


def describe_leaks(audit: pd.DataFrame, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the highest of each count shared_… over the folds of the audit, and whether anything leaks."""
    shared = audit.filter(like="shared_").max()
    return {**shared, "leaky": bool(protocol.get("leaky") or shared.any())}


def count_parts(folds: Mapping[int, pd.DataFrame]) -> dict[str, int]:
    """Count the folds of all runs, those without a validation part, and the different test parts."""
    parts = [fold for run in folds.values() for _, fold in run.groupby("fold")]
    names = [part["segment_id"].fillna("") + "@" + part["recording_id"] for part in parts]
    tests = {frozenset(n[part["role"] == "test"]) for n, part in zip(names, parts, strict=True)}
    without = sum("validation" not in set(part["role"]) for part in parts)
    return {"folds": len(parts), "without_validation": without, "test_parts": len(tests)}


def have_validation(folds: Mapping[int, pd.DataFrame]) -> bool:
    """Return whether every fold of every run has a validation part."""
    return count_parts(folds)["without_validation"] == 0
