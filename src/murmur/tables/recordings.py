"""The table of recordings, and the card of their data set."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError
from murmur.tables.parquet import read_metadata, schema, text, whole

RECORDINGS = schema(
    {
        "recording_id": text,
        "path": text,  # relative to data/raw
        "patient_id": text,  # the data set's own number: scores are given by it
        "person_id": text,  # who was recorded: folds are grouped by it
        "site": text,
        "label": text,  # what is to be heard in this recording
        "patient_label": text,
        "sample_rate": whole,  # Hz, as recorded
        "n_samples": whole,  # at that rate, one channel
        "audio_sha256": text,  # of the samples, whatever the container
        "source": text,
    },
    {"role": text, "sex": text, "age_group": text, "quality": text},  # quality: good, poor
    key="recording_id",
)


@dataclass(frozen=True)
class Card:
    """What a data set says of itself; it travels in the metadata of the recordings table."""

    dataset: str
    task: str
    classes: tuple[str, ...]
    positive: tuple[str, ...]  # the classes that sensitivity speaks of
    weights: tuple[float, ...]  # of each class in the task's own metric; () is equal
    persons: str  # what person_id is, in one sentence
    licence: str
    shareable: bool = True  # whether what is made from it may be passed on
    unknown_persons: int = 0  # recordings whose person the data set does not name

    @property
    def leak_free(self) -> bool:
        """Whether a split can be shown to keep each person on one side."""
        return self.unknown_persons == 0


def check_recordings(frame: pd.DataFrame, known: pd.DataFrame, path: str | Path, other: str | Path) -> None:
    """Refuse a table at `path` that names a recording which `known`, the table at `other`, does not have."""
    unknown = ~frame["recording_id"].isin(known["recording_id"])
    if unknown.any():
        name = frame["recording_id"][unknown].iloc[0]
        raise MurmurError(f"{path}: recording {name} is not in {other}; they are of two runs: dvc repro")


def read_card(path: str | Path) -> Card:
    """The data set's card from the metadata of the recordings table at `path`."""
    return read_metadata(path, Card)
