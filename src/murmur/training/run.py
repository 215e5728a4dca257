"""One run of the cross-validation: its folds fitted side by side, one thread each."""

import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from murmur import workers
from murmur.errors import MurmurError, add_path
from murmur.sections.train import Model, Train
from murmur.tables.folds import ROLES
from murmur.tables.predictions import TrainingNote
from murmur.tables.recordings import Card
from murmur.training.bags import check_patients_undivided, make_bags

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """All that a worker process needs to fit a fold of a run. Units are segments or patients."""

    run: int
    features: Path
    n_segments: int  # rows of the features
    level: str
    units: np.ndarray  # names
    labels: np.ndarray  # class numbers [units]
    bags: np.ndarray | None  # a patient's rows of the features [units, sites, n], -1 for none
    roles: dict[int, np.ndarray]  # fold -> role of each unit, "" for those that take no part
    classes: tuple[str, ...]
    weights: tuple[float, ...]  # of each class in the task's own metric
    options: Train
    seed: int


def prepare_run(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    folds: pd.DataFrame,
    card: Card,
    features: Path,
    options: Train,
    seed: int,
) -> Run:
    """Line up units, labels and roles with the rows of the feature array.

    A mirrored segment only ever trains, unless the folds name it for another part.

    Raises
    ------
    MurmurError
        If a model that speaks of patients finds none of its sites, or folds that cut through a patient; or
        no unit of a validation part can be used, since the test part would then select the epoch.
    """
    facts = segments.merge(recordings, on="recording_id", how="left")
    roles = {int(fold): _roles(segments, table) for fold, table in folds.groupby("fold")}
    level, bags = options.model.level, None
    if level == "patient":
        check_patients_undivided(facts, roles)
        facts, bags = make_bags(facts, options.model.options.get("sites", []))
        roles = {fold: role[facts.index] for fold, role in roles.items()}
    _check_validation(folds, roles)
    label = "patient_label" if level == "patient" else "label"
    labels = pd.Index(card.classes).get_indexer(pd.Index(facts[label]))
    return Run(
        run=int(folds["run"].iloc[0]),
        features=features,
        n_segments=len(segments),
        level=level,
        units=facts[f"{level}_id"].to_numpy(str),
        labels=labels.astype(np.int64),
        bags=bags,
        roles=roles,
        classes=card.classes,
        weights=card.weights or (1.0,) * len(card.classes),
        options=options,
        seed=seed,
    )


def _check_validation(folds: pd.DataFrame, roles: dict[int, np.ndarray]) -> None:
    for fold, table in folds.groupby("fold"):
        if (table["role"] == "validation").any() and not (roles[int(fold)] == "validation").any():
            raise MurmurError(
                f"train: run {table['run'].iloc[0]}, fold {fold}: no recording of the validation part has a "
                "usable segment, so nothing selects the epoch; lower segment.min_length, or split otherwise"
            )


def _roles(segments: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    if table["segment_id"].notna().any():
        return segments["segment_id"].map(table.set_index("segment_id")["role"]).fillna("").to_numpy(str)
    role = segments["recording_id"].map(table.set_index("recording_id")["role"]).fillna("").to_numpy(str)
    return np.where(segments["reversed"] & (role != "train"), "", role)


def fit_run(run: Run, weights: Path) -> tuple[pd.DataFrame, pd.DataFrame, TrainingNote]:
    """Fit every fold of a run.

    Folds go to worker processes, one thread each, so that all cores work and the bytes do not depend
    on how many there are; with one worker they are fitted here. A GPU is shared by them; where its memory is
    short, set MURMUR_WORKERS=1.

    Parameters
    ----------
    weights: the folder that receives fold_F.safetensors if `keep_weights: best`; else it stays empty.

    Returns
    -------
    predictions (validation and test units), history (a row an epoch of each fold), note

    Raises
    ------
    MurmurError
        What a fit raises, or that a worker process was killed.
    """
    weights.mkdir(parents=True, exist_ok=True)
    if run.options.model.options.get("weights") == "imagenet":
        _fetch(run.options.model)
    results = dict(track(_fit_all(run, weights), f"run {run.run}: fits", total=len(run.roles)))
    folds = sorted(results)
    predictions, histories, devices = zip(*(results[fold] for fold in folds), strict=True)
    table = pd.concat([_predictions(run, fold, p) for fold, p in zip(folds, predictions, strict=True)])
    note = TrainingNote(devices[0], run.options.precision, {name: version(name) for name in PACKAGES})
    return table, pd.concat(histories, ignore_index=True), note


Fitted = tuple[np.ndarray, pd.DataFrame, str]


def _fit_all(run: Run, weights: Path) -> Iterator[tuple[int, Fitted]]:
    n = min(workers.count_workers(), len(run.roles))
    if n == 1:
        yield from ((fold, fit_fold(run, fold, weights)) for fold in run.roles)
        return
    processes = _start_method(run.options.model.name)
    with ProcessPoolExecutor(n, processes, initializer=_leave_with_parent) as pool:
        jobs = {pool.submit(fit_fold, run, fold, weights): fold for fold in run.roles}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise MurmurError(
                f"train: run {run.run}: a worker process was killed, most likely for want of memory; "
                "set MURMUR_WORKERS to fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(model: Model) -> None:
    """Let a library download the weights once, before many fits ask for them."""
    from murmur.models._construction import build

    build(model, classes=2, channels=3, mels=224, frames=224)


def _start_method(model: str) -> BaseContext:
    """Workers that start clean; on Linux they share one import of torch, but none of its threads.

    A fork server needs a socket in TMPDIR, whose path may have 107 bytes: 32 of them are Python's own.
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > 75:
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["murmur.training.fit", "murmur.features.mel", "murmur.training.run", f"murmur.models.{model}"]
    )
    return server


def _leave_with_parent() -> None:
    """End this worker when its parent ends, even killed: else it would train on with nobody to read it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def fit_fold(run: Run, fold: int, weights: Path) -> Fitted:
    """Fit one fold: probabilities [predicted segments, classes], history, device."""
    import torch  # here and not above: the parent of the workers has no use for these
    from safetensors.torch import save

    from murmur.features import store
    from murmur.training.fit import Fold, fit_network

    torch.set_num_threads(1)  # two threads add in another order
    role = run.roles[fold]
    rows = {name: np.flatnonzero(role == name) for name in ROLES}
    stops = rows["validation"] if len(rows["validation"]) else rows["test"]  # split.validate_on: test
    seed = int(np.random.SeedSequence([run.seed, run.run, fold]).generate_state(1)[0])
    features = store.read_array(run.features)
    store.check_length(features, run.n_segments, run.features)
    fit = fit_network(
        features,
        run.labels,
        Fold(rows["train"], stops, _predicted(role)),
        run.options,
        classes=run.classes,
        weights=run.weights,
        seed=seed,
        bags=run.bags,
    )
    if run.options.keep_weights == "best":
        with add_path(weights):  # safetensors' own save_file hides errors of the operating system
            (weights / f"fold_{fold}.safetensors").write_bytes(save(fit.weights))
    return fit.probabilities, fit.history.assign(fold=fold), fit.device


def _predicted(role: np.ndarray) -> np.ndarray:
    return np.flatnonzero((role == "validation") | (role == "test"))


def _predictions(run: Run, fold: int, probabilities: np.ndarray) -> pd.DataFrame:
    role = run.roles[fold]
    units = _predicted(role)
    facts: dict[str, Any] = {"run": run.run, "fold": fold, "role": role[units], "level": run.level}
    table = pd.DataFrame(facts | {"unit_id": run.units[units]})
    return table.assign(**{f"p_{c}": probabilities[:, k] for k, c in enumerate(run.classes)})
