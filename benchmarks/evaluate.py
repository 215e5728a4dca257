"""How long the scoring of a large experiment takes: 10 runs of 5 folds, 50,000 test segments in each.

    PYTHONPATH=src python benchmarks/evaluate.py [--draws 2000] [--profile]

2,500 simulated patients with four recordings of 25 segments, three classes; each fold has predictions for a
validation part of 40,000 segments too. Timed is what the stage does before it writes: reading the predictions
(Parquet, in a temporary folder) and `evaluate.evaluate`. The plain way to the intervals, scikit-learn on the
repeated rows of each draw, is timed for a few draws and extrapolated. Nothing is written into the repository.
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

from murmur import params
from murmur.evaluation import levels, scores
from murmur.evaluation.results import evaluate_predictions, summarise
from murmur.sections.evaluate import Evaluate
from murmur.splits.folds import make_folds
from murmur.tables import parquet
from murmur.tables.predictions import TrainingNote, predictions_schema
from murmur.tables.recordings import Card

CLASSES = ("Present", "Unknown", "Absent")
PATIENTS, SITES, PIECES = 2500, ("AV", "MV", "PV", "TV"), 25
CARD = Card("simulated", "murmur", CLASSES, ("Present",), (), persons="simulated", licence="none")
SCHEMA = predictions_schema(CLASSES)
PLAIN = 3  # draws of the plain way
SEED = 0


def main(draws: int = 2000, profile: Annotated[bool, typer.Option("--profile")] = False) -> None:
    """Time the scoring of simulated predictions; --profile names the costliest functions."""
    p = params.load("evaluate", "split")
    options = p.evaluate.model_copy(update={"draws": draws})
    p.split = p.split.model_copy(update={"method": "kfold", "runs": list(range(10)), "folds": 5})
    recordings, segments = simulated()
    folds = make_folds(recordings, segments, NO_DUPLICATES, p.split, SEED)
    about = {"notes": [NOTE], "audit": AUDIT, "protocol": {}, "left_out": 0}
    with tempfile.TemporaryDirectory() as name:
        paths = {run: Path(name, f"run_{run}.parquet") for run in folds}
        for run, table in folds.items():
            parquet.write(predicted(recordings, segments, table, run), paths[run], SCHEMA, NOTE)
        size = sum(path.stat().st_size for path in paths.values()) / 2**20
        with cProfile.Profile() if profile else nullcontext() as profiler:
            wall, cpu = time.perf_counter(), time.process_time()
            predictions = {run: parquet.read(path, SCHEMA) for run, path in paths.items()}
            reading = time.perf_counter() - wall
            made = (recordings, CARD, segments, folds, predictions, histories(folds))
            results = evaluate_predictions(*made, options=options, seed=SEED, **about)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = sum(map(len, predictions.values()))
    print(f"{rows:,} predictions in {len(folds)} files, {size:.0f} MiB; {draws:,} draws")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"wall time    {wall:7.1f} s, {reading:.1f} s of it reading")
    print(f"process time {cpu:7.1f} s")
    intervals(recordings, segments, folds, predictions, options)
    print(summarise(results.details))
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def simulated() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Recordings and segments, as many of a class as in CirCor."""
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
        **{"source": "simulated", "quality": None, "role": None, "audio_sha256": [f"{k}" for k in range(n)]},
        **{"sample_rate": 4000, "n_samples": 80_000},
    )
    of = recordings["recording_id"].repeat(PIECES).reset_index(drop=True)
    names = of + "@" + pd.Series(np.tile(np.arange(PIECES) * 3200, n)).astype(str)
    return recordings, pd.DataFrame({"segment_id": names, "recording_id": of, "reversed": False})


def predicted(
    recordings: pd.DataFrame, segments: pd.DataFrame, folds: pd.DataFrame, run: int
) -> pd.DataFrame:
    """Predictions of a run: segments of a recording resemble each other, and recordings of a patient."""
    rng = np.random.default_rng([SEED, 2, run])
    truth = pd.Index(CLASSES).get_indexer(pd.Index(recordings["label"]))
    person = pd.factorize(recordings["person_id"])[0]
    logits = 1.5 * np.eye(3)[truth] + rng.normal(size=(PATIENTS, 3))[person]
    logits += rng.normal(size=(len(truth), 3))
    row = pd.Series(np.arange(len(recordings)), recordings["recording_id"])
    table = folds[folds["role"] != "train"].drop(columns="segment_id").merge(segments, on="recording_id")
    each = logits[row[table["recording_id"]]] + rng.normal(size=(len(table), 3))
    p = pd.DataFrame(softmax(each, axis=1).astype(np.float32), columns=[f"p_{c}" for c in CLASSES])
    said = table[["run", "fold", "role"]].assign(level="segment", unit_id=table["segment_id"])
    return said.join(p)


def intervals(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    folds: dict[int, pd.DataFrame],
    predictions: dict[int, pd.DataFrame],
    options: Evaluate,
) -> None:
    """Time the intervals of the headline's level, and the plain way to them."""
    units = levels.number_units(recordings, segments, CLASSES)
    said, _ = levels.compute_levels(predictions, folds, units, CARD, options)
    table, of = said[options.level], units[options.level]
    names = scores.select_headline(scores.score_units(table, of, CARD, ["run"]))
    start = time.process_time()
    scores.bootstrap_persons(table, of, CARD, names, options.draws, SEED)
    middle = time.process_time()
    plain(table, of)
    ours, other = middle - start, (time.process_time() - middle) / PLAIN * options.draws
    print(
        f"intervals of {options.level}s: {ours:.1f} s; the plain way {other:.0f} s, {other / ours:.0f} times"
    )
    print(f"as long, extrapolated from {PLAIN} draws (process time)")


def plain(table: pd.DataFrame, units: levels.Units) -> list[float]:
    """UAR, sensitivity, specificity, F1 and ROC-AUC of each draw and run, by scikit-learn."""
    rng, found, person = np.random.default_rng(SEED), [], units.person[table["unit"]]
    n = person.max() + 1
    for _ in range(PLAIN):
        times = np.bincount(rng.choice(n, n), minlength=n)
        for _, run in table.loc[table.index.repeat(times[person])].groupby("run"):
            y, said = units.truth[run["unit"]], run["answer"]
            found.append(sk.balanced_accuracy_score(y, said))
            found.append(sk.recall_score(y == 0, said == 0))
            found.append(sk.recall_score(y != 0, said != 0))
            found.append(sk.f1_score(y, said, average="macro"))
            found.append(sk.roc_auc_score(np.eye(3)[y], run[[f"p_{c}" for c in CLASSES]]))
    return found


def histories(folds: dict[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """Of each run what five fits of 30 epochs leave."""
    epochs = {"fold": np.repeat(range(5), 30), "epoch": np.tile(range(30), 5), "train_loss": 1.0}
    return {run: pd.DataFrame(epochs) for run in folds}


NOTE = TrainingNote("cpu", "float32", {"torch": "2"})
AUDIT = pd.DataFrame({"run": [0], "fold": 0, "shared_persons": 0})
NO_DUPLICATES = pd.DataFrame({"recording_id": [], "twin_id": []}, dtype=str)


if __name__ == "__main__":
    typer.run(main)
