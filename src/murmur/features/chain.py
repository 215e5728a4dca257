"""All steps from recordings to features, in order."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from murmur.errors import MurmurError
from murmur.features import cleaning, mel, segmentation
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS


@dataclass(frozen=True)
class PreparedRecordings:
    """Recordings with their features.

    Attributes
    ----------
    recordings, segments : DataFrame
        As `RECORDINGS` (possibly with the column of `GROUPS`) and `SEGMENTS`.
    features : Path
        The array, a row for each row of `segments`.
    """

    recordings: pd.DataFrame
    segments: pd.DataFrame
    features: Path


def read_prepared(data: Path, features: str) -> PreparedRecordings:
    """Read what the stages wrote into the folder `data`; `features` is mel or embedding."""
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    segments = parquet.read(data / "segments.parquet", SEGMENTS)
    return PreparedRecordings(recordings, segments, data / features)


def compute_features(data: Path, p: SimpleNamespace) -> PreparedRecordings:
    """Clean the recordings of the folder `data`, cut them, and compute their features, as the stages do.

    If no recording is long enough for a segment there are no segments and no array.

    Parameters
    ----------
    data : Path
        A folder with raw/ and recordings.parquet.
    p : namespace
        The sections clean, segment, mel, embed and train of params.yaml.
    """
    rate = p.clean.sample_rate
    cleaning.write_signals(data, p.clean)
    try:
        segmentation.write_segments(data, p.segment, rate=rate)
    except MurmurError:  # all are too short
        recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
        return PreparedRecordings(recordings, SEGMENTS.empty_table().to_pandas(), data)
    wrap = p.segment.short == "wrap"
    mel.write_spectrograms(data, p.mel, rate=rate, seconds=p.segment.length, wrap=wrap)
    if p.train.features == "embedding":
        from murmur.features import embedding  # imports a transformer

        embedding.write_embeddings(data, p.embed)
    return read_prepared(data, p.train.features)
