"""One run of the cross-validation: its folds are trained in parallel, one CPU thread for each."""

from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import RenderableType
from rich.text import Text

from murmur import progress, workers
from murmur.errors import MurmurError, add_path
from murmur.models import needs_download
from murmur.sections.train import Model, Train
from murmur.tables.folds import ROLES
from murmur.tables.predictions import TrainingInfo
from murmur.tables.recordings import DatasetCard
from murmur.training import display, live
from murmur.training.bags import check_patients_undivided, make_bags
from murmur.training.processes import map_processes

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")  # their versions are recorded with the predictions


@dataclass(frozen=True)
class Run:
    """What a worker process needs to train a fold. A unit is a segment or a patient.

    Attributes
    ----------
    run : int
        Number of the run.
    features : Path
        File of the features, one row for each segment.
    n_segments : int
        Expected number of rows of the features.
    level : {"segment", "patient"}
        What a unit is.
    units : np.ndarray of str, shape [units]
        Names of the units.
    labels : np.ndarray of int, shape [units]
        Class of each unit.
    bags : np.ndarray of int, shape [units, sites, n], or None
        Rows of the features of each patient, -1 for padding.
    roles : dict of int to np.ndarray of str
        For each fold the part of each unit: a value of `ROLES`, or "" if it is not used.
    classes : tuple of str
        Names of the classes.
    weights : tuple of float
        Weight of each class in the metric of the task.
    options : Train
        The section ``train`` of params.yaml.
    seed : int
        Seed; the random numbers of a fold depend on it, on the run and on the fold.
    """

    run: int
    features: Path
    n_segments: int
    level: str
    units: np.ndarray
    labels: np.ndarray
    bags: np.ndarray | None
    roles: dict[int, np.ndarray]
    classes: tuple[str, ...]
    weights: tuple[float, ...]
    options: Train
    seed: int


class FoldResult(NamedTuple):
    """The result of a fold, as a worker process returns it.

    Attributes
    ----------
    probabilities : np.ndarray of float32, shape [units, classes]
        Predictions of the units of the validation and the test part.
    history : pd.DataFrame
        One row for each epoch, with the number of the fold.
    device : str
        Type of the device of the training.
    """

    probabilities: np.ndarray
    history: pd.DataFrame
    device: str


def prepare_run(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    folds: pd.DataFrame,
    card: DatasetCard,
    features: Path,
    options: Train,
    seed: int,
) -> Run:
    """Collect units, labels and roles in the order of the rows of the features.

    A reversed segment is used for training only, unless the table of folds gives it another role.

    Parameters
    ----------
    recordings, segments : pd.DataFrame
        The tables of all recordings and segments.
    folds : pd.DataFrame
        The role of each recording or segment in each fold of the run.
    card : DatasetCard
        Facts of the data set: the classes and their weights.
    features : Path
        File of the features, one row for each row of `segments`.
    options : Train
        The section ``train`` of params.yaml.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    Run

    Raises
    ------
    MurmurError
        If a model that predicts patients finds none of its sites, or a patient in two parts of a fold; or if
        no unit of a validation part can be used: the test part would then select the epoch.
    """
    facts = segments.merge(recordings, on="recording_id", how="left")
    roles = {int(fold): _segment_roles(segments, table) for fold, table in folds.groupby("fold")}
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


def _segment_roles(segments: pd.DataFrame, folds: pd.DataFrame) -> np.ndarray:
    """Return the role of each segment in a fold; "" if it is not used."""
    if folds["segment_id"].notna().any():
        return segments["segment_id"].map(folds.set_index("segment_id")["role"]).fillna("").to_numpy(str)
    role = segments["recording_id"].map(folds.set_index("recording_id")["role"]).fillna("").to_numpy(str)
    return np.where(segments["reversed"] & (role != "train"), "", role)


def _check_validation(folds: pd.DataFrame, roles: dict[int, np.ndarray]) -> None:
    """Check that each validation part has a unit with a usable segment."""
    for fold, table in folds.groupby("fold"):
        if (table["role"] == "validation").any() and not (roles[int(fold)] == "validation").any():
            raise MurmurError(
                f"train: run {table['run'].iloc[0]}, fold {fold}: no recording of the validation part has a "
                "usable segment, so nothing selects the epoch; lower segment.min_length, or split otherwise"
            )


def fit_run(
    run: Run, weights: Path, live_folder: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, TrainingInfo]:
    """Train every fold of a run.

    Each worker process trains a fold with one thread, so that the results do not depend on the number of
    workers. With one worker the folds are trained in this process. Workers share a GPU; set MURMUR_WORKERS=1
    if its memory is not enough.

    Parameters
    ----------
    run : Run
        The run.
    weights : Path
        Folder that receives fold_F.safetensors with ``keep_weights: best``; otherwise it stays empty.
    live_folder : Path, optional
        Folder for files that show the progress, see `murmur.training.live`; by default none are written.

    Returns
    -------
    predictions : pd.DataFrame
        One row for each unit of the validation and the test part of each fold.
    history : pd.DataFrame
        One row for each epoch of each fold.
    note : TrainingNote
        Device, precision and versions of the packages.

    Raises
    ------
    MurmurError
        As `fit_network`, or if a worker process was killed.
    """
    weights.mkdir(parents=True, exist_ok=True)
    if needs_download(run.options.model.options):
        _download_weights(run.options.model)
    n = min(workers.count_workers(), len(run.roles))
    results: dict[int, FoldResult] = {}
    with (
        live.record_run(live_folder, run.run, list(run.roles), run.options.epochs, n) as folder,
        _show_progress(run, folder, results),
    ):
        results.update(_fit_folds(run, weights, n, folder))
    folds = sorted(results)
    predictions = [_tabulate_predictions(run, fold, results[fold].probabilities) for fold in folds]
    history = pd.concat([results[fold].history for fold in folds], ignore_index=True)
    versions = {name: version(name) for name in PACKAGES}
    note = TrainingInfo(results[folds[0]].device, run.options.precision, versions)
    return pd.concat(predictions), history, note


def _download_weights(model: Model) -> None:
    """Build the network once, so that its library downloads the weights before the worker processes start."""
    from murmur.training.network import build

    build(model, classes=2, channels=3, mels=224, frames=224)


def _show_progress(
    run: Run, folder: Path | None, results: Mapping[int, FoldResult]
) -> AbstractContextManager[None]:
    """Show the progress that the fits record in `folder`; if it has none, how many results there are."""

    def read() -> live.RunState | None:
        state = live.read_run(folder) if folder else None
        recorded = sum(fold.is_finished for fold in state.folds) if state else 0
        return state if recorded >= len(results) else None  # fewer: a disk has become full

    def count() -> str:
        reason = f" ({folder} could not be written)" if folder else ""
        return f"train run {run.run}: {len(results)} of {len(run.roles)} folds{reason}"

    def draw() -> RenderableType:
        state = read()
        return (
            display.draw_run(state, [fold for fold in state.folds if fold.is_running])
            if state
            else Text(count())
        )

    def describe() -> str:
        state = read()
        return display.describe_run(state) if state else count()

    return progress.show(draw, describe)


def _fit_folds(run: Run, weights: Path, n: int, folder: Path | None) -> Iterator[tuple[int, FoldResult]]:
    """Yield each fold and its result, in the order in which they are ready, with `n` worker processes."""
    fit = partial(fit_fold, run, weights=weights, folder=folder)
    if n == 1:
        yield from ((fold, fit(fold)) for fold in run.roles)
        return
    modules = ("training.fit", "training.run", "features.store", f"models.{run.options.model.name}")
    try:
        yield from map_processes(fit, run.roles, n, [f"murmur.{name}" for name in modules])
    except BrokenProcessPool as error:
        raise MurmurError(
            f"train: run {run.run}: a worker process was killed, most likely for lack of memory; "
            "set MURMUR_WORKERS to fewer workers"
        ) from error


def fit_fold(run: Run, fold: int, weights: Path, folder: Path | None = None) -> FoldResult:
    """Train one fold with one CPU thread.

    Parameters
    ----------
    run : Run
        The run.
    fold : int
        Number of the fold.
    weights : Path
        Folder that receives fold_F.safetensors with ``keep_weights: best``.
    folder : Path, optional
        Folder that receives the progress.

    Returns
    -------
    FoldResult

    Raises
    ------
    MurmurError
        As `fit_network`, or if the features do not have one row for each segment.
    """
    from murmur.devices import single_thread  # not above: the parent of worker processes does not need torch
    from murmur.features import store
    from murmur.training.fit import Fold, fit_network

    features = store.read_array(run.features)
    store.check_length(features, run.n_segments, run.features)
    recorder = live.Recorder(folder, fold)
    with single_thread():
        fit = fit_network(
            features,
            run.labels,
            Fold(*_divide_units(run.roles[fold])),
            run.options,
            classes=run.classes,
            weights=run.weights,
            seed=int(np.random.SeedSequence([run.seed, run.run, fold]).generate_state(1)[0]),
            bags=run.bags,
            recorder=recorder,
        )
    recorder.finish()
    if run.options.keep_weights == "best":
        _write_weights(fit.weights, weights / f"fold_{fold}.safetensors")
    return FoldResult(fit.probabilities, fit.history.assign(fold=fold), fit.device)


def _divide_units(role: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fields of `Fold`. Without a validation part the test part stops the training."""
    rows = {name: np.flatnonzero(role == name) for name in ROLES}
    stopping = rows["validation"] if len(rows["validation"]) else rows["test"]  # split.validate_on: test
    return rows["train"], stopping, _predicted_units(role)


def _predicted_units(role: np.ndarray) -> np.ndarray:
    return np.flatnonzero((role == "validation") | (role == "test"))


def _write_weights(weights: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save

    with add_path(path):  # `save_file` of safetensors hides errors of the operating system
        path.write_bytes(save(weights))


def _tabulate_predictions(run: Run, fold: int, probabilities: np.ndarray) -> pd.DataFrame:
    """Return the predictions of a fold as a table with the columns of `make_predictions_schema`."""
    role = run.roles[fold]
    units = _predicted_units(role)
    columns: dict[str, Any] = {"run": run.run, "fold": fold, "role": role[units], "level": run.level}
    table = pd.DataFrame(columns | {"unit_id": run.units[units]})
    return table.assign(**{f"p_{c}": probabilities[:, k] for k, c in enumerate(run.classes)})
