"""Prediction of recordings and patients with a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from murmur import formatting
from murmur.evaluation import regression, rules
from murmur.evaluation.temperature import apply_temperature
from murmur.inference import checks
from murmur.inference.heart_sounds import find_heart_sounds
from murmur.inference.model_info import ModelInfo
from murmur.inference.output import METRICS
from murmur.inference.quality import measure_quality
from murmur.inference.recording import Network, make_empty_output
from murmur.inference.results import Prediction, RecordingPrediction
from murmur.inference.sources import NamedRecording, Source, load_recordings
from murmur.tables.predictions import FIGURES


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
            One recording, or several of one patient; a mapping has the site as key, and `sites` is not used.
            A path is an audio file or the header of a WFDB record.
        rate : int, optional
            Sample rate of all arrays, Hz. Files have their own.
        sites : sequence of str or None, optional
            Auscultation site of each recording.
        patient_id : str, optional
            Name of the patient; by default that of the first recording.
        check : bool
            Predict no class for recordings that are clipped, have no regular heart sounds or are unlike the
            training data, and leave them out of the patient's prediction. False: predict as the evaluation
            of the pipeline does.

        Returns
        -------
        Prediction

        Raises
        ------
        MurmurError
            If a file cannot be read, or has a sample that is not a finite number.
        ValueError
            If there is no recording or not one site for each, or if an array has no sample rate or is not one
            channel of finite numbers.
        """
        loaded = load_recordings(recordings, rate, sites, self.info.params)
        predictions = tuple(self._predict_recording(item, check) for item in loaded)
        used = [k for k, recording in enumerate(predictions) if recording.is_used]
        if self.info.level == "patient":
            p = self.network.predict_patient([loaded[k].recording for k in used])
            answer, calibrated = self._decide("patient", p)
        else:
            p, answer, calibrated = self._pool_patient([predictions[k] for k in used])
        return Prediction(
            patient_id=patient_id or predictions[0].name,
            classes=self.info.classes,
            answer=answer,
            reasons=() if answer else _collect_reasons(predictions, self.info),
            probabilities=calibrated,
            uncalibrated=self._name(p),
            recordings=predictions,
        )

    def __repr__(self) -> str:
        """Return the training data, the classes, the network and the expected performance, in four lines."""
        info = self.info
        data, performance = info.data, info.performance
        facts = f"{formatting.format_count(data.patients, 'patient')}, {data.hours:.2f} h"
        simulated = ", simulated" if data.dataset == "synthetic" else ""
        n = f"{info.ensemble} x " if info.ensemble > 1 else ""
        metric, figure = next(iter(performance.metrics.items()))
        expected = formatting.format_with_interval({"low": None, "high": None, **figure})
        leaky = f"; may be too optimistic: {performance.flaws}" if performance.leaky else ""
        return (
            f"Model trained on {data.dataset} ({facts}{simulated})\n"
            f"  classes: {', '.join(info.classes)}\n"
            f"  network: {n}{info.params.train.model.name}\n"
            f"  expected {METRICS.get(metric, metric)}: {expected}, {performance.level} level{leaky}"
        )

    def _predict_recording(self, item: NamedRecording, check: bool) -> RecordingPrediction:
        """Predict one recording on its own."""
        info, recording = self.info, item.recording
        signal_rate = info.params.clean.sample_rate
        quality = measure_quality(recording.samples, recording.signal, signal_rate)
        reasons = checks.find_faults(recording.samples, recording.signal, info.params)
        output = make_empty_output(len(info.classes))
        if not reasons and info.level == "segment":
            output = self.network.predict_segments(recording)
        if not reasons and check:
            reasons = checks.find_doubts(recording.signal, signal_rate, quality, info.familiarity)
        p, seconds = self._pool(output.probabilities), len(recording.samples) / recording.rate
        answer, calibrated = self._decide("recording", p)
        return RecordingPrediction(
            name=item.name,
            path=item.path,
            site=recording.site,
            seconds=seconds,
            rate=recording.rate,
            quality=quality,
            answer=None if reasons else answer,
            reasons=reasons,
            probabilities=calibrated,
            uncalibrated=self._name(p),
            starts=output.starts,
            segment_seconds=info.params.segment.length,
            segments=self._calibrate("segment", output.probabilities),
            figures=_average_figures(output.figures),
            heart_sounds=find_heart_sounds(output, info, seconds),
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
        parts = [r for r in predictions if r.uncalibrated]
        if self.info.params.evaluate.rule == "regression":
            p = self._regress(parts)
        else:
            p = self._pool(np.array([list(r.uncalibrated.values()) for r in parts if r.uncalibrated]))
        answer, calibrated = self._decide("patient", p)
        if answer and self.info.params.evaluate.rule == "any_present":
            order = rules.sort_positive_first(self.info.classes, self.info.positive)
            answers = {r.answer for r in predictions}
            answer = next(c for c in (self.info.classes[k] for k in order) if c in answers)
        return p, answer, calibrated

    def _regress(self, parts: Sequence[RecordingPrediction]) -> np.ndarray | None:
        """The probabilities, shape (classes,), of a patient from figures of the recordings."""
        if not parts:
            return None
        rows = [{f"p_{c}": p for c, p in (r.uncalibrated or {}).items()} | (r.figures or {}) for r in parts]
        member = np.zeros(len(rows), int)
        figures = regression.compute_figures(pd.DataFrame(rows), member, self.info.classes)
        coefficients = pd.DataFrame.from_dict(self.info.decisions["patient"].regression or {}, orient="index")
        return regression.predict_probabilities(figures, coefficients[list(self.info.classes)])[0]

    def _decide(self, level: str, p: np.ndarray | None) -> tuple[str | None, dict[str, float] | None]:
        """The class, and the calibrated probabilities."""
        if p is None:
            return None, None
        weights = self.info.decisions[level].weights
        k = int((p * [weights[c] for c in self.info.classes]).argmax())
        return self.info.classes[k], self._name(self._calibrate(level, p[None])[0])

    def _calibrate(self, level: str, p: np.ndarray) -> np.ndarray:
        return apply_temperature(p, self.info.decisions[level].temperature) if len(p) else p

    def _name(self, p: np.ndarray | None) -> dict[str, float] | None:
        return None if p is None else dict(zip(self.info.classes, p.tolist(), strict=True))


def _average_figures(figures: np.ndarray | None) -> dict[str, float] | None:
    """The mean over the segments, by name."""
    return None if figures is None else dict(zip(FIGURES, figures.mean(axis=0).tolist(), strict=True))


def _collect_reasons(predictions: Sequence[RecordingPrediction], info: ModelInfo) -> tuple[str, ...]:
    """Why no class is predicted for a patient: the reasons of the recordings, with their names if several."""
    if len(predictions) == 1 and predictions[0].reasons:
        return predictions[0].reasons
    reasons = [f"{r.site or r.name}: {reason}" for r in predictions for reason in r.reasons]
    if any(r.is_used for r in predictions):  # only of a network that predicts patients
        reasons.append(checks.describe_missing_sites(info.params.train.model.options["sites"]))
    return tuple(reasons)
