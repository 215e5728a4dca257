"""One run of the cross-validation: its folds fitted side by side, one thread each."""

import multiprocessing
import os
import sys
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
from murmur.errors import MurmurError
from murmur.params import Train
from murmur.tables import Card, Note

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """All that a worker process needs to fit a fold of a run."""

    run: int
    features: Path
    labels: np.ndarray  # class numbers [segments]
    roles: dict[int, np.ndarray]  # fold -> role of each segment, "" for those that take no part
    weights: tuple[float, ...]  # of each class in the task's own metric
    options: Train
    seed: int


def prepare(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    folds: pd.DataFrame,
    card: Card,
    features: Path,
    options: Train,
    seed: int,
) -> Run:
    """Line up labels and roles with the rows of the feature array."""
    number = {name: k for k, name in enumerate(card.classes)}
    labels = segments["recording_id"].map(recordings.set_index("recording_id")["label"]).map(number)
    roles = {int(fold): _roles(segments, table) for fold, table in folds.groupby("fold")}
    run, weights = int(folds["run"].iloc[0]), card.weights or (1.0,) * len(number)
    return Run(run, features, labels.to_numpy(np.int64), roles, weights, options, seed)


def _roles(segments: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    key = "recording_id" if table["segment_id"].isna().all() else "segment_id"
    return segments[key].map(table.set_index(key)["role"]).fillna("").to_numpy(str)


def fit_run(
    run: Run, segments: pd.DataFrame, card: Card, weights: Path
) -> tuple[pd.DataFrame, pd.DataFrame, Note]:
    """Fit every fold of a run.

    Folds go to worker processes, one thread each, so that all cores work and the bytes do not depend
    on how many there are. A GPU is shared by them; where its memory is short, set MURMUR_WORKERS=1.

    Parameters
    ----------
    weights: the folder that receives fold_F.safetensors if `keep_weights: best`; else it stays empty.

    Returns
    -------
    predictions (validation and test segments), history (a row an epoch of each fold), note

    Raises
    ------
    MurmurError
        What a fit raises, or that a worker process was killed.
    """
    weights.mkdir(parents=True, exist_ok=True)
    results = dict(track(_fit_all(run, weights), f"run {run.run}: fits", total=len(run.roles)))
    predictions, histories, devices = zip(*(results[fold] for fold in sorted(results)), strict=True)
    table = pd.concat([_predictions(run, fold, p, segments, card) for fold, p in enumerate(predictions)])
    note = Note(devices[0], run.options.precision, {name: version(name) for name in PACKAGES})
    return table, pd.concat(histories, ignore_index=True), note


Fitted = tuple[np.ndarray, pd.DataFrame, str]


def _fit_all(run: Run, weights: Path) -> Iterator[tuple[int, Fitted]]:
    processes = _start_method()
    n = min(workers.count(), len(run.roles))
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


def _start_method() -> BaseContext:
    """Workers that start clean; on Linux they share one import of torch, but none of its threads."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["murmur.train", "murmur.mel", "murmur.runs", "safetensors.torch"])
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
    from safetensors.torch import save_file

    from murmur import mel, train

    torch.set_num_threads(1)  # two threads add in another order
    role = run.roles[fold]
    rows = {name: np.flatnonzero(role == name) for name in ("train", "validation")}
    parts = train.Fold(rows["train"], rows["validation"], _predicted(role))
    seed = int(np.random.SeedSequence([run.seed, run.run, fold]).generate_state(1)[0])
    fit = train.fit(mel.read(run.features), run.labels, parts, run.options, weights=run.weights, seed=seed)
    if run.options.keep_weights == "best":
        save_file(fit.weights, weights / f"fold_{fold}.safetensors")
    return fit.probabilities, fit.history.assign(fold=fold), train.choose_device(run.options.device).type


def _predicted(role: np.ndarray) -> np.ndarray:
    return np.flatnonzero((role == "validation") | (role == "test"))


def _predictions(
    run: Run, fold: int, probabilities: np.ndarray, segments: pd.DataFrame, card: Card
) -> pd.DataFrame:
    role = run.roles[fold]
    rows = _predicted(role)
    facts: dict[str, Any] = {"run": run.run, "fold": fold, "role": role[rows], "level": "segment"}
    table = pd.DataFrame(facts | {"unit_id": segments["segment_id"].to_numpy()[rows]})
    return table.assign(**{f"p_{c}": probabilities[:, k] for k, c in enumerate(card.classes)})
