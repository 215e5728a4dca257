"""A recording to predict, and what computes its probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class Recording:
    """A recording to predict.

    Attributes
    ----------
    samples : ndarray, shape (n,), float32
        One channel, as it was read.
    rate : int
        Sample rate of `samples`, Hz.
    signal : ndarray, shape (m,), float32
        The cleaned recording, at the sample rate of the model.
    site : str or None
        Auscultation site.
    """

    samples: np.ndarray
    rate: int
    signal: np.ndarray
    site: str | None


class SegmentOutput(NamedTuple):
    """The output of the networks for the segments of a recording, each value the mean over the networks.

    An ONNX file has outputs of the same names.

    Attributes
    ----------
    starts : ndarray, shape (k,)
        Start of each segment, s.
    probabilities : ndarray, shape (k, classes)
        Of the classes.
    figures : ndarray, shape (k, 4), or None
        `murmur.tables.predictions.FIGURES`. This and the following only of networks that label frames.
    states : ndarray, shape (k, steps, 4), or None
        Probabilities of `murmur.tables.annotations.STATES` at equal steps of time.
    murmur, annotated : ndarray, shape (k, steps), or None
        Probability of a murmur, and of being annotated.
    """

    starts: np.ndarray
    probabilities: np.ndarray
    figures: np.ndarray | None = None
    states: np.ndarray | None = None
    murmur: np.ndarray | None = None
    annotated: np.ndarray | None = None


def make_empty_output(n_classes: int) -> SegmentOutput:
    """Return the output for a recording without segments."""
    return SegmentOutput(np.empty(0), np.empty((0, n_classes)))


class Network(Protocol):
    """What computes probabilities: the networks of a model folder, or an ONNX file."""

    def predict_segments(self, recording: Recording) -> SegmentOutput:
        """Compute the output for each segment; for a recording that is too short, of no segment."""

    def predict_patient(self, recordings: Sequence[Recording]) -> np.ndarray | None:
        """Return the probabilities of the patient, shape (classes,); None without a usable segment.

        Only for networks that predict patients (`ModelInfo.level`).
        """
