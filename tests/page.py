"""The local page with a model that needs no training, for its tests; `python -m tests.page` shows it."""

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import waitress

from murmur.features.one_recording import clean_recording
from murmur.inference.familiarity import Reference
from murmur.inference.heart_sounds import HeartSounds
from murmur.inference.model_info import ModelInfo
from murmur.inference.packaging import select_params
from murmur.inference.page.app import make_app
from murmur.inference.prediction import Model
from murmur.inference.quality import measure_quality
from murmur.inference.reading import read_any
from murmur.inference.results import Prediction, RecordingPrediction
from murmur.sections.defaults import load_params
from murmur.tables.annotations import STATES

CLASSES = ("Present", "Unknown", "Absent")
FIGURES = {
    "weighted_accuracy_official": (0.772788, 0.041432, 0.706396, 0.841222, 0.498885),
    "sensitivity": (0.839286, 0.086258, 0.754146, 0.922886, 1.0),
    "specificity": (0.71875, 0.070649, 0.616116, 0.830561, 0.0),
    "roc_auc": (0.901191, 0.018898, 0.85205, 0.945337, 0.5),
}
METRICS = {key: dict(zip(("mean", "sd", "low", "high"), row, strict=False)) for key, row in FIGURES.items()}


def make_info(dataset: str = "synthetic") -> ModelInfo:
    params = load_params()
    decision = {"temperature": 1.0, "weights": dict.fromkeys(CLASSES, 1.0)}
    performance = {
        "level": "patient", "units": 60, "persons": 56, "metrics": METRICS,
        "baseline": {"answer": "Present"} | {key: row[4] for key, row in FIGURES.items()},
        "leaky": False, "flaws": "none", "runs": 10, "folds": 50,
    }  # fmt: skip
    data = {
        "dataset": dataset, "task": "murmur", "recordings": 191, "patients": 60, "persons": 56, "hours": 0.66,
        "counts": {}, "licence": "MIT", "shareable": True, "sha256": "ecb0e5e6ab570486",
    }  # fmt: skip
    return ModelInfo(
        murmur="0.1.0",
        classes=CLASSES,
        positive=("Present",),
        level="segment",
        shape=(1, 32, 63),
        params=select_params(params),
        decisions=dict.fromkeys(("segment", "recording", "patient"), decision),
        ensemble=1,
        epochs=10,
        performance=performance,
        familiarity=Reference(mean=(0.0,), precision=((1.0,),), limit=9.0).model_dump(),
        data=data,
        code_sha256="0" * 64,
        weights_sha256="1" * 64,
        intended_use="For research. It is not a medical device: do not use it for diagnosis.",
    )


class FakeModel(Model):
    """Predicts Present with a probability that rises over the recording, if it has 3 s or more."""

    def predict(self, recordings, rate=None, *, sites=None, patient_id=None, check=True):
        sites = sites or [None] * len(recordings)
        found = tuple(self.predict_one(Path(p), s) for p, s in zip(recordings, sites, strict=True))
        usable = [recording.probabilities for recording in found if recording.answer]
        p = {name: float(np.mean([q[name] for q in usable])) for name in CLASSES} if usable else None
        answer = max(p, key=p.get) if p else None
        reasons = () if p else ("no recording can be used",)
        return Prediction(patient_id or found[0].name, CLASSES, answer, reasons, p, p, found)

    def predict_one(self, path, site):
        samples, rate = read_any(path)
        starts = np.arange(0, len(samples) / rate - 2.999, 3.0)
        present = 0.05 + 0.9 * np.linspace(0.3, 1, len(starts)) ** 2
        segments = np.stack([present, 0.2 * (1 - present), 0.8 * (1 - present)], axis=1)
        p = dict(zip(CLASSES, segments.mean(axis=0).tolist(), strict=True)) if len(starts) else None
        quality = measure_quality(samples, clean_recording(samples, rate), 4000)
        answer = max(p, key=p.get) if p else None
        reasons = () if p else (f"too short: {len(samples) / rate:.1f} s, the model needs 3.0 s",)
        facts = (path.name, str(path), site, len(samples) / rate, rate, quality)
        return RecordingPrediction(*facts, answer, reasons, p, p, starts, 3.0, segments)


class FakeFramesModel(FakeModel):
    """Predicts also a heartbeat each second, with a murmur in the last third of each systole."""

    def predict_one(self, path, site):
        recording = super().predict_one(path, site)
        if not recording.answer:
            return recording
        starts = np.arange(0, recording.seconds, 0.25)
        cycles = pd.DataFrame({"start": starts, "end": starts + 0.25, "murmur": 0.1})
        cycles["event"] = np.resize(STATES, len(starts))
        cycles = cycles.assign(early=0.1, middle=0.1, late=0.75)
        times = np.arange(0, recording.seconds, 0.04)
        murmur = np.where((times % 1 > 0.42) & (times % 1 < 0.5), 0.9, 0.1)
        sounds = HeartSounds(cycles, np.stack([times, murmur], axis=1))
        return dataclasses.replace(recording, heart_sounds=sounds)


def make_model(dataset: str = "synthetic", model: type[Model] = FakeModel) -> Model:
    return model(make_info(dataset), None)


@contextlib.contextmanager
def serve(model: Model, port: int = 0) -> Iterator[tuple[str, waitress.server.BaseWSGIServer]]:
    """Serve the page in a thread, and yield its address and the server, which `close()` ends."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        server = waitress.create_server(make_app(model, port), sockets=[listener])
        threading.Thread(target=server.run, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.close()


if __name__ == "__main__":
    with serve(make_model(), 8799) as (address, _):
        input(f"{address}\n")
