"""One small reader a data set. A reader is a module with

- `Options`: a pydantic model of its own section `download.<name>` in params.yaml;
- `TASKS`: for each task, its classes in order and the positive ones; empty: the labels found are the classes;
- `PERSONS`, `LICENCE`: a sentence each, what person_id is and under what terms the data stand;
- `MAY_BE_PASSED_ON = False`, where the licence forbids it (or none is stated) and no option allows it;
- `fetch(options, folder, limit) -> Path`: where the files lie. `folder` is an empty one it may fill;
- `read(root, options, task) -> Reading`: the table of recordings, without what only the audio can tell.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd


class Task(NamedTuple):
    """A question put to the recordings: its classes in order, and those that sensitivity speaks of."""

    classes: tuple[str, ...]
    positive: tuple[str, ...]
    weights: tuple[float, ...] = ()  # of each class in the task's own metric; () is equal


# CirCor's weighted accuracy (5 Present, 3 Unknown, 1 Absent) at the official mix of 179, 68 and 695 patients
MURMUR = Task(("Present", "Unknown", "Absent"), ("Present",), (5 * 179, 3 * 68, 1 * 695))


@dataclass
class Reading:
    """What a reader found.

    recordings: recording_id, path (relative to the root), patient_id, person_id, site, label,
        patient_label, role, sex, age_group; source and quality (good, poor) if it tells them. person_id is
        None where the data set does not name the person: no split is then free of leaks for certain.
    left_out: (item, reason) of each thing the reader passes over.
    checksums: path -> sha256, where the data set publishes them.
    in_parts: a file that the table names may be missing, since people hold parts of public data sets.
    persons: what person_id is in what was read, where `PERSONS` says it for the whole data set.
    absent: class -> why it has no recordings; an error unless the class is left out.
    severity: labels in an order; a patient's label is the last one that his recordings have. () where the
        patient has a label of his own.
    """

    recordings: pd.DataFrame
    left_out: list[tuple[str, str]] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)
    in_parts: bool = False
    persons: str | None = None
    absent: dict[str, str] = field(default_factory=dict)
    severity: tuple[str, ...] = ()


def worst_labels(table: pd.DataFrame, severity: tuple[str, ...]) -> pd.Series:
    """For each recording the last label in the order of `severity` that its patient's recordings have."""
    rank = table["label"].map(severity.index).groupby(table["patient_id"]).transform("max")
    return rank.map(dict(enumerate(severity)))
