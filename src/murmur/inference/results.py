"""What a model predicts for a recording and for a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from murmur import formatting
from murmur.features.heart_cycles import compute_heart_rate
from murmur.inference.heart_sounds import HeartSounds, MurmurPhase, describe_phase, locate_murmur
from murmur.inference.quality import Quality
from murmur.logs import escape_unprintable

CANNOT_TELL = "cannot tell"
CYCLE_COLUMNS = ["start", "end", "event", "murmur"]  # in JSON
PATIENTS_ONLY = "the model predicts patients only"


@dataclass(frozen=True)
class RecordingPrediction:
    """The prediction for one recording.

    Attributes
    ----------
    name : str
        File name; of an array "recording", or "recording K" if there are several recordings.
    path : str or None
        The file; None for an array.
    site : str or None
        Auscultation site.
    seconds : float
        Duration, s.
    rate : int
        Sample rate of the recording, Hz.
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
    figures : dict of str to float, or None
        `murmur.tables.predictions.FIGURES`, means over the segments; None if the network does not label
        frames.
    heart_sounds : HeartSounds or None
        The heart cycles, and the probability of a murmur over time; None if the network does not label
        frames.
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
    figures: dict[str, float] | None = None
    heart_sounds: HeartSounds | None = None

    @property
    def cycles(self) -> pd.DataFrame | None:
        """The intervals of the heart cycles: start, end (s), event, and murmur, its mean probability."""
        return self.heart_sounds.cycles if self.heart_sounds else None

    @property
    def murmur_track(self) -> np.ndarray | None:
        """Time (s) and probability of a murmur, shape (n, 2)."""
        return self.heart_sounds.murmur_track if self.heart_sounds else None

    @property
    def heart_rate(self) -> float | None:
        """Beats per minute, from the heart cycles or else the quality; None if it is not reliable."""
        return compute_heart_rate(self.heart_sounds.cycles) if self.heart_sounds else self.quality.heart_rate

    @property
    def murmur_phase(self) -> MurmurPhase | None:
        """In which part of the heart cycle a murmur is most probable, and its mean probability there."""
        return locate_murmur(self.heart_sounds) if self.heart_sounds else None

    @property
    def ends(self) -> np.ndarray:
        """End of each segment, s; the last segments may be padded."""
        return np.minimum(self.starts + self.segment_seconds, self.seconds)

    @property
    def is_used(self) -> bool:
        """Whether the prediction of the patient uses this recording."""
        return not self.reasons

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the prediction as JSON values.

        Parameters
        ----------
        classes : sequence of str
            `Prediction.classes`.
        """
        return {
            **{key: getattr(self, key) for key in ("name", "path", "site", "seconds", "rate", "answer")},
            "reasons": list(self.reasons),
            "probabilities": self.probabilities,
            "quality": self.quality._asdict(),
            "heart_rate": self.heart_rate,
            "murmur_phase": self.murmur_phase and self.murmur_phase._asdict(),
            "cycles": None if self.cycles is None else self.cycles[CYCLE_COLUMNS].to_dict("records"),
            "segments": [
                {
                    "start": float(start),
                    "end": float(end),
                    "probabilities": dict(zip(classes, map(float, p), strict=True)),
                }
                for start, end, p in zip(self.starts, self.ends, self.segments, strict=True)
            ],
        }

    def __repr__(self) -> str:
        """Return the answer, the probabilities and the facts of the recording, in a few lines."""
        facts = [f"{self.seconds:.1f} s at {self.rate} Hz", *_describe_quality(self)]
        facts += [describe_phase(self.murmur_phase)] if self.murmur_phase else []
        first = f"Prediction for {_name(self)}: {_answer(self)}"
        return "\n  ".join([first, *_list_details(self), ", ".join(facts)])


@dataclass(frozen=True)
class Prediction:
    """The prediction for a patient, of whom there is one recording or more.

    Attributes
    ----------
    patient_id : str
        Name of the patient, or of the first recording.
    classes : tuple of str
        All classes.
    answer : str or None
        The predicted class; None: cannot tell.
    reasons : tuple of str
        Why no class is predicted.
    probabilities : dict of str to float, or None
        Calibrated probability of each class; None without a usable recording.
    uncalibrated : dict of str to float, or None
        Before calibration.
    recordings : tuple of RecordingPrediction
        One for each recording that could be read, in the order given.
    not_read : tuple of str
        Paths of the recordings that could not be read.
    """

    patient_id: str
    classes: tuple[str, ...]
    answer: str | None
    reasons: tuple[str, ...]
    probabilities: dict[str, float] | None
    uncalibrated: dict[str, float] | None
    recordings: tuple[RecordingPrediction, ...]
    not_read: tuple[str, ...] = ()

    @property
    def n_given(self) -> int:
        """Number of recordings of the patient."""
        return len(self.recordings) + len(self.not_read)

    @property
    def n_used(self) -> int:
        """Number of recordings that the prediction uses."""
        return sum(recording.is_used for recording in self.recordings)

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        return {
            "patient": self.patient_id,
            "answer": self.answer,
            "reasons": list(self.reasons),
            "probabilities": self.probabilities,
            "recordings_given": self.n_given,
            "recordings_used": self.n_used,
            "recordings": [recording.to_dict(self.classes) for recording in self.recordings],
        }

    def __repr__(self) -> str:
        """Return the answer and the probabilities, and a line for each recording."""
        first = f"Prediction for {escape_unprintable(self.patient_id)}: {_answer(self)}"
        table = formatting.format_table([_list_cells(recording) for recording in self.recordings])
        return "\n  ".join([first, *_list_details(self), *table.splitlines()])


def _name(recording: RecordingPrediction) -> str:
    name = f"{recording.name} ({recording.site})" if recording.site else recording.name
    return escape_unprintable(name)


def _answer(prediction: RecordingPrediction | Prediction) -> str:
    return prediction.answer or (CANNOT_TELL if prediction.reasons else PATIENTS_ONLY)


def _list_details(prediction: RecordingPrediction | Prediction) -> list[str]:
    """The reasons why no class is predicted, and the probability of each class."""
    values = prediction.probabilities or {}
    p = [f"{name} {formatting.format_figure(value)}" for name, value in values.items()]
    return [*prediction.reasons, *([", ".join(p)] if p else [])]


def _list_cells(recording: RecordingPrediction) -> list[str]:
    """The facts of a recording of a patient in a few words."""
    answer = _answer(recording)
    if recording.reasons:
        answer += f" ({', '.join(reason.partition(':')[0] for reason in recording.reasons)})"
    return [_name(recording), f"{recording.seconds:.1f} s", *_describe_quality(recording), answer]


def _describe_quality(recording: RecordingPrediction) -> tuple[str, str]:
    rate = f"{recording.heart_rate:.0f}/min" if recording.heart_rate else "not found"
    return f"quality {recording.quality.score:.2f}", f"heart rate {rate}"
