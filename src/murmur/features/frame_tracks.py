"""The track of a recording: what a network computes for each frame, from segments that overlap."""

import numpy as np

AFTER_END = 1e-9  # weight of the value after the last step of a segment


def join_tracks(tracks: np.ndarray, starts: np.ndarray, step_seconds: float, n_steps: int) -> np.ndarray:
    """Join the tracks of the segments of one recording into the track of the recording.

    Parameters
    ----------
    tracks : np.ndarray of float, shape [segments, steps] or [segments, steps, n]
        The value of each step, such as a probability. Step k of a segment is at start + k · `step_seconds`.
    starts : np.ndarray, shape [segments]
        Start of each segment, s. It need not be a multiple of `step_seconds`.
    step_seconds : float
        Time between two steps, s.
    n_steps : int
        Number of steps of the recording.

    Returns
    -------
    np.ndarray of float32, shape [n_steps] or [n_steps, n]
        Step j is at j · `step_seconds`. Steps that no segment includes are 0: not annotated.

    Notes
    -----
    Each segment is interpolated linearly at the steps of the recording. Where segments overlap, the result is
    their weighted mean. The weight falls linearly from the middle of a segment to both ends: the network has
    less context there. A step of the recording that is less than one step after the last of a segment has its
    value, unless another segment includes it.
    """
    n = tracks.shape[1]
    positions = np.asarray(starts, float) / step_seconds
    first = np.ceil(np.round(positions, 6)).astype(int)  # rounded: 0.3 / 0.1 is 2.9999999999999996
    total, weights = np.zeros((n_steps, *tracks.shape[2:])), np.zeros(n_steps)
    for track, step, ahead in zip(tracks.astype(float), first, first - positions, strict=True):
        following = np.concatenate([track[1:], track[-1:]])
        values = track + ahead * (following - track)
        from_middle = np.abs(np.arange(n) + ahead - (n - 1) / 2)
        weight = np.where(from_middle <= (n - 1) / 2 + 1e-6, (n + 1) / 2 - from_middle, AFTER_END)
        rows = slice(step, min(step + n, n_steps))
        size = max(0, rows.stop - step)
        total[rows] += _expand(weight[:size], track.ndim) * values[:size]
        weights[rows] += weight[:size]
    weights[weights == 0] = 1
    return (total / _expand(weights, total.ndim)).astype(np.float32)


def _expand(x: np.ndarray, n_axes: int) -> np.ndarray:
    return x.reshape(-1, *[1] * (n_axes - 1))
