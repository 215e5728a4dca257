"""Standardisation of the input, frozen layers, and predictions in batches."""

import numpy as np
import pytest
import torch
from torch import nn

from murmur.errors import MurmurError
from murmur.sections.train import Model
from murmur.training import classifier
from murmur.training.classifier import Classifier, Inputs, predict_logits
from murmur.training.network import build
from tests.made import train_options

TRAIN = np.array([0, 2, 3, 5, 8])
BAGS = np.array([[[0, 3], [-1, -1]], [[1, -1], [2, 7]], [[-1, -1], [-1, -1]], [[4, 5], [6, -1]]])


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def spectrograms(channels=2, dtype="float16"):
    rng = np.random.default_rng(0)
    return rng.normal(3, 5, (9, channels, 6, 7)).astype(dtype)


def images():
    return np.random.default_rng(0).integers(0, 256, (9, 3, 6, 6)).astype(np.uint8)


def make_inputs(x, bags=None):
    return Inputs(torch.tensor(x), None if bags is None else torch.tensor(bags))


def make_classifier(network, inputs, train=TRAIN, **options):
    return Classifier(network, inputs, train, train_options(**options)).eval()


def test_each_band_is_standardised_with_the_statistics_of_the_training_part():
    x = spectrograms()
    model = make_classifier(nn.Identity(), make_inputs(x))
    part = x[TRAIN].astype(float)
    mean, spread = (f(part, axis=(0, 3))[..., None] for f in (np.mean, np.std))
    np.testing.assert_allclose(model.standardise(torch.tensor(x)), (x - mean) / spread, atol=1e-3)


def test_other_parts_have_no_effect_on_the_standardisation():
    x = spectrograms()
    other = x.copy()
    other[np.setdiff1d(np.arange(9), TRAIN)] *= 7
    first, second = (make_classifier(nn.Identity(), make_inputs(y)) for y in (x, other))
    assert torch.equal(first.mean, second.mean) and torch.equal(first.spread, second.spread)


def test_each_segment_of_a_patient_is_counted_once():
    x = spectrograms()
    result = make_classifier(nn.Identity(), make_inputs(x, BAGS), np.array([0, 1]))
    expected = make_classifier(nn.Identity(), make_inputs(x), np.array([0, 1, 2, 3, 7]))
    torch.testing.assert_close(result.mean, expected.mean)
    torch.testing.assert_close(result.spread, expected.spread)


def test_a_constant_band_is_not_divided_by_0():
    x = spectrograms()
    x[:, 1, 2] = -80
    assert (
        make_classifier(nn.Identity(), make_inputs(x)).standardise(torch.tensor(x))[:, 1, 2].abs().max() == 0
    )


def test_the_statistics_do_not_depend_on_the_batch_size(monkeypatch):
    x = spectrograms()
    maximum = make_classifier(nn.Identity(), make_inputs(x))
    monkeypatch.setattr(classifier, "MAX_UNITS_CPU", 2)
    parts = make_classifier(nn.Identity(), make_inputs(x))
    torch.testing.assert_close(parts.mean, maximum.mean)
    torch.testing.assert_close(parts.spread, maximum.spread)


def test_images_are_standardised_with_the_statistics_of_imagenet():
    x = images()
    result = make_classifier(nn.Identity(), make_inputs(x), standardise="imagenet").standardise(
        torch.tensor(x)
    )
    mean, spread = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    np.testing.assert_allclose(result, (x / 255 - mean) / spread, atol=1e-5)


def test_the_imagenet_standardisation_needs_three_channels():
    with pytest.raises(
        MurmurError, match=r"train\.standardise imagenet: needs mel\.image \(channels: 2, not 3\)"
    ):
        make_classifier(nn.Identity(), make_inputs(spectrograms()), standardise="imagenet")


def test_without_standardisation_only_images_are_scaled_to_0_to_1():
    for x, maximum in ((spectrograms(dtype="float32"), 1), (images(), 255)):
        result = make_classifier(nn.Identity(), make_inputs(x), standardise="none").standardise(
            torch.tensor(x)
        )
        np.testing.assert_allclose(result, x / maximum, rtol=1e-6)


def test_a_unit_is_a_row_or_the_rows_of_a_bag():
    x = spectrograms()
    rows, present = make_inputs(x).take(torch.tensor([4, 1]))
    assert torch.equal(rows, torch.tensor(x[[4, 1]])) and present is None
    bags, present = make_inputs(x, BAGS).take(torch.tensor([3, 0]))
    assert bags.shape == (2, 2, 2, 2, 6, 7)
    assert present.tolist() == [[[True, True], [True, False]], [[True, True], [False, False]]]
    for index in present.nonzero().tolist():
        row = BAGS[[3, 0]][tuple(index)]
        assert torch.equal(bags[tuple(index)], torch.tensor(x[row]))


def test_the_rows_of_units_are_returned_once():
    units = np.array([3, 1])
    assert make_inputs(spectrograms()).rows(units).tolist() == [3, 1]
    assert make_inputs(spectrograms(), BAGS).rows(units).tolist() == [1, 2, 4, 5, 6, 7]


def network(channels=2):
    return build(Model(name="cnn", width=4), classes=3, channels=channels, mels=6, frames=7)


def test_predictions_have_no_dropout_and_do_not_depend_on_the_batch_size(monkeypatch):
    inputs = make_inputs(spectrograms())
    model = make_classifier(network(), inputs).train()
    maximum = predict_logits(model, inputs, np.arange(9))
    assert maximum.shape == (9, 3) and not maximum.requires_grad
    for name, value in (("MAX_UNITS_CPU", 2), ("MAX_VALUES", 100), ("MAX_VALUES", 1)):
        monkeypatch.setattr(classifier, name, value)
        torch.testing.assert_close(predict_logits(model, inputs, np.arange(9)), maximum)
    torch.testing.assert_close(predict_logits(model, inputs, np.array([7, 2])), maximum[[7, 2]])


def test_a_batch_has_at_most_max_values_numbers(monkeypatch):
    monkeypatch.setattr(classifier, "MAX_VALUES", 3 * 2 * 6 * 7)
    inputs, sizes = make_inputs(spectrograms()), []
    model = make_classifier(network(), inputs)
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    predict_logits(model, inputs, np.arange(9))
    assert sizes == [3, 3, 3]


def test_the_prediction_of_several_heads_is_the_mean_of_their_logits():
    inputs, heads = make_inputs(spectrograms(), BAGS), torch.randn(4, 3, 5)

    class Heads(nn.Module):
        def forward(self, x, present):
            assert x.shape[:3] == present.shape == (len(x), 2, 2)
            return heads[: len(x)]

    result = predict_logits(make_classifier(Heads(), inputs, np.array([0, 1])), inputs, np.arange(4))
    torch.testing.assert_close(result, heads.mean(dim=1))


def test_frozen_modules_stay_in_evaluation_mode():
    inputs = make_inputs(spectrograms())
    for layers in (0, 3):
        model = make_classifier(network(), inputs, freeze=layers).train()
        assert len(model.frozen) > 0 or not layers
        assert not any(layer.training for layer in model.frozen) and model.network.training
        in_evaluation = [m for m in model.modules() if not m.training]
        assert in_evaluation == model.frozen
        assert all(not p.requires_grad for layer in model.frozen for p in layer.parameters())


def strided_convolution(stride):
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 1, stride))


@pytest.mark.parametrize(("stride", "fast"), [(1, True), (2, False), ((1, 2), False)])
def test_a_layer_that_breaks_channels_last_is_not_converted(stride, fast):
    network = make_classifier(strided_convolution(stride), make_inputs(spectrograms())).network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last) is fast


def test_the_default_network_is_in_channels_last_format():
    network = build(Model(name="cnn", width=8), classes=2, channels=2, mels=6, frames=7)
    stem = make_classifier(network, make_inputs(spectrograms())).network[1]
    assert stem.weight.is_contiguous(memory_format=torch.channels_last)
