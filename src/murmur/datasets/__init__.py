"""Readers of data sets, one module each.

A reader has

- `Options`: a pydantic model of its section `download.<name>` in params.yaml;
- `TASKS`: {name: `Task`}; empty where the labels in the data are the classes;
- `PERSONS`, `LICENCE`: one sentence each, on what `person_id` is and on the terms of use;
- `MAY_BE_PASSED_ON = False`, where the licence forbids sharing (or none is stated) and no option permits it;
- `fetch(options, folder, limit) -> Path`: the folder of the data set's files. `folder` is an empty folder
  for files to be fetched; `limit` is the number of patients to fetch, None for all;
- `read(root, options, task) -> Reading`: the table of recordings, without the properties of the audio.
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
    """A classification task.

    Attributes
    ----------
    classes : tuple of str
        In the order of tables and plots.
    positive : tuple of str
        The classes counted as positive, as for sensitivity.
    weights : tuple of float
        The weight of each class in the task's own metric; () for equal weights.
    """

    classes: tuple[str, ...]
    positive: tuple[str, ...]
    weights: tuple[float, ...] = ()


MURMUR_TASK = Task(
    tuple(CIRCOR_WEIGHTS),
    ("Present",),
    tuple(CIRCOR_WEIGHTS[name] * CIRCOR_PATIENTS[name] for name in CIRCOR_WEIGHTS),
)


@dataclass
class Reading:
    """The result of a reader.

    Attributes
    ----------
    recordings : DataFrame
        Columns recording_id, path (relative to the data set's folder), patient_id, person_id, site, label,
        patient_label, role, sex, age_group; also source, quality (good, poor), murmur_timing, murmur_grade
        and murmur_pitch where they are known.
        person_id is None where the data set does not name the person: a split may then have leaks.
    left_out : list of (str, str)
        Item and reason, for each item that the reader leaves out.
    checksums : dict
        {path: sha256}, where the data set publishes them.
    in_parts : bool
        Whether files in the table may be missing: many people have only parts of public data sets.
    persons : str or None
        What person_id is, if the sentence `PERSONS` does not apply to the selected parts.
    absent : dict
        {class: reason why it has no recordings}; an error unless `class_map` leaves the class out.
    severity : tuple of str
        All labels in increasing order, where a patient's label is the highest of its recordings' labels; ()
        where the data set has labels of patients.
    annotations : DataFrame or None
        Annotated heart cycles, with the columns of `murmur.tables.annotations.ANNOTATIONS`; None where the
        data set has none.
    """

    recordings: pd.DataFrame
    left_out: list[tuple[str, str]] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)
    in_parts: bool = False
    persons: str | None = None
    absent: dict[str, str] = field(default_factory=dict)
    severity: tuple[str, ...] = ()
    annotations: pd.DataFrame | None = None


def find_worst_labels(table: pd.DataFrame, severity: tuple[str, ...]) -> pd.Series:
    """Return for each recording the most severe label of its patient's recordings.

    Parameters
    ----------
    table : DataFrame
        Columns label and patient_id.
    severity : tuple of str
        All labels in increasing order.

    Returns
    -------
    Series of str
        With the index of `table`.
    """
    rank = table["label"].map(severity.index).groupby(table["patient_id"]).transform("max")
    return rank.map(dict(enumerate(severity)))


def list_names() -> list[str]:
    """List the names of the data sets."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load_reader(name: str) -> ModuleType:
    """Import the reader of a data set, the module `murmur.datasets.<name>`.

    Raises
    ------
    MurmurError
        If there is no such data set.
    """
    if name not in list_names():
        raise MurmurError(f"dataset: no data set {name!r}; there are {', '.join(list_names())}")
    return importlib.import_module(f"murmur.datasets.{name}")


def is_shareable(source: ModuleType, section: Mapping[str, Any]) -> bool:
    """Whether a data set may be shared, by its licence or, for own recordings, by permission of their owner.

    Parameters
    ----------
    source : module
        The reader of the data set.
    section : mapping
        `download.<name>` of params.yaml.
    """
    return getattr(source, "MAY_BE_PASSED_ON", True) or section.get("may_be_passed_on") is True
