"""Each figure against scikit-learn where it has it, and against an example worked by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk

from murmur import metrics

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


def test_several_positive_classes_are_merged(answers):
    y, p = answers
    got = figures(y, p.argmax(1), positive=("Present", "Unknown"))
    assert got["sensitivity"] == pytest.approx(sk.recall_score(y < 2, p.argmax(1) < 2))
    assert got["specificity"] == pytest.approx(sk.recall_score(y == 2, p.argmax(1) == 2))


def test_many_tables_at_once(answers):
    y, p = answers
    group = np.arange(200) % 4
    counts = metrics.confusion(y, p.argmax(1), 3, group, n_groups=5).reshape(5, 1, 3, 3)
    together = metrics.from_confusion(counts, CIRCOR, ("Present",))
    for g in range(4):
        alone = figures(y[group == g], p.argmax(1)[group == g])
        assert {k: v[g, 0] for k, v in together.items()} == pytest.approx(alone)
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
