"""Levels against plain loops; what is fitted depends on the validation part alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from murmur.errors import MurmurError
from murmur.evaluation import calibration, rules
from murmur.evaluation.aggregation import compute_levels
from murmur.evaluation.levels import FACTS, number_units
from murmur.evaluation.prediction_checks import check_predictions
from murmur.evaluation.temperature import apply_temperature
from murmur.tables.levels import LEVELS
from tests.experiment import (
    CARD,
    CLASSES,
    COLUMNS,
    FOLDS,
    RUNS,
    experiment,
    options,
    predict_levels,
    predict_tables,
    table_of,
    two_classes,
    without_regression,
    without_segments,
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
def test_every_level_equals_a_plain_loop(made, level, rule, change):
    made = change(made) | {"options": options(rule=rule)}
    units, tables, _ = predict_tables(made)
    expected, columns = plain(made, level, rule), [f"p_{c}" for c in made["card"].classes]
    table = tables[level]
    keys = list(zip(table["run"], table["fold"], units[level].names[table["unit"]], strict=True))
    assert sorted(keys) == sorted(expected)
    assert table[columns].to_numpy() == pytest.approx(np.array([expected[key] for key in keys]), rel=1e-6)
    assert table["predicted"].tolist() == table[columns].to_numpy().argmax(1).tolist()


def test_a_level_holds_truth_and_person_of_each_row_and_can_be_restricted(made):
    units, levels, _ = predict_levels(without_segments(made, *of_patient(made, "p4")))
    level = levels["recording"]
    recordings = made["recordings"].set_index("recording_id").loc[units["recording"].names[level.unit]]
    assert len(level) == len(recordings) == len(level.probabilities)
    assert np.array(CLASSES)[level.truth].tolist() == recordings["label"].tolist()
    assert level.is_positive.tolist() == (recordings["label"] == "Present").tolist()
    assert len(np.unique(level.person)) == recordings["person_id"].nunique()
    assert level.has_probabilities.tolist() == (recordings["patient_id"] != "p4").tolist()
    assert level.positive_probability == pytest.approx(level.probabilities[:, 0], nan_ok=True)
    part = level.select(level.run == RUNS[1])
    assert (len(part), set(part.run)) == ((level.run == RUNS[1]).sum(), {RUNS[1]})
    assert part.truth.tolist() == level.truth[level.run == RUNS[1]].tolist()


def test_units_are_numbered_in_the_order_of_the_tables(made):
    units = number_units(made["recordings"], made["segments"], CLASSES)
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
    assert set(units["patient"].facts) == {*FACTS} - {"site"}
    assert units["recording"].facts["site"].tolist() == made["recordings"]["site"].tolist()
    first = made["recordings"].drop_duplicates("patient_id")
    assert units["patient"].facts["sex"].fillna("").tolist() == first["sex"].fillna("").tolist()


def test_a_patient_has_the_facts_that_all_recordings_share(made):
    recordings = pd.DataFrame({"recording_id": [*"abcdef"], "patient_id": [*"pppqqr"]})
    recordings = recordings.assign(person_id=recordings["patient_id"], site="AV", source="x", sex=None)
    recordings = recordings.assign(label=CLASSES[0], patient_label=CLASSES[0])
    recordings["age_group"] = ["child", "child", "adult", "adult", "adult", None]
    recordings["quality"] = ["poor", None, "good", "poor", None, "poor"]
    recordings["annotated"] = [0.0, 0.5, 1.0, 0.2, 0.4, 0.6]
    facts = number_units(recordings, made["segments"], CLASSES)["patient"].facts
    assert facts.pop("annotated").tolist() == pytest.approx([0.5, 0.3, 0.6]), "the mean"
    assert facts.dropna(axis=1, how="all").fillna("-").to_dict("list") == {
        "source": ["x"] * 3,
        "quality": ["good", "-", "poor"],
        "age_group": ["-", "adult", "-"],
    }


def test_any_present_equals_a_plain_loop(made):
    made["options"] = options(rule="any_present")
    units, tables, _ = predict_tables(without_segments(made, *made["recordings"]["recording_id"][:3]))
    patients, below = tables["patient"], tables["recording"]
    below = below.assign(patient=units["recording"].parent[below["unit"]])
    for row in patients.itertuples():
        own = below.query("run == @row.run and fold == @row.fold and patient == @row.unit")["predicted"]
        assert row.predicted == min(own), "Present, Unknown, Absent are 0, 1, 2"
    assert (patients["predicted"] != patients[COLUMNS].to_numpy().argmax(1)).any()


def test_any_present_does_not_depend_on_the_order_of_classes(made):
    card = replace(CARD, classes=("Unknown", "Absent", "Present"))
    units, tables, _ = predict_tables(made | {"card": card, "options": options(rule="any_present")})
    of_first, first, _ = predict_tables(made | {"options": options(rule="any_present")})
    for level in ("recording", "patient"):
        assert (
            np.array(card.classes)[tables[level]["predicted"]] == np.array(CLASSES)[first[level]["predicted"]]
        ).all()
        assert units[level].names.equals(of_first[level].names)


def of_patient(made, patient):
    return made["recordings"].query("patient_id == @patient")["recording_id"].tolist()


@pytest.mark.parametrize("rule", [*MEANS, "any_present"])
@pytest.mark.parametrize(("change", "answer"), [(lambda made: made, 1), (two_classes, 2)])
def test_without_a_usable_segment_unknown_or_no_class_is_predicted(made, rule, change, answer):
    removed = of_patient(made, "p4")
    made = without_segments(change(made), *removed) | {"options": options(rule=rule)}
    units, tables, _ = predict_tables(made)
    for level, names in (("recording", removed), ("patient", ["p4"])):
        numbers = units[level].names.get_indexer(names)
        rows = tables[level][tables[level]["unit"].isin(numbers)]
        assert len(rows) == len(RUNS) * len(names), "each is test once a run"
        assert (rows["predicted"] == answer).all()
        assert rows.filter(regex="^[pq]_").isna().all(axis=None)
        others = tables[level].drop(rows.index)
        assert others.filter(regex="^[pq]_").notna().all(axis=None)
        assert len(others) == len(RUNS) * (len(units[level].names) - len(names))


@pytest.mark.parametrize("rule", MEANS)
def test_a_recording_without_segments_does_not_change_its_patient(made, rule):
    made["options"] = options(rule=rule)
    name = made["recordings"].loc[made["recordings"].duplicated("patient_id"), "recording_id"].iloc[0]
    quiet = without_segments(made, name)
    units, tables, _ = predict_tables(quiet)
    patient = units["recording"].parent[units["recording"].names.get_loc(name)]
    result = tables["patient"].query("unit == @patient")
    expected = plain(quiet, "patient", rule)
    for row in result.itertuples():
        p = expected[row.run, row.fold, units["patient"].names[patient]]
        assert [row.p_Present, row.p_Unknown, row.p_Absent] == pytest.approx(p)
        assert row.predicted == p.argmax()


def test_predictions_of_recordings_or_patients_give_no_lower_level(made):
    _, tables, _ = predict_tables(made)
    for k, level in enumerate(LEVELS):
        predictions = {run: predictions_at(made, run, level) for run in RUNS}
        _, again, fitted = predict_tables(made | {"predictions": predictions})
        assert list(again) == list(LEVELS[k:]) == list(fitted["level"].unique())
        for above in LEVELS[k:]:
            columns = ["run", "fold", "unit", "predicted", *COLUMNS]
            result, expected = (
                t[above][columns].sort_values(["run", "fold", "unit"]) for t in (again, tables)
            )
            pd.testing.assert_frame_equal(result.reset_index(drop=True), expected.reset_index(drop=True))


def predictions_at(made, run, level):
    """The predictions of a run by a model that predicts units of `level`."""
    if level == "segment":
        return made["predictions"][run]
    parts = []
    for role in ("test", "validation"):
        p = plain(made, level, "mean_probability", role)
        rows = [(r, f, role, level, name, *values) for (r, f, name), values in p.items() if r == run]
        parts.append(pd.DataFrame(rows, columns=["run", "fold", "role", "level", "unit_id", *COLUMNS]))
    return pd.concat(parts, ignore_index=True)


def test_a_patient_without_segments_is_predicted_also_for_a_model_of_patients(made):
    quiet = without_segments(made, *of_patient(made, "p4"))
    predictions = {run: predictions_at(quiet, run, "patient") for run in RUNS}
    units, tables, _ = predict_tables(quiet | {"predictions": predictions})
    rows = tables["patient"][tables["patient"]["unit"] == units["patient"].names.get_loc("p4")]
    assert rows["predicted"].tolist() == [1, 1] and rows["p_Present"].isna().all()


@pytest.mark.parametrize("metric", ["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"])
def test_weights_are_fitted_to_the_validation_part_of_each_fold(made, metric):
    made["options"] = options(thresholds=metric)
    units, tables, fitted = predict_tables(made)
    assert fitted.shape == (len(RUNS) * FOLDS * 3, 5 + 3)
    for level in LEVELS:
        seen = plain(made, level, "mean_probability", "validation")
        for run, fold in [(r, f) for r in RUNS for f in range(FOLDS)]:
            own = {name: p for (r, f, name), p in seen.items() if (r, f) == (run, fold)}
            truth = units[level].truth[units[level].names.get_indexer(list(own))]
            p = np.array(list(own.values()))
            expected = rules.fit_class_weights(truth, p, rules.value_per_class(truth, metric, CLASSES)[truth])
            row = fitted.query("run == @run and fold == @fold and level == @level")
            weights = row[[f"weight_{c}" for c in CLASSES]].to_numpy()
            assert weights[0] == pytest.approx(expected)
            assert row["temperature"].item() == pytest.approx(calibration.fit_temperature(truth, p), rel=1e-4)
            table = tables[level].query("run == @run and fold == @fold")
            assert (table["predicted"] == rules.choose_class(table[COLUMNS].to_numpy(), weights, 1)).all()
    assert (fitted.filter(like="weight_") != 1).any(axis=None)


def test_without_thresholds_all_weights_are_one(made):
    assert (predict_tables(made)[2].filter(like="weight_") == 1).all(axis=None)


def test_predictions_of_the_test_part_do_not_change_what_is_fitted(made):
    made["options"] = options(thresholds="uar")
    _, _, before = predict_tables(made)
    for run in RUNS:
        table = made["predictions"][run]
        turned = table[COLUMNS].where(table["role"] != "test", table[COLUMNS].to_numpy()[:, ::-1])
        made["predictions"][run] = table.assign(**turned)
    pd.testing.assert_frame_equal(predict_tables(made)[2], before)


def test_labels_of_the_test_part_do_not_change_what_is_fitted(made):
    """In a hold-out, in which no test recording is a validation recording of another fold."""
    made["options"] = options(thresholds="uar")
    for name in ("folds", "predictions"):
        made[name] = {run: t[t["fold"] == 0] for run, t in made[name].items() if run == 0}
    _, before, fitted = predict_tables(made)
    tested = set(made["folds"][0].query("role == 'test'")["recording_id"])
    recordings = made["recordings"].copy()
    at = recordings["recording_id"].isin(tested)
    for column in ("label", "patient_label"):
        recordings.loc[at, column] = recordings.loc[at, column].map(
            dict(zip(CLASSES, ("Unknown", "Absent", "Present"), strict=True))
        )
    _, after, again = predict_tables(made | {"recordings": recordings})
    pd.testing.assert_frame_equal(again, fitted)
    assert all(before[level].equals(after[level]) for level in LEVELS)


def test_labels_of_the_validation_part_change_what_is_fitted(made):
    made["options"] = options(thresholds="uar")
    _, _, before = predict_tables(made)
    recordings = made["recordings"].assign(label=made["recordings"]["label"].to_numpy()[::-1])
    assert not predict_tables(made | {"recordings": recordings})[2].equals(before)


def test_any_present_has_no_weights_of_patients(made):
    made["options"] = options(thresholds="uar", rule="any_present")
    fitted = predict_tables(made)[2].set_index("level").filter(like="weight_")
    assert (fitted.loc["patient"] == 1).all(axis=None) and (fitted.loc["recording"] != 1).any(axis=None)


def without_validation(made):
    predictions = {run: t[t["role"] == "test"] for run, t in made["predictions"].items()}
    folds = {run: t.assign(role=t["role"].replace("validation", "train")) for run, t in made["folds"].items()}
    return made | {"predictions": predictions, "folds": folds}


def test_thresholds_without_a_validation_part_are_refused(made):
    with pytest.raises(MurmurError, match=r"evaluate\.thresholds: run 0, fold 0 has no validation part"):
        predict_tables(without_validation(made) | {"options": options(thresholds="uar")})


def test_without_a_validation_part_nothing_is_calibrated(made):
    _, tables, fitted = predict_tables(without_validation(made))
    assert fitted[["temperature", "threshold"]].isna().all(axis=None)
    assert tables["patient"].filter(like="q_").isna().all(axis=None)
    _, usual, _ = predict_tables(made)
    assert tables["patient"]["predicted"].tolist() == usual["patient"]["predicted"].tolist()


def test_probabilities_are_calibrated_by_the_temperature_of_the_fold(made):
    _, tables, fitted = predict_tables(made)
    for level in LEVELS:
        place = fitted[fitted["level"] == level].set_index(["run", "fold"])["temperature"]
        for key, part in tables[level].groupby(["run", "fold"]):
            expected = apply_temperature(part[COLUMNS].to_numpy(), place[key])
            assert part.filter(like="q_").to_numpy() == pytest.approx(expected)
    assert fitted["temperature"].nunique() > 10


def test_the_threshold_reaches_the_required_sensitivity_on_the_validation_part(made):
    made["options"] = options(sensitivity=0.6)
    units, _, fitted = predict_tables(made)
    seen = plain(made, "recording", "mean_probability", "validation")
    for row in fitted.query("level == 'recording'").itertuples():
        own = {name: p for (r, f, name), p in seen.items() if (r, f) == (row.run, row.fold)}
        ill = units["recording"].truth[units["recording"].names.get_indexer(list(own))] == 0
        p = np.array(list(own.values()))[ill, 0]
        assert (p >= row.threshold - 1e-6).mean() >= 0.6 > (p > row.threshold + 1e-6).mean()


def test_temperatures_and_weights_of_an_earlier_call_can_be_used_again(made):
    made["options"] = options(thresholds="uar")
    units, tables, decisions = predict_tables(made)
    fitted = without_regression(decisions)
    args = (made["folds"], units, CARD, made["options"])
    again, same = compute_levels(made["predictions"], *args, fitted)
    assert same is fitted and all(table_of(again[level]).equals(tables[level]) for level in LEVELS)
    high = without_regression(decisions.assign(weight_Present=1e9))
    assert (compute_levels(made["predictions"], *args, high)[0]["patient"].predicted == 0).all()


def test_a_patient_that_two_folds_share_is_scored_in_both(made):
    """The recording is scored in each fold by its segments of that fold."""
    named = made["segments"].assign(fold=np.arange(len(made["segments"])) % 2, run=0, role="test")
    predictions = made["predictions"][0].query("role == 'test'").drop(columns="fold")
    predictions = predictions.merge(named[["segment_id", "fold"]].rename(columns={"segment_id": "unit_id"}))
    units, tables, _ = predict_tables(made | {"folds": {0: named}, "predictions": {0: predictions}})
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
    expected = predictions.set_index("unit_id").loc[own, "p_Present"].mean()
    assert first["p_Present"] == pytest.approx(expected)


FAULTS = {
    "fold 1 is missing": lambda t: t[(t["fold"] != 1) | (t["role"] != "test")],
    "is test but has no prediction": lambda t: t.drop(index=t.index[t["role"] == "test"][4]),
    "has a prediction but is not test": lambda t: t.assign(role="test"),
    "is predicted twice": lambda t: pd.concat([t, t[t["role"] == "test"].iloc[[4]]]),
    "has no number": lambda t: t.assign(
        p_Present=t["p_Present"].where(t.index != t.index[t["role"] == "test"][4])
    ),
    "are of no test unit": lambda t: t.assign(role="train"),
}


def check(made):
    check_predictions(*(made[name] for name in ("predictions", "folds", "segments", "recordings")))


@pytest.mark.parametrize("message", FAULTS)
def test_predictions_that_do_not_fit_the_folds_are_refused(made, message):
    check(made)
    made["predictions"][3] = FAULTS[message](made["predictions"][3])
    with pytest.raises(MurmurError, match=rf"run 3.*{message}.*dvc repro train@3"):
        check(made)


def test_an_error_names_the_fold_and_an_example(made):
    table = made["predictions"][3]
    missing = table.loc[table["role"] == "test"].iloc[4]
    made["predictions"][3] = table.drop(index=missing.name)
    where = f"run 3, fold {missing['fold']}: segment {missing['unit_id']} is test but .*1 such in the run"
    with pytest.raises(MurmurError, match=where):
        check(made)


def test_a_prediction_of_another_fold_is_refused(made):
    table = made["predictions"][3]
    at = table.index[table["role"] == "test"][4]
    made["predictions"][3] = table.assign(
        fold=table["fold"].where(table.index != at, (table["fold"] + 1) % FOLDS)
    )
    with pytest.raises(MurmurError, match="is test but has no prediction"):
        check(made)


def test_a_prediction_of_an_unknown_segment_is_refused(made):
    first = made["predictions"][3].query("role == 'test'").iloc[[0]]
    made["predictions"][3] = pd.concat([made["predictions"][3], first.assign(unit_id="unknown@0")])
    with pytest.raises(MurmurError, match="segment unknown@0 has a prediction but is not test"):
        check(made)


def test_a_run_without_predictions_is_refused(made):
    del made["predictions"][3]
    with pytest.raises(MurmurError, match=r"run 3.*dvc repro train@3"):
        check(made)


def test_runs_with_predictions_at_different_levels_are_refused(made):
    predictions = {run: predictions_at(made, run, "patient") for run in RUNS}
    made["predictions"][3] = predictions[3]
    with pytest.raises(MurmurError, match="run 3 are of patient, those of other runs of segment"):
        check(made)
    check(made | {"predictions": predictions})
    predictions[0] = predictions[0].iloc[1:]
    with pytest.raises(
        MurmurError, match=r"run 0, fold 0: patient p.* is test but has no prediction .1 such"
    ):
        check(made | {"predictions": predictions})


def test_a_recording_without_a_segment_needs_no_prediction(made):
    check(without_segments(made, *of_patient(made, "p4")))
