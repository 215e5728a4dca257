"""The temperature of simulated predictions is recovered; the reliability diagram against counts by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.special import softmax

from murmur.evaluation import calibration, metrics
from murmur.evaluation.temperature import apply_temperature


def simulated(T, classes=3, n=20_000, seed=0):
    """Truth drawn from softmax(z), and probabilities softmax(T z) that are T times too confident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    true = softmax(logits, axis=1)
    y = (rng.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return y, softmax(T * logits, axis=1)


@pytest.mark.parametrize(("T", "classes"), [(0.5, 2), (1, 3), (2.5, 2), (2.5, 4)])
def test_the_temperature_is_recovered(T, classes):
    y, p = simulated(T, classes)
    assert calibration.fit_temperature(y, p) == pytest.approx(T, rel=0.04)


def test_scaled_probabilities_worked_by_hand():
    """At T = 2 odds of 9 become odds of 3; a probability of 0 becomes 1e-7."""
    assert apply_temperature(np.array([[0.9, 0.1]]), 2) == pytest.approx(np.array([[0.75, 0.25]]))
    each = apply_temperature(np.array([[0.9, 0.1]] * 2), np.array([[2], [1]]))
    assert each == pytest.approx(np.array([[0.75, 0.25], [0.9, 0.1]]))
    assert apply_temperature(np.array([[1.0, 0.0]]), 1) == pytest.approx(np.array([[1 - 1e-7, 1e-7]]))


def test_no_other_temperature_has_a_lower_loss():
    y, p = simulated(2, n=500)
    T = calibration.fit_temperature(y, p)
    losses = [sk.log_loss(y, apply_temperature(p, T * f)) for f in (0.9, 0.99, 1, 1.01, 1.1)]
    assert np.argmin(losses) == 2


@pytest.mark.parametrize("seed", range(5))
def test_calibration_never_increases_the_loss(seed):
    y, p = simulated(3, n=300, seed=seed)
    soft = apply_temperature(p, calibration.fit_temperature(y, p))
    assert sk.log_loss(y, soft) < sk.log_loss(y, p)
    assert metrics.expected_calibration_error(y, soft) < metrics.expected_calibration_error(y, p)
    assert (soft.argmax(1) == p.argmax(1)).all() and soft.sum(1) == pytest.approx(1)
    y, p = simulated(1, n=30, seed=seed)
    assert sk.log_loss(y, apply_temperature(p, calibration.fit_temperature(y, p))) <= sk.log_loss(y, p)


def test_calibrated_probabilities_have_temperature_one():
    y, p = np.array([0, 0, 0, 1]), np.tile([0.75, 0.25], (4, 1))
    assert calibration.fit_temperature(y, p) == 1


def test_without_units_or_with_one_class_the_temperature_is_one():
    y, p = simulated(2, n=50)
    assert calibration.fit_temperature(y[:0], p[:0]) == 1
    assert calibration.fit_temperature(np.ones(50, int), p) == 1
    assert calibration.fit_temperature(y, np.full_like(p, np.nan)) == 1


def test_units_without_probabilities_are_left_out():
    y, p = simulated(2, n=500)
    holes = p.copy()
    holes[::5] = np.nan
    present = ~np.isnan(holes[:, 0])
    T = calibration.fit_temperature(y, holes)
    assert T == calibration.fit_temperature(y[present], p[present]) != calibration.fit_temperature(y, p)
    assert (np.isnan(apply_temperature(holes, T)).all(1) == ~present).all()
    assert calibration.compute_reliability(y, holes).equals(
        calibration.compute_reliability(y[present], p[present])
    )


def test_probabilities_of_zero_and_one_have_a_temperature():
    y = np.array([0, 1, 1, 0])
    assert 1 / 20 <= calibration.fit_temperature(y, np.eye(2)[y]) < 0.5
    assert calibration.fit_temperature(y, np.eye(2)[1 - y]) == pytest.approx(20, rel=1e-3)
    assert 1 < calibration.fit_temperature(y, np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]) < 20


def test_a_reliability_diagram_worked_by_hand():
    p = np.array([0.6, 0.55, 0.9, 0.85, 0.85])
    table = calibration.compute_reliability(np.array([0, 1, 0, 0, 1]), np.stack([p, 1 - p], axis=1))
    assert list(table.columns) == ["confidence", "accuracy", "n"]
    assert table["confidence"].tolist() == pytest.approx([0.575, 2.6 / 3])
    assert table["accuracy"].tolist() == pytest.approx([1 / 2, 2 / 3]) and table["n"].tolist() == [2, 3]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_reliability_diagram_gives_the_calibration_error(bins):
    y, p = simulated(2, n=500)
    table = calibration.compute_reliability(y, p, bins)
    gap = np.average(np.abs(table["accuracy"] - table["confidence"]), weights=table["n"])
    assert gap == pytest.approx(metrics.expected_calibration_error(y, p, bins)) and table["n"].sum() == 500
    assert calibration.compute_reliability(y[:0], p[:0], bins).empty
