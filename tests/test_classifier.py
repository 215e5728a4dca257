"""The standardisation before a network, what is frozen in it, and the batches in which it predicts."""

import numpy as np
import pytest
import torch
from torch import nn

from murmur.errors import MurmurError
from murmur.models._construction import build
from murmur.sections.train import Model
from murmur.training import classifier
from murmur.training.classifier import Classifier, Inputs, predict_logits
from tests.made import train_options

TRAIN = np.array([0, 2, 3, 5, 8])
BAGS = np.array([[[0, 3], [-1, -1]], [[1, -1], [2, 7]], [[-1, -1], [-1, -1]], [[4, 5], [6, -1]]])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def numbers(channels=2, dtype="float16"):
    rng = np.random.default_rng(0)
    return rng.normal(3, 5, (9, channels, 6, 7)).astype(dtype)


def colours():
    return np.random.default_rng(0).integers(0, 256, (9, 3, 6, 6)).astype(np.uint8)


def inputs(x, bags=None):
    return Inputs(torch.tensor(x), None if bags is None else torch.tensor(bags))


def around(network, given, train=TRAIN, **options):
    return Classifier(network, given, train, train_options(**options)).eval()


def test_each_band_is_standardised_by_the_training_part():
    x = numbers()
    model = around(nn.Identity(), inputs(x))
    part = x[TRAIN].astype(float)
    mean, spread = (f(part, axis=(0, 3))[..., None] for f in (np.mean, np.std))
    np.testing.assert_allclose(model.standardise(torch.tensor(x)), (x - mean) / spread, atol=1e-3)


def test_rows_of_other_parts_do_not_touch_the_standardisation():
    x = numbers()
    other = x.copy()
    other[np.setdiff1d(np.arange(9), TRAIN)] *= 7
    one, two = (around(nn.Identity(), inputs(y)) for y in (x, other))
    assert torch.equal(one.mean, two.mean) and torch.equal(one.spread, two.spread)


def test_of_patients_the_rows_in_their_bags_count_each_once():
    x = numbers()
    found = around(nn.Identity(), inputs(x, BAGS), np.array([0, 1]))
    expected = around(nn.Identity(), inputs(x), np.array([0, 1, 2, 3, 7]))
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.spread, expected.spread)


def test_a_silent_band_is_not_divided_by_0():
    x = numbers()
    x[:, 1, 2] = -80
    assert around(nn.Identity(), inputs(x)).standardise(torch.tensor(x))[:, 1, 2].abs().max() == 0


def test_statistics_do_not_depend_on_the_batches(monkeypatch):
    x = numbers()
    whole = around(nn.Identity(), inputs(x))
    monkeypatch.setattr(classifier, "MAX_UNITS", 2)
    parts = around(nn.Identity(), inputs(x))
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.spread, whole.spread)


def test_images_are_standardised_as_for_imagenet():
    x = colours()
    found = around(nn.Identity(), inputs(x), standardise="imagenet").standardise(torch.tensor(x))
    mean, spread = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    np.testing.assert_allclose(found, (x / 255 - mean) / spread, atol=1e-5)


def test_imagenet_s_standardisation_needs_three_channels():
    with pytest.raises(
        MurmurError, match=r"train\.standardise imagenet: needs mel\.image, there are 2 channels"
    ):
        around(nn.Identity(), inputs(numbers()), standardise="imagenet")


def test_without_standardisation_numbers_stay_and_images_are_0_to_1():
    for x, whole in ((numbers(dtype="float32"), 1), (colours(), 255)):
        found = around(nn.Identity(), inputs(x), standardise="none").standardise(torch.tensor(x))
        np.testing.assert_allclose(found, x / whole, rtol=1e-6)


def test_a_unit_is_a_row_or_the_rows_of_its_bag():
    x = numbers()
    rows, there = inputs(x).take(torch.tensor([4, 1]))
    assert torch.equal(rows, torch.tensor(x[[4, 1]])) and there is None
    bags, there = inputs(x, BAGS).take(torch.tensor([3, 0]))
    assert bags.shape == (2, 2, 2, 2, 6, 7)
    assert there.tolist() == [[[True, True], [True, False]], [[True, True], [False, False]]]
    for place in there.nonzero().tolist():
        row = BAGS[[3, 0]][tuple(place)]
        assert torch.equal(bags[tuple(place)], torch.tensor(x[row]))


def test_the_rows_that_units_are_made_of():
    units = np.array([3, 1])
    assert inputs(numbers()).rows(units).tolist() == [3, 1]
    assert inputs(numbers(), BAGS).rows(units).tolist() == [1, 2, 4, 5, 6, 7]


def network(channels=2):
    return build(Model(name="cnn", width=4), classes=3, channels=channels, mels=6, frames=7)


def test_predictions_do_not_depend_on_the_batches_and_drop_nothing_out(monkeypatch):
    given = inputs(numbers())
    model = around(network(), given).train()
    whole = predict_logits(model, given, np.arange(9))
    assert whole.shape == (9, 3) and not whole.requires_grad
    for name, value in (("MAX_UNITS", 2), ("MAX_VALUES", 100), ("MAX_VALUES", 1)):
        monkeypatch.setattr(classifier, name, value)
        torch.testing.assert_close(predict_logits(model, given, np.arange(9)), whole)
    torch.testing.assert_close(predict_logits(model, given, np.array([7, 2])), whole[[7, 2]])


def test_as_many_values_are_held_at_once_as_said(monkeypatch):
    monkeypatch.setattr(classifier, "MAX_VALUES", 3 * 2 * 6 * 7)
    given, seen = inputs(numbers()), []
    model = around(network(), given)
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    predict_logits(model, given, np.arange(9))
    assert seen == [3, 3, 3]


def test_several_heads_answer_with_the_mean_of_their_logits():
    given, heads = inputs(numbers(), BAGS), torch.randn(4, 3, 5)

    class Heads(nn.Module):
        def forward(self, x, there):
            assert x.shape[:3] == there.shape == (len(x), 2, 2)
            return heads[: len(x)]

    found = predict_logits(around(Heads(), given, np.array([0, 1])), given, np.arange(4))
    torch.testing.assert_close(found, heads.mean(dim=1))


def test_what_is_frozen_stays_in_evaluation_mode():
    given = inputs(numbers())
    for layers in (0, 3):
        model = around(network(), given, freeze=layers).train()
        assert len(model.frozen) > 0 or not layers
        assert not any(layer.training for layer in model.frozen) and model.network.training
        off = [m for m in model.modules() if not m.training]
        assert off == model.frozen
        assert all(not p.requires_grad for layer in model.frozen for p in layer.parameters())


def of_few_channels(stride):
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 1, stride))


@pytest.mark.parametrize(("stride", "fast"), [(1, True), (2, False), ((1, 2), False)])
def test_what_torch_cannot_train_in_channels_last_is_left_as_it_is(stride, fast):
    network = around(of_few_channels(stride), inputs(numbers())).network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last) is fast


def test_the_compact_network_trains_fast():
    network = build(Model(name="cnn", width=8), classes=2, channels=2, mels=6, frames=7)
    stem = around(network, inputs(numbers())).network[0]
    assert stem.weight.is_contiguous(memory_format=torch.channels_last)
