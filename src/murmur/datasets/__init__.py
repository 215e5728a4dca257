"""One small reader a data set. A reader is a module with

- `Options`: a pydantic model of its own section `download.<name>` in params.yaml;
- `TASKS`: for each task, its classes in order and the positive ones; empty: the labels found are the classes;
- `PERSONS`, `LICENCE`: a sentence each, what person_id is and under what terms the data stand;
- `MAY_BE_PASSED_ON = False`, where the licence forbids it (or none is stated) and no option allows it;
- `fetch(options, folder, limit) -> Path`: where the files lie. `folder` is an empty one it may fill;
- `read(root, options, task) -> Reading`: the table of recordings, without what only the audio can tell.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.errors import MurmurError


class Task(NamedTuple):
    """A question put to the recordings: its classes in order, and those that sensitivity speaks of."""

    classes: tuple[str, ...]
    positive: tuple[str, ...]
    weights: tuple[float, ...] = ()  # of each class in the task's own metric; () is equal


MURMUR = Task(
    tuple(CIRCOR_WEIGHTS),
    ("Present",),
    tuple(CIRCOR_WEIGHTS[name] * CIRCOR_PATIENTS[name] for name in CIRCOR_WEIGHTS),
)


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


def names() -> list[str]:
    """The names of the data sets, a module each."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load_reader(name: str) -> ModuleType:
    """Import the reader of a data set, the module `murmur.datasets.<name>`.

    Raises
    ------
    MurmurError
        If there is no such data set.
    """
    if name not in names():
        raise MurmurError(f"dataset: no data set {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"murmur.datasets.{name}")


def is_shareable(source: ModuleType, section: Mapping[str, Any]) -> bool:
    """Whether a data set may be passed on, by its licence or, of own recordings, by their owner's word.

    section: `download.<name>` of params.yaml.
    """
    return getattr(source, "MAY_BE_PASSED_ON", True) or section.get("may_be_passed_on") is True
