"""Each metric against scikit-learn, where it has it, and against an example worked by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.calibration import calibration_curve

from murmur.circor_weights import CIRCOR_PATIENTS
from murmur.evaluation import challenges, metrics, thresholds
from murmur.evaluation.weighted_auc import weighted_roc_auc_score

CIRCOR = ("Present", "Unknown", "Absent")


@pytest.fixture
def predictions():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), size=200).round(2)  # rounded, so that there are ties
    return rng.integers(0, 3, 200), p


def figures(y, predicted, classes=CIRCOR, positive=("Present",)):
    result = metrics.compute_count_metrics(
        metrics.confusion_matrix(y, predicted, len(classes)), classes, positive
    )
    return {name: float(value) for name, value in result.items()}


@pytest.fixture
def some_missing(predictions):
    """Truth, predicted classes of which one in ten is missing (3), and probabilities, then NaN."""
    y, p = predictions
    none = np.random.default_rng(3).random(200) < 0.1
    return y, np.where(none, 3, p.argmax(1)), np.where(none[:, None], np.nan, p)


def test_a_missing_prediction_is_neither_true_positive_nor_true_negative():
    y = np.array([0, 0, 1, 1])
    complete, less = (
        figures(y, np.array(a), ("ill", "well"), ("ill",)) for a in ([0, 0, 1, 1], [0, 2, 2, 1])
    )
    assert (complete["sensitivity"], complete["specificity"], complete["n_no_answer"]) == (1, 1, 0)
    assert (less["sensitivity"], less["specificity"], less["accuracy"]) == (0.5, 0.5, 0.5)
    assert (less["precision_ill"], less["precision_well"], less["n_no_answer"]) == (1, 1, 2)


def test_without_any_prediction_the_metrics_are_zero():
    result = figures(np.array([0, 1, 2]), np.full(3, 3))
    assert (result["accuracy"], result["uar"], result["matthews"], result["precision_macro"]) == (0, 0, 0, 0)


def test_the_column_of_missing_predictions_may_be_omitted(predictions):
    y, p = predictions
    counts = metrics.confusion_matrix(y, p.argmax(1), 3)
    assert counts.shape == (3, 4) and (counts[:, :3] == sk.confusion_matrix(y, p.argmax(1))).all()
    square = metrics.compute_count_metrics(counts[:, :3], CIRCOR, ("Present",))
    assert square == metrics.compute_count_metrics(counts, CIRCOR, ("Present",))


def test_several_positive_classes_are_merged(predictions):
    y, p = predictions
    result = figures(y, p.argmax(1), positive=("Present", "Unknown"))
    assert result["sensitivity"] == pytest.approx(sk.recall_score(y < 2, p.argmax(1) < 2))
    assert result["specificity"] == pytest.approx(sk.recall_score(y == 2, p.argmax(1) == 2))


def test_many_confusion_matrices_at_once(some_missing):
    y, predicted, _ = some_missing
    group = np.arange(200) % 4
    counts = metrics.confusion_matrix(y, predicted, 3, group, n_groups=5).reshape(5, 1, 3, 4)
    together = metrics.compute_count_metrics(counts, CIRCOR, ("Present",))
    for g in range(4):
        alone = figures(y[group == g], predicted[group == g])
        assert {k: v[g, 0] for k, v in together.items()} == pytest.approx(alone)
    assert together.pop("n_no_answer")[4, 0] == 0
    assert all(np.isnan(v[4, 0]) for v in together.values()), "the fifth group has no unit"


@pytest.mark.parametrize(("truth", "here"), [((114, 23, 135), 0.736), ((179, 68, 695), 0.499)])
def test_the_scores_of_always_predicting_present(truth, here):
    y = np.repeat([0, 1, 2], truth)
    result = figures(y, np.zeros_like(y))
    assert result["weighted_accuracy"] == pytest.approx(here, abs=5e-4)
    assert result["weighted_accuracy_official"] == pytest.approx(0.499, abs=5e-4)
    assert (result["sensitivity"], result["specificity"], result["matthews"]) == (1, 0, 0)


def test_weighted_accuracy_worked_by_hand():
    counts = np.array([[3, 0, 1], [1, 1, 0], [0, 1, 4]])
    result = metrics.compute_count_metrics(counts, CIRCOR, ("Present",))
    assert result["weighted_accuracy"] == pytest.approx((5 * 3 + 3 * 1 + 4) / (5 * 4 + 3 * 2 + 5))
    by_share = 0.499 * 3 / 4 + 0.114 * 1 / 2 + 0.387 * 4 / 5
    assert result["weighted_accuracy_official"] == pytest.approx(by_share, abs=1e-3)


def test_weighted_accuracy_at_another_mix():
    recall = np.array([[0.8, 0.5, 0.9], [1, np.nan, 0]])
    half = challenges.weighted_accuracy_score(recall, CIRCOR, {"Present": 1, "Unknown": 1, "Absent": 8})
    assert half[0] == pytest.approx((5 * 0.8 + 3 * 0.5 + 8 * 0.9) / 16) and np.isnan(half[1])
    none = challenges.weighted_accuracy_score(recall, CIRCOR, {"Absent": 0.75, "Unknown": 0, "Present": 0.25})
    assert none == pytest.approx([(1.25 * 0.8 + 0.75 * 0.9) / 2, 1.25 / 2]), (
        "no Unknown patient, so no recall is needed"
    )
    official = challenges.weighted_accuracy_score(recall[0], CIRCOR, CIRCOR_PATIENTS)
    assert official == pytest.approx((5 * 179 * 0.8 + 3 * 68 * 0.5 + 695 * 0.9) / (5 * 179 + 3 * 68 + 695))


# By the arithmetic of physionetchallenges/evaluation-2022; CirCor has 456 Abnormal and 486 Normal patients
@pytest.mark.parametrize(
    ("counts", "cost"),
    [
        ([[456, 0], [486, 0]], 10 + (25 + 397 - 1718 + 11296) + 10_000 * 456 / 942),
        ([[0, 456], [0, 486]], 10 + 25 + 50_000 * 456 / 942),
        ([[300, 156], [100, 386]], 11726.023586432522),
        # 60 of 200 see the expert: 25 + 119.1 - 154.62 + 91.4976; 40 are treated, 10 are missed
        ([[40, 10], [20, 130]], 10 + 80.9776 + 2000 + 2500),
    ],
)
def test_the_outcome_cost_equals_the_challenges(counts, cost):
    result = metrics.compute_count_metrics(np.array(counts), ("Abnormal", "Normal"), ("Abnormal",))
    assert result["outcome_cost"] == pytest.approx(cost)
    turned = np.array(counts)[::-1, ::-1]
    result = metrics.compute_count_metrics(turned, ("Normal", "Abnormal"), ("Abnormal",))
    assert result["outcome_cost"] == pytest.approx(cost)


def test_a_patient_without_a_prediction_is_seen_by_the_expert():
    args = ("Abnormal", "Normal"), ("Abnormal",)
    unsure = metrics.compute_count_metrics(np.array([[30, 10, 10], [5, 130, 15]]), *args)
    called = metrics.compute_count_metrics(np.array([[40, 10, 0], [20, 130, 0]]), *args)
    assert unsure["outcome_cost"] == pytest.approx(called["outcome_cost"])
    assert "outcome_cost" not in metrics.compute_count_metrics(np.eye(2), ("ill", "well"), ("ill",))


GOOD, POOR = [[500, 40, 32], [100, 2100, 102]], [[50, 13, 30], [20, 120, 46]]


def test_modified_accuracy_worked_by_hand():
    """The quality weights that the challenge's score2016Challenge.m states for its training set."""
    wa, wn = (0.8602, 0.1398), (0.9252, 0.0748)
    se = wa[0] * 500 / (500 + 32 + 40) + wa[1] * (50 + 30) / (50 + 30 + 13)
    sp = wn[0] * 2100 / (100 + 102 + 2100) + wn[1] * (120 + 46) / (20 + 46 + 120)
    assert challenges.modified_accuracy(np.array([GOOD, POOR])) == pytest.approx((se + sp) / 2, abs=5e-5)
    turned = np.array([GOOD, POOR])[:, ::-1, [1, 0, 2]]
    assert challenges.modified_accuracy(turned) == pytest.approx(
        challenges.modified_accuracy(np.array([GOOD, POOR]))
    )
    nothing = np.zeros((2, 2, 3))
    nothing[..., 2] = np.sum([GOOD, POOR], axis=2)
    assert challenges.modified_accuracy(nothing) == pytest.approx((wa[1] + wn[1]) / 2, abs=5e-5), (
        "right of the poor only"
    )


def test_modified_accuracy_is_undefined_if_a_quality_is_unknown_or_a_class_absent():
    counts = np.zeros((4, 3, 2, 3))
    counts[:, :2] = GOOD, POOR
    counts[1, 2, 0, 0] = 1
    counts[2, :, 1] = 0
    counts[3, 1] = 0
    result = challenges.modified_accuracy(counts)
    assert np.isnan(result[[1, 2]]).all() and result[0] == challenges.modified_accuracy(
        np.array([GOOD, POOR])
    )
    assert result[3] == pytest.approx((500 / 572 + 2100 / 2302) / 2), "all good: balanced accuracy"


def test_weighted_accuracy_only_for_its_three_classes(predictions):
    y, p = predictions
    assert not any("weighted" in name for name in figures(y, p.argmax(1), ("a", "b", "c"), ("a",)))


def test_a_class_absent_from_the_truth_is_undefined_not_zero():
    result = figures(np.array([0, 0, 2]), np.array([0, 1, 2]))
    undefined = {name for name, value in result.items() if np.isnan(value)}
    assert undefined == {
        *("precision_Unknown", "recall_Unknown", "f1_Unknown"),
        *("uar", "precision_macro", "f1_macro", "weighted_accuracy_official"),
    }


def test_a_class_never_predicted_is_zero_as_in_scikit_learn():
    y, predicted = np.array([0, 1, 2, 2]), np.array([0, 0, 2, 2])
    result = figures(y, predicted)
    for name in ("precision", "f1"):
        expected = getattr(sk, f"{name}_score")(y, predicted, average="macro", zero_division=0)
        assert result[f"{name}_macro"] == pytest.approx(expected)
    assert result["precision_Unknown"] == 0


def test_one_class_in_the_truth_has_no_matthews():
    assert np.isnan(figures(np.zeros(3, int), np.array([0, 1, 2]))["matthews"])


@pytest.mark.parametrize(("positive", "column"), [("yes", 0), ("no", 1)])
def test_with_two_classes_the_areas_are_of_the_positive_class(predictions, positive, column):
    y, p = predictions[0] % 2, predictions[1][:, :2] / predictions[1][:, :2].sum(1, keepdims=True)
    result = metrics.compute_probability_metrics(y, p, ("yes", "no"), (positive,))
    assert result["roc_auc"] == pytest.approx(sk.roc_auc_score(y == column, p[:, column]))
    assert result["pr_auc"] == pytest.approx(sk.average_precision_score(y == column, p[:, column]))
    assert result["brier"] == pytest.approx(2 * sk.brier_score_loss(y == column, p[:, column]))


def test_areas_are_undefined_where_a_class_is_absent():
    result = metrics.compute_probability_metrics(np.array([0, 2]), np.eye(3)[[0, 2]], CIRCOR, ("Present",))
    assert np.isnan([result["roc_auc"], result["pr_auc"]]).all() and result["brier"] == 0


def test_weighted_areas_equal_scikit_learns(predictions):
    y, p = predictions
    weights = np.random.default_rng(2).multinomial(200, np.full(200, 1 / 200), size=5)
    result = weighted_roc_auc_score(y, p, weights, CIRCOR, ("Present",))
    expected = [
        np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(3)]) for w in weights
    ]
    assert result == pytest.approx(expected)
    assert np.isnan(weighted_roc_auc_score(y, p, 1 * (y > 0)[None], CIRCOR, ("Present",))).all()


def test_probability_metrics_leave_out_units_without_probabilities(some_missing):
    y, _, p = some_missing
    present = ~np.isnan(p[:, 0])
    complete, part = (
        metrics.compute_probability_metrics(*a, CIRCOR, ("Present",))
        for a in ((y, p), (y[present], p[present]))
    )
    assert complete == part and not np.isnan(list(part.values())).any()
    weights = np.random.default_rng(2).integers(0, 3, (2, 200))
    expected = weighted_roc_auc_score(y[present], p[present], weights[:, present], CIRCOR, ("Present",))
    assert (weighted_roc_auc_score(y, p, weights, CIRCOR, ("Present",)) == expected).all()


def test_without_any_probability_the_metrics_are_undefined():
    y, p = np.array([0, 1]), np.full((2, 3), np.nan)
    assert np.isnan(list(metrics.compute_probability_metrics(y, p, CIRCOR, ("Present",)).values())).all()
    assert np.isnan(weighted_roc_auc_score(y, p, np.ones((4, 2)), CIRCOR, ("Present",))).all()


def test_calibration_error_worked_by_hand():
    """Bins of a tenth: 0.6 and 0.55 lie in one (0.5, 0.6], 0.9 and 0.85 in another (0.8, 0.9]."""
    p = np.array([0.6, 0.55, 0.9, 0.85, 0.85])
    p = np.stack([p, 1 - p], axis=1)
    y = np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(1 / 2 - 0.575) + 3 / 5 * abs(2 / 3 - 2.6 / 3)
    assert metrics.expected_calibration_error(y, p, bins=10) == pytest.approx(expected)
    assert metrics.expected_calibration_error(y[[0, 0]], np.eye(2)[[0, 0]]) == 0
    assert metrics.expected_calibration_error(y[[1, 1]], np.eye(2)[[0, 0]]) == 1


def test_calibration_error_equals_that_of_scikit_learns_curve(predictions):
    y, p = predictions
    confidence, right = p.max(1), p.argmax(1) == y
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    n = np.unique(np.digitize(confidence, np.linspace(0, 1, 16)[1:-1], right=True), return_counts=True)[1]
    result = metrics.compute_probability_metrics(y, p, CIRCOR, ("Present",))["ece"]
    assert result == pytest.approx(np.average(np.abs(accuracy - mean), weights=n))


@pytest.mark.parametrize("sensitivity", [0.01, 0.5, 0.55, 0.9, 1])
def test_a_threshold_is_the_highest_that_reaches_the_sensitivity(predictions, sensitivity):
    is_positive, score = predictions[0] == 0, predictions[1][:, 0]
    result = thresholds.find_threshold(is_positive, score, sensitivity)
    _, tpr, all_thresholds = sk.roc_curve(is_positive, score, drop_intermediate=False)
    assert result == all_thresholds[tpr >= sensitivity].max()
    reached, specificity = thresholds.score_threshold(is_positive, score, result)
    assert reached >= sensitivity > thresholds.score_threshold(is_positive, score, np.nextafter(result, 2))[0]
    assert reached == sk.recall_score(is_positive, score >= result)
    assert specificity == sk.recall_score(~is_positive, score < result)


def test_a_threshold_reaches_a_share_that_floats_do_not_represent():
    is_positive, score = np.ones(100, bool), np.arange(100) / 100
    assert [thresholds.find_threshold(is_positive, score, s) for s in (0.55, 0.07, 0.29)] == [
        0.45,
        0.93,
        0.71,
    ]


def test_a_unit_without_a_score_counts_as_wrong():
    is_positive = np.array([1, 1, 1, 1, 0, 0], bool)
    score = np.array([0.9, 0.8, 0.7, np.nan, 0.1, np.nan])
    assert thresholds.find_threshold(is_positive, score, 0.75) == 0.7
    assert np.isnan(thresholds.find_threshold(is_positive, score, 0.76))
    assert thresholds.score_threshold(is_positive, score, 0.7) == (0.75, 0.5)


def test_an_operating_point_without_positives_or_negatives_is_undefined():
    one, score = np.ones(2, bool), np.array([0.2, 0.8])
    assert np.isnan(thresholds.find_threshold(~one, score, 0.9))
    assert thresholds.score_threshold(one, score, 0.5) == (0.5, pytest.approx(np.nan, nan_ok=True))
    assert thresholds.score_threshold(~one, score, 0.5) == (pytest.approx(np.nan, nan_ok=True), 0.5)
    assert np.isnan(thresholds.score_threshold(one, score, np.nan)).all()


def test_predictive_values_worked_by_hand():
    """Of 1000, 10 are positive: 9 are found, 1 is missed; of 990 others 99 are predicted positive."""
    ppv, npv = thresholds.predictive_values(0.9, 0.9, 0.01)
    assert (ppv, npv) == (pytest.approx(9 / 108), pytest.approx(891 / 892))
    ppv, npv = thresholds.predictive_values(np.array([0.9, 0.0, 1.0, np.nan]), np.array([0.9, 1, 0, 1]), 0.01)
    assert ppv == pytest.approx([9 / 108, np.nan, 0.01, np.nan], nan_ok=True)
    assert npv == pytest.approx([891 / 892, 0.99, np.nan, np.nan], nan_ok=True)
    assert thresholds.predictive_values(0.9, 0.9, np.array([0.0, 1.0]))[0] == pytest.approx([0, 1])


def test_predictive_values_at_the_prevalence_of_the_sample_equal_the_counts(predictions):
    is_positive, called = predictions[0] == 0, predictions[1].argmax(1) == 0
    rates = sk.recall_score(is_positive, called), sk.recall_score(~is_positive, ~called)
    ppv, npv = thresholds.predictive_values(*rates, is_positive.mean())
    assert ppv == pytest.approx(sk.precision_score(is_positive, called))
    assert npv == pytest.approx(sk.precision_score(~is_positive, ~called))
