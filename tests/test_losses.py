"""Losses against their formulas written out, and the weights of classes against scikit-learn's."""

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


def by_hand(gamma, smoothing=0.0, weight=WEIGHT):
    """Focal loss, one example after another."""
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
def test_focal_loss_is_its_formula(gamma, smoothing, weight):
    found = loss(loss="focal", focal_gamma=gamma, label_smoothing=smoothing, weight=weight)
    assert found == pytest.approx(by_hand(gamma, smoothing, weight), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torch_s_and_focal_loss_comes_close_as_gamma_goes_to_0(smoothing):
    expected = float(F.cross_entropy(LOGITS, TRUTH, WEIGHT.double(), label_smoothing=smoothing))
    assert loss(label_smoothing=smoothing, focal_gamma=2.0) == pytest.approx(expected, rel=1e-12)
    assert loss(loss="focal", focal_gamma=1e-9, label_smoothing=smoothing) == pytest.approx(expected)


def test_focal_loss_makes_little_of_what_is_known():
    sure, unsure = (torch.tensor([[margin, 0.0, 0.0]]) for margin in (6.0, 0.5))
    truth = torch.tensor([0])
    focal, plain = (
        [loss(x, truth, loss=kind, focal_gamma=2.0) for x in (sure, unsure)]
        for kind in ("focal", "cross_entropy")
    )
    assert focal[0] / focal[1] < 0.01 * plain[0] / plain[1]


def test_several_heads_answer_with_their_mean():
    heads = torch.tensor(DRAW.normal(size=(20, 4, 3)))
    assert torch.equal(average_heads(heads), heads.mean(dim=1)) and average_heads(LOGITS) is LOGITS
    for kind in ("focal", "cross_entropy"):
        assert loss(heads, loss=kind) == pytest.approx(loss(heads.mean(dim=1), loss=kind))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_distillation_is_the_divergence_of_each_head_from_their_mean(share):
    heads = torch.tensor(DRAW.normal(size=(20, 4, 3)))
    teacher = heads.mean(dim=1).softmax(dim=1).numpy()
    student = heads.softmax(dim=2).numpy()
    divergence = np.mean(
        [[(t * np.log(t / p)).sum() for p in ps] for t, ps in zip(teacher, student, strict=True)]
    )
    expected = (1 - share) * loss(heads) + share * divergence
    assert loss(heads, distillation=share) == pytest.approx(expected)


def test_heads_that_agree_do_not_diverge():
    heads = LOGITS[:, None].expand(-1, 3, -1)
    assert loss(heads, distillation=0.3) == pytest.approx(0.7 * loss())
    assert loss(distillation=0.3) == loss(), "of one answer there is nothing to distil"


def test_distillation_draws_each_head_to_the_mean():
    """The gradient of the divergence: a head's own probabilities less the teacher's."""
    heads = torch.tensor(DRAW.normal(size=(2, 2, 3)), requires_grad=True)
    whole, none = (
        torch.autograd.grad(
            Loss(WEIGHT.double(), train_options(distillation=share))(heads, TRUTH[:2]), heads
        )[0]
        for share in (0.5, 0.0)
    )
    teacher = heads.detach().mean(dim=1, keepdim=True).softmax(dim=2)
    expected = (heads.detach().softmax(dim=2) - teacher) / 4  # of 2 examples and 2 heads
    torch.testing.assert_close(whole, 0.5 * none + 0.5 * expected)


COUNTS = np.array([30, 5, 65])


def weights(counts=COUNTS, metric=(1.0, 1.0, 1.0), **options):
    return compute_class_weights(counts, CLASSES, metric, train_options(**options)).numpy()


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat(np.arange(3), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights(balance="loss"), expected, rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "sampler"])
def test_no_weights_otherwise(balance):
    assert (weights(balance=balance, metric=(5.0, 3.0, 1.0)) == 1).all()


def test_weights_of_the_metric_give_each_class_its_say():
    found = weights(balance="metric", metric=(5.0, 3.0, 1.0)) * COUNTS
    np.testing.assert_allclose(found / found.sum(), np.array([5, 3, 1]) / 9, rtol=1e-6)
    np.testing.assert_allclose(weights(balance="metric"), weights(balance="loss"), rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "loss", "metric"])
def test_weights_by_name_multiply_and_a_class_not_named_keeps_its_own(balance):
    named = weights(balance=balance, class_weights={"Absent": 0.5, "Present": 4.0})
    np.testing.assert_allclose(named, weights(balance=balance) * [4.0, 1.0, 0.5], rtol=1e-6)


def test_a_class_that_is_not_there_is_told():
    words = r"train\.class_weights: no class Presnt; there are Present, Unknown, Absent"
    with pytest.raises(MurmurError, match=words):
        weights(class_weights={"Present": 5, "Presnt": 5})


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_focal_loss_has_a_gradient_where_the_answer_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    options = train_options(loss="focal", focal_gamma=gamma)
    Loss(torch.ones(3), options)(logits, torch.tensor([0, 1])).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[1].abs().sum() > 0
