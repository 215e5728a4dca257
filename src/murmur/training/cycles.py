"""The heart cycles of the test parts of a run, from the saved networks of its folds."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from murmur import workers
from murmur.devices import single_thread
from murmur.features import store
from murmur.features.frame_tracks import join_tracks
from murmur.features.heart_cycles import find_cycles
from murmur.models import load_module
from murmur.models._weights import read_weights
from murmur.tables.cycles import CYCLES
from murmur.training.classifier import Classifier, Inputs
from murmur.training.frame_tracks import predict_tracks
from murmur.training.run import Run
from murmur.training.saved_weights import load_classifier

logger = logging.getLogger(__name__)


def find_test_cycles(
    run: Run, weights: Path, segments: pd.DataFrame, *, hop_length: int | list[int], rate: int
) -> pd.DataFrame:
    """Find the heart cycles of the recordings of each test part with the networks of its fold.

    Parameters
    ----------
    run : Run
        The run.
    weights : Path
        Folder with the weights of each fold, as `fit_run` writes them.
    segments : DataFrame
        The table of segments, in the order of the rows of the features.
    hop_length : int or list of int
        Samples from one frame of the spectrogram to the next; the first of a list counts.
    rate : int
        Sample rate of the signals, Hz.

    Returns
    -------
    DataFrame
        As `CYCLES`; without rows if the network does not label frames, or its weights are not kept.
    """
    module = load_module(run.options.model.name)
    if not hasattr(module, "STEP"):
        return CYCLES.empty_table().to_pandas()
    if run.options.keep_weights == "none":
        logger.info("no heart cycles: they need the weights (train.keep_weights: best)")
        return CYCLES.empty_table().to_pandas()
    step = module.STEP * int(np.ravel(hop_length)[0]) / rate
    find = partial(_find_cycles_of_fold, run, weights, segments, rate, step)
    with single_thread():
        parts = workers.map_threads(find, sorted(run.roles), "heart cycles")
    return pd.concat(parts, ignore_index=True)


def _find_cycles_of_fold(
    run: Run, weights: Path, segments: pd.DataFrame, rate: int, step: float, fold: int
) -> pd.DataFrame:
    """Find the heart cycles of the test part of one fold, from the mean over its networks."""
    rows = np.flatnonzero(np.atleast_2d(run.roles[fold])[0] == "test")
    features = np.asarray(store.read_array(run.features)[rows])
    networks = _load_networks(run, weights / f"fold_{fold}.safetensors", features.shape[1:])
    inputs, units = Inputs(torch.from_numpy(features), None), np.arange(len(rows))
    tracks = [predict_tracks(network, inputs, units) for network in networks]
    means = [np.mean(values, axis=0) for values in zip(*tracks, strict=True)]
    tables = []
    for name, table in segments.iloc[rows].reset_index(drop=True).groupby("recording_id", sort=False):
        n_steps = max(1, int((table["start"] + table["n_samples"]).max() / rate / step))
        starts = table["start"].to_numpy() / rate
        states, murmur, annotated = (
            join_tracks(values[table.index], starts, step, n_steps) for values in means
        )
        tables.append(find_cycles(states, murmur, annotated, step).assign(recording_id=name))
    return pd.concat(tables).assign(run=run.run, fold=fold)


def _load_networks(run: Run, path: Path, shape: tuple[int, ...]) -> list[Classifier]:
    """Load the networks of a fold: one, or one for each inner fold, whose number begins names of tensors."""
    tensors = read_weights(str(path))
    prefixes = sorted({name.split(".")[0] for name in tensors if name[0].isdigit()}, key=int)
    states = [tensors]
    if prefixes:
        states = [
            {name.removeprefix(f"{k}."): value for name, value in tensors.items() if name.startswith(f"{k}.")}
            for k in prefixes
        ]
    options, classes = run.options, len(run.classes)
    return [load_classifier(state, path, options, classes=classes, shape=shape) for state in states]
