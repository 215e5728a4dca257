"""Where each recording is cut: an index, no samples are copied."""

import numpy as np
import pandas as pd

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
    """
    length = round(options.length * rate)
    step = max(1, round(length * (1 - options.overlap)))
    least = length if options.short == "drop" else min(length, max(1, round(options.min_length * rate)))
    kept, gone = [], []
    for recording_id, n in zip(signals["recording_id"], signals["n_samples"], strict=True):
        starts = np.arange(0, max(n - length + step, 1), step)  # one past the last whole one, if samples remain
        sizes = np.minimum(length, n - starts)
        long_enough = sizes >= least
        kept += [(recording_id, int(s), int(m)) for s, m in zip(starts[long_enough], sizes[long_enough], strict=True)]
        if not long_enough[-1]:
            what = "whole recording" if len(starts) == 1 else "last piece"
            gone.append((recording_id, f"{what} of {sizes[-1] / rate:.2f} s is too short for a segment"))
    table = pd.DataFrame(kept, columns=["recording_id", "start", "n_samples"])
    table["segment_id"] = [f"{i}@{start}" for i, start in zip(table["recording_id"], table["start"], strict=True)]
    table["reversed"] = False
    left_out = pd.DataFrame(gone, columns=["item", "reason"]).assign(stage="segment")
    return table[SEGMENTS.names], left_out
