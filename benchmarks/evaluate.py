"""Measure the time of the evaluation of a large experiment: 10 runs of 5 folds, 50,000 test segments in each.

    PYTHONPATH=src python benchmarks/evaluate.py [--draws 2000] [--profile]

2,500 simulated patients with four recordings of 25 segments, three classes; each fold also has predictions
for a validation part of 40,000 segments. The time is that of the stage without writing: reading the
predictions (Parquet, in a temporary folder) and `evaluate_predictions`. For comparison, the intervals by
scikit-learn on the repeated rows of each draw are measured for a few draws and extrapolated. Nothing is
written into the repository.
"""

import cProfile
import os
import pstats
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import sklearn.metrics as sk
import typer
from scipy.special import softmax

from murmur import sections
from murmur.evaluation import scores
from murmur.evaluation.aggregation import compute_levels
from murmur.evaluation.levels import Level, number_units
from murmur.evaluation.results import evaluate_predictions
from murmur.evaluation.summary import format_summary
from murmur.splits.folds import make_folds
from murmur.tables import parquet
from murmur.tables.predictions import TrainingInfo, make_predictions_schema
from murmur.tables.recordings import DatasetCard

CLASSES = ("Present", "Unknown", "Absent")
PATIENTS, SITES, SEGMENTS = 2500, ("AV", "MV", "PV", "TV"), 25  # segments of a recording
CARD = DatasetCard("simulated", "murmur", CLASSES, ("Present",), (), persons="simulated", licence="none")
SCHEMA = make_predictions_schema(CLASSES)
SLOW_DRAWS = 3  # by scikit-learn
SEED = 0


def main(draws: int = 2000, profile: Annotated[bool, typer.Option("--profile")] = False) -> None:
    """Measure the evaluation of simulated predictions; --profile lists the most expensive functions."""
    p = sections.load("evaluate", "split")
    options = p.evaluate.model_copy(update={"draws": draws})
    p.split = p.split.model_copy(update={"method": "kfold", "runs": list(range(10)), "folds": 5})
    recordings, segments = simulate_recordings()
    folds = make_folds(recordings, segments, NO_DUPLICATES, p.split, SEED)
    about = {"notes": [NOTE], "audit": AUDIT, "protocol": {}, "left_out": 0}
    with tempfile.TemporaryDirectory() as name:
        paths = {run: Path(name, f"run_{run}.parquet") for run in folds}
        for run, table in folds.items():
            parquet.write(simulate_predictions(recordings, segments, table, run), paths[run], SCHEMA, NOTE)
        size = sum(path.stat().st_size for path in paths.values()) / 2**20
        with cProfile.Profile() if profile else nullcontext() as profiler:
            wall, cpu = time.perf_counter(), time.process_time()
            predictions = {run: parquet.read(path, SCHEMA) for run, path in paths.items()}
            reading = time.perf_counter() - wall
            tables = (recordings, CARD, segments, folds, predictions, simulate_histories(folds))
            results = evaluate_predictions(*tables, options=options, seed=SEED, **about)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = sum(map(len, predictions.values()))
    print(f"{rows:,} predictions in {len(folds)} files, {size:.0f} MiB; {draws:,} draws")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"wall time    {wall:7.1f} s, {reading:.1f} s of it reading")
    print(f"process time {cpu:7.1f} s")
    units = number_units(recordings, segments, CLASSES)
    levels, _ = compute_levels(predictions, folds, units, CARD, options)
    compare_intervals(levels[options.level], draws)
    print(format_summary(results.details))
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def simulate_recordings() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate the tables of recordings and segments, with the proportions of CirCor's classes."""
    rng = np.random.default_rng([SEED, 1])
    n = PATIENTS * len(SITES)
    patient = np.repeat([f"{k:05d}" for k in range(PATIENTS)], len(SITES))
    of_patient = {
        "patient_label": rng.choice(CLASSES, PATIENTS, p=[0.2, 0.1, 0.7]),
        "sex": rng.choice(["Female", "Male"], PATIENTS),
        "age_group": rng.choice(["Infant", "Child", "Adolescent"], PATIENTS),
    }
    recordings = pd.DataFrame({name: np.repeat(v, len(SITES)) for name, v in of_patient.items()})
    recordings = recordings.assign(
        recording_id=[f"{p}_{site}" for p, site in zip(patient, SITES * PATIENTS, strict=True)],
        patient_id=patient,
        person_id=patient,
        label=recordings["patient_label"],
        site=SITES * PATIENTS,
        source="simulated",
        quality=None,
        role=None,
        audio_sha256=[f"{k}" for k in range(n)],
        sample_rate=4000,
        n_samples=80_000,
    )
    recording = recordings["recording_id"].repeat(SEGMENTS).reset_index(drop=True)
    names = recording + "@" + pd.Series(np.tile(np.arange(SEGMENTS) * 3200, n)).astype(str)
    return recordings, pd.DataFrame({"segment_id": names, "recording_id": recording, "reversed": False})


def simulate_predictions(
    recordings: pd.DataFrame, segments: pd.DataFrame, folds: pd.DataFrame, run: int
) -> pd.DataFrame:
    """Simulate the predictions of a run; segments of a recording, and recordings of a patient, correlate."""
    rng = np.random.default_rng([SEED, 2, run])
    truth = pd.Index(CLASSES).get_indexer(pd.Index(recordings["label"]))
    person = pd.factorize(recordings["person_id"])[0]
    logits = 1.5 * np.eye(3)[truth] + rng.normal(size=(PATIENTS, 3))[person]
    logits += rng.normal(size=(len(truth), 3))
    row = pd.Series(np.arange(len(recordings)), recordings["recording_id"])
    table = folds[folds["role"] != "train"].drop(columns="segment_id").merge(segments, on="recording_id")
    of_segments = logits[row[table["recording_id"]]] + rng.normal(size=(len(table), 3))
    p = pd.DataFrame(softmax(of_segments, axis=1).astype(np.float32), columns=[f"p_{c}" for c in CLASSES])
    keys = table[["run", "fold", "role"]].assign(level="segment", unit_id=table["segment_id"])
    return keys.join(p)


def compare_intervals(level: Level, draws: int) -> None:
    """Measure the draws of the headline's intervals, and of the same with scikit-learn."""
    names = scores.select_headline(scores.score_units(level, ["run"]))
    start = time.process_time()
    scores.bootstrap_persons(level, names, draws, SEED)
    middle = time.process_time()
    score_draws(level)
    ours, other = middle - start, (time.process_time() - middle) / SLOW_DRAWS * draws
    print(
        f"intervals of {level.name}s: {ours:.1f} s; with scikit-learn {other:.0f} s, {other / ours:.0f} times"
    )
    print(f"as long, extrapolated from {SLOW_DRAWS} draws (process time)")


def score_draws(level: Level) -> list[float]:
    """Score each draw and run by scikit-learn: UAR, sensitivity, specificity, F1 and ROC-AUC."""
    rng, values = np.random.default_rng(SEED), []
    n = level.person.max() + 1
    for _ in range(SLOW_DRAWS):
        times = np.bincount(rng.choice(n, n), minlength=n)
        rows = np.repeat(np.arange(len(level)), times[level.person])
        for run in np.unique(level.run):
            part = level.select(rows[level.run[rows] == run])
            y_true, y_pred = part.truth, part.predicted
            values.append(sk.balanced_accuracy_score(y_true, y_pred))
            values.append(sk.recall_score(y_true == 0, y_pred == 0))
            values.append(sk.recall_score(y_true != 0, y_pred != 0))
            values.append(sk.f1_score(y_true, y_pred, average="macro"))
            values.append(sk.roc_auc_score(np.eye(3)[y_true], part.probabilities))
    return values


def simulate_histories(folds: dict[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """Simulate the learning curves of five fits of 30 epochs for each run."""
    epochs = {"fold": np.repeat(range(5), 30), "epoch": np.tile(range(30), 5), "train_loss": 1.0}
    return {run: pd.DataFrame(epochs) for run in folds}


NOTE = TrainingInfo("cpu", "float32", {"torch": "2"})
AUDIT = pd.DataFrame({"run": [0], "fold": 0, "shared_persons": 0})
NO_DUPLICATES = pd.DataFrame({"recording_id": [], "twin_id": []}, dtype=str)


if __name__ == "__main__":
    typer.run(main)
