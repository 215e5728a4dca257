"""Cut recordings into segments of equal length. The result is an index; no samples are copied."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from murmur.errors import MurmurError
from murmur.sections.segment import Segment
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS
from murmur.tables.signals import SIGNALS

logger = logging.getLogger(__name__)

Reasons = list[tuple[str, str]]  # (recording_id, why something of this recording is left out)


class NoSegmentsError(MurmurError):
    """Every recording is too short for a segment."""


class SegmentSizes(NamedTuple):
    """Sizes of segments, in samples.

    Attributes
    ----------
    length : int
        Of a segment.
    step : int
        From the start of a segment to the start of the next one.
    minimum : int
        Least number of recorded samples in a segment; a shorter last piece is left out.
    """

    length: int
    step: int
    minimum: int


def compute_sizes(options: Segment, rate: int) -> SegmentSizes:
    """Compute the sizes of segments at a sample rate of `rate` Hz."""
    length = round(options.length * rate)
    step = max(1, round(length * (1 - options.overlap)))
    minimum = length if options.short == "drop" else min(length, max(1, round(options.min_length * rate)))
    return SegmentSizes(length, step, minimum)


def write_segments(data: Path, options: Segment, *, rate: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut all recordings of a data folder into segments.

    Parameters
    ----------
    data : Path
        A folder with recordings.parquet and signals.parquet; segments.parquet and left_out/segment.parquet
        are written into it.
    options : Segment
        Section `segment` of params.yaml.
    rate : int
        Sample rate of the signals, Hz.

    Returns
    -------
    segments, left_out : DataFrame
        As `SEGMENTS` and `LEFT_OUT`.

    Raises
    ------
    MurmurError
        As `cut_segments`.
    """
    labels = parquet.read(data / "recordings.parquet", RECORDINGS).set_index("recording_id")["label"]
    signals = parquet.read(data / "signals.parquet", SIGNALS)
    segments, left_out = cut_segments(signals, labels, rate, options)
    parquet.write(segments, data / "segments.parquet", SEGMENTS)
    parquet.write(left_out, data / "left_out/segment.parquet", LEFT_OUT)
    return segments, left_out


def cut_segments(
    signals: pd.DataFrame, labels: pd.Series, rate: int, options: Segment
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut every recording into segments of `options.length` seconds that overlap by `options.overlap`.

    Parameters
    ----------
    signals : DataFrame
        Columns recording_id and n_samples.
    labels : Series
        The label of each recording, indexed by recording_id.
    rate : int
        Sample rate of the signals, Hz.
    options : Segment
        Section `segment` of params.yaml. The last segment of a recording may be shorter than the others:
        `short: drop` leaves it out; `pad` and `wrap` keep it, unless it is shorter than `min_length` seconds.
        `first` keeps only so many segments of each recording, or, with `first_of`, of each recording with
        one of these labels. `mirror` adds a time-reversed copy of each segment, after all others.

    Returns
    -------
    segments : DataFrame
        As `SEGMENTS`; n_samples counts the samples of the recording, without padding.
    left_out : DataFrame
        As `LEFT_OUT`.

    Raises
    ------
    NoSegmentsError
        If no recording is long enough for a segment.
    MurmurError
        If `first_of` names a label that no recording has.
    """
    segments, reasons = _cut_recordings(signals, rate, options)
    segments, more_reasons = _keep_first(segments, labels, options)
    segments["segment_id"] = segments["recording_id"] + "@" + segments["start"].astype(str)
    segments["reversed"] = False
    if options.mirror:
        copies = segments.assign(segment_id=segments["segment_id"] + "r", reversed=True)
        segments = pd.concat([segments, copies])
    left_out = pd.DataFrame(reasons + more_reasons, columns=["item", "reason"]).assign(stage="segment")
    return segments[SEGMENTS.names].reset_index(drop=True), left_out


def _cut_recordings(signals: pd.DataFrame, rate: int, options: Segment) -> tuple[pd.DataFrame, Reasons]:
    """Cut all recordings: a table of recording_id, start and n_samples; what is left out, and why."""
    length, step, minimum = compute_sizes(options, rate)
    key = f"segment.min_length {options.min_length:g} s"
    if minimum == length:
        key = f"segment.length {options.length:g} s (short: {options.short})"
    segments, reasons = [], []
    for recording_id, n_samples in zip(signals["recording_id"], signals["n_samples"], strict=True):
        starts, sizes = _cut_signal(n_samples, length, step)
        cut = zip(starts, sizes, strict=True)
        segments += [(recording_id, start, size) for start, size in cut if size >= minimum]
        if sizes[-1] < minimum:
            part = "whole recording" if len(starts) == 1 else "last piece"
            duration = f"{sizes[-1] / rate:.2f} s"
            reasons.append((recording_id, f"{part} of {duration} is too short for a segment: {key}"))
    if not segments:
        longest = signals["n_samples"].max() / rate
        raise NoSegmentsError(
            f"{key}: the longest recording has {longest:.2f} s, too short for a segment; lower it"
        )
    return pd.DataFrame(segments, columns=["recording_id", "start", "n_samples"]), reasons


def _cut_signal(n_samples: int, length: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the starts and sizes of the segments of one signal; only the last may be shorter."""
    starts = np.arange(0, max(n_samples - length + step, 1), step)
    return starts, np.minimum(length, n_samples - starts)


def _keep_first(segments: pd.DataFrame, labels: pd.Series, options: Segment) -> tuple[pd.DataFrame, Reasons]:
    """Keep the first segments of each recording, as `first` and `first_of` require; what is left out."""
    if unknown := sorted(set(options.first_of) - set(labels)):
        raise MurmurError(
            f"segment.first_of: no recording is labelled {', '.join(unknown)}; "
            f"there are {', '.join(sorted(set(labels)))}"
        )
    if options.first is None:
        if options.first_of:
            logger.info("segment.first_of has no effect: segment.first is null")
        return segments, []
    is_later = segments.groupby("recording_id", sort=False).cumcount() >= options.first
    if options.first_of:
        is_later &= segments["recording_id"].map(labels).isin(options.first_of)
    counts = segments["recording_id"][is_later].value_counts(sort=False)
    reasons = [(name, f"{n} segments after the first {options.first}") for name, n in counts.items()]
    return segments[~is_later].copy(), reasons
