"""Scores against scikit-learn and counts by hand, intervals against plain loops, coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from murmur.evaluation import metrics, scores
from murmur.evaluation.levels import Units
from murmur.evaluation.operating_points import score_operating_points
from murmur.evaluation.subgroups import score_subgroups
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import DatasetCard
from tests.experiment import (
    CARD,
    CLASSES,
    RUNS,
    experiment,
    level_of,
    options,
    predict_levels,
    table_of,
    without_segments,
)

TWO = DatasetCard("made", "murmur", ("ill", "well"), ("ill",), (), persons="made up", licence="none")


@pytest.fixture
def made():
    """An experiment with two patients without a segment."""
    made = experiment()
    names = made["recordings"].query("patient_id in ('p4', 'p6')")["recording_id"]
    return without_segments(made, *names)


def units(truth, person=None, **facts):
    """Units with these classes, persons and facts."""
    truth = np.asarray(truth)
    person = np.arange(len(truth)) if person is None else np.asarray(person)
    names = pd.Index([f"u{k}" for k in range(len(truth))])
    return Units(names, truth, person, person, person, pd.DataFrame(facts, index=range(len(truth))))


def table(p, predicted=None, run=0, fold=0, card=TWO):
    """A table of the level: the prediction for each unit in one run, also as the calibrated one."""
    p = np.asarray(p, float)
    columns = {
        "run": run,
        "fold": fold,
        "unit": np.arange(len(p)),
        "predicted": p.argmax(1) if predicted is None else predicted,
    }
    both = {f"{kind}_{c}": p[:, k] for kind in "pq" for k, c in enumerate(card.classes)}
    return pd.DataFrame(columns | both)


def scores_of_scikit_learn(truth, predicted, p):
    """The scores of one group, three classes; a missing prediction is a fourth label or NaN."""
    args = (truth, predicted)
    kwargs = {"labels": [0, 1, 2], "zero_division": 0}
    present = ~np.isnan(p[:, 0])
    y, p = truth[present], p[present]
    confidence = p.max(1)
    bin_ = np.ceil(confidence * 15)
    gaps = [abs(((p.argmax(1) == y) - confidence)[bin_ == b].sum()) for b in np.unique(bin_)]
    return {
        "accuracy": sk.accuracy_score(*args),
        "uar": sk.recall_score(*args, average="macro", **kwargs),
        "sensitivity": sk.recall_score(truth == 0, predicted == 0),
        "specificity": sk.recall_score(truth != 0, np.isin(predicted, (1, 2))),
        "f1_macro": sk.f1_score(*args, average="macro", **kwargs),
        "precision_macro": sk.precision_score(*args, average="macro", **kwargs),
        "matthews": sk.matthews_corrcoef(*args),
        "weighted_accuracy": sk.accuracy_score(*args, sample_weight=np.array([5, 3, 1])[truth]),
        "roc_auc": sk.roc_auc_score(np.eye(3)[y], p),
        "pr_auc": sk.average_precision_score(np.eye(3)[y], p),
        "brier": sk.brier_score_loss(y, p / p.sum(1, keepdims=True), scale_by_half=False),
        "ece": sum(gaps) / len(y),
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("by", [["run"], ["run", "fold"]])
def test_scores_equal_scikit_learns(made, level, by):
    of, levels, _ = predict_levels(made)
    result = scores.score_units(levels[level], by)
    groups = table_of(levels[level]).groupby(by)
    assert len(result) == groups.ngroups and result[by].apply(tuple, axis=1).is_monotonic_increasing
    for (_, part), (_, row) in zip(groups, result.iterrows(), strict=True):
        truth, predicted = of[level].truth[part["unit"]], part["predicted"].to_numpy()
        assert row["n_units"] == len(part)
        assert row["n_persons"] == len({of[level].person[unit] for unit in part["unit"]})
        if len(set(truth)) < 3:
            continue  # undefined scores have their own tests
        expected = scores_of_scikit_learn(truth, predicted, part.filter(like="p_").to_numpy())
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        q = part.filter(like="q_").dropna()
        assert row["brier_calibrated"] == pytest.approx(
            sk.brier_score_loss(of[level].truth[part.loc[q.index, "unit"]], q, scale_by_half=False)
        )
        assert row["ece_calibrated"] == pytest.approx(
            metrics.expected_calibration_error(of[level].truth[part.loc[q.index, "unit"]], q.to_numpy())
        )
        assert row["ece_calibrated"] != row["ece"]


def test_levels_are_in_order(made):
    _, levels, _ = predict_levels(made)
    by_fold = scores.score_all_levels(levels.values(), ["run", "fold"])
    assert by_fold[["run", "fold", "level"]].apply(tuple, axis=1).tolist() == [
        (run, fold, level) for run in RUNS for fold in range(3) for level in LEVELS
    ]
    for level in LEVELS:
        alone = scores.score_units(levels[level], ["run", "fold"])
        rows = by_fold[by_fold["level"] == level].drop(columns="level").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, alone[rows.columns])


def test_a_unit_without_a_prediction_is_counted_and_wrong():
    p = [[0.9, 0.1], [0.2, 0.8], [np.nan] * 2, [np.nan] * 2]
    row = scores.score_units(level_of(table(p, [0, 1, 2, 2]), units([0, 1, 0, 1]), TWO), ["run"]).iloc[0]
    assert (row["n_units"], row["n_no_answer"], row["accuracy"]) == (4, 2, 0.5)
    assert (row["sensitivity"], row["specificity"], row["roc_auc"]) == (0.5, 0.5, 1)
    assert isinstance(row["n_no_answer"], (int, np.integer)) or row["n_no_answer"] == 2


def test_unknown_is_right_for_an_unknown_unit_without_segments():
    p = [[0.9, 0.05, 0.05], [np.nan] * 3, [np.nan] * 3, [0.1, 0.1, 0.8]]
    row = scores.score_units(level_of(table(p, [0, 1, 1, 2], card=CARD), units([0, 1, 2, 2])), ["run"]).iloc[
        0
    ]
    assert (row["n_no_answer"], row["recall_Unknown"], row["recall_Absent"]) == (2, 1, 0.5)


def test_modified_accuracy_needs_the_quality():
    truth, answer, quality = [0, 0, 0, 1, 1], [0, 1, 2, 1, 2], ["good", "good", "poor", "good", "good"]
    p = [[0.9, 0.1], [0.2, 0.8], [np.nan] * 2, [0.1, 0.9], [np.nan] * 2]
    result = scores.score_units(level_of(table(p, answer), units(truth, quality=quality), TWO), ["run"])
    assert result["macc"].item() == pytest.approx((2 / 3 + 1 / 2) / 2), (
        "no prediction is right for the poor one only"
    )
    for none in (units(truth), units(truth, quality=[None] * 5)):
        assert "macc" not in scores.score_units(level_of(table(p, answer), none, TWO), ["run"])
    some = scores.score_units(
        level_of(table(p, answer), units(truth, quality=[*quality[:4], None]), TWO), ["run"]
    )
    assert np.isnan(some["macc"].item()), "the quality of one is unknown"
    three = table(np.eye(3)[[0, 1, 2, 0, 1]], card=CARD)
    assert "macc" not in scores.score_units(level_of(three, units([0, 1, 2, 2, 2], quality=quality)), ["run"])


def test_each_run_has_its_modified_accuracy():
    quality = ["good", "good", "poor", "poor"]
    both = pd.concat(
        [table(np.eye(2)[[0, 1, 0, 1]]), table(np.eye(2)[[0, 1, 1, 1]], run=1)], ignore_index=True
    )
    result = scores.score_units(level_of(both, units([0, 1, 0, 1], quality=quality), TWO), ["run"])
    assert result["macc"].tolist() == [1, 0.75]


@pytest.mark.parametrize(
    ("columns", "lead"),
    [
        ({"weighted_accuracy_official": [0.5, 0.6]}, ["weighted_accuracy_official"]),
        ({"weighted_accuracy_official": [0.5, np.nan]}, ["accuracy"]),
        ({"macc": [0.5, 0.6]}, ["macc"]),
        ({"macc": [0.5, np.nan]}, ["accuracy"]),
        ({}, ["accuracy"]),
    ],
)
def test_the_official_metric_is_first_where_it_is_defined(columns, lead):
    names = scores.select_headline(pd.DataFrame({"accuracy": [1, 1]} | columns))
    assert names == [*lead, "uar", "sensitivity", "specificity", "f1_macro", "roc_auc"]


@pytest.mark.parametrize("name", LEVELS)
def test_the_bootstrap_equals_a_plain_loop(made, name):
    """Persons are drawn, the same in every run; all units of a person occur as often as the person."""
    level = predict_levels(made)[1][name]
    names = ["uar", "sensitivity", "roc_auc", "weighted_accuracy_official", "matthews"]
    drawn = scores.bootstrap_persons(level, names, 6, seed=5)
    persons, person = np.unique(level.person, return_inverse=True)
    n = len(persons)
    times = np.random.default_rng(5).multinomial(n, np.full(n, 1 / n), size=6)
    for k in range(6):
        repeated = level.select(np.repeat(np.arange(len(level)), times[k][person]))
        expected = scores.score_units(repeated, ["run"])[names]
        result = pd.DataFrame({name: drawn[name][k] for name in names})
        assert result.to_numpy() == pytest.approx(expected.to_numpy(), nan_ok=True)
    assert {drawn[name].shape for name in names} == {(6, len(RUNS))}


def test_the_areas_of_many_draws_equal_scikit_learns():
    rng, person = np.random.default_rng(8), np.arange(90) // 3
    truth, p = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90).round(1)
    drawn = scores.bootstrap_persons(
        level_of(table(p, card=CARD), units(truth, person)), ["roc_auc"], 300, seed=9
    )["roc_auc"]
    times = np.random.default_rng(9).multinomial(30, np.full(30, 1 / 30), size=300)[:, person]
    for k in (0, 149, 299):
        assert drawn[k, 0] == pytest.approx(sk.roc_auc_score(np.eye(3)[truth], p, sample_weight=times[k]))


def test_the_bootstrap_of_the_modified_accuracy_equals_a_plain_loop():
    quality = ["good", "poor"] * 20
    of = units([0, 0, 1, 1] * 10, quality=quality)
    rows = table(np.random.default_rng(0).dirichlet([1, 1], 40))
    drawn = scores.bootstrap_persons(level_of(rows, of, TWO), ["macc"], 3, seed=1)["macc"]
    times = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=3)
    for k in range(3):
        repeated = rows.loc[rows.index.repeat(times[k])]
        assert drawn[k] == pytest.approx(
            scores.score_units(level_of(repeated, of, TWO), ["run"])["macc"].to_numpy()
        )


def test_the_same_persons_are_drawn_in_every_run():
    """Two runs with the same predictions have the same score in every draw."""
    rng = np.random.default_rng(0)
    p, of = rng.dirichlet([1, 1], 40), units(rng.integers(0, 2, 40))
    order = rng.permutation(40)
    both = pd.concat([table(p), table(p, run=1).iloc[order]], ignore_index=True)
    for values in scores.bootstrap_persons(
        level_of(both, of, TWO), ["accuracy", "uar", "roc_auc"], 50, seed=2
    ).values():
        assert values[:, 0] == pytest.approx(values[:, 1]) and values[:, 0].std() > 0.01


def test_the_interval_is_of_the_mean_over_runs():
    runs = pd.DataFrame({"uar": [0.5, 0.7]})
    drawn = {"uar": np.stack([np.arange(101) / 100, np.arange(101) / 100 + 0.1], axis=1)}
    row = scores.summarise_headline(runs, ["uar"], drawn)["uar"]
    assert (row["mean"], row["sd"]) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert (row["low"], row["high"]) == (pytest.approx(0.075), pytest.approx(1.025))


def test_draws_without_a_class_are_logged_and_left_out(capsys):
    runs = pd.DataFrame({"uar": [0.5]})
    values = np.r_[np.full(10, np.nan), np.linspace(0, 1, 90)]
    row = scores.summarise_headline(runs, ["uar"], {"uar": values[:, None]})["uar"]
    assert (row["low"], row["high"]) == (pytest.approx(0.025), pytest.approx(0.975))
    assert capsys.readouterr().out == ""
    scores.log_undefined_draws(
        {"uar": values[:, None], "f1": np.zeros((100, 1)), "roc_auc": np.empty((0, 1))}
    )
    assert capsys.readouterr().out == "note: uar is undefined in 10 of 100 draws\n"
    values[10] = np.nan
    row = scores.summarise_headline(runs, ["uar"], {"uar": values[:, None]})["uar"]
    assert np.isnan([row["low"], row["high"]]).all()
    in_one_run = np.stack([values, np.linspace(0, 1, 100)], axis=1)
    row = scores.summarise_headline(runs, ["uar"], {"uar": in_one_run})["uar"]
    assert np.isnan([row["low"], row["high"]]).all()


def test_one_run_has_no_sd_and_without_draws_there_is_no_interval():
    row = scores.summarise_headline(pd.DataFrame({"uar": [0.5]}), ["uar"], {"uar": np.empty((0, 1))})["uar"]
    assert row["mean"] == 0.5 and np.isnan([row["sd"], row["low"], row["high"]]).all()


def test_an_undefined_run_makes_the_mean_undefined():
    row = scores.summarise_headline(pd.DataFrame({"uar": [0.5, np.nan]}), ["uar"], {})["uar"]
    assert np.isnan([row["mean"], row["sd"]]).all()


def interval(rows, of, draws=400):
    drawn = scores.bootstrap_persons(level_of(rows, of, TWO), ["accuracy"], draws, seed=3)
    return scores.summarise_headline(pd.DataFrame({"accuracy": [0.0]}), ["accuracy"], drawn)["accuracy"]


def clustered(rng, persons, each, rate=0.8):
    """A table and units: all segments of a person are right, or all are wrong."""
    right = np.repeat(rng.random(persons) < rate, each)
    truth = np.arange(len(right)) % 2
    answer = np.where(right, truth, 1 - truth)
    return table(np.eye(2)[answer]), truth, np.repeat(np.arange(persons), each), right.mean()


def test_the_interval_of_correlated_segments_is_wider_than_of_independent_ones():
    rows, truth, person, _ = clustered(np.random.default_rng(4), 20, 10)
    width = [
        row["high"] - row["low"]
        for row in (interval(rows, units(truth, person)), interval(rows, units(truth)))
    ]
    assert width[0] == pytest.approx(width[1] * 10**0.5, rel=0.2), "ten equal ones count as one"


def test_the_interval_covers_the_truth_in_about_95_percent():
    rng, n = np.random.default_rng(6), 300
    drawn = (clustered(rng, 60, 3) for _ in range(n))
    rows = [interval(rows, units(truth, person), draws=200) for rows, truth, person, _ in drawn]
    covered = np.mean([row["low"] <= 0.8 <= row["high"] for row in rows])
    assert 0.90 < covered < 0.98


def test_the_best_constant_prediction_is_chosen():
    level = level_of(table(np.eye(3)[[0, 0, 0, 0, 0, 0]], card=CARD), units([0, 0, 1, 2, 2, 2]))
    result = scores.score_constant_prediction(level, ["accuracy", "uar", "sensitivity", "roc_auc"])
    assert result == {
        "answer": "Absent",
        "accuracy": 0.5,
        "uar": pytest.approx(1 / 3),
        "sensitivity": 0,
        "roc_auc": 0.5,
    }
    first = scores.score_constant_prediction(level.select(np.array([0, 1, 0, 3])), ["accuracy"])
    assert first == {"answer": "Present", "accuracy": 0.75}


def test_the_constant_prediction_has_a_modified_accuracy():
    quality = units([0, 1, 1, 1], quality=["good", "good", "poor", "poor"])
    level = level_of(table(np.eye(2)[[0, 0, 0, 0]]), quality, TWO)
    assert scores.score_constant_prediction(level, ["macc"]) == {"answer": "ill", "macc": 0.5}


def test_subgroups_have_the_scores_of_their_units(made):
    _, levels, _ = predict_levels(made)
    names = ["uar", "sensitivity", "roc_auc"]
    result = score_subgroups(levels, names, 20, seed=1)
    facts = {("site", "recording"): ("AV", "MV", "PV"), ("sex", "patient"): ("Female", "Male", "not stated")}
    expected = [
        (g, value, level, name) for (g, level), values in facts.items() for value in values for name in names
    ]
    assert result[["group", "value", "level", "metric"]].apply(tuple, axis=1).tolist() == expected
    recordings = made["recordings"].set_index("recording_id")
    patients = made["recordings"].drop_duplicates("patient_id").set_index("patient_id")
    for row in result.itertuples():
        place, column = (recordings, "site") if row.group == "site" else (patients, "sex")
        own = place.index[place[column].fillna("not stated") == row.value]
        level = levels[row.level]
        part = level.select(level.units.names[level.unit].isin(own))
        assert (row.n_units, row.n_persons) == (len(own), place.loc[own, "person_id"].nunique())
        runs = scores.score_units(part, ["run"])[row.metric]
        assert (row.mean, row.sd) == (
            pytest.approx(runs.mean(skipna=False), nan_ok=True),
            pytest.approx(runs.std(skipna=False), nan_ok=True),
        )
        drawn = scores.bootstrap_persons(part, [row.metric], 20, seed=1)
        same = scores.summarise_headline(runs.to_frame(), [row.metric], drawn)[row.metric]
        assert [row.low, row.high] == pytest.approx([same["low"], same["high"]], nan_ok=True)


def test_facts_with_one_value_or_without_their_level_have_no_subgroups(made):
    one = made | {"recordings": made["recordings"].assign(site="AV", sex=None)}
    _, levels, _ = predict_levels(one)
    result = score_subgroups(levels, ["uar"], 0, seed=1)
    assert result.empty and "metric" in result
    _, levels, _ = predict_levels(made)
    patients = {"patient": levels["patient"]}
    assert set(score_subgroups(patients, ["uar"], 0, seed=1)["group"]) == {"sex"}
    sources = made["recordings"].assign(source=["a", "b"] * 20 + ["a"] * (len(made["recordings"]) - 40))
    _, levels, _ = predict_levels(made | {"recordings": sources})
    result = score_subgroups(levels, ["uar"], 0, seed=1)
    assert result.loc[result["group"] == "source", "level"].tolist() == ["recording", "recording"]


def points(rows, of, thresholds, card=TWO, **changes):
    fitted = pd.DataFrame(thresholds, columns=["run", "fold", "threshold"])
    rows = score_operating_points(level_of(rows, of, card), fitted, options(**changes), seed=4)
    return rows.set_index(["chosen_on", "figure"])


def test_an_operating_point_worked_by_hand():
    """At threshold .5 three of four positive and four of six other units are right; 10 % prevalence."""
    p = np.array([0.9, 0.6, 0.5, 0.2, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1])
    rows, of = table(np.stack([p, 1 - p], axis=1)), units([0] * 4 + [1] * 6)
    result = points(rows, of, [(0, 0, 0.5)], sensitivity=0.75, prevalence=0.1)["mean"]
    assert result["validation", "sensitivity"] == 0.75 and result[
        "validation", "specificity"
    ] == pytest.approx(4 / 6)
    assert result["validation", "ppv"] == pytest.approx(0.075 / (0.075 + 0.9 * 2 / 6))
    assert result["validation", "npv"] == pytest.approx(0.6 / (0.6 + 0.025))
    other = points(rows, of, [(0, 0, 0.65)], sensitivity=0.75)["mean"]
    assert (other["validation", "sensitivity"], other["validation", "specificity"]) == (
        0.25,
        pytest.approx(5 / 6),
    )
    assert other["curve", "sensitivity"] == 0.75, "the curve does not depend on the validation part"


def test_each_fold_has_its_own_threshold_and_runs_are_averaged():
    p = np.array([0.9, 0.4, 0.6, 0.1])
    parts = [table(np.stack([p, 1 - p], axis=1), run=run, fold=fold) for run in (0, 1) for fold in (0, 1)]
    rows, of = pd.concat(parts, ignore_index=True), units([0, 0, 1, 1])
    result = points(rows, of, [(0, 0, 0.5), (0, 1, 0.3), (1, 0, 0.7), (1, 1, 0.7)])
    assert result["mean"]["validation", "sensitivity"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert result["mean"]["validation", "specificity"] == pytest.approx((2 / 4 + 4 / 4) / 2)
    assert result["sd"]["validation", "sensitivity"] == pytest.approx(np.std([3 / 4, 2 / 4], ddof=1))


@pytest.mark.parametrize("sensitivity", [0.5, 0.8, 0.95])
def test_the_point_on_the_curve_equals_scikit_learns(sensitivity):
    rng = np.random.default_rng(5)
    truth, ill = rng.integers(0, 2, 60), {run: (rng.random(60) ** (1 + run)).round(2) for run in RUNS}
    rows = [table(np.stack([p, 1 - p], axis=1), run=run) for run, p in ill.items()]
    none = [(run, 0, np.nan) for run in RUNS]
    result = points(pd.concat(rows, ignore_index=True), units(truth), none, sensitivity=sensitivity)
    assert result.loc["validation"].isna().all(axis=None), "without a threshold nothing was chosen"
    expected = []
    for p in ill.values():
        fpr, tpr, _ = sk.roc_curve(truth == 0, p, drop_intermediate=False)
        first = np.flatnonzero(tpr >= sensitivity)[0]
        expected.append((tpr[first], 1 - fpr[first]))
    means = np.mean(expected, axis=0)
    assert result["mean"]["curve", "sensitivity"] == pytest.approx(means[0])
    assert result["mean"]["curve", "specificity"] == pytest.approx(means[1])
    assert result.loc["curve", ["low", "high"]].isna().all(axis=None)


def test_the_interval_of_an_operating_point_is_over_persons():
    rng = np.random.default_rng(6)
    truth, person = rng.integers(0, 2, 60), np.arange(60) // 3
    p = np.clip(rng.normal(0.6 - 0.2 * truth, 0.2), 0, 1)
    rows, of = table(np.stack([p, 1 - p], axis=1)), units(truth, person)
    result = points(rows, of, [(0, 0, 0.5)], draws=30, prevalence=0.2)
    times = np.random.default_rng(4).multinomial(20, np.full(20, 1 / 20), size=30)
    drawn = []
    for k in range(30):
        again = np.repeat(np.arange(60), times[k][person])
        se, sp = np.mean(p[again][truth[again] == 0] >= 0.5), np.mean(p[again][truth[again] == 1] < 0.5)
        drawn.append((se, sp, se * 0.2 / (se * 0.2 + (1 - sp) * 0.8), sp * 0.8 / (sp * 0.8 + (1 - se) * 0.2)))
    for figure, values in zip(("sensitivity", "specificity", "ppv", "npv"), np.array(drawn).T, strict=True):
        row = result.loc[("validation", figure)]
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())


def test_a_unit_without_segments_is_predicted_neither_positive_nor_negative():
    p = np.array([0.9, np.nan, 0.1, np.nan])
    rows, of = table(np.stack([p, 1 - p], axis=1), predicted=[0, 2, 1, 2]), units([0, 0, 1, 1])
    result = points(rows, of, [(0, 0, 0.5)], sensitivity=0.5)["mean"]
    for chosen_on in ("validation", "curve"):
        assert (result[chosen_on, "sensitivity"], result[chosen_on, "specificity"]) == (0.5, 0.5)


def test_positive_classes_are_counted_together():
    card = DatasetCard(
        "made", "murmur", CLASSES, ("Present", "Unknown"), (), persons="made up", licence="none"
    )
    rows = table([[0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.2, 0.1, 0.7]], card=card)
    result = points(rows, units([0, 1, 2]), [(0, 0, 0.5)], card=card)["mean"]
    assert (result["validation", "sensitivity"], result["validation", "specificity"]) == (0.5, 1)


def test_a_class_that_is_absent_is_undefined_never_zero():
    p = np.random.default_rng(7).dirichlet(np.ones(3), 20)
    parts = [table(p, fold=0, card=CARD), table(p, fold=1, card=CARD).iloc[:9]]
    rows = pd.concat(parts, ignore_index=True)
    of = units([0, 2] * 5 + [1] * 10)
    result = scores.score_units(level_of(rows, of), ["run", "fold"]).set_index("fold")
    missing = [
        "recall_Unknown",
        "precision_Unknown",
        "f1_Unknown",
        "uar",
        "f1_macro",
        "precision_macro",
        "roc_auc",
    ]
    assert result.loc[1, [*missing, "pr_auc", "weighted_accuracy_official"]].isna().all()
    assert result.loc[0, missing].notna().all()
    assert result.loc[1, ["accuracy", "sensitivity", "specificity", "recall_Present", "brier"]].notna().all()
    run = scores.score_units(level_of(rows, of), ["run"]).iloc[0]
    assert run["recall_Unknown"] == result.loc[0, "recall_Unknown"]
