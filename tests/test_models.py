"""Every model file builds, for any shape, and says which option it does not know."""

import pytest
import torch

from murmur.errors import MurmurError
from murmur.models import build
from murmur.params import Model


@pytest.mark.parametrize("shape", [(1, 40, 161), (3, 16, 20), (1, 128, 301)])
def test_cnn_turns_spectrograms_into_logits(shape):
    channels, mels, frames = shape
    model = build(Model(name="cnn", width=4), classes=5, channels=channels, mels=mels, frames=frames)
    assert model(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(name="cmn"), "no model 'cmn'; there are cnn"),
        (Model(name="../cnn"), "no model"),
        (Model(name="cnn", widht=8), "train.model.widht: cnn takes no such option; it takes"),
        (Model(name="cnn", classes=8), "train.model.classes"),
    ],
    ids=str,
)
def test_unknown_names_are_told(model, message):
    with pytest.raises(MurmurError, match=message):
        build(model, classes=2, channels=1, mels=16, frames=16)
