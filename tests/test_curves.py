"""The data of the plots against scikit-learn's curves and counts by hand."""

from dataclasses import replace

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
)
from tests.experiment import (
    CLASSES,
    RUNS,
    experiment,
    predict_levels,
    table_of,
    without_segments,
)


@pytest.fixture
def made():
    made = experiment(patients=60)
    return without_segments(made, *made["recordings"].query("patient_id == 'p4'")["recording_id"])


def iterate_folds(level):
    """Truth (Present or not) and probability of the units with probabilities, for each fold."""
    for _, part in table_of(level).dropna().groupby(["run", "fold"]):
        yield level.units.truth[part["unit"]] == 0, part["p_Present"].to_numpy()


def test_confusion_counts_each_pair_of_classes_in_their_order(made):
    level = predict_levels(made)[1]["patient"]
    table = count_confusions(level)
    pairs = [(actual, predicted) for actual in CLASSES for predicted in CLASSES]
    assert list(zip(table["actual"], table["predicted"], strict=True)) == pairs
    assert table["n"].tolist() == sk.confusion_matrix(level.truth, level.predicted).ravel().tolist()
    assert table["n"].sum() == 60 * len(RUNS)


def test_confusion_has_classes_without_units_and_units_without_a_class(made):
    level = predict_levels(made)[1]["patient"]
    level = level.select(level.truth != 1)
    table = count_confusions(replace(level, predicted=np.full(len(level), 3)))
    answers = {"no answer": len(level)} | dict.fromkeys(CLASSES, 0)
    assert table.groupby("predicted")["n"].sum().to_dict() == answers
    assert (
        table["actual"].unique().tolist() == list(CLASSES)
        and table["n"][table["actual"] == CLASSES[1]].sum() == 0
    )


def test_roc_is_the_mean_of_scikit_learns_over_folds(made):
    level = predict_levels(made)[1]["recording"]
    table = compute_roc(level)
    curves = []
    for is_positive, p in iterate_folds(level):
        fpr, tpr, _ = sk.roc_curve(is_positive, p)
        curves.append(np.interp(np.arange(101) / 100, fpr, tpr))
    assert len(curves) == 6 and table["fpr"].tolist() == pytest.approx(np.arange(101) / 100)
    check_band(table, "tpr", curves)
    assert (table["chance"] == table["fpr"]).all()
    assert table["tpr"].is_monotonic_increasing and table["tpr"].iloc[-1] == 1


def test_precision_is_that_of_the_first_threshold_to_reach_the_recall(made):
    level = predict_levels(made)[1]["recording"]
    table = compute_precision_recall(level)
    curves = []
    for is_positive, p in iterate_folds(level):
        curve = []
        for share in np.arange(1, 101) / 100:
            thresholds = [t for t in p if (p >= t)[is_positive].mean() >= share - 1e-9]
            curve.append(is_positive[p >= max(thresholds)].mean())
        curves.append(curve)
    assert table["recall"].tolist() == pytest.approx(np.arange(1, 101) / 100)
    check_band(table, "precision", curves)
    fractions = [is_positive.mean() for is_positive, _ in iterate_folds(level)]
    assert table["chance"].tolist() == pytest.approx([np.mean(fractions)] * 100)


def check_band(table, name, curves):
    mean, sd = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1)
    assert table[name].to_numpy() == pytest.approx(mean)
    assert table["low"].to_numpy() == pytest.approx(np.clip(mean - sd, 0, 1))
    assert table["high"].to_numpy() == pytest.approx(np.clip(mean + sd, 0, 1))
    assert (table["low"] < table["high"]).any()


def test_a_band_is_within_0_and_1(made):
    """One fold in perfect order, one in reverse order: a mean of .5, an SD of .71."""
    level = predict_levels(made)[1]["recording"]
    level = level.select(level.has_probabilities & (level.run == 0) & (level.fold < 2))
    p = level.probabilities.copy()
    p[:, 0] = np.where(level.is_positive == (level.fold == 0), 0.9, 0.1)
    middle = compute_roc(replace(level, probabilities=p)).iloc[1:-1]
    assert (middle["low"] == 0).all() and (middle["high"] == 1).all()


def test_folds_without_both_classes_have_no_curve(made):
    level = predict_levels(made)[1]["recording"]
    first = (level.run == 0) & (level.fold == 0)
    for curve in (compute_roc, compute_precision_recall):
        expected = curve(level.select(~first))
        pd.testing.assert_frame_equal(curve(level.select(~first | ~level.is_positive)), expected)
        alone = curve(level.select(first))
        assert alone[["low", "high"]].isna().all(axis=None), "one fold, no SD"
        assert alone.iloc[:, 1].notna().all()
        assert curve(level.select(~level.is_positive)).iloc[:, 1].isna().all()
    assert compute_precision_recall(level.select(~level.is_positive))["chance"].isna().all()


def test_reliability_before_and_after_calibration(made):
    level = predict_levels(made)[1]["recording"]
    table = compute_reliability_curve(level)
    rows = level.select(level.has_probabilities)
    for kind, p in (("as predicted", rows.probabilities), ("calibrated", rows.calibrated)):
        result = table[table["kind"] == kind]
        assert result["n"].sum() == len(rows)
        bin_ = np.ceil(p.max(1) * 10)
        for k, row in zip(np.unique(bin_), result.itertuples(), strict=True):
            assert row.n == (bin_ == k).sum()
            assert row.accuracy == pytest.approx((p.argmax(1) == rows.truth)[bin_ == k].mean())
            assert row.confidence == pytest.approx(p.max(1)[bin_ == k].mean())
    assert list(table) == ["kind", "confidence", "accuracy", "n"]


def test_learning_curves_are_means_over_the_fits_that_have_not_stopped():
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
    assert loss["epoch"].tolist() == [1, 2, 3] and loss["n_fits"].tolist() == [2, 2, 1]
    assert loss["mean"].tolist() == [2, 1, 1]
    assert loss["low"].tolist()[:2] == pytest.approx([2 - 2**0.5, 1 - 0.5**0.5]) and np.isnan(
        loss["low"].iloc[2]
    )
    assert (loss["high"] - loss["mean"]).tolist()[:2] == pytest.approx([2**0.5, 0.5**0.5])
    assert list(table["curve"].unique()) == ["train loss", "validation UAR"], "only the recorded ones"
