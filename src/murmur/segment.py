"""Where each recording is cut: an index, no samples are copied."""

import numpy as np
import pandas as pd

from murmur.errors import MurmurError
from murmur.params import Segment
from murmur.tables import SEGMENTS


def segment(signals: pd.DataFrame, rate: int, options: Segment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut every recording into segments of `options.length` seconds, `options.overlap` of it shared.

    The last piece of a recording may be shorter than a segment. `short: drop` leaves it out; `pad`
    (with zeros) and `wrap` (with its own beginning) keep it, unless it is shorter than `min_length` seconds.

    Parameters
    ----------
    signals: recording_id, n_samples at `rate` Hz.

    Returns
    -------
    segments, left_out
        As `tables.SEGMENTS`; n_samples counts the samples that are really there.

    Raises
    ------
    MurmurError
        If no recording is long enough for a segment.
    """
    length = round(options.length * rate)
    step = max(1, round(length * (1 - options.overlap)))
    least = length if options.short == "drop" else min(length, max(1, round(options.min_length * rate)))
    kept, gone = [], []
    for recording_id, n in zip(signals["recording_id"], signals["n_samples"], strict=True):
        starts = np.arange(0, max(n - length + step, 1), step)  # one past the last whole one, if any is left
        sizes = np.minimum(length, n - starts)
        kept += [(recording_id, s, m) for s, m in zip(starts, sizes, strict=True) if m >= least]
        if sizes[-1] < least:
            what = "whole recording" if len(starts) == 1 else "last piece"
            gone.append((recording_id, f"{what} of {sizes[-1] / rate:.2f} s is too short for a segment"))
    if not kept:
        longest = signals["n_samples"].max() / rate
        raise MurmurError(
            f"segment.length {options.length:g} s (short: {options.short}): the longest recording has "
            f"{longest:.2f} s, a segment needs {least / rate:g} s; shorten it"
        )
    table = pd.DataFrame(kept, columns=["recording_id", "start", "n_samples"])
    table["segment_id"] = table["recording_id"] + "@" + table["start"].astype(str)
    table["reversed"] = False
    left_out = pd.DataFrame(gone, columns=["item", "reason"]).assign(stage="segment")
    return table[SEGMENTS.names], left_out
