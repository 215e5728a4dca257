"""The probabilities of the frames of segments, from a network that labels frames."""

import numpy as np
import torch

from murmur.training.classifier import Classifier, Inputs

BATCH = 64


@torch.no_grad()
def predict_tracks(
    model: Classifier, inputs: Inputs, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict the probabilities of the states, of a murmur, and of being annotated at each step.

    Parameters
    ----------
    model : Classifier
        With a network that has `label_frames`.
    inputs : Inputs
        The features of all units.
    units : np.ndarray of int
        Indices of the units to predict.

    Returns
    -------
    states : np.ndarray of float32, shape [units, steps, 4]
    murmur, annotated : np.ndarray of float32, shape [units, steps]
    """
    model.eval()
    parts = []
    for batch in torch.from_numpy(units).split(BATCH):
        x = model.standardise(inputs.take(batch)[0])
        output = model.network.label_frames(x)  # type: ignore[operator]
        states = output.states.softmax(dim=1).transpose(1, 2)
        parts.append((states, output.murmur.sigmoid(), output.annotated.sigmoid()))
    states, murmur, annotated = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return states, murmur, annotated
