"""A small trained model and the recordings that it was trained on, made as the stages make them."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from murmur.features import chain, store
from murmur.features.chain import PreparedRecordings
from murmur.inference import packaging
from murmur.inference.final_fit import fit_networks, prepare_final
from murmur.inference.model_folder import write_model
from murmur.inference.model_info import Decision, ModelInfo
from murmur.recordings import audio
from murmur.sections.experiment import Params, validate_params
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS, DatasetCard
from murmur.tables.signals import SIGNALS
from tests import made

CLASSES = ("Present", "Unknown", "Absent")
CARD = DatasetCard("made", "murmur", CLASSES, ("Present",), (5, 3, 1), "ids", "none")
SMALL = {
    "train.model": {"name": "cnn", "width": 4, "dropout": 0.0},
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.device": "cpu",
}
FRAMES = {
    "train.model": {"name": "frames", "width": 8, "dropout": 0.0},
    "train.state_loss": 1.0,
    "train.murmur_loss": 1.0,
    "train.annotation_loss": 0.3,
}
FIGURE = {"mean": 0.7, "sd": 0.01, "low": 0.6, "high": 0.8}
DETAILS = {
    "level": "patient",
    "headline": {"uar": FIGURE},
    "baseline": {"answer": "Absent", "uar": 1 / 3},
    "scored": {"units": 6},
    "parts": {"folds": 10},
    "protocol": {"leaky": False, "flaws": "none", "runs": 2},
    "data": {
        "dataset": "made",
        "task": "murmur",
        "recordings": 12,
        "patients": 6,
        "persons": 6,
        "hours": 0.01,
        "counts": {c: {"recordings": 4, "patients": 2, "persons": 2} for c in CLASSES},
        "licence": "none",
        "shareable": True,
        "sha256": "abc",
    },
}


@dataclass(frozen=True)
class TrainedModel:
    """The model folder, the folder of the recordings, their tables and features, and the parameters."""

    folder: Path
    raw: Path
    prepared: PreparedRecordings
    params: Params
    info: ModelInfo


def make_recordings(data, patients=6, sites=("AV", "PV")):
    """Two recordings of each patient, of different lengths and rates, in data/raw, and their table."""
    rows = []
    for k in range(patients):
        for n, site in enumerate(sites):
            rate = (4000, 8000, 2000)[(k + n) % 3]
            samples = made.noise(round((2.1 + 0.9 * k) * rate), seed=7 * k + n) * (0.2 + 0.1 * n)
            path = made.audio(data / f"raw/{k}_{site}.wav", samples, rate)
            ids = {"recording_id": path.stem, "patient_id": str(k), "person_id": str(k), "site": site}
            labels = dict.fromkeys(("label", "patient_label"), CLASSES[k % 3])
            rows.append(ids | labels | {"path": path.name, "source": ""} | audio.inspect_file(path)._asdict())
    table = pd.DataFrame(rows)
    table = table.assign(**dict.fromkeys(set(RECORDINGS.names) - set(table)))
    parquet.write(table, data / "recordings.parquet", RECORDINGS)


def make_frame_labels(prepared, path):
    """Write random labels for the frames of all segments."""
    n, _, _, frames = store.read_array(prepared.features).shape
    np.save(path, np.random.default_rng(0).integers(-1, 8, (n, frames), dtype=np.int8))
    return path


def make_trained_model(root, changes=None, *, ensemble=1, decisions=None):
    """Train a small model for one epoch on made recordings, and write its folder root/model."""
    params = validate_params(made.changed(SMALL | (changes or {})), "made")
    data = root / "data"
    make_recordings(data)
    names = ("clean", "segment", "mel", "embed", "train")
    sections = SimpleNamespace(**{name: getattr(params, name) for name in names})
    prepared = chain.compute_features(data, sections)
    tables = (prepared.recordings, prepared.segments)
    labels = make_frame_labels(prepared, data / "frame_labels.npy")
    run = prepare_final(*tables, CARD, prepared.features, params.train, 0, labels)
    fit_networks(run, 1, ensemble, root / "final.safetensors")
    weights = (root / "final.safetensors").read_bytes()
    signals = parquet.read(data / "signals.parquet", SIGNALS)
    rate = params.clean.sample_rate
    neutral = Decision(temperature=1.0, weights=dict.fromkeys(CLASSES, 1.0))
    info = packaging.make_model_info(
        CARD,
        packaging.select_params(params),
        DETAILS,
        weights,
        decisions=decisions or dict.fromkeys(("segment", "recording", "patient"), neutral),
        familiarity=packaging.describe_recordings(prepared.recordings, signals, data / "signals.npy", rate),
        shape=store.read_array(prepared.features).shape[1:],
        ensemble=ensemble,
        epochs=packaging.read_epochs(root / "final.safetensors"),
        code_sha256="0" * 64,
    )
    write_model(root / "model", info, weights)
    return TrainedModel(root / "model", data / "raw", prepared, params, info)


def draw_samples(seconds, rate=4000, seed=0):
    """Noise, float32."""
    return (0.3 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)
