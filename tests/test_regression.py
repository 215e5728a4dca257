"""The rule `regression`: its figures, coefficients and cross-fitting."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from murmur.errors import MurmurError
from murmur.evaluation import regression, rules
from murmur.evaluation.aggregation import Fitted, compute_levels, fit_decisions
from murmur.evaluation.levels import Units, number_units
from murmur.evaluation.results import evaluate_predictions
from murmur.inference import packaging
from murmur.tables.csv_reader import parse_csv
from murmur.tables.csv_writer import format_csv
from murmur.tables.predictions import FIGURES
from tests.experiment import CARD, CLASSES, COLUMNS, experiment, options, predict_levels, two_classes


def add_frame_figures(made):
    """Figures that label the frames: murmur and systole depend a little on the probability of Present."""
    rng = np.random.default_rng(1)
    for run, table in made["predictions"].items():
        values = rng.uniform(0.1, 0.9, (len(table), len(FIGURES))).astype("float32")
        table = table.assign(**dict(zip(FIGURES, values.T, strict=True)))
        made["predictions"][run] = table.assign(murmur=table["systole"] * table["p_Present"])
    return made


@pytest.fixture
def made():
    made = add_frame_figures(experiment(patients=90)) | {"options": options(rule="regression")}
    one_run = {name: {0: made[name][0]} for name in ("predictions", "folds", "histories")}  # half of the time
    return made | one_run | {"audit": made["audit"].query("run == 0")}


def test_the_figures_worked_by_hand():
    """Three recordings of one patient, then one recording of another."""
    p = [[0.5, 0.5], [0.2, 0.8], [0.9, 0.1], [1.0, 0.0]]
    recordings, member = pd.DataFrame(p, columns=["p_ill", "p_well"]), np.array([0, 0, 0, 1])
    plain = regression.compute_figures(recordings, member, ("ill", "well"))
    low, high = np.log(0.2 / 0.8), np.log(0.9 / 0.1)  # log odds
    assert plain.iloc[0].to_dict() == pytest.approx(
        {
            "max_log_odds_ill": high,
            "top2_log_odds_ill": high / 2,
            "mean_log_odds_ill": (low + high) / 3,
            "max_log_odds_well": -low,
            "top2_log_odds_well": -low / 2,
            "mean_log_odds_well": -(low + high) / 3,
            "recordings": 3,
        }
    )
    limit = np.log(0.9999 / 0.0001)
    assert plain.iloc[1].tolist() == pytest.approx([limit] * 3 + [-limit] * 3 + [1])
    frames = recordings.assign(
        murmur=[0.1, 0.3, 0, 0], systole=[0.2, 0.3, 0.4, 0], annotated=[0.5, 0.9, 0.7, 1]
    )
    figures = regression.compute_figures(
        frames.assign(confidence=[0.4, 0.8, 0.6, 1]), member, ("ill", "well")
    )
    ratios = np.log([0.101 / 0.201, 1, 0.001 / 0.401])
    assert figures.drop(columns=plain.columns).iloc[0].to_dict() == pytest.approx(
        {
            "max_log_murmur_ratio": 0,
            "top2_log_murmur_ratio": ratios[0] / 2,
            "mean_log_murmur_ratio": ratios.mean(),
            "mean_annotated": 0.7,
            "min_annotated": 0.5,
            "max_annotated": 0.9,
            "mean_confidence": 0.6,
            "min_confidence": 0.4,
        }
    )
    assert figures.loc[1, "max_log_murmur_ratio"] == 0


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_coefficients_of_the_raw_figures_give_the_probabilities_of_scikit_learn(n_classes):
    rng, classes = np.random.default_rng(0), tuple(f"c{k}" for k in range(n_classes))
    truth = np.arange(120) % n_classes
    figures = pd.DataFrame(rng.normal(size=(120, 6)) * 7 + truth[:, None], columns=[*"abcdef"])
    figures["constant"] = 1.0
    coefficients = regression.fit_coefficients(figures, truth, np.arange(120), classes)
    x = StandardScaler().fit_transform(figures)
    model = LogisticRegression(C=regression.C, tol=1e-8, solver="newton-cholesky").fit(x, truth)
    p = regression.predict_probabilities(figures, coefficients)
    assert p == pytest.approx(model.predict_proba(x), abs=1e-9)
    assert p.std(axis=0).min() > 0.03


def test_a_patient_that_several_networks_predict_counts_once():
    rng, classes = np.random.default_rng(0), ("ill", "well")
    truth = np.arange(30) % 2
    figures = pd.DataFrame({"x": rng.normal(size=30) + truth})
    once = regression.fit_coefficients(figures, truth, np.arange(30), classes)
    three = [np.concatenate([values] * 3) for values in (truth, np.arange(30))]
    again = regression.fit_coefficients(pd.concat([figures] * 3), *three, classes)
    np.testing.assert_allclose(again, once, rtol=1e-6)


def test_validation_parts_are_predicted_without_the_persons_group():
    """The figure tells the person, not the class: only a regression that knew the person could be right."""
    rng, n = np.random.default_rng(3), 60
    group, truth = np.arange(n) // 2, rng.permutation(np.arange(n // 2) % 2).repeat(2)
    figures = pd.DataFrame(np.eye(n // 2)[group] * 30, columns=[f"f{k}" for k in range(n // 2)])
    units = Units(pd.RangeIndex(n), truth, group, group, np.arange(n), pd.DataFrame())
    table = pd.DataFrame({"run": 0, "fold": 0, "test": False, "unit": np.arange(n)}).join(figures)
    coefficients = regression.fit_folds(table, units, ("ill", "well"))

    def share_right(is_test):
        p = regression.predict_folds(table.assign(test=is_test), coefficients, units, ("ill", "well"))
        return (p[["p_ill", "p_well"]].to_numpy().argmax(axis=1) == truth).mean()

    assert share_right(is_test=True) == 1
    assert share_right(is_test=False) < 0.7
    part = regression.assign_parts(truth, group)
    assert (part[::2] == part[1::2]).all() and sorted(np.unique(part)) == [*range(regression.PARTS)]


def test_the_patients_of_each_fold_have_the_regression_of_its_validation_part(made):
    units, levels, fitted = predict_levels(made)
    level, table = levels["patient"], fitted.regression
    assert list(table) == ["run", "fold", "class", "figure", "coefficient"]
    assert len(table) == 3 * 3 * (3 * 3 + 3 + 3 + 2 + 1 + 1)
    name = units["patient"].names[level.unit[0]]
    run, fold = int(level.run[0]), int(level.fold[0])
    own = made["recordings"].query("patient_id == @name")[["recording_id"]]
    segments = own.merge(made["segments"], on="recording_id")
    predictions = made["predictions"][run].query(f"fold == {fold} and role == 'test'")
    rows = segments.merge(predictions, left_on="segment_id", right_on="unit_id")
    means = rows.groupby("recording_id")[[*COLUMNS, *FIGURES]].mean()
    figures = regression.compute_figures(means, np.zeros(len(means), int), CLASSES)
    of_fold = regression.read_coefficients(table.query(f"run == {run} and fold == {fold}"), CLASSES)
    expected = regression.predict_probabilities(figures, of_fold)[0]
    assert level.probabilities[0] == pytest.approx(expected, abs=1e-6)
    assert level.predicted[0] == expected.argmax()
    plain = predict_levels(made | {"options": options()})[1]
    for name in ("segment", "recording"):
        assert np.array_equal(levels[name].probabilities, plain[name].probabilities)


def test_only_the_validation_part_of_a_fold_is_fitted_to(made):
    before = predict_levels(made)[2]
    for run, table in made["predictions"].items():
        turned = table[COLUMNS].where(table["role"] != "test", table[COLUMNS].to_numpy()[:, ::-1])
        made["predictions"][run] = table.assign(**turned)
    for again, expected in zip(predict_levels(made)[2], before, strict=True):
        pd.testing.assert_frame_equal(again, expected)


def test_what_was_fitted_can_be_written_read_and_used_again(made):
    units, levels, fitted = predict_levels(made)
    read = Fitted(
        fitted.decisions, parse_csv(format_csv(fitted.regression), "regression.csv", regression.COLUMNS)
    )
    test = {run: table.query("role == 'test'") for run, table in made["predictions"].items()}
    again, _ = compute_levels(test, made["folds"], units, CARD, made["options"], read)
    p = levels["patient"].probabilities
    assert again["patient"].probabilities == pytest.approx(p, abs=1e-4)
    two = replace(CARD, classes=("Present", "Absent"))
    restricted, _ = compute_levels(test, made["folds"], units, two, made["options"], read)
    expected = p[:, [0, 2]] / p[:, [0, 2]].sum(axis=1, keepdims=True)
    assert restricted["patient"].probabilities == pytest.approx(expected, abs=1e-4)


def test_results_hold_what_was_fitted_and_validation_parts_are_cross_fitted(made):
    made["options"] = options(rule="regression", draws=0)
    results, (units, _, fitted) = evaluate_predictions(**made), predict_levels(made)
    pd.testing.assert_frame_equal(results.tables["regression"], fitted.regression)
    pd.testing.assert_frame_equal(results.tables["calibration"], fitted.decisions)
    args = (made["folds"], units, CARD, made["options"], fitted)
    validation = compute_levels(made["predictions"], *args, part="validation")[0]["patient"]
    predictions, folds = (
        {run: table[table["role"] == "validation"].assign(role="test") for run, table in made[name].items()}
        for name in ("predictions", "folds")
    )
    in_sample = compute_levels(predictions, folds, *args[1:])[0]["patient"]
    right = [(level.predicted == level.truth).mean() for level in (validation, in_sample)]
    assert len(validation) == 90 and right[0] < right[1]


def test_without_figures_of_frames_the_regression_uses_the_classes(made):
    plain = made | {"predictions": {r: t.drop(columns=[*FIGURES]) for r, t in made["predictions"].items()}}
    for changed in (plain, two_classes(plain)):
        n = len(changed["card"].classes)
        _, levels, fitted = predict_levels(changed)
        assert len(fitted.regression) == 3 * n * (3 * n + 2)
        assert levels["patient"].probabilities.sum(axis=1) == pytest.approx(1)
    units, _, fitted = predict_levels(made)
    with pytest.raises(MurmurError, match=r"evaluate\.rule: .*_annotated, which these predictions do not"):
        compute_levels(plain["predictions"], made["folds"], units, CARD, made["options"], fitted)


@pytest.mark.parametrize(
    ("removed", "match"),
    [
        (["train", "validation"], r"run 0, fold 0 has no validation part .* split\.inner: 5"),
        (["Unknown"], r"run 0, fold 0: the validation part has 0 persons of class Unknown, too few"),
    ],
)
def test_a_validation_part_that_is_too_small_is_refused(made, removed, match):
    known = made["recordings"].set_index("recording_id")["patient_label"]
    for run, table in made["predictions"].items():
        label = table["unit_id"].str.partition("@")[0].map(known)
        is_removed = (table["role"] == "validation") & (table["role"].isin(removed) | label.isin(removed))
        made["predictions"][run] = table[~is_removed]
    with pytest.raises(MurmurError, match=match):
        predict_levels(made)


def test_a_small_validation_part_without_inner_folds_is_noted(made, capsys):
    predict_levels(made)
    assert "as few as 29 patients" in capsys.readouterr().out
    inner = {run: table.assign(inner=0) for run, table in made["folds"].items()}
    predict_levels(made | {"folds": inner})
    assert "as few as" not in capsys.readouterr().out


def test_a_patient_without_a_usable_recording_has_no_probabilities(made):
    name = made["recordings"]["patient_id"].iloc[0]
    own = made["recordings"].query("patient_id == @name")["recording_id"]
    is_own = made["segments"]["recording_id"].isin(own)
    names = made["segments"].loc[is_own, "segment_id"]
    made["predictions"] = {run: t[~t["unit_id"].isin(names)] for run, t in made["predictions"].items()}
    units, levels, _ = predict_levels(made | {"segments": made["segments"][~is_own].reset_index(drop=True)})
    level = levels["patient"]
    rows = level.unit == units["patient"].names.get_loc(name)
    assert level.predicted[rows].tolist() == [1] and np.isnan(level.probabilities[rows]).all()
    assert level.has_probabilities[~rows].all()


def test_a_model_has_the_regression_of_all_validation_parts(made):
    units = number_units(made["recordings"], made["segments"], CLASSES)
    fitted = fit_decisions(made["predictions"], units, CARD, made["options"])
    tables = (made["recordings"], CARD, made["segments"], made["predictions"])
    decision = packaging.describe_decisions(*tables, made["options"])["patient"]
    table = regression.read_coefficients(fitted.regression, CLASSES)
    assert decision.regression == table.to_dict("index") and set(table.index) >= {"recordings", "intercept"}
    assert packaging.describe_decisions(*tables, options())["patient"].regression is None


def test_expected_class_weights_are_the_values_of_the_classes():
    truth, p = np.array([0] * 2 + [1] * 1 + [2] * 5), np.full((8, 3), 1 / 3)
    args = (CLASSES, 1.0)
    weights = rules.choose_class_weights(truth, p, "expected_uar", *args)
    assert weights / weights[2] == pytest.approx([5 / 2, 5, 1])
    weights = rules.choose_class_weights(truth, p, "expected_weighted_accuracy", *args)
    assert weights == pytest.approx([5, 3, 1])
    weights = rules.choose_class_weights(truth, p, "expected_weighted_accuracy_official", *args)
    assert weights / weights[2] == pytest.approx([5 * 179 / 2 / (695 / 5), 3 * 68 / (695 / 5), 1])


def test_expected_class_weights_apply_to_calibrated_probabilities():
    p, value, temperature = np.array([[0.3, 0.7], [0.1, 0.9]]), np.array([3.0, 1.0]), 2.0
    weights = rules.choose_class_weights(np.array([0, 1, 1, 1]), p, "expected_uar", ("a", "b"), temperature)
    assert weights == pytest.approx(value**temperature)
    calibrated = p ** (1 / temperature)
    assert (p * weights).argmax(axis=1).tolist() == (calibrated * value).argmax(axis=1).tolist() == [0, 0]
