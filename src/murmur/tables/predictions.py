"""Predicted probabilities of a run, and on what it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from murmur.tables.parquet import read_metadata, schema, text, whole


def predictions_schema(classes: Sequence[str]) -> pa.Schema:
    """The schema of a predictions table: one `p_<class>` column (float32) a class, in their order."""
    fields = {"run": whole, "fold": whole, "role": text, "level": text, "unit_id": text}
    return schema(fields | {f"p_{c}": pa.float32() for c in classes}, key="run fold level unit_id")


@dataclass(frozen=True)
class TrainingNote:
    """On what a run was trained; it travels in the metadata of its predictions."""

    device: str
    precision: str
    versions: dict[str, str]


def read_note(path: str | Path) -> TrainingNote:
    """On what the run whose predictions lie at `path` was trained."""
    return read_metadata(path, TrainingNote)
