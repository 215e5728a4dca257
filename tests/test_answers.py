"""What is said of every unit against plain loops; what is fitted sees the validation part alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from murmur.errors import MurmurError
from murmur.evaluation import calibration, levels, rules
from murmur.tables.levels import LEVELS
from tests.experiment import (
    CARD,
    CLASSES,
    COLUMNS,
    FOLDS,
    RUNS,
    experiment,
    options,
    said,
    silenced,
    two_classes,
)

MEANS = {"mean_probability": lambda p: p.mean(0), "mean_logit": gmean, "maximum": lambda p: p.max(0)}


@pytest.fixture
def made():
    return experiment()


def plain(made, level, rule, role="test"):
    """(run, fold, unit name) -> pooled probabilities, one unit after another."""
    recordings = made["recordings"].set_index("recording_id")["patient_id"]
    segments = made["segments"].set_index("segment_id")["recording_id"]
    found = {}
    for run, fold in [(run, fold) for run in made["predictions"] for fold in range(FOLDS)]:
        p = made["predictions"][run].query("fold == @fold and role == @role").set_index("unit_id")
        p = p[[f"p_{c}" for c in made["card"].classes]].astype(float)
        for parents in (segments, recordings)[: LEVELS.index(level)]:
            pooled = {
                name: MEANS[rule](part.to_numpy()) for name, part in p.groupby(parents[p.index].to_numpy())
            }
            p = pd.DataFrame(pooled).T
            p = p.div(p.sum(axis=1), axis=0)
        found |= {(run, fold, name): row.to_numpy() for name, row in p.iterrows()}
    return found


@pytest.mark.parametrize("rule", MEANS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("change", [lambda made: made, two_classes])
def test_every_level_is_that_of_a_plain_loop(made, level, rule, change):
    made = change(made) | {"options": options(rule=rule)}
    units, tables, _ = said(made)
    expected, columns = plain(made, level, rule), [f"p_{c}" for c in made["card"].classes]
    table = tables[level]
    keys = list(zip(table["run"], table["fold"], units[level].names[table["unit"]], strict=True))
    assert sorted(keys) == sorted(expected)
    assert table[columns].to_numpy() == pytest.approx(np.array([expected[key] for key in keys]), rel=1e-6)
    assert table["answer"].tolist() == table[columns].to_numpy().argmax(1).tolist()


def test_units_are_numbered_by_their_place(made):
    units = levels.number_units(made["recordings"], made["segments"], CLASSES)
    recordings = made["recordings"].set_index("recording_id")
    for unit, name in enumerate(made["segments"]["segment_id"]):
        row = recordings.loc[name.split("@")[0]]
        recording = units["segment"].parent[unit]
        patient = units["recording"].parent[recording]
        assert units["segment"].names[unit] == name
        assert units["recording"].names[recording] == name.split("@")[0]
        assert units["patient"].names[patient] == row["patient_id"]
        assert (
            CLASSES[units["segment"].truth[unit]]
            == CLASSES[units["recording"].truth[recording]]
            == row["label"]
        )
        assert CLASSES[units["patient"].truth[patient]] == row["patient_label"]
        assert units["segment"].person[unit] == units["patient"].person[patient]
    assert len(set(units["patient"].person)) == made["recordings"]["person_id"].nunique() == 22
    assert list(units["patient"].facts) == ["source", "quality", "sex", "age_group"]
    assert units["recording"].facts["site"].tolist() == made["recordings"]["site"].tolist()
    first = made["recordings"].drop_duplicates("patient_id")
    assert units["patient"].facts["sex"].fillna("").tolist() == first["sex"].fillna("").tolist()


def test_a_patients_facts_are_those_of_all_the_recordings(made):
    recordings = pd.DataFrame({"recording_id": [*"abcdef"], "patient_id": [*"pppqqr"]})
    recordings = recordings.assign(person_id=recordings["patient_id"], site="AV", source="x", sex=None)
    recordings = recordings.assign(label=CLASSES[0], patient_label=CLASSES[0])
    recordings["age_group"] = ["child", "child", "adult", "adult", "adult", None]
    recordings["quality"] = ["poor", None, "good", "poor", None, "poor"]
    facts = levels.number_units(recordings, made["segments"], CLASSES)["patient"].facts
    assert facts.fillna("-").to_dict("list") == {
        "source": ["x"] * 3,
        "quality": ["good", "-", "poor"],
        "sex": ["-"] * 3,
        "age_group": ["-", "adult", "-"],
    }


def test_any_present_is_that_of_a_plain_loop(made):
    made["options"] = options(rule="any_present")
    units, tables, _ = said(silenced(made, *made["recordings"]["recording_id"][:3]))
    patients, below = tables["patient"], tables["recording"]
    below = below.assign(patient=units["recording"].parent[below["unit"]])
    for row in patients.itertuples():
        own = below.query("run == @row.run and fold == @row.fold and patient == @row.unit")["answer"]
        assert row.answer == min(own), "Present, Unknown, Absent are 0, 1, 2"
    assert (patients["answer"] != patients[COLUMNS].to_numpy().argmax(1)).any()


def test_any_present_where_the_positive_class_is_the_last(made):
    card = replace(CARD, classes=("Unknown", "Absent", "Present"))
    units, tables, _ = said(made | {"card": card, "options": options(rule="any_present")})
    of_first, first, _ = said(made | {"options": options(rule="any_present")})
    for level in ("recording", "patient"):
        assert (
            np.array(card.classes)[tables[level]["answer"]] == np.array(CLASSES)[first[level]["answer"]]
        ).all()
        assert units[level].names.equals(of_first[level].names)


def of_patient(made, patient):
    return made["recordings"].query("patient_id == @patient")["recording_id"].tolist()


@pytest.mark.parametrize("rule", [*MEANS, "any_present"])
@pytest.mark.parametrize("change, answer", [(lambda made: made, 1), (two_classes, 2)])
def test_without_a_usable_segment_the_answer_is_unknown_or_none(made, rule, change, answer):
    gone = of_patient(made, "p4")
    units, tables, _ = said(silenced(change(made), *gone) | {"options": options(rule=rule)})
    for level, names in (("recording", gone), ("patient", ["p4"])):
        quiet = units[level].names.get_indexer(names)
        rows = tables[level][tables[level]["unit"].isin(quiet)]
        assert len(rows) == len(RUNS) * len(names), "each is test once a run"
        assert (rows["answer"] == answer).all()
        assert rows.filter(regex="^[pq]_").isna().all(axis=None)
        others = tables[level].drop(rows.index)
        assert others.filter(regex="^[pq]_").notna().all(axis=None)
        assert len(others) == len(RUNS) * (len(units[level].names) - len(names))


@pytest.mark.parametrize("rule", MEANS)
def test_a_patient_with_a_silent_recording_is_decided_from_the_others(made, rule):
    made["options"] = options(rule=rule)
    name = made["recordings"].loc[made["recordings"].duplicated("patient_id"), "recording_id"].iloc[0]
    quiet = silenced(made, name)
    units, tables, _ = said(quiet)
    patient = units["recording"].parent[units["recording"].names.get_loc(name)]
    got = tables["patient"].query("unit == @patient")
    expected = plain(quiet, "patient", rule)
    for row in got.itertuples():
        p = expected[row.run, row.fold, units["patient"].names[patient]]
        assert [row.p_Present, row.p_Unknown, row.p_Absent] == pytest.approx(p)
        assert row.answer == p.argmax()


def test_a_model_of_recordings_or_patients_is_carried_upwards_only(made):
    _, tables, _ = said(made)
    for k, level in enumerate(LEVELS):
        spoken = {run: speaking(made, run, level) for run in RUNS}
        _, again, fitted = said(made | {"predictions": spoken})
        assert list(again) == list(LEVELS[k:]) == list(fitted["level"].unique())
        for above in LEVELS[k:]:
            columns = ["run", "fold", "unit", "answer", *COLUMNS]
            got, expected = (t[above][columns].sort_values(["run", "fold", "unit"]) for t in (again, tables))
            pd.testing.assert_frame_equal(got.reset_index(drop=True), expected.reset_index(drop=True))


def speaking(made, run, level):
    """The predictions of a run as a model would give them that speaks of units of `level`."""
    if level == "segment":
        return made["predictions"][run]
    parts = []
    for role in ("test", "validation"):
        p = plain(made, level, "mean_probability", role)
        rows = [(r, f, role, level, name, *values) for (r, f, name), values in p.items() if r == run]
        parts.append(pd.DataFrame(rows, columns=["run", "fold", "role", "level", "unit_id", *COLUMNS]))
    return pd.concat(parts, ignore_index=True)


def test_a_silent_patient_of_a_model_of_patients_is_answered(made):
    quiet = silenced(made, *of_patient(made, "p4"))
    spoken = {run: speaking(quiet, run, "patient") for run in RUNS}
    units, tables, _ = said(quiet | {"predictions": spoken})
    rows = tables["patient"][tables["patient"]["unit"] == units["patient"].names.get_loc("p4")]
    assert rows["answer"].tolist() == [1, 1] and rows["p_Present"].isna().all()


@pytest.mark.parametrize("metric", ["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"])
def test_weights_are_fitted_to_each_folds_validation_part(made, metric):
    made["options"] = options(thresholds=metric)
    units, tables, fitted = said(made)
    assert fitted.shape == (len(RUNS) * FOLDS * 3, 5 + 3)
    for level in LEVELS:
        seen = plain(made, level, "mean_probability", "validation")
        for run, fold in [(r, f) for r in RUNS for f in range(FOLDS)]:
            own = {name: p for (r, f, name), p in seen.items() if (r, f) == (run, fold)}
            truth = units[level].truth[units[level].names.get_indexer(list(own))]
            p = np.array(list(own.values()))
            expected = rules.fit_class_weights(truth, p, rules.weigh_units(truth, metric, CLASSES))
            row = fitted.query("run == @run and fold == @fold and level == @level")
            weights = row[[f"weight_{c}" for c in CLASSES]].to_numpy()
            assert weights[0] == pytest.approx(expected)
            assert row["temperature"].item() == pytest.approx(calibration.fit_temperature(truth, p), rel=1e-4)
            table = tables[level].query("run == @run and fold == @fold")
            assert (table["answer"] == rules.choose_class(table[COLUMNS].to_numpy(), weights, 1)).all()
    assert (fitted.filter(like="weight_") != 1).any(axis=None)


def test_no_thresholds_no_weights(made):
    assert (said(made)[2].filter(like="weight_") == 1).all(axis=None)


def test_the_test_part_has_no_say_in_what_is_fitted(made):
    made["options"] = options(thresholds="uar")
    _, _, before = said(made)
    for run in RUNS:
        table = made["predictions"][run]
        turned = table[COLUMNS].where(table["role"] != "test", table[COLUMNS].to_numpy()[:, ::-1])
        made["predictions"][run] = table.assign(**turned)
    pd.testing.assert_frame_equal(said(made)[2], before)


def test_the_labels_of_the_test_part_have_no_say_in_what_is_fitted(made):
    """In a hold-out, where who is tested never stops the training."""
    made["options"] = options(thresholds="uar")
    for name in ("folds", "predictions"):
        made[name] = {run: t[t["fold"] == 0] for run, t in made[name].items() if run == 0}
    _, before, fitted = said(made)
    tested = set(made["folds"][0].query("role == 'test'")["recording_id"])
    recordings = made["recordings"].copy()
    at = recordings["recording_id"].isin(tested)
    for column in ("label", "patient_label"):
        recordings.loc[at, column] = recordings.loc[at, column].map(
            dict(zip(CLASSES, ("Unknown", "Absent", "Present"), strict=True))
        )
    _, after, again = said(made | {"recordings": recordings})
    pd.testing.assert_frame_equal(again, fitted)
    assert all(before[level].equals(after[level]) for level in LEVELS)


def test_validation_labels_have_a_say(made):
    made["options"] = options(thresholds="uar")
    _, _, before = said(made)
    recordings = made["recordings"].assign(label=made["recordings"]["label"].to_numpy()[::-1])
    assert not said(made | {"recordings": recordings})[2].equals(before)


def test_any_present_needs_no_weights_of_patients(made):
    made["options"] = options(thresholds="uar", rule="any_present")
    fitted = said(made)[2].set_index("level").filter(like="weight_")
    assert (fitted.loc["patient"] == 1).all(axis=None) and (fitted.loc["recording"] != 1).any(axis=None)


def without_validation(made):
    spoken = {run: t[t["role"] == "test"] for run, t in made["predictions"].items()}
    folds = {run: t.assign(role=t["role"].replace("validation", "train")) for run, t in made["folds"].items()}
    return made | {"predictions": spoken, "folds": folds}


def test_thresholds_without_a_validation_part_are_refused(made):
    with pytest.raises(MurmurError, match=r"evaluate\.thresholds: run 0, fold 0 has no validation part"):
        said(without_validation(made) | {"options": options(thresholds="uar")})


def test_without_a_validation_part_nothing_is_calibrated(made):
    _, tables, fitted = said(without_validation(made))
    assert fitted[["temperature", "threshold"]].isna().all(axis=None)
    assert tables["patient"].filter(like="q_").isna().all(axis=None)
    _, usual, _ = said(made)
    assert tables["patient"]["answer"].tolist() == usual["patient"]["answer"].tolist()


def test_calibrated_probabilities_are_softened_by_the_temperature_of_the_fold(made):
    _, tables, fitted = said(made)
    for level in LEVELS:
        place = fitted[fitted["level"] == level].set_index(["run", "fold"])["temperature"]
        for key, part in tables[level].groupby(["run", "fold"]):
            expected = calibration.apply_temperature(part[COLUMNS].to_numpy(), place[key])
            assert part.filter(like="q_").to_numpy() == pytest.approx(expected)
    assert fitted["temperature"].nunique() > 10


def test_the_threshold_reaches_the_required_sensitivity_on_the_validation_part(made):
    made["options"] = options(sensitivity=0.6)
    units, _, fitted = said(made)
    seen = plain(made, "recording", "mean_probability", "validation")
    for row in fitted.query("level == 'recording'").itertuples():
        own = {name: p for (r, f, name), p in seen.items() if (r, f) == (row.run, row.fold)}
        ill = units["recording"].truth[units["recording"].names.get_indexer(list(own))] == 0
        p = np.array(list(own.values()))[ill, 0]
        assert (p >= row.threshold - 1e-6).mean() >= 0.6 > (p > row.threshold + 1e-6).mean()


def test_what_an_earlier_call_fitted_is_used_again(made):
    made["options"] = options(thresholds="uar")
    units, tables, fitted = said(made)
    args = (made["folds"], units, CARD, made["options"])
    again, same = levels.compute_levels(made["predictions"], *args, fitted)
    assert same is fitted and all(again[level].equals(tables[level]) for level in LEVELS)
    ones = fitted.assign(weight_Present=1e9)
    assert (levels.compute_levels(made["predictions"], *args, ones)[0]["patient"]["answer"] == 0).all()


def test_folds_that_cut_through_a_patient_score_its_parts(made):
    """A recording on both sides is scored in each fold by its own segments of that fold."""
    named = made["segments"].assign(fold=np.arange(len(made["segments"])) % 2, run=0, role="test")
    spoken = made["predictions"][0].query("role == 'test'").drop(columns="fold")
    spoken = spoken.merge(named[["segment_id", "fold"]].rename(columns={"segment_id": "unit_id"}))
    units, tables, _ = said(made | {"folds": {0: named}, "predictions": {0: spoken}})
    for level in ("recording", "patient"):
        of_unit = (
            made["recordings"].set_index("recording_id").loc[named["recording_id"], "patient_id"].to_numpy()
        )
        names = named["recording_id"] if level == "recording" else of_unit
        assert tables[level].groupby("fold").size().tolist() == [
            len(set(names[named["fold"] == fold])) for fold in (0, 1)
        ]
    first = tables["recording"].iloc[0]
    name = units["recording"].names[int(first["unit"])]
    own = named.loc[(named["fold"] == 0) & (named["recording_id"] == name), "segment_id"]
    expected = spoken.set_index("unit_id").loc[own, "p_Present"].mean()
    assert first["p_Present"] == pytest.approx(expected)


FAULTS = {
    "fold 1 is missing": lambda t: t[(t["fold"] != 1) | (t["role"] != "test")],
    "is test but has no prediction": lambda t: t.drop(index=t.index[t["role"] == "test"][4]),
    "has a prediction but is not test": lambda t: t.assign(role="test"),
    "is predicted twice": lambda t: pd.concat([t, t[t["role"] == "test"].iloc[[4]]]),
    "has no number": lambda t: t.assign(
        p_Present=t["p_Present"].where(t.index != t.index[t["role"] == "test"][4])
    ),
    "speak of no test unit": lambda t: t.assign(role="train"),
}


def check(made):
    levels.check_predictions(*(made[name] for name in ("predictions", "folds", "segments", "recordings")))


@pytest.mark.parametrize("message", FAULTS)
def test_predictions_that_do_not_fit_the_folds_are_refused(made, message):
    check(made)
    made["predictions"][3] = FAULTS[message](made["predictions"][3])
    with pytest.raises(MurmurError, match=rf"run 3.*{message}.*dvc repro train@3"):
        check(made)


def test_a_fault_is_told_with_its_fold_and_an_example(made):
    table = made["predictions"][3]
    gone = table.loc[table["role"] == "test"].iloc[4]
    made["predictions"][3] = table.drop(index=gone.name)
    where = f"run 3, fold {gone['fold']}: segment {gone['unit_id']} is test but .*1 such in the run"
    with pytest.raises(MurmurError, match=where):
        check(made)


def test_a_prediction_of_another_fold_is_a_fault(made):
    table = made["predictions"][3]
    at = table.index[table["role"] == "test"][4]
    made["predictions"][3] = table.assign(
        fold=table["fold"].where(table.index != at, (table["fold"] + 1) % FOLDS)
    )
    with pytest.raises(MurmurError, match="is test but has no prediction"):
        check(made)


def test_a_prediction_of_what_does_not_exist_is_a_fault(made):
    first = made["predictions"][3].query("role == 'test'").iloc[[0]]
    made["predictions"][3] = pd.concat([made["predictions"][3], first.assign(unit_id="nobody@0")])
    with pytest.raises(MurmurError, match="segment nobody@0 has a prediction but is not test"):
        check(made)


def test_a_run_without_predictions_is_refused(made):
    del made["predictions"][3]
    with pytest.raises(MurmurError, match=r"run 3.*dvc repro train@3"):
        check(made)


def test_runs_that_speak_of_different_levels_are_refused(made):
    spoken = {run: speaking(made, run, "patient") for run in RUNS}
    made["predictions"][3] = spoken[3]
    with pytest.raises(MurmurError, match="run 3 speak of patient, other runs of segment"):
        check(made)
    check(made | {"predictions": spoken})
    spoken[0] = spoken[0].iloc[1:]
    with pytest.raises(
        MurmurError, match=r"run 0, fold 0: patient p.* is test but has no prediction .1 such"
    ):
        check(made | {"predictions": spoken})


def test_a_recording_without_a_segment_is_no_fault(made):
    check(silenced(made, *of_patient(made, "p4")))
