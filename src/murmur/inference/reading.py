"""Reading of recordings of any format for predictions."""

from pathlib import Path

import numpy as np

from murmur.recordings import audio


def read_any(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a recording of any format that libsndfile or wfdb reads, as one channel.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    samples : ndarray, shape (n,), float32
    rate : int
        Sample rate, Hz.

    Raises
    ------
    MurmurError
        If the file cannot be read.
    """
    return audio.load(path)
