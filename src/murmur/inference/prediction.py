"""Predictions of a trained model for recordings and patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from murmur.inference.model_info import ModelInfo
from murmur.inference.quality import Quality

Source = str | Path | np.ndarray


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


@dataclass(frozen=True)
class RecordingPrediction:
    """The prediction for one recording.

    Attributes
    ----------
    name : str
        File name, or "recording K".
    path : str or None
        The file.
    site : str or None
        Auscultation site.
    seconds : float
        Duration, s.
    rate : int
        Sample rate of the file, Hz.
    quality : Quality
        Signal quality.
    answer : str or None
        The predicted class; None: cannot tell.
    reasons : tuple of str
        Why no class is predicted.
    probabilities : dict of str to float, or None
        Calibrated probability of each class; None without a usable segment, and for networks that predict
        only patients.
    uncalibrated : dict of str to float, or None
        Mean of the probabilities of the segments (or other pooling of the decision rule).
    starts : ndarray, shape (k,)
        Start of each segment, s.
    segment_seconds : float
        Length of a segment, s.
    segments : ndarray, shape (k, classes)
        Calibrated probabilities of each segment, in the order of the classes.
    """

    name: str
    path: str | None
    site: str | None
    seconds: float
    rate: int
    quality: Quality
    answer: str | None
    reasons: tuple[str, ...]
    probabilities: dict[str, float] | None
    uncalibrated: dict[str, float] | None
    starts: np.ndarray
    segment_seconds: float
    segments: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        classes = list(self.probabilities or {})
        return {
            **{key: getattr(self, key) for key in ("name", "path", "site", "seconds", "rate", "answer")},
            "reasons": list(self.reasons),
            "probabilities": self.probabilities,
            "quality": self.quality._asdict(),
            "segments": [
                {
                    "start": float(start),
                    "end": float(min(start + self.segment_seconds, self.seconds)),
                    "probabilities": dict(zip(classes, map(float, p), strict=True)),
                }
                for start, p in zip(self.starts, self.segments, strict=True)
            ],
        }


@dataclass(frozen=True)
class Prediction:
    """The prediction for a patient, of whom there is one recording or more.

    Attributes
    ----------
    patient_id : str
        Name of the patient, or of the only recording.
    classes : tuple of str
        All classes.
    answer : str or None
        The predicted class; None: cannot tell.
    reasons : tuple of str
        Why no class is predicted.
    probabilities : dict of str to float, or None
        Calibrated probability of each class.
    uncalibrated : dict of str to float, or None
        Before calibration.
    recordings : tuple of RecordingPrediction
        One for each recording, in the order given.
    """

    patient_id: str
    classes: tuple[str, ...]
    answer: str | None
    reasons: tuple[str, ...]
    probabilities: dict[str, float] | None
    uncalibrated: dict[str, float] | None
    recordings: tuple[RecordingPrediction, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        return {
            "patient": self.patient_id,
            "answer": self.answer,
            "reasons": list(self.reasons),
            "probabilities": self.probabilities,
            "recordings": [recording.to_dict() for recording in self.recordings],
        }


@dataclass(frozen=True)
class Model:
    """A trained model, from `load_model`.

    Attributes
    ----------
    info : ModelInfo
        Its description.
    network : Network
        Computes the probabilities.
    """

    info: ModelInfo
    network: Network

    def predict(
        self,
        recordings: Source | Sequence[Source] | Mapping[str, Source],
        rate: int | None = None,
        *,
        sites: Sequence[str | None] | None = None,
        patient_id: str | None = None,
        check: bool = True,
    ) -> Prediction:
        """Predict the class of one patient.

        Parameters
        ----------
        recordings : path, ndarray of shape (n,), sequence or mapping of these
            One recording, or several of one patient; a mapping has the site as key.
        rate : int, optional
            Sample rate of arrays, Hz.
        sites : sequence of str, optional
            Auscultation site of each recording.
        patient_id : str, optional
            Name of the patient; by default that of the first recording.
        check : bool
            Predict no class for recordings that are clipped or unlike the training data, and leave them out
            of the patient's prediction. False: predict as the evaluation of the pipeline does.

        Returns
        -------
        Prediction

        Raises
        ------
        MurmurError
            If a recording cannot be read, or has a sample that is not a finite number.
        ValueError
            If there is no recording, or an array without its rate.
        """
        raise NotImplementedError


def load_model(path: str | Path = "models/murmur") -> Model:
    """Load a trained model.

    Parameters
    ----------
    path : path-like
        A folder with model.json and model.safetensors, or an ONNX file from `murmur export`.

    Returns
    -------
    Model

    Raises
    ------
    MurmurError
        If a file is missing, has changed, or is of a newer version.

    Examples
    --------
    >>> murmur.load_model("models/murmur").predict("data/raw/P001_AV.wav")
    """
    raise NotImplementedError
