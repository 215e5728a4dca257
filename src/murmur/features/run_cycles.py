"""The heart cycles of a recording, and of the test parts of a run, from the tracks of networks."""

from pathlib import Path

import numpy as np
import pandas as pd

from murmur import workers
from murmur.errors import MurmurError
from murmur.features import store
from murmur.features.frame_tracks import join_tracks
from murmur.features.heart_cycles import find_cycles
from murmur.tables.annotations import STATES
from murmur.tables.cycles import CYCLES


def find_run_cycles(
    tracks: Path,
    predictions: pd.DataFrame,
    segments: pd.DataFrame,
    *,
    rate: int,
    seconds: float,
    hop_length: int | list[int],
) -> pd.DataFrame:
    """Find the heart cycles of the recordings of each test part.

    Parameters
    ----------
    tracks : Path
        The .npy file of the run that `training.run.fit_run` writes: a row for each test row of `predictions`.
    predictions : DataFrame
        As `murmur.tables.predictions`, of the run.
    segments : DataFrame
        As `SEGMENTS`.
    rate : int
        Sample rate of the signals, Hz.
    seconds : float
        Length of a segment, s.
    hop_length : int or list of int
        Samples from one frame of the spectrogram to the next; the first of a list counts.

    Returns
    -------
    DataFrame
        As `CYCLES`; without rows if the network does not label frames.

    Raises
    ------
    MurmurError
        If the tracks do not belong to the predictions.
    """
    values = store.map_npy(tracks)
    if not values.size:
        return CYCLES.empty_table().to_pandas()
    test = predictions[predictions["role"] == "test"].reset_index(drop=True)
    if len(test) != len(values):
        raise MurmurError(f"{tracks}: not of these predictions; run the stage train again: dvc repro")
    rows = test[["run", "fold", "unit_id"]].merge(segments, left_on="unit_id", right_on="segment_id")
    hop = int(np.ravel(hop_length)[0])
    n_frames = round(seconds * rate) // hop + 1
    step = -(-n_frames // values.shape[1]) * hop / rate

    def find(group: tuple[tuple[int, int, str], pd.DataFrame]) -> pd.DataFrame:
        (run, fold, recording), table = group
        end = (table["start"] + table["n_samples"]).max() / rate
        tracks, starts = np.asarray(values[table.index], np.float32), table["start"].to_numpy() / rate
        found, _ = find_recording_cycles(tracks, starts, step, end)
        return found.assign(run=run, fold=fold, recording_id=recording)

    groups = list(rows.groupby(["run", "fold", "recording_id"], sort=False))
    return pd.concat(workers.map_threads(find, groups, "heart cycles"), ignore_index=True)


def find_recording_cycles(
    tracks: np.ndarray, starts: np.ndarray, step_seconds: float, end: float
) -> tuple[pd.DataFrame, np.ndarray]:
    """Find the heart cycles of a recording from the tracks of its segments.

    Parameters
    ----------
    tracks : np.ndarray, shape [segments, steps, 6]
        Probabilities of `STATES`, of a murmur and of being annotated.
    starts, step_seconds
        As in `join_tracks`.
    end : float
        Where the last segment ends, s.

    Returns
    -------
    cycles : DataFrame
        As from `find_cycles`; no interval ends after `end`.
    murmur : np.ndarray, shape [steps before `end`]
        Probability of a murmur.
    """
    n_steps = max(1, int(np.ceil(np.round(end / step_seconds, 6))))
    joined = join_tracks(tracks, starts, step_seconds, n_steps)
    murmur = joined[:, len(STATES)]
    cycles = find_cycles(joined[:, : len(STATES)], murmur, joined[:, len(STATES) + 1], step_seconds)
    return cycles.assign(end=cycles["end"].clip(upper=end)), murmur
