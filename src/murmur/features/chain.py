"""The features of recordings: clean, segment, mel and embed, one after another."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from murmur.features import cleaning, mel, segmentation
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS


@dataclass(frozen=True)
class PreparedRecordings:
    """Recordings with their segments and features.

    Attributes
    ----------
    recordings : DataFrame
        As `RECORDINGS`, possibly with the column `group` of `GROUPS`.
    segments : DataFrame
        As `SEGMENTS`.
    features : Path
        The array of spectrograms or embeddings (see `store.read_array`); row k belongs to row k of
        `segments`.
    """

    recordings: pd.DataFrame
    segments: pd.DataFrame
    features: Path


def read_prepared(data: Path, features: str) -> PreparedRecordings:
    """Read the recordings that the stages have prepared.

    Parameters
    ----------
    data : Path
        The folder that the stages write into.
    features : {"mel", "embedding"}
        As `train.features` in params.yaml.

    Returns
    -------
    PreparedRecordings
    """
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    segments = parquet.read(data / "segments.parquet", SEGMENTS)
    return PreparedRecordings(recordings, segments, data / features)


def compute_features(data: Path, p: SimpleNamespace) -> PreparedRecordings:
    """Compute the features of the recordings of a data folder, with the functions of the stages.

    Parameters
    ----------
    data : Path
        A folder with raw/ and recordings.parquet; all results are written into it.
    p : SimpleNamespace
        The sections clean, segment, mel, embed and train of params.yaml; embed only where `train.features`
        is embedding.

    Returns
    -------
    PreparedRecordings
        Without segments, and without an array, if no recording is long enough for a segment.

    Raises
    ------
    MurmurError
        As the functions of the stages.
    """
    rate = p.clean.sample_rate
    cleaning.write_signals(data, p.clean)
    try:
        segmentation.write_segments(data, p.segment, rate=rate)
    except segmentation.NoSegmentsError:
        recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
        return PreparedRecordings(recordings, SEGMENTS.empty_table().to_pandas(), data / p.train.features)
    wrap = p.segment.short == "wrap"
    mel.write_spectrograms(data, p.mel, rate=rate, seconds=p.segment.length, wrap=wrap)
    if p.train.features == "embedding":
        from murmur.features import embedding  # imports torch

        embedding.write_embeddings(data, p.embed)
    return read_prepared(data, p.train.features)
