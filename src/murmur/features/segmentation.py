"""Where each recording is cut: an index, no samples are copied."""

import logging
from pathlib import Path

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

Gone = list[tuple[str, str]]  # (item, reason)


def write_segments(data: Path, options: Segment, *, rate: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut the recordings of the folder `data` into its segments.parquet and left_out/segment.parquet.

    Returns
    -------
    segments, left_out : DataFrame
        As `SEGMENTS` and `LEFT_OUT`.
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
    """Cut every recording into segments of `options.length` seconds, `options.overlap` of it shared.

    The last piece of a recording may be shorter than a segment. `short: drop` leaves it out; `pad`
    (with zeros) and `wrap` (with its own beginning) keep it, unless it is shorter than `min_length` seconds.
    `first` keeps so many segments of a recording; with `first_of`, only of recordings with these labels.
    `mirror` adds a copy of each segment played backwards, after all others.

    Parameters
    ----------
    signals: recording_id, n_samples at `rate` Hz.
    labels: of the recordings, by recording_id.

    Returns
    -------
    segments, left_out
        As `tables.SEGMENTS`; n_samples counts the samples that are really there.

    Raises
    ------
    MurmurError
        If no recording is long enough for a segment, or `first_of` names no label.
    """
    length = round(options.length * rate)
    least = length if options.short == "drop" else min(length, max(1, round(options.min_length * rate)))
    key = f"segment.min_length {options.min_length:g} s"
    if least == length:
        key = f"segment.length {options.length:g} s (short: {options.short})"
    kept, gone = _cut(signals, rate, length, least, options.overlap, f"is too short for a segment: {key}")
    if not kept:
        longest = signals["n_samples"].max() / rate
        raise MurmurError(
            f"{key}: the longest recording has {longest:.2f} s, too short for a segment; lower it"
        )
    table = pd.DataFrame(kept, columns=["recording_id", "start", "n_samples"])
    table, more = _first(table, labels, options)
    table["segment_id"] = table["recording_id"] + "@" + table["start"].astype(str)
    table["reversed"] = False
    if options.mirror:
        table = pd.concat([table, table.assign(segment_id=table["segment_id"] + "r", reversed=True)])
    left_out = pd.DataFrame(gone + more, columns=["item", "reason"]).assign(stage="segment")
    return table[SEGMENTS.names].reset_index(drop=True), left_out


def _cut(
    signals: pd.DataFrame, rate: int, length: int, least: int, overlap: float, why: str
) -> tuple[list[tuple[str, int, int]], Gone]:
    """(recording_id, start, size) of each segment of at least `least` samples; what is left out, and why."""
    step = max(1, round(length * (1 - overlap)))
    kept, gone = [], []
    for recording_id, n in zip(signals["recording_id"], signals["n_samples"], strict=True):
        starts = np.arange(0, max(n - length + step, 1), step)  # one past the last whole one, if any is left
        sizes = np.minimum(length, n - starts)
        kept += [(recording_id, s, m) for s, m in zip(starts, sizes, strict=True) if m >= least]
        if sizes[-1] < least:
            what = "whole recording" if len(starts) == 1 else "last piece"
            gone.append((recording_id, f"{what} of {sizes[-1] / rate:.2f} s {why}"))
    return kept, gone


def _first(table: pd.DataFrame, labels: pd.Series, options: Segment) -> tuple[pd.DataFrame, Gone]:
    if unknown := sorted(set(options.first_of) - set(labels)):
        raise MurmurError(
            f"segment.first_of: no recording is labelled {', '.join(unknown)}; "
            f"there are {', '.join(sorted(set(labels)))}"
        )
    if options.first is None:
        if options.first_of:
            logger.info("segment.first_of has no effect: segment.first is null")
        return table, []
    later = table.groupby("recording_id", sort=False).cumcount() >= options.first
    if options.first_of:
        later &= table["recording_id"].map(labels).isin(options.first_of)
    n = table["recording_id"][later].value_counts(sort=False)
    return table[~later].copy(), [(i, f"{k} segments after the first {options.first}") for i, k in n.items()]
