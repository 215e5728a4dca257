"""The output of a network for frames of overlapping segments, joined over a recording."""

from collections.abc import Sequence

import numpy as np


def join_tracks(
    tracks: Sequence[np.ndarray], starts: np.ndarray, step_seconds: float, n_steps: int
) -> tuple[np.ndarray, ...]:
    """Average the probabilities of overlapping segments into one track of the recording.

    Parameters
    ----------
    tracks : sequence of np.ndarray, shape [segments, steps, ...]
        Such as the probabilities of the states, of a murmur and of being annotated.
    starts : np.ndarray, shape [segments]
        Start of each segment, s.
    step_seconds : float
        Time from one step to the next, s.
    n_steps : int
        Number of steps of the recording.

    Returns
    -------
    tuple of np.ndarray, shape [n_steps, ...]
        The mean, in which the steps at the edges of a segment have less weight.
    """
    n = tracks[0].shape[1]
    weight = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(np.float64)
    first = np.rint(np.asarray(starts) / step_seconds).astype(int)
    total = np.zeros(max(n_steps, first[-1] + n))
    for k in first:
        total[k : k + n] += weight
    joined = []
    for track in tracks:
        sums = np.zeros((len(total), *track.shape[2:]))
        for k, values in zip(first, track, strict=True):
            sums[k : k + n] += (weight * values.T).T
        joined.append((sums.T / np.maximum(total, 1e-12)).T[:n_steps])
    return tuple(joined)
