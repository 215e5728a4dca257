"""The score of heart cycles: matched onsets, heart rates, and the place of murmurs in the cycle."""

import numpy as np
import pandas as pd
import pytest

from murmur.evaluation.segmentation_score import (
    PHASES,
    SCORES,
    locate_murmurs,
    match_onsets,
    score_recording,
    score_segmentation,
)
from murmur.evaluation.summary import describe_segmentation
from murmur.tables.annotations import STATES

LENGTHS = (0.1, 0.2, 0.1, 0.4)  # s of S1, systole, S2 and diastole


def make_cycles(n=5, start=0.0, **columns):
    times = start + np.append(0, np.cumsum(np.tile(LENGTHS, n)))
    table = pd.DataFrame({"start": times[:-1], "end": times[1:], "event": [*STATES] * n})
    return table.assign(**columns)


@pytest.mark.parametrize(
    ("found", "pairs"),
    [
        ([1.059], 1),
        ([1.061], 0),
        ([0.941], 1),
        ([0.97, 1.03], 1),  # a double detection counts once
        ([0.97, 1.03, 2.0], 2),
        ([1.05, 1.95, 2.05], 2),
        ([], 0),
    ],
)
def test_onsets_match_within_60_ms_one_to_one(found, pairs):
    assert match_onsets(np.array([1.0, 2.0]), np.array(found)) == pairs


def test_close_onsets_are_matched_as_often_as_possible():
    assert match_onsets(np.array([1.0, 1.05]), np.array([0.96, 1.02])) == 2


def test_a_made_recording():
    annotated, found = make_cycles(5), make_cycles(5)
    found.loc[4, "start"] += 0.059  # S1 of the second cycle: a match
    found.loc[8, "start"] += 0.061  # S1 of the third: missed, and one too many
    double = found[found["event"] == "S2"][:1].assign(start=lambda table: table["start"] + 0.05)
    found = pd.concat([found, double]).sort_values("start")
    score = score_recording(annotated, found)
    assert [score[f"S1_{name}"] for name in ("matched", "annotated", "found")] == [4, 5, 5]
    assert [score[f"S2_{name}"] for name in ("matched", "annotated", "found")] == [5, 5, 6]
    assert score["seconds"] == pytest.approx(4.0)


def test_what_is_found_outside_of_annotated_parts_does_not_count():
    annotated, found = make_cycles(4, start=10.0), make_cycles(30)
    score = score_recording(annotated, found)
    assert (score["S1_found"], score["S2_found"]) == (4, 4)  # 30 cycles begin at 0, 0.8, 1.6, … s
    assert [score["found_rate"], score["annotated_rate"]] == pytest.approx([75, 75])


def make_run(name="a", run=0, **columns):
    facts = {"run": run, "fold": 1, "murmur": 0.2, "early": 0.1, "middle": 0.2, "late": 0.3}
    return make_cycles(5, recording_id=name, **facts | columns)


def make_folds(*names):
    return pd.DataFrame({"run": 0, "fold": 1, "recording_id": [*names], "role": "test", "segment_id": None})


def test_scores_are_pooled_over_the_test_recordings_of_a_run():
    annotations = pd.concat([make_cycles(5, recording_id=name) for name in "abc"])
    murmur = pd.DataFrame({"recording_id": "a", "start": [0.1], "end": [0.3], "event": "murmur"})
    folds = make_folds("a", "b", "x")  # x is not annotated, c not tested; nothing is found in b
    scores, recordings = score_segmentation({0: make_run()}, pd.concat([annotations, murmur]), {0: folds})
    assert list(scores) == list(SCORES)
    row = scores.iloc[0]
    assert recordings["recording_id"].tolist() == ["a", "b"]
    assert (row["sensitivity"], row["precision"], row["n_recordings"]) == (0.5, 1.0, 2)
    assert row["f1"] == row["f1_S1"] == pytest.approx(2 / 3)
    assert row["f1_recordings"] == 0.5
    assert (row["heart_rate_error"], row["heart_rates"]) == (pytest.approx(0), 0.5)
    assert row["hours"] == pytest.approx(8 / 3600)
    text = describe_segmentation(row.to_dict() | {"tolerance": 0.06})
    assert all(part in text for part in ("F1 0.667", "within 60 ms", "determined in 50% of"))


def test_a_network_that_does_not_label_frames_has_no_scores():
    scores, recordings = score_segmentation(
        {0: make_run()[:0]}, make_cycles(5, recording_id="a"), {0: make_folds("a")}
    )
    assert scores.empty and list(scores) == list(SCORES) and recordings.empty


def test_murmurs_are_located_by_label_and_timing():
    runs = {0: pd.concat([make_run(), make_run("b", early=0.9)]), 1: make_run("a", run=1, early=0.3)}
    recordings = pd.DataFrame(
        {
            "recording_id": ["a", "b"],
            "label": ["Absent", "Present"],
            "murmur_timing": [None, "Early-systolic"],
        }
    )
    table = locate_murmurs(runs, recordings).set_index(["label", "timing"])
    assert list(table) == ["n_recordings", *PHASES]
    assert table["early_systole"].to_dict() == {
        ("Absent", "all"): pytest.approx(0.2),
        ("Present", "Early-systolic"): pytest.approx(0.9),
        ("Present", "all"): pytest.approx(0.9),
    }
    assert (table["n_recordings"] == 1).all()
    assert locate_murmurs({0: make_run()[:0]}, recordings).empty
