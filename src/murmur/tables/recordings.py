"""The table of recordings, and the description of their data set."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from murmur.errors import MurmurError
from murmur.tables.parquet import declare_schema, integer, read_metadata, text

RECORDINGS = declare_schema(
    {
        "recording_id": text,
        "path": text,  # relative to data/raw
        "patient_id": text,  # the id in the data set; scores are per patient
        "person_id": text,  # the recorded person, who may have several patient ids; folds are split by it
        "site": text,  # of the body
        "label": text,  # the class of this recording
        "patient_label": text,
        "sample_rate": integer,  # Hz, of the original file
        "n_samples": integer,  # at that rate, one channel
        "audio_sha256": text,  # of the samples, the same for every file format
        "source": text,
    },
    {
        "role": text,
        "sex": text,
        "age_group": text,
        "quality": text,  # good, poor
        "murmur_timing": text,  # of the patient's murmur, as annotated: such as Holosystolic
        "murmur_grade": text,
        "murmur_pitch": text,
    },
    key="recording_id",
)


@dataclass(frozen=True)
class DatasetCard:
    """The description of a data set; it is in the metadata of the table of recordings.

    Attributes
    ----------
    dataset : str
        The name of the data set.
    task : str
        The name of the classification task.
    classes : tuple of str
        All classes.
    positive : tuple of str
        The classes counted as positive.
    weights : tuple of float
        The weight of each class in the metric of the task; empty: all are equal.
    persons : str
        A sentence that explains what person_id is.
    licence : str
        The licence of the data.
    shareable : bool
        Whether files made from the data may be shared.
    unknown_persons : int
        The number of recordings whose person the data set does not name.
    """

    dataset: str
    task: str
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    weights: tuple[float, ...]
    persons: str
    licence: str
    shareable: bool = True
    unknown_persons: int = 0

    @property
    def names_all_persons(self) -> bool:
        """Whether it can be shown that no person is in both training and test part of a split."""
        return self.unknown_persons == 0


def check_recordings(frame: pd.DataFrame, known: pd.DataFrame, path: str | Path, other: str | Path) -> None:
    """Check that all recordings of one table are in another table.

    Parameters
    ----------
    frame, known : DataFrame
        Tables with the column recording_id; each recording of `frame` must be in `known`.
    path, other : path-like
        Their files, for error messages.

    Raises
    ------
    MurmurError
        Naming both files and the first recording that is missing.
    """
    unknown = ~frame["recording_id"].isin(known["recording_id"])
    if unknown.any():
        name = frame["recording_id"][unknown].iloc[0]
        raise MurmurError(f"{path}: recording {name} is not in {other}; they are of two runs: dvc repro")


def read_dataset_card(path: str | Path) -> DatasetCard:
    """Read the description of the data set from the table of recordings."""
    return read_metadata(path, DatasetCard)
