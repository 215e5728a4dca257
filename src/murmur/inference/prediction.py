"""Predictions of a trained model for recordings and patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from murmur.evaluation import rules
from murmur.evaluation.temperature import apply_temperature
from murmur.features.one_recording import clean_recording
from murmur.inference import checks
from murmur.inference.model_info import WEIGHTS_NAME, ModelInfo
from murmur.inference.quality import Quality, measure_quality
from murmur.inference.reading import read_any
from murmur.inference.recording import Network, Recording

Source = str | Path | np.ndarray


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

    @property
    def is_used(self) -> bool:
        """Whether the prediction of the patient uses this recording."""
        return not self.reasons

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
        loaded = _load_recordings(recordings, rate, sites, self.info)
        predictions = tuple(self._predict_recording(*item, check) for item in loaded)
        name = patient_id or predictions[0].name
        used = [item for item, p in zip(loaded, predictions, strict=True) if p.is_used]
        if self.info.level == "patient":
            p = self.network.predict_patient([recording for recording, _ in used])
            answer, calibrated = self._decide("patient", p)
        else:
            p, answer, calibrated = self._pool_patient([r for r in predictions if r.is_used])
        reasons = () if answer else _collect_reasons(predictions, self.info)
        return Prediction(
            patient_id=name,
            classes=self.info.classes,
            answer=answer,
            reasons=reasons,
            probabilities=calibrated,
            uncalibrated=self._name(p),
            recordings=predictions,
        )

    def _predict_recording(self, recording: Recording, path: str, check: bool) -> RecordingPrediction:
        """Predict one recording on its own."""
        info, signal_rate = self.info, self.info.params.clean.sample_rate
        quality = measure_quality(recording.samples, recording.signal, signal_rate)
        starts, segments = np.empty(0), np.empty((0, len(info.classes)))
        reasons = checks.find_faults(recording.samples, recording.signal, info.params)
        p = None
        if not reasons and info.level == "segment":
            starts, segments = self.network.predict_segments(recording)
            p = self._pool(segments)
        if not reasons and check:
            reasons = checks.find_doubts(recording.signal, signal_rate, quality, info.familiarity)
        answer, calibrated = self._decide("recording", p)
        return RecordingPrediction(
            name=Path(path).name if path else "recording",
            path=path or None,
            site=recording.site,
            seconds=len(recording.samples) / recording.rate,
            rate=recording.rate,
            quality=quality,
            answer=None if reasons else answer,
            reasons=reasons,
            probabilities=calibrated,
            uncalibrated=self._name(p),
            starts=starts,
            segment_seconds=info.params.segment.length,
            segments=self._calibrate("segment", segments),
        )

    def _pool(self, parts: np.ndarray) -> np.ndarray | None:
        """The probabilities, shape (classes,), of a unit from those of its parts."""
        if not len(parts):
            return None
        member = np.zeros(len(parts), int)
        return rules.pool_probabilities(parts, member, 1, self.info.params.evaluate.rule)[0]

    def _pool_patient(
        self, predictions: Sequence[RecordingPrediction]
    ) -> tuple[np.ndarray | None, str | None, dict[str, float] | None]:
        """The probabilities of a patient from those of the recordings, its class, and calibrated ones."""
        parts = np.array([list(r.uncalibrated.values()) for r in predictions if r.uncalibrated])
        p = self._pool(parts)
        answer, calibrated = self._decide("patient", p)
        if answer and self.info.params.evaluate.rule == "any_present":
            order = rules.sort_positive_first(self.info.classes, self.info.positive)
            answers = {r.answer for r in predictions}
            answer = next(c for c in (self.info.classes[k] for k in order) if c in answers)
        return p, answer, calibrated

    def _decide(self, level: str, p: np.ndarray | None) -> tuple[str | None, dict[str, float] | None]:
        """The class, and the calibrated probabilities."""
        if p is None:
            return None, None
        weights = self.info.decisions[level].weights
        k = int((p * [weights[c] for c in self.info.classes]).argmax())
        return self.info.classes[k], self._name(self._calibrate(level, p[None])[0])

    def _calibrate(self, level: str, p: np.ndarray) -> np.ndarray:
        decision = self.info.decisions.get(level)
        return apply_temperature(p, decision.temperature) if decision and len(p) else p

    def _name(self, p: np.ndarray | None) -> dict[str, float] | None:
        return None if p is None else dict(zip(self.info.classes, p.tolist(), strict=True))


def _collect_reasons(predictions: Sequence[RecordingPrediction], info: ModelInfo) -> tuple[str, ...]:
    """Why no class is predicted for a patient: the reasons of the recordings, with their names if several."""
    reasons = [(r.site or r.name, reason) for r in predictions for reason in r.reasons]
    if not reasons:  # only of a network that predicts patients
        return (checks.describe_missing_sites(info.params.train.model.options["sites"]),)
    if len(predictions) == 1:
        return predictions[0].reasons
    return tuple(f"{name}: {reason}" for name, reason in reasons)


def _load_recordings(
    recordings: Source | Sequence[Source] | Mapping[str, Source],
    rate: int | None,
    sites: Sequence[str | None] | None,
    info: ModelInfo,
) -> list[tuple[Recording, str]]:
    """Read and clean the recordings of `Model.predict`; each with the path of its file, "" for an array."""
    if isinstance(recordings, Mapping):
        sources, sites = list(recordings.values()), list(recordings)
    elif isinstance(recordings, str | Path | np.ndarray):
        sources = [recordings]
    else:
        sources = list(recordings)
    if not sources:
        raise ValueError("recordings: expected one recording or more, found none")
    sites = list(sites) if sites is not None else [None] * len(sources)
    if len(sites) != len(sources):
        raise ValueError(f"sites: expected {len(sources)}, one for each recording, found {len(sites)}")
    return [
        (_load_recording(source, rate, site, info), "" if isinstance(source, np.ndarray) else str(source))
        for source, site in zip(sources, sites, strict=True)
    ]


def _load_recording(source: Source, rate: int | None, site: str | None, info: ModelInfo) -> Recording:
    if isinstance(source, np.ndarray):
        if rate is None:
            raise ValueError("rate: an array needs its sample rate, Hz")
        samples = source.astype(np.float32, copy=False)
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise ValueError(
                f"recordings: expected finite numbers of shape (n,), found shape {samples.shape}"
            )
    else:
        samples, rate = read_any(source)
    signal = clean_recording(samples, rate, info.params)
    return Recording(samples, rate, signal, site)


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
    path = Path(path)
    if path.suffix == ".onnx":
        from murmur.inference.onnx_model import load_onnx

        return Model(*load_onnx(path))
    from murmur.inference.model_folder import read_model

    info, weights = read_model(path)
    from murmur.inference.networks import TorchNetworks  # imports torch

    return Model(info, TorchNetworks(info, weights, path / WEIGHTS_NAME))
