"""Each figure against scikit-learn where it has it, and against an example worked by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.calibration import calibration_curve

from murmur.evaluation import metrics

CIRCOR = ("Present", "Unknown", "Absent")


@pytest.fixture
def answers():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), size=200).round(2)  # rounded, so that there are ties
    return rng.integers(0, 3, 200), p


def figures(y, predicted, classes=CIRCOR, positive=("Present",)):
    got = metrics.from_confusion(metrics.confusion(y, predicted, len(classes)), classes, positive)
    return {name: float(value) for name, value in got.items()}


def test_figures_of_counts_are_those_of_scikit_learn(answers):
    y, p = answers
    got = figures(y, p.argmax(1))
    args = (y, p.argmax(1))
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(*args))
    assert got["uar"] == pytest.approx(sk.balanced_accuracy_score(*args))
    assert got["uar"] == pytest.approx(sk.recall_score(*args, average="macro"))
    assert got["matthews"] == pytest.approx(sk.matthews_corrcoef(*args))
    assert got["precision_macro"] == pytest.approx(sk.precision_score(*args, average="macro"))
    assert got["f1_macro"] == pytest.approx(sk.f1_score(*args, average="macro"))
    for name in ("precision", "recall", "f1"):
        expected = getattr(sk, f"{name}_score")(*args, average=None)
        assert [got[f"{name}_{c}"] for c in CIRCOR] == pytest.approx(list(expected))


@pytest.fixture
def some_unanswered(answers):
    """Truth, answers of which one in ten is none (3), and probabilities, NaN where there is no answer."""
    y, p = answers
    none = np.random.default_rng(3).random(200) < 0.1
    return y, np.where(none, 3, p.argmax(1)), np.where(none[:, None], np.nan, p)


def test_no_answer_is_a_wrong_answer_as_a_further_label_is_to_scikit_learn(some_unanswered):
    y, predicted, _ = some_unanswered
    got, args = figures(y, predicted), (y, predicted)
    assert got["n_no_answer"] == (predicted == 3).sum() > 10
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(*args))
    assert got["matthews"] == pytest.approx(sk.matthews_corrcoef(*args))
    for name in ("precision", "recall", "f1"):
        expected = getattr(sk, f"{name}_score")(*args, average=None, labels=[0, 1, 2])
        assert [got[f"{name}_{c}"] for c in CIRCOR] == pytest.approx(list(expected))
    assert got["uar"] == pytest.approx(sk.recall_score(*args, average="macro", labels=[0, 1, 2]))
    assert got["sensitivity"] == pytest.approx(got["recall_Present"])
    cleared = np.isin(predicted, [1, 2])
    assert got["specificity"] == pytest.approx(sk.recall_score(y != 0, cleared))
    weights = np.array([5, 3, 1])[y]
    assert got["weighted_accuracy"] == pytest.approx(sk.accuracy_score(*args, sample_weight=weights))


def test_no_answer_lowers_what_it_should():
    y = np.array([0, 0, 1, 1])
    whole, less = (figures(y, np.array(a), ("ill", "well"), ("ill",)) for a in ([0, 0, 1, 1], [0, 2, 2, 1]))
    assert (whole["sensitivity"], whole["specificity"], whole["n_no_answer"]) == (1, 1, 0)
    assert (less["sensitivity"], less["specificity"], less["accuracy"]) == (0.5, 0.5, 0.5)
    assert (less["precision_ill"], less["precision_well"], less["n_no_answer"]) == (1, 1, 2)


def test_no_answer_at_all_is_worth_nothing():
    got = figures(np.array([0, 1, 2]), np.full(3, 3))
    assert (got["accuracy"], got["uar"], got["matthews"], got["precision_macro"]) == (0, 0, 0, 0)


def test_counts_without_a_column_of_non_answers_give_the_same(answers):
    y, p = answers
    counts = metrics.confusion(y, p.argmax(1), 3)
    assert counts.shape == (3, 4) and (counts[:, :3] == sk.confusion_matrix(y, p.argmax(1))).all()
    square = metrics.from_confusion(counts[:, :3], CIRCOR, ("Present",))
    assert square == metrics.from_confusion(counts, CIRCOR, ("Present",))


def test_several_positive_classes_are_merged(answers):
    y, p = answers
    got = figures(y, p.argmax(1), positive=("Present", "Unknown"))
    assert got["sensitivity"] == pytest.approx(sk.recall_score(y < 2, p.argmax(1) < 2))
    assert got["specificity"] == pytest.approx(sk.recall_score(y == 2, p.argmax(1) == 2))


def test_many_tables_at_once(some_unanswered):
    y, predicted, _ = some_unanswered
    group = np.arange(200) % 4
    counts = metrics.confusion(y, predicted, 3, group, n_groups=5).reshape(5, 1, 3, 4)
    together = metrics.from_confusion(counts, CIRCOR, ("Present",))
    for g in range(4):
        alone = figures(y[group == g], predicted[group == g])
        assert {k: v[g, 0] for k, v in together.items()} == pytest.approx(alone)
    assert together.pop("n_no_answer")[4, 0] == 0
    assert all(np.isnan(v[4, 0]) for v in together.values()), "nothing was asked of the fifth"


@pytest.mark.parametrize("truth, here", [((114, 23, 135), 0.736), ((179, 68, 695), 0.499)])
def test_always_present(truth, here):
    y = np.repeat([0, 1, 2], truth)
    got = figures(y, np.zeros_like(y))
    assert got["weighted_accuracy"] == pytest.approx(here, abs=5e-4)
    assert got["weighted_accuracy_official"] == pytest.approx(0.499, abs=5e-4)
    assert (got["sensitivity"], got["specificity"], got["matthews"]) == (1, 0, 0)


def test_weighted_accuracy_worked_by_hand():
    counts = np.array([[3, 0, 1], [1, 1, 0], [0, 1, 4]])
    got = metrics.from_confusion(counts, CIRCOR, ("Present",))
    assert got["weighted_accuracy"] == pytest.approx((5 * 3 + 3 * 1 + 4) / (5 * 4 + 3 * 2 + 5))
    by_share = 0.499 * 3 / 4 + 0.114 * 1 / 2 + 0.387 * 4 / 5
    assert got["weighted_accuracy_official"] == pytest.approx(by_share, abs=1e-3)


def test_weighted_accuracy_at_another_mix():
    recall = np.array([[0.8, 0.5, 0.9], [1, np.nan, 0]])
    half = metrics.weighted_accuracy(recall, CIRCOR, {"Present": 1, "Unknown": 1, "Absent": 8})
    assert half[0] == pytest.approx((5 * 0.8 + 3 * 0.5 + 8 * 0.9) / 16) and np.isnan(half[1])
    none = metrics.weighted_accuracy(recall, CIRCOR, {"Absent": 0.75, "Unknown": 0, "Present": 0.25})
    assert none == pytest.approx([(1.25 * 0.8 + 0.75 * 0.9) / 2, 1.25 / 2]), "of no Unknown, no recall"
    official = metrics.weighted_accuracy(recall[0], CIRCOR, metrics.CIRCOR_PATIENTS)
    assert official == pytest.approx((5 * 179 * 0.8 + 3 * 68 * 0.5 + 695 * 0.9) / (5 * 179 + 3 * 68 + 695))


# By the arithmetic of physionetchallenges/evaluation-2022; CirCor has 456 Abnormal and 486 Normal patients
@pytest.mark.parametrize(
    "counts, cost",
    [
        ([[456, 0], [486, 0]], 10 + (25 + 397 - 1718 + 11296) + 10_000 * 456 / 942),
        ([[0, 456], [0, 486]], 10 + 25 + 50_000 * 456 / 942),
        ([[300, 156], [100, 386]], 11726.023586432522),
        # 60 of 200 see the expert: 25 + 119.1 - 154.62 + 91.4976; 40 are treated, 10 are missed
        ([[40, 10], [20, 130]], 10 + 80.9776 + 2000 + 2500),
    ],
)
def test_the_cost_of_an_outcome_is_that_of_the_challenge(counts, cost):
    got = metrics.from_confusion(np.array(counts), ("Abnormal", "Normal"), ("Abnormal",))
    assert got["outcome_cost"] == pytest.approx(cost)
    turned = np.array(counts)[::-1, ::-1]
    got = metrics.from_confusion(turned, ("Normal", "Abnormal"), ("Abnormal",))
    assert got["outcome_cost"] == pytest.approx(cost)


def test_a_patient_without_an_answer_goes_to_the_expert():
    args = ("Abnormal", "Normal"), ("Abnormal",)
    unsure = metrics.from_confusion(np.array([[30, 10, 10], [5, 130, 15]]), *args)
    called = metrics.from_confusion(np.array([[40, 10, 0], [20, 130, 0]]), *args)
    assert unsure["outcome_cost"] == pytest.approx(called["outcome_cost"])
    assert "outcome_cost" not in metrics.from_confusion(np.eye(2), ("ill", "well"), ("ill",))


GOOD, POOR = [[500, 40, 32], [100, 2100, 102]], [[50, 13, 30], [20, 120, 46]]


def test_macc_worked_by_hand():
    """The quality weights that the challenge's score2016Challenge.m states for its training set."""
    wa, wn = (0.8602, 0.1398), (0.9252, 0.0748)
    se = wa[0] * 500 / (500 + 32 + 40) + wa[1] * (50 + 30) / (50 + 30 + 13)
    sp = wn[0] * 2100 / (100 + 102 + 2100) + wn[1] * (120 + 46) / (20 + 46 + 120)
    assert metrics.macc(np.array([GOOD, POOR])) == pytest.approx((se + sp) / 2, abs=5e-5)
    turned = np.array([GOOD, POOR])[:, ::-1, [1, 0, 2]]
    assert metrics.macc(turned) == pytest.approx(metrics.macc(np.array([GOOD, POOR])))
    nothing = np.zeros((2, 2, 3))
    nothing[..., 2] = np.sum([GOOD, POOR], axis=2)
    assert metrics.macc(nothing) == pytest.approx((wa[1] + wn[1]) / 2, abs=5e-5), "right of the poor only"


def test_macc_is_undefined_where_a_quality_is_unknown_or_a_class_absent():
    counts = np.zeros((4, 3, 2, 3))
    counts[:, :2] = GOOD, POOR
    counts[1, 2, 0, 0] = 1
    counts[2, :, 1] = 0
    counts[3, 1] = 0
    got = metrics.macc(counts)
    assert np.isnan(got[[1, 2]]).all() and got[0] == metrics.macc(np.array([GOOD, POOR]))
    assert got[3] == pytest.approx((500 / 572 + 2100 / 2302) / 2), "all good: balanced accuracy"


def test_the_order_of_the_classes_does_not_matter(answers):
    y, p = answers
    turned = figures(2 - y, 2 - p.argmax(1), CIRCOR[::-1])
    assert turned == pytest.approx(figures(y, p.argmax(1)))


def test_weighted_accuracy_only_for_its_three_classes(answers):
    y, p = answers
    assert not any("weighted" in name for name in figures(y, p.argmax(1), ("a", "b", "c"), ("a",)))


def test_a_class_absent_from_the_truth_is_undefined_not_zero():
    got = figures(np.array([0, 0, 2]), np.array([0, 1, 2]))
    undefined = {name for name, value in got.items() if np.isnan(value)}
    assert undefined == {
        *("precision_Unknown", "recall_Unknown", "f1_Unknown"),
        *("uar", "precision_macro", "f1_macro", "weighted_accuracy_official"),
    }


def test_a_class_never_predicted_is_zero_as_in_scikit_learn():
    y, predicted = np.array([0, 1, 2, 2]), np.array([0, 0, 2, 2])
    got = figures(y, predicted)
    for name in ("precision", "f1"):
        expected = getattr(sk, f"{name}_score")(y, predicted, average="macro", zero_division=0)
        assert got[f"{name}_macro"] == pytest.approx(expected)
    assert got["precision_Unknown"] == 0


def test_one_class_in_the_truth_has_no_matthews():
    assert np.isnan(figures(np.zeros(3, int), np.array([0, 1, 2]))["matthews"])


def test_areas_and_brier_are_those_of_scikit_learn(answers):
    y, p = answers
    got = metrics.from_probabilities(y, p, CIRCOR, ("Present",))
    assert got["roc_auc"] == pytest.approx(np.mean([sk.roc_auc_score(y == k, p[:, k]) for k in range(3)]))
    by_class = [sk.average_precision_score(y == k, p[:, k]) for k in range(3)]
    assert got["pr_auc"] == pytest.approx(np.mean(by_class))
    p = p / p.sum(1, keepdims=True)
    exact = metrics.from_probabilities(y, p, CIRCOR, ("Present",))
    assert exact["brier"] == pytest.approx(sk.brier_score_loss(y, p, scale_by_half=False))
    assert exact["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))


@pytest.mark.parametrize("positive, column", [("yes", 0), ("no", 1)])
def test_with_two_classes_the_positive_one_counts(answers, positive, column):
    y, p = answers[0] % 2, answers[1][:, :2] / answers[1][:, :2].sum(1, keepdims=True)
    got = metrics.from_probabilities(y, p, ("yes", "no"), (positive,))
    assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(y == column, p[:, column]))
    assert got["pr_auc"] == pytest.approx(sk.average_precision_score(y == column, p[:, column]))
    assert got["brier"] == pytest.approx(2 * sk.brier_score_loss(y == column, p[:, column]))


def test_areas_are_undefined_where_a_class_is_absent():
    got = metrics.from_probabilities(np.array([0, 2]), np.eye(3)[[0, 2]], CIRCOR, ("Present",))
    assert np.isnan([got["roc_auc"], got["pr_auc"]]).all() and got["brier"] == 0


def test_weighted_area_is_that_of_scikit_learn(answers):
    y, p = answers
    weights = np.random.default_rng(2).multinomial(200, np.full(200, 1 / 200), size=5)
    got = metrics.weighted_roc_auc(y, p, weights, CIRCOR, ("Present",))
    expected = [
        np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(3)]) for w in weights
    ]
    assert got == pytest.approx(expected)
    assert np.isnan(metrics.weighted_roc_auc(y, p, 1 * (y > 0)[None], CIRCOR, ("Present",))).all()


def test_figures_of_probabilities_leave_out_what_has_no_answer(some_unanswered):
    y, _, p = some_unanswered
    there = ~np.isnan(p[:, 0])
    whole, part = (
        metrics.from_probabilities(*a, CIRCOR, ("Present",)) for a in ((y, p), (y[there], p[there]))
    )
    assert whole == part and not np.isnan(list(part.values())).any()
    weights = np.random.default_rng(2).integers(0, 3, (2, 200))
    expected = metrics.weighted_roc_auc(y[there], p[there], weights[:, there], CIRCOR, ("Present",))
    assert (metrics.weighted_roc_auc(y, p, weights, CIRCOR, ("Present",)) == expected).all()


def test_of_no_answer_at_all_every_figure_is_undefined():
    y, p = np.array([0, 1]), np.full((2, 3), np.nan)
    assert np.isnan(list(metrics.from_probabilities(y, p, CIRCOR, ("Present",)).values())).all()
    assert np.isnan(metrics.weighted_roc_auc(y, p, np.ones((4, 2)), CIRCOR, ("Present",))).all()


def test_ece_worked_by_hand():
    """Bins of a tenth: 0.6 and 0.55 lie in one (0.5, 0.6], 0.9 and 0.85 in another (0.8, 0.9]."""
    p = np.array([0.6, 0.55, 0.9, 0.85, 0.85])
    p = np.stack([p, 1 - p], axis=1)
    y = np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(1 / 2 - 0.575) + 3 / 5 * abs(2 / 3 - 2.6 / 3)
    assert metrics.ece(y, p, bins=10) == pytest.approx(expected)
    assert metrics.ece(y[[0, 0]], np.eye(2)[[0, 0]]) == 0
    assert metrics.ece(y[[1, 1]], np.eye(2)[[0, 0]]) == 1


def test_ece_is_that_of_scikit_learns_calibration_curve(answers):
    y, p = answers
    confidence, right = p.max(1), p.argmax(1) == y
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    n = np.unique(np.digitize(confidence, np.linspace(0, 1, 16)[1:-1], right=True), return_counts=True)[1]
    got = metrics.from_probabilities(y, p, CIRCOR, ("Present",))["ece"]
    assert got == pytest.approx(np.average(np.abs(accuracy - mean), weights=n))


@pytest.mark.parametrize("sensitivity", [0.01, 0.5, 0.55, 0.9, 1])
def test_a_threshold_is_the_highest_that_reaches_the_sensitivity(answers, sensitivity):
    hit, score = answers[0] == 0, answers[1][:, 0]
    got = metrics.threshold_for(hit, score, sensitivity)
    _, tpr, thresholds = sk.roc_curve(hit, score, drop_intermediate=False)
    assert got == thresholds[tpr >= sensitivity].max()
    reached, specificity = metrics.at_threshold(hit, score, got)
    assert reached >= sensitivity > metrics.at_threshold(hit, score, np.nextafter(got, 2))[0]
    assert reached == sk.recall_score(hit, score >= got)
    assert specificity == sk.recall_score(~hit, score < got)


def test_a_threshold_meets_a_share_that_floats_do_not_hold():
    hit, score = np.ones(100, bool), np.arange(100) / 100
    assert [metrics.threshold_for(hit, score, s) for s in (0.55, 0.07, 0.29)] == [0.45, 0.93, 0.71]


def test_a_positive_without_a_score_is_never_caught_a_negative_never_cleared():
    hit = np.array([1, 1, 1, 1, 0, 0], bool)
    score = np.array([0.9, 0.8, 0.7, np.nan, 0.1, np.nan])
    assert metrics.threshold_for(hit, score, 0.75) == 0.7
    assert np.isnan(metrics.threshold_for(hit, score, 0.76))
    assert metrics.at_threshold(hit, score, 0.7) == (0.75, 0.5)


def test_an_operating_point_without_positives_or_negatives_is_undefined():
    one, score = np.ones(2, bool), np.array([0.2, 0.8])
    assert np.isnan(metrics.threshold_for(~one, score, 0.9))
    assert metrics.at_threshold(one, score, 0.5) == (0.5, pytest.approx(np.nan, nan_ok=True))
    assert metrics.at_threshold(~one, score, 0.5) == (pytest.approx(np.nan, nan_ok=True), 0.5)
    assert np.isnan(metrics.at_threshold(one, score, np.nan)).all()


def test_predictive_values_worked_by_hand():
    """Of 1000, 10 ill: 9 caught, 1 missed; of 990 well, 891 cleared, 99 called positive."""
    ppv, npv = metrics.predictive_values(0.9, 0.9, 0.01)
    assert (ppv, npv) == (pytest.approx(9 / 108), pytest.approx(891 / 892))
    ppv, npv = metrics.predictive_values(np.array([0.9, 0.0, 1.0, np.nan]), np.array([0.9, 1, 0, 1]), 0.01)
    assert ppv == pytest.approx([9 / 108, np.nan, 0.01, np.nan], nan_ok=True)
    assert npv == pytest.approx([891 / 892, 0.99, np.nan, np.nan], nan_ok=True)
    assert metrics.predictive_values(0.9, 0.9, np.array([0.0, 1.0]))[0] == pytest.approx([0, 1])


def test_predictive_values_are_those_counted_at_the_samples_own_prevalence(answers):
    hit, called = answers[0] == 0, answers[1].argmax(1) == 0
    rates = sk.recall_score(hit, called), sk.recall_score(~hit, ~called)
    ppv, npv = metrics.predictive_values(*rates, hit.mean())
    assert ppv == pytest.approx(sk.precision_score(hit, called))
    assert npv == pytest.approx(sk.precision_score(~hit, ~called))
