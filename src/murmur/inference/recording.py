"""A recording to predict, and what computes its probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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


class Network(Protocol):
    """What computes probabilities: the networks of a model folder, or an ONNX file."""

    def predict_segments(self, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        """Return the start (s) of each segment, shape (k,), and its probabilities, shape (k, classes).

        Both are empty if the recording is too short for a segment.
        """

    def predict_patient(self, recordings: Sequence[Recording]) -> np.ndarray | None:
        """Return the probabilities of the patient, shape (classes,); None without a usable segment.

        Only for networks that predict patients (`ModelInfo.level`).
        """
