"""The probabilities of the frames of a whole recording, from those of its segments."""

import numpy as np


def join_tracks(tracks: np.ndarray, starts: np.ndarray, step_seconds: float, n_steps: int) -> np.ndarray:
    """Average the tracks of the overlapping segments of a recording.

    Parameters
    ----------
    tracks : np.ndarray, shape [segments, steps, ...]
        Values of each step of each segment.
    starts : np.ndarray, shape [segments]
        Start of each segment, s.
    step_seconds : float
        Time from one step to the next, s.
    n_steps : int
        Steps of the recording.

    Returns
    -------
    np.ndarray, shape [n_steps, ...]
        Weighted mean: the weight of a step decreases towards both ends of its segment.
    """
    steps = tracks.shape[1]
    weight = np.minimum(np.arange(1, steps + 1), np.arange(steps, 0, -1)).astype(np.float64)
    first = np.rint(np.asarray(starts) / step_seconds).astype(int)
    shape = (max(n_steps, int(first.max()) + steps), *tracks.shape[2:])
    total, weights = np.zeros(shape), np.zeros(shape[0])
    for track, k in zip(tracks, first, strict=True):
        total[k : k + steps] += track * weight.reshape(-1, *[1] * (track.ndim - 1))
        weights[k : k + steps] += weight
    return total[:n_steps] / np.maximum(weights[:n_steps], 1e-9).reshape(-1, *[1] * (tracks.ndim - 2))
