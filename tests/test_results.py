"""The evaluation of a small experiment: what is in the results, and what is written."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.evaluation import metrics, output, run_files, scores
from murmur.evaluation.levels import NO_ANSWER
from murmur.evaluation.operating_points import score_operating_points
from murmur.evaluation.protocol import describe_protocol, describe_selection, have_validation
from murmur.evaluation.results import evaluate_predictions
from murmur.evaluation.summary import format_summary
from murmur.params.validation import validate
from murmur.recordings.classes import check_class_names
from murmur.reporting import spectrograms
from murmur.sections.experiment import Params
from murmur.tables.csv_reader import read_csv
from murmur.tables.left_out import count_by_reason
from murmur.tables.levels import LEVELS
from murmur.tables.predictions import make_predictions_schema
from tests.experiment import (
    CARD,
    CLASSES,
    RUNS,
    experiment,
    options,
    predict_levels,
    predict_tables,
    two_classes,
    without_segments,
)
from tests.made import changed

FITTED = ("calibration", "regression")


@pytest.fixture
def made():
    return experiment()


@pytest.mark.parametrize("level", LEVELS)
def test_results_equal_those_of_the_functions_at_each_level(made, level):
    made["options"] = options(level=level, thresholds="uar", rule="mean_logit")
    results, (_, levels, fitted) = evaluate_predictions(**made), predict_levels(made)
    for name, by in (("folds", ["run", "fold"]), ("runs", ["run"])):
        for each in LEVELS:
            rows = results.tables[name].query("level == @each").drop(columns="level").reset_index(drop=True)
            expected = scores.score_units(levels[each], by)
            pd.testing.assert_frame_equal(rows, expected[rows.columns])
    pd.testing.assert_frame_equal(results.tables["calibration"], fitted.decisions)
    own = fitted.decisions[fitted.decisions["level"] == level]
    points = score_operating_points(levels[level], own, made["options"], seed=5)
    pd.testing.assert_frame_equal(results.tables["operating_points"], points)
    runs = results.tables["runs"].query("level == @level")
    names = ["weighted_accuracy_official", "uar", "sensitivity", "specificity", "f1_macro", "roc_auc"]
    drawn = scores.bootstrap_persons(levels[level], names, 50, seed=5)
    expected = scores.summarise_headline(runs, names, drawn)
    assert results.details["level"] == level and list(results.details["headline"]) == names
    for name in names:
        assert results.details["headline"][name] == pytest.approx(expected[name], nan_ok=True)
    assert list(results.plots["score_per_fold"]) == ["run", "fold", *names]
    assert len(results.plots["score_per_fold"]) == 6
    assert results.plots["confusion"]["n"].sum() == len(levels[level])
    names_of_tables = ["folds", "runs", "subgroups", "operating_points", *FITTED, "errors", "missed"]
    assert list(results.tables) == names_of_tables
    assert set(results.tables["subgroups"]["metric"]) == set(names)


def test_persons_are_counted(made):
    runs = evaluate_predictions(**made).tables["runs"]
    assert set(runs["n_persons"]) == {22} and runs.query("level == 'patient'")["n_units"].tolist() == [24, 24]


def test_a_model_of_patients_is_scored_by_patient_only(made):
    predictions = {run: at_patients(made, run) for run in RUNS}
    results = evaluate_predictions(**made | {"predictions": predictions})
    assert set(results.tables["runs"]["level"]) == {"patient"}
    from_segments = evaluate_predictions(**made).tables["runs"].query("level == 'patient'")["uar"].tolist()
    assert results.tables["runs"]["uar"].tolist() == pytest.approx(from_segments)
    assert set(results.tables["subgroups"]["group"]) == {"sex"}, "the site is a fact of recordings"
    made |= {"predictions": predictions, "options": options(level="recording")}
    with pytest.raises(MurmurError, match=r"evaluate\.level: recording is below patient"):
        evaluate_predictions(**made)


def at_patients(made, run):
    units, tables, _ = predict_tables(made)
    test = tables["patient"][tables["patient"]["run"] == run]
    test = test.assign(unit_id=units["patient"].names[test["unit"]], level="patient", role="test")
    return pd.concat([test, test.assign(role="validation", fold=(test["fold"] + 1) % 3)])


def test_predictions_that_do_not_fit_the_folds_are_refused(made):
    made["predictions"][3] = made["predictions"][3].query("role != 'test' or fold != 1")
    with pytest.raises(MurmurError, match=r"run 3: fold 1 is missing.*dvc repro train@3"):
        evaluate_predictions(**made)


@pytest.mark.parametrize(
    ("change", "words"), [(lambda made: made, "predicted as Unknown"), (two_classes, "counted as wrong")]
)
def test_units_without_a_usable_segment_are_counted_at_every_level(made, change, words):
    complete = evaluate_predictions(**change(made))
    assert complete.details["no_answer"] == {"recording": 0, "patient": 0}
    names = made["recordings"].query("patient_id == 'p4'")["recording_id"].tolist()
    other = made["recordings"].query("patient_id == 'p0'")["recording_id"].iloc[0]
    results = evaluate_predictions(**without_segments(change(made), *names, other))
    assert results.details["no_answer"] == {"recording": len(names) + 1, "patient": 1}
    for name in ("folds", "runs"):
        before, after = (r.tables[name].query("level != 'segment'") for r in (complete, results))
        assert after["n_units"].tolist() == before["n_units"].tolist()
    none = results.tables["runs"].groupby("level")["n_no_answer"].first().to_dict()
    assert none == {"segment": 0, "recording": len(names) + 1, "patient": 1}
    text = format_summary(results.details)
    assert f"without a usable segment, {words}: {len(names) + 1} recordings, 1 patient\n" in text
    assert "usable segment" not in format_summary(complete.details)


def without_unknown_in_fold_0(made):
    """Labels such that in run 0 only one test part of three has an Unknown."""
    recordings, folds = made["recordings"], made["folds"][0]
    tested = set(folds.query("role == 'test' and fold != 1")["recording_id"])
    at = recordings["recording_id"].isin(tested)
    label = {
        c: recordings[c].mask(at, recordings[c].replace("Unknown", "Absent"))
        for c in ("label", "patient_label")
    }
    return made | {"recordings": recordings.assign(**label)}


def test_a_class_absent_from_a_test_part_is_undefined_and_reported(made, tmp_path):
    made = without_unknown_in_fold_0(made) | {"options": options(draws=0)}
    made["predictions"], made["folds"] = ({0: made[name][0]} for name in ("predictions", "folds"))
    results = evaluate_predictions(**made)
    rows = results.tables["folds"].query("level == 'patient'").set_index("fold")
    undefined = ["uar", "roc_auc", "f1_macro", "recall_Unknown", "weighted_accuracy_official"]
    assert rows.loc[[0, 2], undefined].isna().all(axis=None) and rows.loc[1, undefined].notna().all()
    assert results.details["absent"] == {"Unknown": 2}
    assert (
        "Unknown is absent from the test part of 2 folds: metrics that need it are undefined (-), not 0"
        in format_summary(results.details)
    )
    run = results.tables["runs"].query("level == 'patient'").iloc[0]
    assert run["recall_Unknown"] == rows.loc[1, "recall_Unknown"], "of the pooled units, not a mean of folds"
    assert results.details["headline"]["uar"]["mean"] == run["uar"]
    output.write_results(results, tmp_path / "metrics", tmp_path / "plots")
    line = (tmp_path / "metrics/folds.csv").read_text().splitlines()
    place = line[0].split(",").index("recall_Unknown")
    assert line[3].split(",")[2] == "patient" and line[3].split(",")[place] == ""
    nested = json.loads((tmp_path / "metrics/folds.json").read_text())
    assert nested["run_0"]["fold_0"]["patient"]["recall_Unknown"] is None
    assert nested["run_0"]["fold_1"]["patient"]["recall_Unknown"] is not None


def test_absent_classes_are_not_mentioned_where_all_are_present():
    results = evaluate_predictions(**experiment(patients=60) | {"options": options(draws=0)})
    assert results.details["absent"] == {} and "undefined" not in format_summary(results.details)


def test_one_run_has_no_sd(made):
    made["folds"] = {0: made["folds"][0]}
    made["predictions"] = {0: made["predictions"][0]}
    details = evaluate_predictions(**made).details
    assert all(np.isnan(row["sd"]) for row in details["headline"].values())
    line = next(line for line in format_summary(details).splitlines() if " uar " in line)
    uar = details["headline"]["uar"]
    assert line.split() == ["uar", f"{uar['mean']:.3f}", "-", f"{uar['low']:.3f}-{uar['high']:.3f}", "0.333"]


def test_without_draws_there_is_no_interval(made):
    details = evaluate_predictions(**made | {"options": options(draws=0)}).details
    line = next(line for line in format_summary(details).splitlines() if " uar " in line)
    assert line.split()[3] == "-" and line.split()[2] != "-"


def test_with_too_many_draws_without_a_class_there_is_no_interval_but_a_note(made, capsys):
    lone = made["recordings"]["patient_id"].eq("p1")
    label = made["recordings"]["patient_label"].replace("Unknown", "Absent").mask(lone, "Unknown")
    made["recordings"] = made["recordings"].assign(patient_label=label)
    row = evaluate_predictions(**made).details["headline"]["uar"]
    assert np.isnan(row["low"]) and np.isnan(row["high"]) and 0 <= row["mean"] <= 1
    assert "note: uar is undefined in " in capsys.readouterr().out


def test_details(made):
    results = evaluate_predictions(**made)
    details, patients = results.details, results.tables["runs"].query("level == 'patient'")
    for name, row in details["headline"].items():
        assert row["mean"] == pytest.approx(patients[name].mean())
        assert row["sd"] == pytest.approx(patients[name].std())
        assert row["low"] < row["mean"] < row["high"]
    baseline = details["baseline"]
    assert baseline["answer"] == "Present" and baseline["uar"] == pytest.approx(1 / 3)
    assert baseline["weighted_accuracy_official"] == pytest.approx(0.499, abs=1e-3)
    assert details["protocol"] == {"group_by": "person", "leaky": True, "runs": 2, "shared_persons": 2}
    assert details["device"] == "cpu, cuda" and details["precision"] == "float32"
    assert details["rule"] == {
        "rule": "mean_probability",
        "thresholds": None,
        "uar_share": 0.0,
        "sensitivity": 0.9,
        "prevalence": 0.1,
    }
    assert "always Present" in format_summary(details)


def test_details_describe_the_data(made):
    data = evaluate_predictions(**made).details["data"]
    recordings, patients = made["recordings"], made["recordings"].drop_duplicates("patient_id")
    n = len(recordings)
    assert (data["recordings"], data["patients"], data["persons"], data["left_out"]) == (n, 24, 22, 4)
    assert data["segments"] == len(made["segments"]) and data["hours"] == pytest.approx(n * 1.8 / 3600)
    for c in CLASSES:
        ill = recordings[recordings["patient_label"] == c]
        assert data["counts"][c] == {
            "recordings": (recordings["label"] == c).sum(),
            "patients": ill["patient_id"].nunique(),
            "persons": ill["person_id"].nunique(),
        }
    assert data["sites"] == recordings["site"].value_counts().to_dict()
    assert data["sex"] == patients["sex"].fillna("not stated").value_counts().to_dict()
    nothing = evaluate_predictions(**made | {"recordings": recordings.assign(sex=None)}).details["data"]
    assert nothing["sex"] == {}
    ages = np.where(recordings["patient_id"].duplicated(), "adult", "child")
    grown = evaluate_predictions(**made | {"recordings": recordings.assign(age_group=ages)}).details["data"]
    once = (recordings["patient_id"].value_counts() == 1).sum()
    assert grown["age_group"] == {"child": once, "not stated": 24 - once} and 0 < once < 24


def test_the_summary_has_few_figures(made):
    results = evaluate_predictions(**made)
    figures = results.details["headline"]
    lead = figures["weighted_accuracy_official"]
    assert results.summary == {
        "validation": {"weighted_accuracy_official": results.details["validation"]["mean"]},
        "test": {
            "weighted_accuracy_official": lead["mean"],
            "interval_low": lead["low"],
            "interval_high": lead["high"],
            **{name: row["mean"] for name, row in figures.items() if name != "weighted_accuracy_official"},
        },
        "leaky": True,
    }


def test_the_validation_score_counts_each_patient_once_in_a_run(made):
    """Against sums of weights 1/n, where n folds of a run validate a patient."""
    folds, predictions = (
        made["folds"][0],
        made["predictions"][0],
    )  # the test part of fold 2 is validated twice
    folds.loc[(folds["fold"] == 1) & (folds["role"] == "train"), "role"] = "validation"
    again = predictions.query("fold == 2 and role == 'test'").assign(fold=1, role="validation")
    made["predictions"][0] = pd.concat([predictions, again], ignore_index=True)
    validation = evaluate_predictions(**made).details["validation"]
    values = [expected_validation_score(made, run) for run in RUNS]
    assert validation == {
        "metric": "weighted_accuracy_official",
        "mean": pytest.approx(np.mean(values)),
        "sd": pytest.approx(np.std(values, ddof=1)),
        "undefined_because": None,
    }


def expected_validation_score(made, run):
    table = made["predictions"][run].query("role == 'validation'").drop(columns="role")
    table = table.merge(made["segments"], left_on="unit_id", right_on="segment_id").merge(made["recordings"])
    columns = [f"p_{c}" for c in CLASSES]
    table = table.groupby(["fold", "patient_id", "patient_label", "recording_id"])[columns].mean()
    table = table.groupby(level=[0, 1, 2]).mean().reset_index()
    is_right = np.array(CLASSES)[table[columns].to_numpy().argmax(1)] == table["patient_label"]
    weight = 1 / table.groupby("patient_id")["fold"].transform("size")
    assert run or (weight < 1).any()
    official = {"Present": 5 * 179, "Unknown": 3 * 68, "Absent": 695}
    recall = {
        c: (weight * is_right)[table["patient_label"] == c].sum() / weight[table["patient_label"] == c].sum()
        for c in CLASSES
    }
    return sum(official[c] * recall[c] for c in CLASSES) / sum(official.values())


def test_the_validation_score_depends_on_no_test_prediction(made):
    before = evaluate_predictions(**made).details["validation"]
    for run, table in made["predictions"].items():
        test = table["role"] == "test"
        made["predictions"][run] = table.assign(
            **{f"p_{c}": table[f"p_{c}"].mask(test, 1.0 * (c == "Absent")) for c in CLASSES}
        )
    after = evaluate_predictions(**made)
    assert after.details["validation"] == before
    assert after.summary["test"]["uar"] == pytest.approx(1 / 3)


def test_the_validation_score_uses_the_level_and_the_fitted_weights(made):
    """With thresholds it is at least as high: the weights maximise it fold by fold."""
    plain, fitted = (
        evaluate_predictions(**made | {"options": options(level="recording", thresholds=t)}).details
        for t in (None, "weighted_accuracy_official")
    )
    assert fitted["validation"]["mean"] > plain["validation"]["mean"]
    assert plain["validation"]["mean"] != evaluate_predictions(**made).details["validation"]["mean"]


def test_without_validation_parts_the_validation_score_is_undefined_with_the_reason(made):
    made["folds"][3] = made["folds"][3].query("role != 'validation' or fold != 1")
    made["predictions"][3] = made["predictions"][3].query("role != 'validation' or fold != 1")
    results = evaluate_predictions(**made)
    reason = "1 of 6 folds have no validation part"
    assert results.details["validation"]["undefined_because"] == reason
    assert np.isnan(results.summary["validation"]["weighted_accuracy_official"])
    assert f"Validation parts: weighted_accuracy_official undefined, {reason}." in format_summary(
        results.details
    )


def test_a_class_without_validation_units_makes_the_validation_score_undefined(made):
    unknown = set(made["recordings"].query("patient_label == 'Unknown'")["recording_id"])
    for name in ("folds", "predictions"):
        table = made[name][3]
        ids = table["recording_id"] if name == "folds" else table["unit_id"].str.split("@").str[0]
        made[name][3] = table[(table["role"] != "validation") | ~ids.isin(unknown)]
    validation = evaluate_predictions(**made).details["validation"]
    assert np.isnan(validation["mean"])
    assert validation["undefined_because"] == "in 1 of 2 runs the validation parts lack a class that it needs"


def test_two_classes(made):
    results = evaluate_predictions(**two_classes(made))
    assert (
        next(iter(results.summary["test"])) == "accuracy"
        and results.details["baseline"]["answer"] == "Absent"
    )


def test_the_score_of_the_2016_challenge_is_first_where_quality_is_known(made):
    made = two_classes(made)
    quality = np.where(np.arange(len(made["recordings"])) % 3, "good", "poor")
    results = evaluate_predictions(**made | {"recordings": made["recordings"].assign(quality=quality)})
    assert next(iter(results.summary["test"])) == "macc"
    assert set(results.tables["subgroups"]["group"]) == {"site", "quality", "sex"}
    runs = results.tables["runs"].set_index("level")
    assert runs.loc["segment", "macc"].isna().all() and runs.loc["patient", "macc"].notna().all()


@pytest.mark.parametrize(
    ("protocol", "shared", "leaky"), [({}, 0, False), ({}, 1, True), ({"leaky": True}, 0, True)]
)
def test_leaky_by_the_protocol_or_by_the_audit(made, protocol, shared, leaky):
    audit = made["audit"].assign(shared_persons=shared)
    results = evaluate_predictions(
        **made | {"audit": audit, "protocol": protocol, "options": options(draws=0)}
    )
    assert results.details["protocol"]["leaky"] is leaky and results.summary["leaky"] is leaky


@pytest.mark.parametrize(
    ("changes", "leaky", "flaws"),
    [
        ({}, False, "none"),
        ({"split.validate_on": "test"}, True, "validate_on"),
        ({"segment.first": 1, "segment.first_of": ["normal"]}, True, "first_of"),
        (
            {"segment.first": 1, "segment.first_of": ["normal"], "split.validate_on": "test"},
            True,
            "validate_on, first_of",
        ),
        ({"segment.first": 1, "segment.mirror": True}, False, "none"),
    ],
)
def test_the_protocol_names_its_flaws_whatever_the_audit_finds(made, changes, leaky, flaws):
    checked = validate(Params, changed(changes), where="params.yaml")
    protocol = describe_protocol(checked.split, checked.segment, CARD, folds=5)
    assert (protocol["leaky"], protocol["flaws"], protocol["folds"]) == (leaky, flaws, 5)
    assert protocol["validate_on"] == checked.split.validate_on and protocol["person"] == "made up"
    nothing = made["audit"].assign(shared_persons=0)
    made |= {"audit": nothing, "protocol": protocol, "options": options(draws=0)}
    found = evaluate_predictions(**made).details["protocol"]
    assert (found["leaky"], found["flaws"]) == (leaky, flaws)


def renamed(made, names):
    """The same experiment with other names of its three classes."""
    to = dict(zip(CLASSES, names, strict=True))
    recordings = made["recordings"].replace({"label": to, "patient_label": to})
    columns = {f"p_{c}": f"p_{name}" for c, name in to.items()}
    predictions = {run: t.rename(columns=columns) for run, t in made["predictions"].items()}
    card = replace(made["card"], classes=tuple(names), positive=(names[0],))
    return made | {"recordings": recordings, "predictions": predictions, "card": card}


def test_a_class_with_the_name_of_a_column_is_refused(made):
    one = renamed(made | {"options": options(draws=0)}, ("Qx", "Qy", "Qz"))
    found = evaluate_predictions(**one).tables | dict(enumerate(predict_tables(one)[1].values()))
    columns = {c for table in found.values() for c in table} | {*make_predictions_schema(["Qx"]).names}
    for classes in (CLASSES, ("Abnormal", "Normal")):
        columns |= set(metrics.compute_count_metrics(np.zeros((len(classes),) * 2), classes, classes[:1]))
    prefixes = {c.removesuffix("Qx") for c in columns if c.endswith("Qx")}
    assert prefixes == {"p_", "q_", "precision_", "recall_", "f1_", "weight_"}
    fixed = {c for c in columns if not c.endswith(("Qx", "Qy", "Qz"))}
    collide = {c.removeprefix(p) for c in fixed for p in prefixes if c.startswith(p)} - {
        *CLASSES,
        "Abnormal",
        "Normal",
    }
    assert collide == {"macro"}
    for name in (*collide, NO_ANSWER, *LEVELS, "Macro", "No_Answer"):
        with pytest.raises(MurmurError, match=r"is empty or a reserved word .*class_map renames"):
            check_class_names(("ill", name))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("ill", ""), "class '' is empty or a reserved word"),
        (("ill", "null"), "class 'null' is empty or a reserved word"),
        (("Ill", "ill"), "class 'ill' differs from 'Ill' only in case"),
        (("a  b", "A b"), "class 'A b' differs from 'a  b' only in case, spaces"),
        (("\uff21", "A"), "class 'A' differs from '\uff21' only in case, spaces or the form of its letters"),
        (("ill", "x\ny"), r"class 'x\\ny' has a space at an end or a character that cannot be printed"),
        (("ill", "x "), "class 'x ' has a space"),
        (("ill", "../../x"), "class '../../x' would be a path to another folder"),
        (("ill", "/x"), "class '/x' would be a path to another folder"),
        (("ill", ".."), "would be a path to another folder"),
        (("ill", "=cmd|' /C x'!A0"), "begins like a formula of a spreadsheet"),
        (("ill", "</script><script>alert(1)"), "would end the script"),
        (("ill", "<!--"), "would end the script"),
    ],
)
def test_names_of_classes_that_cannot_be_distinguished_are_refused(names, words):
    with pytest.raises(MurmurError, match=words):
        check_class_names(names)


ODD = [("0", "1", "2"), ("True", "False", "None"), ("1.0", "2.0", "nan"), ("-1", "2024-01-02", "1e5")]
ODD += [("a,b", 'a"b', "a|b"), ("<b>", "$x$", "a/b"), ("uar", "calibrated", "auc")]


@pytest.mark.parametrize("names", ODD)
def test_classes_with_unusual_names_have_the_same_scores(made, names, tmp_path):
    made["options"] = options(draws=5)
    check_class_names(names)
    plain = evaluate_predictions(**renamed(made, ("Qx", "Qy", "Qz")))
    found = evaluate_predictions(**renamed(made, names))
    for part in ("validation", "test"):
        assert found.summary[part] == pytest.approx(plain.summary[part])
    output.write_results(found, tmp_path, tmp_path)
    runs, expected = read_csv(tmp_path / "runs.csv"), plain.tables["runs"].round(6)
    for kind in ("precision", "recall", "f1"):
        for name, other in zip(names, ("Qx", "Qy", "Qz"), strict=True):
            assert runs[f"{kind}_{name}"].tolist() == pytest.approx(expected[f"{kind}_{other}"].tolist())
    confusion = read_csv(tmp_path / "confusion.csv")
    assert confusion["actual"].unique().tolist() == list(names)
    assert confusion["n"].tolist() == plain.plots["confusion"]["n"].tolist()


def test_the_interval_resamples_groups_of_persons_who_share_audio(made):
    made["recordings"]["group"] = made["recordings"]["person_id"]
    alone = evaluate_predictions(**made).details
    assert alone["resampled"] == {"groups": 22, "persons": 22}
    without = evaluate_predictions(**made | {"recordings": made["recordings"].drop(columns="group")}).details
    assert without["headline"] == alone["headline"], "without shared audio the groups are persons"
    number = made["recordings"]["person_id"].str[1:].astype(int)
    made["recordings"]["group"] = "g" + (number // 4).astype(str)
    merged = evaluate_predictions(**made)
    groups = made["recordings"]["group"].nunique()
    assert merged.details["resampled"] == {"groups": groups, "persons": 22}
    assert set(merged.tables["runs"]["n_persons"]) == {22}
    assert f"resamples {groups} groups of 22 persons" in format_summary(merged.details)
    lead, one = (next(iter(d["headline"].values())) for d in (merged.details, alone))
    assert lead["mean"] == one["mean"] and (lead["low"], lead["high"]) != (one["low"], one["high"])


def test_unknown_persons_are_a_flaw_and_counted(made):
    n = len(made["recordings"])
    card = replace(CARD, unknown_persons=n)
    checked = validate(Params, changed({}), where="params.yaml")
    protocol = describe_protocol(checked.split, checked.segment, card, folds=3)
    nothing = made["audit"].assign(shared_persons=0)
    made |= {"card": card, "audit": nothing, "protocol": protocol, "options": options(draws=5)}
    results = evaluate_predictions(**made)
    assert results.summary["leaky"] is True and results.details["protocol"]["flaws"] == "data set"
    first, *_, interval, _ = format_summary(results.details).splitlines()
    assert first == f"LEAKY, the figures may be too optimistic: {leaks.describe_unknown_persons(n, n)}."
    assert f"the persons of {n} of {n} recordings are unknown: no split of these data can be" in first
    assert "resamples at most 22 persons" in interval and formatting.INTERVAL_NOTE in interval


def test_only_a_table_of_leaky_figures_begins_with_a_warning(made):
    made["options"] = options(draws=5)
    leaky = format_summary(evaluate_predictions(**made).details)
    assert leaky.startswith("LEAKY, the figures may be too optimistic: the worst fold shares 2 persons.\n")
    made["audit"] = made["audit"].assign(shared_persons=0)
    assert "LEAKY" not in format_summary(evaluate_predictions(**made).details)


@pytest.mark.parametrize(("given", "flaws"), [(True, "none"), (False, "validate_on")])
def test_the_validation_part_of_a_published_split_has_priority_over_validate_on(given, flaws):
    checked = validate(Params, changed({"split.validate_on": "test"}), where="params.yaml")
    found = describe_protocol(checked.split, checked.segment, CARD, 1, has_validation=given)
    assert found["flaws"] == flaws and found["leaky"] is not given


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({}, "none"),
        ({"train.patience": 3}, "patience 3"),
        (
            {"train.stop_accuracy": 0.9, "train.stop_one_class": True},
            "stop_accuracy 0.9, stop_one_class True",
        ),
    ],
)
def test_selection_and_stopping_are_described(changes, stops):
    train = validate(Params, changed(changes), where="params.yaml").train
    assert describe_selection(train) == {"select_on": "loss", "stops": stops, "refit": 0}


def test_scored_units_and_parts_are_counted(made):
    made["options"] = options(draws=5)
    complete = evaluate_predictions(**made).details
    assert complete["scored"] == {
        "units": 24,
        "of": 24,
        "least_runs": 2,
        "most_runs": 2,
        "in_parts": False,
        "lowest_level": "segment",
    }
    assert complete["parts"] == {"folds": 6, "without_validation": 0, "test_parts": 6}
    for name in ("folds", "predictions"):  # one fold of run 0 and two of run 3, one without validation
        made[name] = {r: t[t["fold"] >= 2 - (r > 0)].copy() for r, t in made[name].items()}
        made[name][0] = made[name][0][made[name][0]["role"] != "validation"]
    part = evaluate_predictions(**made).details
    tested = {
        r: set(t.query("role == 'test'")["recording_id"].str.split("_").str[0])
        for r, t in made["folds"].items()
    }
    assert part["scored"]["units"] == len(tested[0] | tested[3]) < part["scored"]["of"] == 24
    assert (part["scored"]["least_runs"], part["scored"]["most_runs"]) == (1, 2)
    assert part["parts"] == {"folds": 3, "without_validation": 1, "test_parts": 3}
    assert not have_validation(made["folds"])


def test_left_out_items_of_private_data_are_counted_and_not_named():
    reasons = ["/data/own/Ann Smith/1.wav: is cut short", "last piece of 0.52 s is too short for a segment"]
    reasons += [
        "the name of Ann is wrong",
        "last piece of 0.61 s is too short for a segment",
        "class ill is left out by class_map",
    ]
    table = pd.DataFrame({"stage": "download", "item": ["Ann", "b", "c", "d", "e"], "reason": reasons})
    found = count_by_reason(table)
    assert sorted(found.itertuples(index=False, name=None)) == [
        ("download", "another reason", 1),
        ("download", "cannot be used", 1),
        ("download", "left out by class_map", 1),
        ("download", "too short for a segment", 2),
    ]
    assert count_by_reason(table[:0]).empty


def test_sample_rates_are_counted_by_class(made):
    ill = made["recordings"]["label"] == "Present"
    made["recordings"]["sample_rate"] = np.where(ill, 1000, 4000)
    rates = evaluate_predictions(**made | {"options": options(draws=0)}).details["data"]["sample_rates"]
    counts = made["recordings"]["label"].value_counts()
    assert rates == {
        "1000": {"Present": counts["Present"], "Unknown": 0, "Absent": 0},
        "4000": {"Present": 0, "Unknown": counts["Unknown"], "Absent": counts["Absent"]},
    }


def with_copies(made):
    """The segments, and a reversed copy of each after all others."""
    own = made["segments"]
    copies = own.assign(segment_id=own["segment_id"] + "r", reversed=True)
    return pd.concat([own, copies], ignore_index=True)


def test_reversed_copies_need_no_prediction_and_are_not_scored(made):
    made["options"] = options(draws=0)
    plain = evaluate_predictions(**made)
    made["segments"] = with_copies(made)
    pd.testing.assert_frame_equal(evaluate_predictions(**made).tables["runs"], plain.tables["runs"])
    rows = made["predictions"][0]
    copies = rows[rows["role"] == "test"].assign(unit_id=rows["unit_id"] + "r")
    made["predictions"][0] = pd.concat([rows, copies])
    with pytest.raises(MurmurError, match=r"run 0.*has a prediction but is not test"):
        evaluate_predictions(**made)


def test_reversed_copies_that_folds_name_are_scored(made):
    made["segments"] = with_copies(made)
    named = made["segments"].assign(fold=np.arange(len(made["segments"])) % 2, run=0, role="test")
    rows = made["predictions"][0].query("role == 'test'").drop(columns="fold")
    rows = pd.concat([rows, rows.assign(unit_id=rows["unit_id"] + "r")])
    rows = rows.merge(named[["segment_id", "fold"]].rename(columns={"segment_id": "unit_id"}))
    results = evaluate_predictions(**made | {"folds": {0: named}, "predictions": {0: rows}})
    runs = results.tables["runs"].set_index("level")
    assert runs.loc["segment", "n_units"] == len(made["segments"])
    counted = results.tables["folds"].query("level == 'recording'")["n_units"].tolist()
    assert counted == [named.query("fold == @f")["recording_id"].nunique() for f in (0, 1)]
    assert runs.loc["recording", "n_units"] == sum(counted)
    points = results.tables["operating_points"].set_index("chosen_on")["mean"]
    assert points["validation"].isna().all() and points["curve"].notna().all(), "no validation part"


def test_the_data_hash_does_not_depend_on_the_order_of_rows(made):
    made["options"] = options(draws=0)
    data = evaluate_predictions(**made).details["data"]
    before, unlabelled = data["sha256"], data["sha256_patients"]
    turned = made["recordings"][::-1].reset_index(drop=True)
    assert evaluate_predictions(**made | {"recordings": turned}).details["data"]["sha256"] == before
    other = made["recordings"].assign(audio_sha256="1")
    assert evaluate_predictions(**made | {"recordings": other}).details["data"]["sha256"] != before
    labels = made["recordings"].assign(label=made["recordings"]["label"].iloc[0])
    data = evaluate_predictions(**made | {"recordings": labels}).details["data"]
    assert data["sha256"] != before and data["sha256_patients"] == unlabelled


def test_files_of_the_listed_runs(tmp_path, capsys):
    for run in (0, 1, 12):
        (tmp_path / f"run_{run}.parquet").touch()
    assert list(run_files.find_run_files(tmp_path, [12, 0])) == [0, 12]
    assert (
        capsys.readouterr().out
        == f"note: {tmp_path}/run_1.parquet is not read: its run is not in split.runs\n"
    )
    with pytest.raises(MurmurError, match="run 2, 3; make it: dvc repro train@2 train@3"):
        run_files.find_run_files(tmp_path, [3, 0, 2])


def test_files_of_other_runs_are_removed_so_that_dvc_lock_names_none(tmp_path, capsys):
    names = ("run_0.parquet", "run_1.parquet", "run_1.parquet.7.part", "run_1.murmur_tracks.npy", "notes")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.touch()
    run_files.remove_other_runs(tmp_path, paths[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes",
        "run_0.parquet",
        "run_1.parquet.7.part",
    ]
    assert "removed 2 files of no run in split.runs" in capsys.readouterr().out
    run_files.remove_other_runs(tmp_path, paths[:1])
    assert capsys.readouterr().out == ""


TABLES = (*FITTED, "errors", "folds", "missed", "operating_points", "runs", "subgroups")
CURVES = ("confusion", "learning_curves", "precision_recall", "reliability", "roc", "score_per_fold")
FILES = {
    "metrics": sorted(
        [f"{n}.csv" for n in TABLES] + [f"{n}.json" for n in ("details", "folds", "runs", "summary")]
    ),
    "plots": [f"{name}.csv" for name in CURVES],
}


def test_files_are_the_same_each_time_and_hold_no_nan(made, tmp_path):
    made["folds"] = {0: made["folds"][0]}  # one run: no SD
    made["predictions"] = {0: made["predictions"][0]}
    for name in ("once", "again"):
        results = evaluate_predictions(**made)
        output.write_results(results, tmp_path / name / "metrics", tmp_path / name / "plots")
    for folder, names in FILES.items():
        assert sorted(f.name for f in (tmp_path / "once" / folder).iterdir()) == names
        for name in names:
            content = (tmp_path / "once" / folder / name).read_bytes()
            assert content == (tmp_path / "again" / folder / name).read_bytes()
            assert b"\r" not in content and b"nan" not in content.lower()
    details = json.loads((tmp_path / "once/metrics/details.json").read_text())
    assert details["headline"]["uar"]["sd"] is None
    runs = json.loads((tmp_path / "once/metrics/runs.json").read_text())
    table = pd.read_csv(tmp_path / "once/metrics/runs.csv").set_index("level")
    figure = runs["run_0"]["patient"]["uar"]
    assert figure == table.loc["patient", "uar"] == round(results.details["headline"]["uar"]["mean"], 6)
    assert figure != results.details["headline"]["uar"]["mean"], "it has more digits than are written"
    assert isinstance(runs["run_0"]["patient"]["n_units"], int)


def test_no_file_is_written_in_part(made, tmp_path, monkeypatch):
    results = evaluate_predictions(**made | {"options": options(draws=0)})
    metrics_dir, plots_dir = tmp_path / "metrics", tmp_path / "plots"
    output.write_results(results, metrics_dir, plots_dir)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*.*")}
    results.tables["folds"]["uar"] = 0.5
    monkeypatch.setattr("pathlib.Path.replace", _full_disk)
    with pytest.raises(OSError, match="full"):
        output.write_results(results, metrics_dir, plots_dir)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*.*")} == before


def _full_disk(self, target):
    raise OSError("the disk is full")


def test_gallery_is_the_same_each_time(tmp_path):
    mel = np.random.default_rng(0).normal(size=(8, 1, 16, 20)).astype("float16")
    ids, labels = [f"$r_{k // 2}$" for k in range(8)], ["a", "a", "a", "a", "b", "b", "b", "b"]
    for name in ("one.png", "two.png"):
        spectrograms.draw_gallery(
            mel, ids, labels, ("a", "b", "c"), tmp_path / name, seconds=2.0, frequencies=np.arange(16.0)
        )
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_gallery_draws_images_in_their_colours(tmp_path):
    x = np.zeros((2, 3, 8, 8), np.uint8)
    x[:, 0, :4], x[:, 2, 4:] = 255, 255  # the low bands red, the high ones blue
    spectrograms.draw_gallery(
        x, ["one", "two"], ["a", "b"], ("a", "b"), tmp_path / "g.png", seconds=3.0, frequencies=np.arange(8.0)
    )
    drawn = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).astype(int)
    where = [np.flatnonzero((abs(drawn - colour).sum(axis=2) < 60).any(axis=1)) for colour in COLOURS]
    assert len(where[0]) and len(where[1])
    assert where[1].min() < where[0].min() and where[1].max() < where[0].max(), "blue lies above red"


COLOURS = ([255, 0, 0], [0, 0, 255])


def test_exported_images_have_a_folder_for_each_class_and_low_bands_at_the_bottom(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 5, 5)).astype(np.uint8)
    spectrograms.write_images(images, ["r@0", "r@9", "s@0"], ["ill", "ill", "well"], tmp_path)
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert paths == ["ill/r@0.png", "ill/r@9.png", "well/s@0.png"]
    for path, image in zip(paths, images, strict=True):
        picture = np.asarray(Image.open(tmp_path / path))
        assert (picture[::-1] == image.transpose(1, 2, 0)).all()
