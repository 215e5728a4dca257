"""Labels of the frames of all spectrograms: the annotated state of the heart cycle, and murmurs."""

from pathlib import Path

import numpy as np
import pandas as pd

from murmur.features.store import map_npy, open_writer
from murmur.tables import parquet
from murmur.tables.annotations import ANNOTATIONS, NOT_ANNOTATED, PADDING, STATES
from murmur.tables.segments import SEGMENTS

MURMUR = len(STATES)  # is added to the label of a frame with a murmur
BLOCK = 2**14  # segments that are labelled at a time


def write_frame_labels(
    data: Path, *, n_fft: int, hop: int, rate: int, seconds: float, wrap: bool
) -> np.ndarray:
    """Label the frames of all segments of a data folder.

    Parameters
    ----------
    data : Path
        A folder with annotations.parquet and segments.parquet; frame_labels.npy is written into it.
    n_fft, hop : int
        Length of the Fourier transform and distance between frames, in samples.
    rate : int
        Sample rate of the signals, Hz.
    seconds : float
        Length of a segment, s.
    wrap : bool
        As `label_frames`.

    Returns
    -------
    ndarray, shape (segments, frames), int8
        As `label_frames`; a memory map of the file.
    """
    annotations = parquet.read(data / "annotations.parquet", ANNOTATIONS)
    segments = parquet.read(data / "segments.parquet", SEGMENTS)
    length = round(seconds * rate)
    positions = compute_positions(length, n_fft, hop)
    out, shape = data / "frame_labels.npy", (len(segments), len(positions))
    rows = annotations.groupby("recording_id").indices
    with open_writer(out, shape, np.dtype(np.int8)) as write:
        for start in range(0, len(segments), BLOCK):
            block = segments.iloc[start : start + BLOCK]
            used = [rows[name] for name in block["recording_id"].unique() if name in rows]
            events = annotations.iloc[np.concatenate(used)] if used else annotations[:0]
            write(label_frames(events, block, positions, rate=rate, length=length, wrap=wrap))
    return map_npy(out)


def compute_positions(length: int, n_fft: int, hop: int) -> np.ndarray:
    """Compute the sample at the centre of each frame of a segment.

    Parameters
    ----------
    length : int
        Length of a segment, samples.
    n_fft, hop : int
        As `write_frame_labels`.

    Returns
    -------
    ndarray, shape (frames,)
        k * hop for frame k, but the last sample of the segment where this is the one after it.
    """
    n_frames = 1 + (length - n_fft % 2) // hop
    return np.minimum(np.arange(n_frames) * hop, length - 1)


def label_frames(
    annotations: pd.DataFrame,
    segments: pd.DataFrame,
    positions: np.ndarray,
    *,
    rate: int,
    length: int,
    wrap: bool,
) -> np.ndarray:
    """Label the frames of segments by the annotations at their centre.

    Parameters
    ----------
    annotations : DataFrame
        As `ANNOTATIONS`.
    segments : DataFrame
        As `SEGMENTS`.
    positions : ndarray, shape (frames,)
        The sample at the centre of each frame, from the start of the segment.
    rate : int
        Sample rate, Hz.
    length : int
        Length of a segment, samples.
    wrap : bool
        Whether a shorter segment is repeated until it has this length; otherwise zeros are appended.

    Returns
    -------
    ndarray, shape (segments, frames), int8
        The index in `STATES`, + `MURMUR` where there is also a murmur; `NOT_ANNOTATED` without a state;
        `PADDING` after the end of the recording. Row k belongs to row k of `segments`.
    """
    is_reversed = segments["reversed"].to_numpy()[:, None]
    sizes, starts = segments["n_samples"].to_numpy()[:, None], segments["start"].to_numpy()[:, None]
    within = np.where(is_reversed, length - 1 - positions, positions)
    is_padding = (within >= sizes) & (not wrap)
    times = (starts + within % sizes) / rate
    labels = np.full(times.shape, NOT_ANNOTATED, np.int8)
    events = dict([*annotations.groupby("recording_id")])
    for name, rows in segments.groupby("recording_id").indices.items():
        if name in events:
            labels[rows] = _label_times(events[name], times[rows])
    labels[is_padding] = PADDING
    return labels


def _label_times(events: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    """Label times in s by the events of one recording; of two states that overlap, the later one counts.

    The rest of a long state after a short one that is within it is not annotated.
    """
    events = events.sort_values("start")
    is_murmur = (events["event"] == "murmur").to_numpy()
    states = events[~is_murmur]
    codes = [*states["event"].map(STATES.index), NOT_ANNOTATED]  # the row of no event is -1
    state = _find_event(states, times)
    has_murmur = (state >= 0) & (_find_event(events[is_murmur], times) >= 0)
    return np.array(codes, np.int8)[state] + MURMUR * has_murmur


def _find_event(events: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    """Return for each time the row of the last event that began, or -1 if it has ended."""
    found = np.searchsorted(events["start"], times, side="right") - 1
    ends = np.append(events["end"], -np.inf)  # before the first event the row is -1
    return np.where(times < ends[found], found, -1)
