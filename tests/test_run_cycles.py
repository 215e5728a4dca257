"""The heart cycles of a run, from tracks of which the states are known."""

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.features.run_cycles import find_run_cycles
from murmur.tables import parquet
from murmur.tables.annotations import STATES
from murmur.tables.cycles import CYCLES
from tests.test_heart_cycles import STEP, make_order, make_posteriors

RATE, HOP = 1000, 20  # a step of the network is two frames
STARTS = (0, 1000, 2000)  # of segments of 2 s, 51 steps
FIRST = {"a": 0, "b": 7, "c": 11}  # the step at which each recording begins


@pytest.fixture
def made(tmp_path):
    """Tracks of three recordings of 4 s, in two folds; the table of segments has another order."""
    tracks, predictions = [], []
    for fold, names in enumerate((["b", "a"], ["c"])):
        for start in STARTS:
            for name in names:
                order = make_order(cycles=8, first=FIRST[name])
                murmur, annotated = np.where(order == 1, 0.7, 0.1), np.full(len(order), 0.9)
                track = np.column_stack([make_posteriors(order), murmur, annotated])
                tracks.append(track[round(start / RATE / STEP) :][:51])
                predictions.append({"fold": fold, "role": "test", "unit_id": f"{name}@{start}"})
        predictions.append({"fold": fold, "role": "validation", "unit_id": "a@0"})
    np.save(tmp_path / "tracks.npy", np.array(tracks, np.float16))
    rows = [(f"{name}@{start}", name, start, 2000) for start in STARTS for name in FIRST]
    segments = pd.DataFrame(rows, columns=["segment_id", "recording_id", "start", "n_samples"])
    return tmp_path / "tracks.npy", pd.DataFrame(predictions).assign(run=3), segments


def find(made, hop_length=HOP):
    return find_run_cycles(*made, rate=RATE, seconds=2.0, hop_length=hop_length)


@pytest.mark.parametrize("hop_length", [HOP, [HOP, 2 * HOP]])
def test_the_tracks_of_overlapping_segments_give_back_the_cycles_of_each_recording(
    made, tmp_path, hop_length
):
    found = find(made, hop_length)
    parquet.write(found, tmp_path / "cycles.parquet", CYCLES)
    assert found.groupby("recording_id")["fold"].unique().map(list).to_dict() == {
        "a": [0],
        "b": [0],
        "c": [1],
    }
    assert (found["run"] == 3).all()
    for name, table in found.groupby("recording_id"):
        order = make_order(cycles=8, first=FIRST[name])[:100]  # 4 s
        changes = np.flatnonzero(np.diff(order)) + 1
        assert table["event"].tolist() == [STATES[k] for k in order[np.append(0, changes)]]
        np.testing.assert_allclose(table["start"].iloc[1:], (changes - 0.5) * STEP, atol=1e-3)
        assert table["end"].iloc[-1] == pytest.approx(4)
        assert (table["murmur"] > 0.5).tolist() == (table["event"] == "systole").tolist()


def test_tracks_of_other_predictions_are_refused(made):
    path, predictions, segments = made
    message = rf"^{path}: not of these predictions; run the stage train again: dvc repro$"
    with pytest.raises(MurmurError, match=message):
        find((path, predictions.iloc[1:], segments))


def test_a_network_that_does_not_label_frames_gives_an_empty_table(made, tmp_path):
    np.save(made[0], np.empty((0, 0, 6), np.float16))
    parquet.write(find(made), tmp_path / "cycles.parquet", CYCLES)
    assert parquet.read(tmp_path / "cycles.parquet", CYCLES).empty


def test_the_last_interval_ends_with_the_recording(made):
    tracks, predictions, segments = made
    shorter = segments.assign(n_samples=np.where(segments["start"] == STARTS[-1], 1990, 2000))
    found = find((tracks, predictions, shorter))
    assert found.groupby("recording_id")["end"].max().tolist() == pytest.approx([3.99] * 3)
