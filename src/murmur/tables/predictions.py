"""Predicted probabilities of a run, and the computer on which it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from murmur.tables.parquet import declare_schema, integer, read_metadata, text

FIGURES = ("murmur", "systole", "annotated", "confidence")  # means over the frames of a segment


def make_predictions_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the schema of a table of predictions.

    The columns are run, fold, role, level, unit_id, the probability ``p_<class>`` of each class, and the
    `FIGURES`, which only a network that labels frames predicts: the mean of the probability of systole
    times that of a murmur (murmur), the mean probabilities of systole and of being annotated, and the mean of
    the highest probability of a state (confidence).
    """
    fields = {"run": integer, "fold": integer, "role": text, "level": text, "unit_id": text}
    return declare_schema(
        fields | {f"p_{name}": pa.float32() for name in classes},
        {name: pa.float32() for name in FIGURES},
        key="run fold level unit_id",
    )


@dataclass(frozen=True)
class TrainingInfo:
    """How a run was trained; it is in the metadata of the table of its predictions.

    Attributes
    ----------
    device : str
        The device, such as `cpu`; all that occur, if the networks of the run differ.
    precision : str
        `float32` or `bfloat16`, or both.
    versions : dict
        The versions of the libraries by name.
    """

    device: str
    precision: str
    versions: dict[str, str]


def read_training_info(path: str | Path) -> TrainingInfo:
    """Read how a run was trained from the table of its predictions."""
    return read_metadata(path, TrainingInfo)
