"""Training of the final networks on all persons."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from murmur import cluster, progress
from murmur.errors import MurmurError, add_path
from murmur.files import atomic_write
from murmur.tables.recordings import DatasetCard
from murmur.training.processes import map_processes
from murmur.training.run import Run, prepare_run, read_frame_labels

FINAL = 2**32 - 1  # instead of the number of a run, in the seed of the final networks


def choose_epochs(histories: Iterable[pd.DataFrame]) -> int:
    """Choose the number of epochs: the median of the best epochs of all networks, counted from 1.

    Parameters
    ----------
    histories : iterable of DataFrame
        One table for each run, with a row for each epoch of each network and the column ``best``.

    Returns
    -------
    int
        A median between two numbers is rounded up.
    """
    rows = pd.concat(list(histories))
    return int(np.ceil(rows["epoch"][rows["best"] == 1].median())) + 1


def prepare_final(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    card: DatasetCard,
    features: Path,
    options: Any,
    seed: int,
    frame_labels: Path | None = None,
) -> Run:
    """Collect all recordings as one training part.

    Parameters
    ----------
    recordings, segments, card, features, options, seed, frame_labels
        As for `training.run.prepare_run`.

    Returns
    -------
    Run
    """
    keys = {"run": FINAL, "fold": 0, "role": "train", "segment_id": None, "inner": None}
    folds = recordings[["recording_id"]].assign(**keys)
    return prepare_run(recordings, segments, folds, card, features, options, seed, frame_labels)


def fit_networks(run: Run, epochs: int, n_networks: int, out: Path, checkpoints: Path | None = None) -> None:
    """Train the final networks and write their weights into one file.

    Each network is trained with one thread, so that the weights do not depend on the number of workers.

    Parameters
    ----------
    run : Run
        From `prepare_final`.
    epochs : int
        Number of epochs.
    n_networks : int
        Number of networks; they differ in their random numbers.
    out : Path
        The .safetensors file; the names of the tensors begin with the number of the network.
    checkpoints : Path, optional
        Folder of the checkpoints, from which the networks go on if their training was killed.

    Raises
    ------
    MurmurError
        As `training.fit.fit_epochs`, or if a worker process was killed.
    """
    from safetensors.torch import save

    parts = dict(_fit_members(run, epochs, n_networks, checkpoints))
    tensors = {f"{k}.{name}": value for k in sorted(parts) for name, value in parts[k].items()}
    with atomic_write(out) as part, add_path(out):  # `save_file` hides errors of the operating system
        part.write_bytes(save(tensors, {"epochs": str(epochs)}))


def _fit_members(
    run: Run, epochs: int, n_networks: int, checkpoints: Path | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number and the state dict of each network."""
    n_workers = min(cluster.count_workers(), n_networks)
    if n_workers == 1 and not cluster.is_used():
        for k in range(n_networks):
            label = (
                "final network: epochs"
                if n_networks == 1
                else f"final network {k + 1} of {n_networks}: epochs"
            )
            yield k, fit_member(run, progress.track(range(epochs), label), k, checkpoints)
        return
    modules = ("training.fit", "features.store", f"models.{run.options.model.name}")
    fit = partial(fit_member, run, range(epochs), checkpoints=checkpoints)
    try:
        yield from map_processes(fit, range(n_networks), n_workers, [f"murmur.{name}" for name in modules])
    except BrokenProcessPool as error:
        raise MurmurError(
            "final: a worker process was killed, most likely for lack of memory; set MURMUR_WORKERS to fewer "
            "workers"
        ) from error


def fit_member(
    run: Run, epochs: Iterable[int], member: int, checkpoints: Path | None = None
) -> dict[str, Any]:
    """Train one network with one CPU thread.

    Parameters
    ----------
    run : Run
        From `prepare_final`.
    epochs : iterable of int
        The epochs.
    member : int
        Number of the network; its random numbers depend on it.
    checkpoints : Path, optional
        As for `fit_networks`.

    Returns
    -------
    dict of str to torch.Tensor
        Its state dict.
    """
    from murmur.devices import single_thread  # imports torch
    from murmur.features import store
    from murmur.training.fit import fit_epochs

    features = store.read_array(run.features)
    store.check_length(features, run.n_segments, run.features)
    with single_thread():
        return fit_epochs(
            features,
            run.labels,
            np.flatnonzero(run.roles[0][0] == "train"),
            run.options,
            epochs=epochs,
            classes=run.classes,
            weights=run.weights,
            seed=int(np.random.SeedSequence([run.seed, FINAL, member]).generate_state(1)[0]),
            bags=run.bags,
            frame_labels=read_frame_labels(run),
            recordings=run.recordings,
            checkpoint=checkpoints and checkpoints / f"network_{member}",
        )
