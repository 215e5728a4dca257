"""What the errors are: shares of each group against counts by hand, and the patients that are missed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy

from murmur.evaluation.error_groups import score_error_groups
from murmur.evaluation.inputs import compute_annotated_fraction
from murmur.evaluation.missed import find_examples, list_errors
from tests.experiment import experiment, predict_levels, table_of, without_segments


@pytest.fixture
def made():
    made = experiment(patients=60)
    recordings = made["recordings"]
    present = recordings["patient_label"] == "Present"
    number = recordings["patient_id"].str.removeprefix("p").astype(int)
    grades = np.where(number % 2, "I/VI", np.where(number % 12, "III/VI", "III/VI+I/IV"))
    recordings["murmur_grade"] = pd.Series(grades, recordings.index).where(present, None)
    recordings["annotated"] = np.arange(len(recordings)) % 5 / 4
    return made


def test_each_group_has_its_share_of_recognised_patients(made):
    units, levels, _ = predict_levels(made)
    table = score_error_groups(levels, draws=50, seed=1)
    level = levels["patient"]
    answers = table_of(level).assign(
        truth=level.units.truth[level.unit], grade=level.units.facts["murmur_grade"].to_numpy()[level.unit]
    )
    answers["grade"] = answers["grade"].str.removesuffix("+I/IV")  # that of the diastolic murmur
    answers["alarm"] = answers["predicted"] == 0
    by_grade = answers[answers["truth"] == 0].groupby("grade")
    rows = table[table["group"] == "murmur_grade"].set_index("value")
    assert rows["mean"].to_dict() == pytest.approx(by_grade["alarm"].mean().to_dict())
    assert rows["n_units"].to_dict() == by_grade["unit"].nunique().to_dict() == {"I/VI": 10, "III/VI": 10}
    assert set(rows["metric"]) == {"sensitivity"}, "only positive patients have a grade"
    assert (rows["low"] <= rows["mean"]).all() and (rows["mean"] <= rows["high"]).all()
    others = table[(table["group"] == "all") & (table["metric"] == "specificity")].iloc[0]
    assert others["n_units"] == 40
    assert others["mean"] == pytest.approx(1 - answers.loc[answers["truth"] != 0, "alarm"].mean())
    quarters = table[(table["group"] == "annotated") & (table["metric"] == "sensitivity")]
    mean = units["patient"].facts["annotated"][units["patient"].truth == 0]
    assert quarters["n_units"].sum() == 20
    expected = ((mean > 0.25) & (mean <= 0.5)).sum()
    assert quarters.set_index("value")["n_units"]["25-50 %"] == expected > 0
    assert set(table.loc[table["group"] == "site", "level"]) == {"recording"}
    assert "murmur_timing" not in set(table["group"]), "no patient has one"


def test_the_patients_missed_are_those_wrong_in_most_runs(made):
    units, levels, _ = predict_levels(made)
    level = levels["patient"]
    missed = list_errors(levels, units, missed=True)
    wrong = table_of(level).assign(wrong=level.predicted != 0)[level.truth == 0].groupby("unit")["wrong"]
    assert sorted(missed.index) == sorted(wrong.mean()[wrong.mean() > 0.5].index) and len(missed) > 2
    assert missed["probability"].is_monotonic_increasing and (missed["label"] == "Present").all()
    alarms = list_errors(levels, units, missed=False)
    assert alarms["probability"].is_monotonic_decreasing and "Present" not in set(alarms["label"])
    recordings = made["recordings"].set_index("recording_id")
    assert recordings.loc[missed["recording_id"], "patient_id"].tolist() == missed["patient_id"].tolist()


def test_an_example_shows_the_most_informative_segment(made):
    units, levels, _ = predict_levels(made)
    level = levels["patient"]  # three false alarms
    predicted = np.where(np.isin(level.unit, [1, 2, 4]), 0, level.predicted)
    levels["patient"] = replace(level, predicted=predicted)
    examples = find_examples(levels, units, n=3)
    assert [e.truth == "Present" for e in examples] == [True] * 3 + [False] * 3
    assert {e.murmur for e in examples} > {"I/VI", ""}
    for e in examples:
        recording = units["recording"].names.get_loc(e.recording_id)
        for name, shown in (("recording", recording), ("segment", e.segment)):
            mean = table_of(levels[name]).groupby("unit")["p_Present"].mean()
            parent = units[name].parent
            assert mean[shown] == mean[parent[mean.index] == parent[shown]].max()


def test_a_patient_without_a_segment_is_missed_but_not_shown(made):
    names = made["recordings"].query("patient_id == 'p0'")["recording_id"]
    made = without_segments(made, *names)
    units, levels, _ = predict_levels(made)
    assert "p0" in set(list_errors(levels, units, missed=True)["patient_id"])
    assert not {e.recording_id for e in find_examples(levels, units, n=99)} & set(names)


def test_a_model_of_patients_shows_the_middle_segment_of_the_middle_recording(made):
    units, levels, _ = predict_levels(made)
    for e in find_examples({"patient": levels["patient"]}, units):
        recording = units["recording"].names.get_loc(e.recording_id)
        segments = np.flatnonzero(units["segment"].parent == recording)
        assert e.segment == segments[len(segments) // 2]


def test_without_errors_none_is_listed(made):
    units, levels, _ = predict_levels(made)
    right = {"patient": replace(levels["patient"], predicted=levels["patient"].truth)}
    assert find_examples(right, units) == [] and list_errors(right, units, missed=True).empty


def test_the_annotated_fraction_does_not_count_murmurs():
    recordings = pd.DataFrame({"recording_id": ["a", "b"], "n_samples": 4000, "sample_rate": 1000})
    columns = ["recording_id", "start", "end", "event"]
    rows = [("a", 0.0, 1.0, "S1"), ("a", 1.0, 2.0, "systole"), ("a", 1.0, 2.0, "murmur")]
    annotations = pd.DataFrame(rows, columns=columns)
    assert compute_annotated_fraction(recordings, annotations).tolist() == [0.5, 0.0]
    assert compute_annotated_fraction(recordings, annotations[:0]).isna().all()


def test_a_group_that_is_always_right_has_an_interval(made):
    _, levels, _ = predict_levels(made)
    right = {"patient": replace(levels["patient"], predicted=levels["patient"].truth)}
    rows = score_error_groups(right, draws=50, seed=1).set_index(["metric", "value"])
    others = rows.loc[("specificity", "all")]
    lower = scipy.stats.binomtest(int(others["n_persons"]), int(others["n_persons"])).proportion_ci().low
    assert (others["mean"], others["high"]) == (1, 1) and others["low"] == pytest.approx(lower)
