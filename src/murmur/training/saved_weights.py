"""Classifiers from saved weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from murmur.models._requirements import REQUIREMENTS
from murmur.models._weights import check_keys
from murmur.sections.train import NetworkOptions
from murmur.training.classifier import Classifier, Inputs
from murmur.training.network import build


def select_network(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Select the tensors of one network, whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def load_classifier(
    weights: Mapping[str, torch.Tensor],
    path: Any,
    options: NetworkOptions,
    *,
    classes: int,
    shape: Sequence[int],
) -> Classifier:
    """Build a classifier and fill it with saved weights.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        The state dict, as the training saves it.
    path : object
        Where it was read from, for error messages.
    options : NetworkOptions
        Of the section ``train`` of params.yaml.
    classes : int
        Number of classes.
    shape : sequence of int
        Channels, mels and frames of the features.

    Returns
    -------
    Classifier
        In evaluation mode, on the CPU.

    Raises
    ------
    MurmurError
        If the weights are of another network.
    """
    model = options.model
    if "weights" in model.options and model.name not in REQUIREMENTS:  # the saved weights replace them
        model = model.model_copy(update={"weights": "none"})
    channels, mels, frames = shape
    network = build(model, classes=classes, channels=channels, mels=mels, frames=frames)
    unit = Inputs(torch.zeros(1, *shape), None)
    classifier = Classifier(network, unit, np.zeros(1, int), options)
    check_keys(weights, classifier.state_dict(), path)
    classifier.load_state_dict(weights)
    return classifier.eval()
