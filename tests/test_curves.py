"""The tables behind the plots, against scikit-learn's curves and counts by hand."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from murmur.evaluation.curves import (
    average_histories,
    compute_precision_recall,
    compute_reliability_curve,
    compute_roc,
    count_confusions,
    find_confident_errors,
)
from tests.experiment import CARD, CLASSES, COLUMNS, RUNS, experiment, said, silenced


@pytest.fixture
def made():
    made = experiment(patients=60)
    return silenced(made, *made["recordings"].query("patient_id == 'p4'")["recording_id"])


def folds(of, table):
    """Truth (Present or not) and probability of each fold's units that have one."""
    for _, part in table.dropna().groupby(["run", "fold"]):
        yield of.truth[part["unit"]] == 0, part["p_Present"].to_numpy()


def test_confusion_has_a_row_a_unit_and_run(made):
    of, tables, _ = said(made)
    table = count_confusions(tables["patient"], of["patient"], CLASSES)
    assert len(table) == 60 * len(RUNS)
    expected = sk.confusion_matrix(
        of["patient"].truth[tables["patient"]["unit"]], tables["patient"]["answer"]
    )
    assert (
        pd.crosstab(table["actual"], table["predicted"]).loc[list(CLASSES), list(CLASSES)] == expected
    ).all(axis=None)
    quiet = tables["patient"].assign(answer=3)
    assert set(count_confusions(quiet, of["patient"], CLASSES)["predicted"]) == {"no answer"}


def test_roc_is_the_mean_of_scikit_learns_over_folds(made):
    of, tables, _ = said(made)
    table = compute_roc(tables["recording"], of["recording"], CARD)
    curves = []
    for hit, p in folds(of["recording"], tables["recording"]):
        fpr, tpr, _ = sk.roc_curve(hit, p)
        curves.append(np.interp(np.arange(101) / 100, fpr, tpr))
    assert len(curves) == 6 and table["fpr"].tolist() == pytest.approx(np.arange(101) / 100)
    check_band(table, "tpr", curves)
    assert table["tpr"].is_monotonic_increasing and table["tpr"].iloc[-1] == 1


def test_precision_is_that_of_the_first_threshold_to_reach_the_recall(made):
    of, tables, _ = said(made)
    table = compute_precision_recall(tables["recording"], of["recording"], CARD)
    curves = []
    for hit, p in folds(of["recording"], tables["recording"]):
        curve = []
        for share in np.arange(1, 101) / 100:
            reached = [t for t in p if (p >= t)[hit].mean() >= share - 1e-9]
            curve.append(hit[p >= max(reached)].mean())
        curves.append(curve)
    assert table["recall"].tolist() == pytest.approx(np.arange(1, 101) / 100)
    check_band(table, "precision", curves)


def check_band(table, name, curves):
    mean, sd = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1)
    assert table[name].to_numpy() == pytest.approx(mean)
    assert table["low"].to_numpy() == pytest.approx(np.clip(mean - sd, 0, 1))
    assert table["high"].to_numpy() == pytest.approx(np.clip(mean + sd, 0, 1))
    assert (table["low"] < table["high"]).any()


def test_a_band_stays_within_0_and_1(made):
    """One fold in perfect order, one in reverse: a mean of .5, an SD of .71."""
    of, tables, _ = said(made)
    table = tables["recording"].dropna().query("run == 0 and fold < 2").reset_index(drop=True)
    hit = of["recording"].truth[table["unit"]] == 0
    table["p_Present"] = np.where(hit == (table["fold"] == 0), 0.9, 0.1)
    middle = compute_roc(table, of["recording"], CARD).iloc[1:-1]
    assert (middle["low"] == 0).all() and (middle["high"] == 1).all()


def test_folds_without_both_kinds_have_no_curve(made):
    of, tables, _ = said(made)
    table, unit = tables["recording"], of["recording"]
    one = (table["run"] == 0) & (table["fold"] == 0)
    healthy = table[~one | (unit.truth[table["unit"]] != 0)].reset_index(drop=True)
    for curve in (compute_roc, compute_precision_recall):
        expected = curve(table[~one].reset_index(drop=True), unit, CARD)
        pd.testing.assert_frame_equal(curve(healthy, unit, CARD), expected)
        alone = curve(table[one].reset_index(drop=True), unit, CARD)
        assert alone[["low", "high"]].isna().all(axis=None) and alone.iloc[:, 1].notna().all(), (
            "one fold, no SD"
        )
        nothing = table[unit.truth[table["unit"]] != 0].reset_index(drop=True)
        assert curve(nothing, unit, CARD).iloc[:, 1].isna().all()


def test_reliability_before_and_after_calibration(made):
    of, tables, _ = said(made)
    table = compute_reliability_curve(tables["recording"], of["recording"], CLASSES)
    rows = tables["recording"].dropna()
    for kind, prefix in (("as predicted", "p_"), ("calibrated", "q_")):
        p = rows[[prefix + c for c in CLASSES]].to_numpy()
        truth = of["recording"].truth[rows["unit"]]
        got = table[table["kind"] == kind]
        assert got["n"].sum() == len(rows)
        place = np.ceil(p.max(1) * 10)
        for k, row in zip(np.unique(place), got.itertuples(), strict=True):
            assert row.n == (place == k).sum()
            assert row.accuracy == pytest.approx((p.argmax(1) == truth)[place == k].mean())
            assert row.confidence == pytest.approx(p.max(1)[place == k].mean())
    assert list(table) == ["kind", "confidence", "accuracy", "n"]


def test_learning_curves_are_means_over_the_fits_still_running():
    fits = [
        pd.DataFrame(
            {"fold": 0, "epoch": [0, 1], "train_loss": [1.0, 0.5], "validation_uar": [0.4, 0.6], "best": 0}
        ),
        pd.DataFrame(
            {"fold": 1, "epoch": [0, 1, 2], "train_loss": [3.0, 1.5, 1.0], "validation_uar": 0.5, "best": 0}
        ),
    ]
    table = average_histories(fits)
    three = average_histories([*fits, fits[0].assign(train_loss=8.0)])
    assert three["mean"].iloc[0] == 4, "the mean of 1, 3 and 8"
    assert list(table) == ["curve", "epoch", "mean", "low", "high", "n_fits"]
    loss = table[table["curve"] == "train loss"]
    assert loss["epoch"].tolist() == [0, 1, 2] and loss["n_fits"].tolist() == [2, 2, 1]
    assert loss["mean"].tolist() == [2, 1, 1]
    assert loss["low"].tolist()[:2] == pytest.approx([2 - 2**0.5, 1 - 0.5**0.5]) and np.isnan(
        loss["low"].iloc[2]
    )
    assert (loss["high"] - loss["mean"]).tolist()[:2] == pytest.approx([2**0.5, 0.5**0.5])
    assert list(table["curve"].unique()) == ["train loss", "validation UAR"], "of those that there are"


def test_confident_errors_are_the_surest_mistakes_first(made):
    of, tables, _ = said(made)
    mean = tables["recording"].dropna().groupby("unit")[COLUMNS].mean()
    wrong = mean[mean.to_numpy().argmax(1) != of["recording"].truth[mean.index]]
    order = wrong.max(axis=1).sort_values(ascending=False)
    found = find_confident_errors(tables, of, CLASSES, n=4)
    names = of["recording"].names
    assert len(order) > 4
    assert [m.recording_id for m in found] == names[order.index[:4]].tolist()
    assert [m.probability for m in found] == pytest.approx(order.tolist()[:4])
    loudness = tables["segment"].groupby("unit")[COLUMNS].mean()
    for m in found:
        recording = names.get_loc(m.recording_id)
        assert (m.truth, m.answer) == (
            CLASSES[of["recording"].truth[recording]],
            COLUMNS[mean.loc[recording].to_numpy().argmax()].removeprefix("p_"),
        )
        own = [unit for unit in loudness.index if of["segment"].parent[unit] == recording]
        assert m.segment == max(own, key=lambda unit: loudness.loc[unit, f"p_{m.answer}"])
    assert len(find_confident_errors(tables, of, CLASSES, n=1000)) == len(wrong)


def test_the_segment_shown_speaks_loudest_for_the_wrong_class_not_for_the_truth(made):
    of, _, _ = said(made)
    names = of["segment"].parent
    own = np.flatnonzero(names == np.flatnonzero((np.bincount(names) == 3) & (of["recording"].truth == 2))[0])
    p = {own[0]: [0.8, 0.1, 0.1], own[1]: [0.9, 0.05, 0.05], own[2]: [0.03, 0.01, 0.96]}
    segments = pd.DataFrame(p, index=COLUMNS).T.rename_axis("unit").reset_index()
    recordings = pd.DataFrame([np.mean(list(p.values()), axis=0)], columns=COLUMNS).assign(unit=names[own[0]])
    (found,) = find_confident_errors({"segment": segments, "recording": recordings}, of, CLASSES)
    assert (found.answer, found.segment) == ("Present", own[1])


def test_no_error_is_shown_where_all_is_right(made):
    of, tables, _ = said(made)
    right = np.eye(3)[of["recording"].truth[tables["recording"]["unit"]]] * 0.9
    tables["recording"] = tables["recording"].assign(**dict(zip(COLUMNS, right.T, strict=True)))
    assert find_confident_errors(tables, of, CLASSES) == []


def test_errors_of_a_model_of_patients_show_the_middle_segment(made):
    of, tables, _ = said(made)
    found = find_confident_errors({"patient": tables["patient"]}, of, CLASSES, n=3)
    assert len(found) == 3
    patients = made["recordings"].set_index("recording_id")
    for m in found:
        patient = patients.loc[m.recording_id]
        assert m.truth == patient["patient_label"] != m.answer
        own = made["segments"]["recording_id"].map(patients["patient_id"]) == patient["patient_id"]
        rows = np.flatnonzero(own)
        assert m.segment == rows[len(rows) // 2]
        assert made["segments"]["recording_id"][m.segment] == m.recording_id


def test_errors_of_a_model_of_recordings_show_a_segment_of_theirs(made):
    of, tables, _ = said(made)
    spoken = {level: tables[level] for level in ("recording", "patient")}
    both = (find_confident_errors(t, of, CLASSES) for t in (spoken, tables))
    for m, same in zip(*both, strict=True):
        assert m._replace(segment=0) == same._replace(segment=0)
        assert made["segments"]["recording_id"][m.segment] == m.recording_id
