"""Rules against plain loops and counts by hand; fitted weights against all possible thresholds."""

import numpy as np
import pytest
from scipy.stats import gmean

from murmur.errors import MurmurError
from murmur.evaluation import metrics, rules

CIRCOR = ("Present", "Unknown", "Absent")
RULES = {
    "mean_probability": lambda p: p.mean(0),
    "mean_logit": gmean,
    "maximum": lambda p: p.max(0),
    "any_present": lambda p: p.mean(0),
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean_probability", [[0.7, 0.3], [0.2, 0.8]]),
        ("any_present", [[0.7, 0.3], [0.2, 0.8]]),
        ("mean_logit", [[0.75, 0.25], [0.2, 0.8]]),  # odds of 9 and 1: their geometric mean is 3
        ("maximum", [[9 / 14, 5 / 14], [0.2, 0.8]]),
    ],
)
def test_rules_worked_by_hand(rule, expected):
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    assert rules.pool_probabilities(p, np.array([0, 1, 0]), 2, rule) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("classes", [2, 4])
def test_rules_equal_a_plain_loop(rule, classes):
    rng = np.random.default_rng(0)
    p, member = rng.dirichlet(np.ones(classes), 60), rng.permutation(60) % 17
    result = rules.pool_probabilities(p, member, 17, rule)
    expected = np.array([RULES[rule](p[member == unit]) for unit in range(17)])
    assert result == pytest.approx(expected / expected.sum(1, keepdims=True))


def test_a_probability_of_zero_has_a_logarithm():
    result = rules.pool_probabilities(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 0]), 1, "mean_logit")
    assert result[0, 1] / result[0, 0] == pytest.approx(1e-7**0.5)


def test_a_class_is_chosen_by_weights_in_ties_and_without_probabilities():
    p = np.array([[0.5, 0.3, 0.2], [0.4, 0.2, 0.4], [np.nan] * 3])
    assert rules.choose_class(p, np.ones((1, 3)), 3).tolist() == [0, 0, 3]
    assert rules.choose_class(p, np.ones((1, 3)), 1).tolist() == [0, 0, 1]
    assert rules.choose_class(p, np.array([1, 2, 1]), 3).tolist() == [1, 0, 3]
    each = np.array([[1, 1, 3], [1, 3, 1], [1, 1, 1]])
    assert rules.choose_class(p, each, 3).tolist() == [2, 1, 3]


PRESENT, UNKNOWN, ABSENT = range(3)
NONE_OF_THREE, NONE_OF_TWO = 3, 2


@pytest.mark.parametrize(
    ("parts", "order", "expected"),
    [
        ([ABSENT, UNKNOWN, PRESENT], (0, 1, 2, 3), PRESENT),
        ([ABSENT, UNKNOWN, ABSENT], (0, 1, 2, 3), UNKNOWN),
        ([ABSENT, ABSENT], (0, 1, 2, 3), ABSENT),
        ([ABSENT, NONE_OF_THREE], (0, 1, 2, 3), ABSENT),
        ([NONE_OF_THREE], (0, 1, 2, 3), NONE_OF_THREE),
        ([1, 0, 1], (0, 1, 2), 0),
        ([1, NONE_OF_TWO], (0, 1, 2), 1),
        ([NONE_OF_TWO, NONE_OF_TWO], (0, 1, 2), NONE_OF_TWO),
        ([1, 0, NONE_OF_TWO], (1, 0, 2), 1),  # the second class is the positive one
    ],
)
def test_any_present_worked_by_hand(parts, order, expected):
    parts = np.array(parts)
    assert rules.choose_any_present(parts, np.zeros(len(parts), int), 1, order).tolist() == [expected]


def test_any_present_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    parts, member, order = rng.integers(0, 4, 50), rng.permutation(50) % 20, [2, 0, 1, 3]
    result = rules.choose_any_present(parts, member, 20, order)
    assert result.tolist() == [
        next(k for k in order if k in parts[member == unit].tolist()) for unit in range(20)
    ]


@pytest.mark.parametrize("metric", ["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"])
def test_the_value_of_right_predictions_is_proportional_to_the_metric(metric):
    rng = np.random.default_rng(2)
    truth = rng.permutation(np.repeat([0, 1, 2], [9, 4, 27]))
    value = rules.value_per_class(truth, metric, CIRCOR)[truth]
    for predicted in (truth, *rng.integers(0, 3, (5, 40))):
        counts = metrics.confusion_matrix(truth, predicted, 3)
        expected = metrics.compute_count_metrics(counts, CIRCOR, ("Present",))[metric]
        assert value[truth == predicted].sum() / value.sum() == pytest.approx(expected)


def test_an_absent_class_does_not_count():
    truth = np.array([0, 0, 0, 2])
    value = rules.value_per_class(truth, "uar", CIRCOR)[truth]
    assert value.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


@pytest.mark.parametrize("metric", ["weighted_accuracy", "weighted_accuracy_official"])
def test_circors_accuracy_is_refused_for_other_classes(metric):
    with pytest.raises(
        MurmurError, match=rf"evaluate\.thresholds: {metric} is defined for .*ill, well; set it to"
    ):
        rules.value_per_class(np.array([0, 1]), metric, ("ill", "well"))


def drawn(seed, classes=3, n=40, digits=1):
    """Truth, probabilities (rounded: there are ties and zeros) and the value of a right prediction."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    p = rng.dirichlet(np.ones(classes), n).round(digits) + 0.3 * np.eye(classes)[truth].round(digits)
    return truth, (p / p.sum(1, keepdims=True)).astype(np.float32).astype(float), rng.integers(1, 5, n)


def score(weights, truth, p, values):
    return values[rules.choose_class(p, weights, -1) == truth].sum()


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(10))
def test_the_weights_of_two_classes_give_the_best_possible_threshold(seed, digits):
    truth, p, values = drawn(seed, classes=2, digits=digits)
    result = score(rules.fit_class_weights(truth, p, values), truth, p, values)
    with np.errstate(divide="ignore"):
        ratio = (
            p[:, 0] / p[:, 1]
        )  # class 1 is predicted if its weight is above this: never, if it is infinite
    cuts = [cut for cut in [-1, *ratio] if np.isfinite(cut) and cut >= (0 if 0 in ratio else -1)]
    assert result == max(values[(ratio <= cut) == truth].sum() for cut in cuts)


@pytest.mark.parametrize("seed", range(60))
def test_weights_of_three_classes_are_never_worse_than_none(seed):
    truth, p, values = drawn(seed, n=12)
    assert score(rules.fit_class_weights(truth, p, values), truth, p, values) >= score(
        np.ones(3), truth, p, values
    )


def test_a_class_of_probability_zero_cannot_be_predicted_by_any_weight():
    """The first truth has probability 0; only the second can be predicted right."""
    truth, p = np.array([1, 0]), np.array([[1.0, 0.0], [0.9, 0.1]])
    weights = rules.fit_class_weights(truth, p, np.array([3, 1]))
    assert score(weights, truth, p, np.array([3, 1])) == 1


def test_a_known_optimum_is_found():
    """Three classes far apart, the probabilities of the second divided by 20: only weights undo it."""
    truth = np.arange(300) % 3
    p = np.random.default_rng(3).uniform(0, 0.2, (300, 3)) + np.eye(3)[truth]
    p[:, 1] /= 20
    values = rules.value_per_class(truth, "uar", CIRCOR)[truth]
    weights = rules.fit_class_weights(truth, p, values)
    assert score(np.ones(3), truth, p, values) < 0.7 * values.sum()
    assert score(weights, truth, p, values) == pytest.approx(values.sum()) and weights[1] > 3


def test_a_rare_class_has_a_higher_weight_for_the_uar():
    rng = np.random.default_rng(4)
    truth = (rng.random(4000) < 0.1).astype(int)
    odds = np.exp(rng.normal(2 * truth - 1)) * 1 / 9  # calibrated: the best cut for the UAR is odds of 1/9
    p = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    weights = rules.fit_class_weights(
        truth, p, rules.value_per_class(truth, "uar", ("common", "rare"))[truth]
    )
    assert weights[1] / weights[0] == pytest.approx(9, rel=0.4)


def test_weights_are_one_if_nothing_improves_and_do_not_depend_on_the_order():
    truth, p, values = drawn(5)
    right = np.eye(3)[truth] * 0.9 + 0.1 / 3
    assert rules.fit_class_weights(truth, right, values).tolist() == [1, 1, 1]
    assert (
        rules.fit_class_weights(truth, p, values).tolist()
        == rules.fit_class_weights(truth, p, values).tolist()
    )
    order = np.random.default_rng(6).permutation(len(truth))
    again = rules.fit_class_weights(truth[order], p[order], values[order])
    assert again == pytest.approx(rules.fit_class_weights(truth, p, values)), (
        "the order of units does not matter"
    )


def test_of_equal_optima_the_nearest_to_one_is_chosen():
    """Class 0 is predicted from .1, .2, .5 and 3 on: three are right within .1-.2 and within .5-3."""
    point = np.array([0.1, 0.2, 0.5, 3])
    p = np.stack([1 / (1 + point), point / (1 + point)], axis=1)
    assert rules.fit_class_weights(np.array([0, 1, 0, 1]), p, np.ones(4)).tolist() == [1, 1]
    far = np.array([5, 6, 9, 40])
    p = np.stack([1 / (1 + far), far / (1 + far)], axis=1)
    weights = rules.fit_class_weights(np.array([0, 1, 0, 1]), p, np.ones(4))
    assert weights.tolist() == pytest.approx([30**0.5, 1]), "the middle, by logarithm, of 5 and 6"
