"""Made tables of recordings for the tests of folds, audit and published splits; no audio files."""

import numpy as np
import pandas as pd

from murmur.sections.split import Split
from murmur.splits.folds import make_folds
from tests import made

CLASSES = ("Present", "Unknown", "Absent")
OPTIONS = made.changed({})["split"]
NO_PAIRS = pd.DataFrame({"recording_id": [], "twin_id": []}, dtype=str)


def make_recordings(n=60, linked=8):
    """Recordings of n patients, 1 to 4 each; the last `linked` patients are the first persons again."""
    rng = np.random.default_rng(3)
    rows = []
    for k in range(n):
        label = CLASSES[0 if k % 5 < 2 else 2 if k % 5 < 4 else 1]
        person = k - n + linked if k >= n - linked else k
        for site in ("AV", "PV", "TV", "MV")[: 1 + rng.integers(4)]:
            rows.append((f"{k}_{site}", f"{k}", f"H{person}", label))
    table = pd.DataFrame(rows, columns=["recording_id", "patient_id", "person_id", "patient_label"])
    table["label"] = table["patient_label"]
    return table.assign(role=None, audio_sha256=[f"sha{k}" for k in range(len(table))])


def make_segments(recordings, n=3):
    """`n` segments of each recording."""
    ids = recordings["recording_id"].repeat(n)
    return pd.DataFrame({"segment_id": [f"{i}@{k % n}" for k, i in enumerate(ids)], "recording_id": ids})


def make_pair(*names):
    """A table with one pair of recordings that share audio."""
    return pd.DataFrame([names], columns=["recording_id", "twin_id"])


def split(recordings, seed=0, segments=None, duplicates=NO_PAIRS, **options):
    """The folds of run 0, or of all runs by their number if `runs` is not [0]."""
    segments = make_segments(recordings) if segments is None else segments
    options = OPTIONS | {"runs": [0], "folds": 5} | options
    runs = make_folds(recordings, segments, duplicates, Split(**options), seed)
    return runs[0] if options["runs"] == [0] else runs


def collect_by_role(folds, recordings, column="person_id"):
    """Fold -> role -> the set of values of a column."""
    known = folds[["fold", "recording_id", "role"]].merge(
        recordings[["recording_id", column]], on="recording_id"
    )
    return {
        fold: {role: set(part[column]) for role, part in table.groupby("role")}
        for fold, table in known.groupby("fold")
    }
