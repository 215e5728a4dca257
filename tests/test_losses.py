"""Losses compared with their formulas, and class weights compared with scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from murmur.errors import MurmurError
from murmur.training.losses import Loss, average_heads, compute_class_weights
from tests.made import train_options

CLASSES = ("Present", "Unknown", "Absent")
WEIGHT = torch.tensor([5.0, 3.0, 1.0])
DRAW = np.random.default_rng(0)
LOGITS, TRUTH = torch.tensor(2 * DRAW.normal(size=(20, 3))), torch.tensor(DRAW.integers(0, 3, 20))


def loss(logits=LOGITS, truth=TRUTH, weight=WEIGHT, **options):
    return float(Loss(weight.to(logits.dtype), train_options(**options))(logits, truth))


def reference_loss(gamma, smoothing=0.0, weight=WEIGHT):
    """Focal loss, computed for one example after another."""
    total = weights = 0.0
    for row, true in zip(LOGITS.numpy(), TRUTH.numpy(), strict=True):
        p = np.exp(row) / np.exp(row).sum()
        target = np.eye(3)[true] * (1 - smoothing) + smoothing / 3
        total += -(target * weight.numpy() * np.log(p)).sum() * (1 - p[true]) ** gamma
        weights += float(weight[true])
    return total / weights


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, 2.0])
@pytest.mark.parametrize("weight", [WEIGHT, torch.ones(3)])
def test_focal_loss_equals_its_formula(gamma, smoothing, weight):
    result = loss(loss="focal", focal_gamma=gamma, label_smoothing=smoothing, weight=weight)
    assert result == pytest.approx(reference_loss(gamma, smoothing, weight), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch_and_focal_loss_converges_to_it_as_gamma_goes_to_0(smoothing):
    expected = float(F.cross_entropy(LOGITS, TRUTH, WEIGHT.double(), label_smoothing=smoothing))
    assert loss(label_smoothing=smoothing, focal_gamma=2.0) == pytest.approx(expected, rel=1e-12)
    assert loss(loss="focal", focal_gamma=1e-9, label_smoothing=smoothing) == pytest.approx(expected)


def test_focal_loss_gives_less_weight_to_confident_predictions():
    confident, uncertain = (torch.tensor([[margin, 0.0, 0.0]]) for margin in (6.0, 0.5))
    truth = torch.tensor([0])
    focal, plain = (
        [loss(x, truth, loss=kind, focal_gamma=2.0) for x in (confident, uncertain)]
        for kind in ("focal", "cross_entropy")
    )
    assert focal[0] / focal[1] < 0.01 * plain[0] / plain[1]


def test_the_prediction_of_several_heads_is_their_mean():
    heads = torch.tensor(DRAW.normal(size=(20, 4, 3)))
    assert torch.equal(average_heads(heads), heads.mean(dim=1)) and average_heads(LOGITS) is LOGITS
    for kind in ("focal", "cross_entropy"):
        assert loss(heads, loss=kind) == pytest.approx(loss(heads.mean(dim=1), loss=kind))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_distillation_adds_the_divergence_of_each_head_from_the_mean(share):
    heads = torch.tensor(DRAW.normal(size=(20, 4, 3)))
    teacher = heads.mean(dim=1).softmax(dim=1).numpy()
    student = heads.softmax(dim=2).numpy()
    divergence = np.mean(
        [[(t * np.log(t / p)).sum() for p in ps] for t, ps in zip(teacher, student, strict=True)]
    )
    expected = (1 - share) * loss(heads) + share * divergence
    assert loss(heads, distillation=share) == pytest.approx(expected)


def test_equal_heads_have_no_divergence():
    heads = LOGITS[:, None].expand(-1, 3, -1)
    assert loss(heads, distillation=0.3) == pytest.approx(0.7 * loss())
    assert loss(distillation=0.3) == loss(), "one output head has no distillation"


def test_the_gradient_of_distillation_moves_each_head_towards_the_mean():
    """The gradient of the divergence is the probabilities of a head minus those of the mean."""
    heads = torch.tensor(DRAW.normal(size=(2, 2, 3)), requires_grad=True)
    with_distillation, without_distillation = (
        torch.autograd.grad(
            Loss(WEIGHT.double(), train_options(distillation=share))(heads, TRUTH[:2]), heads
        )[0]
        for share in (0.5, 0.0)
    )
    teacher = heads.detach().mean(dim=1, keepdim=True).softmax(dim=2)
    expected = (heads.detach().softmax(dim=2) - teacher) / 4  # mean over 2 examples and 2 heads
    torch.testing.assert_close(with_distillation, 0.5 * without_distillation + 0.5 * expected)


COUNTS = np.array([30, 5, 65])


def weights(counts=COUNTS, metric=(1.0, 1.0, 1.0), **options):
    return compute_class_weights(counts, CLASSES, metric, train_options(**options)).numpy()


def test_balanced_weights_equal_those_of_scikit_learn():
    labels = np.repeat(np.arange(3), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights(balance="loss"), expected, rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "sampler"])
def test_without_balance_loss_or_metric_all_weights_are_1(balance):
    assert (weights(balance=balance, metric=(5.0, 3.0, 1.0)) == 1).all()


def test_weights_of_the_metric_give_each_class_its_share_of_the_loss():
    result = weights(balance="metric", metric=(5.0, 3.0, 1.0)) * COUNTS
    np.testing.assert_allclose(result / result.sum(), np.array([5, 3, 1]) / 9, rtol=1e-6)
    np.testing.assert_allclose(weights(balance="metric"), weights(balance="loss"), rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "loss", "metric"])
def test_class_weights_multiply_the_weights_of_the_named_classes(balance):
    weighted = weights(balance=balance, class_weights={"Absent": 0.5, "Present": 4.0})
    np.testing.assert_allclose(weighted, weights(balance=balance) * [4.0, 1.0, 0.5], rtol=1e-6)


def test_an_unknown_class_is_named():
    words = r"train\.class_weights: no class Presnt; there are Present, Unknown, Absent"
    with pytest.raises(MurmurError, match=words):
        weights(class_weights={"Present": 5, "Presnt": 5})


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_focal_loss_has_a_finite_gradient_at_a_probability_of_1(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    options = train_options(loss="focal", focal_gamma=gamma)
    Loss(torch.ones(3), options)(logits, torch.tensor([0, 1])).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[1].abs().sum() > 0
