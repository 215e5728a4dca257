"""The probabilities that a network gives to the frames of segments."""

import numpy as np
import torch

from murmur.training.classifier import Classifier, Inputs, take_batches


@torch.no_grad()
def predict_tracks(
    model: Classifier, inputs: Inputs, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict the state of each frame, whether it has a murmur, and whether it is annotated.

    Parameters
    ----------
    model : Classifier
        With a network that labels frames; set to evaluation mode.
    inputs : Inputs
        The features of all segments.
    units : np.ndarray of int
        Indices of the segments to predict.

    Returns
    -------
    states : np.ndarray of float32, shape [segments, steps, 4]
        Probability of each of `murmur.tables.annotations.STATES`, the sum being 1. A step is ``STEP`` frames
        of the spectrogram (`murmur.models.frames`).
    murmur : np.ndarray of float32, shape [segments, steps]
        Probability of a murmur.
    annotated : np.ndarray of float32, shape [segments, steps]
        Probability that annotators find the heart cycle clear enough to annotate it.
    """
    batches = take_batches(model, inputs, units)
    parts = [model.label_frames(model.standardise(x)).probabilities() for x, _ in batches]
    states, murmur, annotated = (torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
    return states, murmur, annotated
