"""One run of the cross-validation: its networks are trained in parallel, one CPU thread for each."""

from collections.abc import Iterator, Mapping, Sequence
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

from murmur import cluster, progress
from murmur.errors import MurmurError, add_path
from murmur.features import store
from murmur.files import atomic_write
from murmur.models import needs_download
from murmur.sections.train import Model, Train
from murmur.tables.folds import ROLES
from murmur.tables.predictions import FIGURES, TrainingInfo
from murmur.tables.recordings import DatasetCard
from murmur.training import display, live
from murmur.training.bags import check_patients_undivided, make_bags
from murmur.training.processes import map_processes

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")  # their versions are recorded with the predictions


@dataclass(frozen=True)
class Run:
    """What a worker process needs to train a network. A unit is a segment or a patient.

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
    recordings : np.ndarray of int, shape [segments]
        Number of the recording of each segment.
    roles : dict of int to np.ndarray of str, shape [networks, units]
        For each fold the part of each unit: a value of `ROLES`, or "" if it is not used. A fold has one
        network for each inner fold; without inner folds it has one network.
    classes : tuple of str
        Names of the classes.
    weights : tuple of float
        Weight of each class in the metric of the task.
    options : Train
        The section ``train`` of params.yaml.
    seed : int
        Seed; the random numbers of a network depend on it, on the run, on the fold and on the inner fold.
    frame_labels : Path, optional
        File of the labels of the frames, one row for each segment.
    """

    run: int
    features: Path
    n_segments: int
    level: str
    units: np.ndarray
    labels: np.ndarray
    bags: np.ndarray | None
    recordings: np.ndarray
    roles: dict[int, np.ndarray]
    classes: tuple[str, ...]
    weights: tuple[float, ...]
    options: Train
    seed: int
    frame_labels: Path | None = None


class Network(NamedTuple):
    """One of the networks of a run.

    Attributes
    ----------
    fold : int
        Number of the fold.
    inner : int or None
        Number of the inner fold that is its validation part; higher numbers are those of networks that are
        trained on the whole training part. None if the fold has one network.
    """

    fold: int
    inner: int | None


class NetworkResult(NamedTuple):
    """The result of the training of a network, as a worker process returns it.

    Attributes
    ----------
    probabilities : np.ndarray of float32, shape [units, classes]
        Predictions of the units of the validation and the test part.
    figures : np.ndarray of float32, shape [units, figures], or None
        `FIGURES` of these units, from a network that labels frames.
    tracks : np.ndarray of float32, shape [test units, steps, 6], or None
        As `murmur.training.fit.Fit.tracks`, of the test part.
    history : pd.DataFrame
        One row for each epoch, with the number of the fold and, if there are any, of the inner fold.
    device : str
        Type of the device of the training.
    precision : {"float32", "bfloat16"}
        Precision of the training.
    """

    probabilities: np.ndarray
    figures: np.ndarray | None
    tracks: np.ndarray | None
    history: pd.DataFrame
    device: str
    precision: str


def is_refit(run: Run, network: Network) -> bool:
    """Return whether a network is trained on the whole training part (``train.refit``): the last ones are."""
    n = len(run.roles[network.fold])
    return run.options.refit > 0 and (network.inner or 0) >= n - run.options.refit


def list_networks(run: Run) -> list[Network]:
    """List the networks of a run: of each fold one, or one for each inner fold, and refits."""
    return [
        Network(fold, inner if len(roles) > 1 else None)
        for fold, roles in run.roles.items()
        for inner in range(len(roles))
    ]


def prepare_run(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    folds: pd.DataFrame,
    card: DatasetCard,
    features: Path,
    options: Train,
    seed: int,
    frame_labels: Path | None = None,
) -> Run:
    """Collect units, labels and roles in the order of the rows of the features.

    A reversed segment is used for training only, unless the table of folds gives it another role.

    Parameters
    ----------
    recordings, segments : pd.DataFrame
        The tables of all recordings and segments.
    folds : pd.DataFrame
        The role of each recording or segment in each fold of the run, or in each of its inner folds.
    card : DatasetCard
        Facts of the data set: the classes and their weights.
    features : Path
        File of the features, one row for each row of `segments`.
    options : Train
        The section ``train`` of params.yaml.
    seed : int
        Seed of the random numbers.
    frame_labels : Path, optional
        File of the labels of the frames, one row for each row of `segments`.

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
    roles = {
        int(fold): _add_refits(_list_roles(segments, table), options.refit)
        for fold, table in folds.groupby("fold")
    }
    level, bags = options.model.level, None
    if level == "patient":
        check_patients_undivided(facts, roles)
        facts, bags = make_bags(facts, options.model.options.get("sites", []))
        roles = {fold: role[:, facts.index] for fold, role in roles.items()}
    _check_validation(folds, {fold: role[: len(role) - options.refit] for fold, role in roles.items()})
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
        recordings=pd.factorize(segments["recording_id"])[0],
        roles=roles,
        classes=card.classes,
        weights=card.weights or (1.0,) * len(card.classes),
        options=options,
        seed=seed,
        frame_labels=frame_labels,
    )


def _list_roles(segments: pd.DataFrame, folds: pd.DataFrame) -> np.ndarray:
    """Return the role of each segment for each network of a fold, str [networks, segments]."""
    networks = folds.groupby("inner", dropna=False)
    return np.stack([_segment_roles(segments, table) for _, table in networks])


def _add_refits(roles: np.ndarray, n: int) -> np.ndarray:
    """Append the roles for `n` networks that are trained on the whole training part.

    They predict the test part, the other networks do not.
    """
    if not n:
        return roles
    is_test = (roles == "test").any(axis=0)
    is_used = (roles != "").any(axis=0)
    refit = np.where(is_test, "test", np.where(is_used, "train", ""))
    return np.concatenate([np.where(is_test, "", roles), np.tile(refit, (n, 1))])


def _segment_roles(segments: pd.DataFrame, folds: pd.DataFrame) -> np.ndarray:
    """Return the role of each segment for a network; "" if it is not used."""
    if folds["segment_id"].notna().any():
        return segments["segment_id"].map(folds.set_index("segment_id")["role"]).fillna("").to_numpy(str)
    role = segments["recording_id"].map(folds.set_index("recording_id")["role"]).fillna("").to_numpy(str)
    return np.where(segments["reversed"] & (role != "train"), "", role)


def _check_validation(folds: pd.DataFrame, roles: dict[int, np.ndarray]) -> None:
    """Check that each validation part has a unit with a usable segment."""
    for fold, table in folds.groupby("fold"):
        if (table["role"] == "validation").any() and not (roles[int(fold)] == "validation").any(axis=1).all():
            part = "the validation part" if table["inner"].isna().all() else "an inner fold"
            raise MurmurError(
                f"train: run {table['run'].iloc[0]}, fold {fold}: no recording of {part} has a "
                "usable segment, so nothing selects the epoch; lower segment.min_length, or split otherwise"
            )


def fit_run(
    run: Run,
    weights: Path,
    live_folder: Path | None = None,
    tracks: Path | None = None,
    checkpoints: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, TrainingInfo]:
    """Train every network of a run.

    Each worker process trains a network with one thread, so that the results do not depend on the number of
    workers. With one worker the networks are trained in this process. Workers share a GPU; set
    MURMUR_WORKERS=1 if its memory is not enough. With MURMUR_DASK the workers are those of a cluster.

    With inner folds, each unit of the training part of a fold is predicted by the network that was not
    trained on it (role validation), and each unit of the test part by the mean of all networks of the fold.

    Parameters
    ----------
    run : Run
        The run.
    weights : Path
        Folder that receives fold_F.safetensors with ``keep_weights: best``; otherwise it stays empty. With
        inner folds, the name of a tensor begins with the number of the inner fold: ``0.network.0.weight``.
    live_folder : Path, optional
        Folder for files that show the progress, see `murmur.training.live`; by default none are written.
    tracks : Path, optional
        A .npy file to write: float16 [test rows of the predictions, steps, 6], the mean of `Fit.tracks` over
        the networks of a fold. Without rows if the network does not label frames.
    checkpoints : Path, optional
        Folder of the checkpoints, from which the networks go on if their training was killed.

    Returns
    -------
    predictions : pd.DataFrame
        One row for each unit of the validation and the test part of each fold.
    history : pd.DataFrame
        One row for each epoch of each network.
    note : TrainingNote
        Device, precision and versions of the packages.

    Raises
    ------
    MurmurError
        As `fit_network` and `murmur.cluster.open_pool`, or if a worker process was killed.
    """
    weights.mkdir(parents=True, exist_ok=True)
    if needs_download(run.options.model.options):
        _download_weights(run.options.model)
    networks = list_networks(run)
    n = min(cluster.count_workers(), len(networks))
    results: dict[Network, NetworkResult] = {}
    with (
        live.record_run(live_folder, run.run, networks, run.options.epochs, n) as folder,
        _show_progress(run, folder, results, len(networks)),
    ):
        results.update(_fit_networks(run, networks, weights, n, folder, checkpoints))
    by_fold = {
        fold: [results[network] for network in networks if network.fold == fold] for fold in sorted(run.roles)
    }
    predictions = [_tabulate_predictions(run, fold, parts) for fold, parts in by_fold.items()]
    histories = [part.history for parts in by_fold.values() for part in parts if len(part.history)]
    history = pd.concat(histories, ignore_index=True)
    if run.options.keep_weights == "best":
        for fold in by_fold:
            _combine_weights(weights, [n for n in networks if n.fold == fold and _predicts_test(run, n)])
    if tracks:
        _write_tracks(by_fold, tracks)
    versions = {name: version(name) for name in PACKAGES}
    devices = sorted({result.device for result in results.values()})
    precisions = sorted({result.precision for result in results.values()})
    note = TrainingInfo(", ".join(devices), ", ".join(precisions), versions)
    return pd.concat(predictions), history, note


def _download_weights(model: Model) -> None:
    """Build the network once, so that its library downloads the weights before the worker processes start."""
    from murmur.training.network import build

    build(model, classes=2, channels=3, mels=224, frames=224)


def _show_progress(
    run: Run, folder: Path | None, results: Mapping[Network, NetworkResult], n_networks: int
) -> AbstractContextManager[None]:
    """Show the progress that the fits record in `folder`; if it has none, how many results there are."""
    counted = "folds" if n_networks == len(run.roles) else "networks"

    def read() -> live.RunState | None:
        state = live.read_run(folder) if folder else None
        recorded = sum(fit.is_finished for fit in state.fits) if state else 0
        return state if recorded >= len(results) else None  # fewer: a disk has become full

    def count() -> str:
        reason = f" ({folder} could not be written)" if folder else ""
        return f"train run {run.run}: {len(results)} of {n_networks} {counted}{reason}"

    def draw() -> RenderableType:
        state = read()
        return (
            display.draw_run(state, [fit for fit in state.fits if fit.is_running]) if state else Text(count())
        )

    def describe() -> str:
        state = read()
        return display.describe_run(state) if state else count()

    return progress.show(draw, describe)


def _fit_networks(
    run: Run,
    networks: Sequence[Network],
    weights: Path,
    n: int,
    folder: Path | None,
    checkpoints: Path | None,
) -> Iterator[tuple[Network, NetworkResult]]:
    """Yield each network and its result, in the order in which they are ready, with `n` worker processes."""
    fit = partial(fit_one_network, run, weights=weights, folder=folder, checkpoints=checkpoints)
    if n == 1 and not cluster.is_used():
        yield from ((network, fit(network)) for network in networks)
        return
    modules = ("training.fit", "training.run", "features.store", f"models.{run.options.model.name}")
    try:
        yield from map_processes(fit, networks, n, [f"murmur.{name}" for name in modules])
    except BrokenProcessPool as error:
        raise MurmurError(
            f"train: run {run.run}: a worker process was killed, most likely for lack of memory; "
            "set MURMUR_WORKERS to fewer workers"
        ) from error


def fit_one_network(
    run: Run,
    network: Network,
    weights: Path,
    folder: Path | None = None,
    checkpoints: Path | None = None,
) -> NetworkResult:
    """Train one network with one CPU thread.

    Parameters
    ----------
    run : Run
        The run.
    network : Network
        The network.
    weights : Path
        Folder that receives the weights with ``keep_weights: best``.
    folder : Path, optional
        Folder that receives the progress.
    checkpoints : Path, optional
        As for `fit_run`.

    Returns
    -------
    NetworkResult

    Raises
    ------
    MurmurError
        As `fit_network`, or if the features do not have one row for each segment.
    """
    from murmur.devices import single_thread  # not above: the parent of worker processes does not need torch
    from murmur.training.fit import Fold, fit_network

    features = store.read_array(run.features)
    store.check_length(features, run.n_segments, run.features)
    recorder, roles = live.Recorder(folder, *network), run.roles[network.fold]
    key = [value for value in (run.seed, run.run, *network) if value is not None]
    with single_thread():
        fit = fit_network(
            features,
            run.labels,
            Fold(*_divide_units(roles[network.inner or 0], is_refit=is_refit(run, network))),
            run.options,
            classes=run.classes,
            weights=run.weights,
            seed=int(np.random.SeedSequence(key).generate_state(1)[0]),
            bags=run.bags,
            frame_labels=read_frame_labels(run),
            recordings=run.recordings,
            recorder=recorder,
            checkpoint=checkpoints and checkpoints / live.name_files(*network),
        )
    recorder.finish()
    if run.options.keep_weights == "best" and _predicts_test(run, network):
        _write_weights(fit.weights, weights / f"{live.name_files(*network)}.safetensors")
    keys = {name: value for name, value in network._asdict().items() if value is not None}
    history = fit.history.assign(**keys)
    return NetworkResult(fit.probabilities, fit.figures, fit.tracks, history, fit.device, fit.precision)


def read_frame_labels(run: Run) -> np.ndarray | None:
    """Read the labels of the frames, int8 [segments, frames]; None if no loss needs them."""
    if not run.frame_labels or not run.options.frame_losses:
        return None
    labels = store.map_npy(run.frame_labels)
    store.check_length(labels, run.n_segments, run.frame_labels)
    return labels


def _divide_units(role: np.ndarray, *, is_refit: bool) -> tuple[np.ndarray, ...]:
    """Return the fields of `Fold`. Without a validation part the test part stops the training.

    Nothing stops the training of a network that is trained on the whole training part (`is_refit`).
    """
    rows = {name: np.flatnonzero(role == name) for name in ROLES}
    stopping = rows["validation"]
    if not len(stopping) and not is_refit:
        stopping = rows["test"]  # split.validate_on: test
    return rows["train"], stopping, _predicted_units(role), rows["test"]


def _predicted_units(roles: np.ndarray) -> np.ndarray:
    """Return the units that a network predicts, given the part of each unit for one or several networks."""
    return np.flatnonzero(np.atleast_2d(np.isin(roles, ("validation", "test"))).any(axis=0))


def _predicts_test(run: Run, network: Network) -> bool:
    """Return whether a network predicts the test part; only then its weights are kept."""
    return not run.options.refit or is_refit(run, network)


def _write_weights(weights: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save

    with atomic_write(path) as part:  # `save_file` of safetensors hides errors of the operating system
        part.write_bytes(save(weights))


def _combine_weights(folder: Path, networks: Sequence[Network]) -> None:
    """Combine the weights of the networks of a fold into one file; a single network has it already."""
    if networks[0].inner is None:
        return
    from safetensors.numpy import load_file, save

    out = folder / f"fold_{networks[0].fold}.safetensors"
    tensors: dict[str, np.ndarray] = {}
    with add_path(out):
        for k, network in enumerate(networks):
            path = folder / f"{live.name_files(*network)}.safetensors"
            tensors |= {f"{k}.{name}": value for name, value in load_file(path).items()}
            path.unlink()
        out.write_bytes(save(tensors))


def _tabulate_predictions(run: Run, fold: int, results: Sequence[NetworkResult]) -> pd.DataFrame:
    """Return the predictions of a fold as a table with the columns of `make_predictions_schema`."""
    roles = run.roles[fold]
    units = _predicted_units(roles)
    role = np.where((roles[:, units] == "test").any(axis=0), "test", "validation")
    columns: dict[str, Any] = {"run": run.run, "fold": fold, "role": role, "level": run.level}
    table = pd.DataFrame(columns | {"unit_id": run.units[units]})
    p = _average_over_networks(roles, [result.probabilities for result in results])
    table = table.assign(**{f"p_{c}": p[:, k] for k, c in enumerate(run.classes)})
    parts = [result.figures for result in results if result.figures is not None]
    if not parts:
        return table.assign(**dict.fromkeys(FIGURES))
    figures = _average_over_networks(roles, parts)
    return table.assign(**{name: figures[:, k] for k, name in enumerate(FIGURES)})


def _write_tracks(results: Mapping[int, Sequence[NetworkResult]], path: Path) -> None:
    """Write the tracks of the test parts, averaged over the networks of each fold."""
    folds = [[part.tracks for part in parts if part.tracks is not None] for parts in results.values()]
    means = [np.mean(tracks, axis=0, dtype=np.float32).astype(np.float16) for tracks in folds if tracks]
    with atomic_write(path) as part, add_path(path), part.open("wb") as file:
        np.save(file, np.concatenate(means) if means else np.empty((0, 0, 6), np.float16))


def _average_over_networks(roles: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    """Average the predictions of each unit over the networks that predict it.

    Parameters
    ----------
    roles : np.ndarray of str, shape [networks, units]
        As in `Run`.
    values : sequence of np.ndarray, shape [predicted units, columns]
        Of each network, for the units that it predicts.

    Returns
    -------
    np.ndarray of float32, shape [units that a network predicts, columns]
    """
    total, n = np.zeros((roles.shape[1], values[0].shape[1])), np.zeros(roles.shape[1])
    for role, value in zip(roles, values, strict=True):
        units = _predicted_units(role)
        total[units] += value
        n[units] += 1
    return (total[n > 0] / n[n > 0, None]).astype(np.float32)
