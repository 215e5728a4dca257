"""The trained models of an experiment: their weights, their predictions and the metrics of these."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from murmur import formatting, workers
from murmur.devices import choose_device, place_array, single_thread
from murmur.errors import MurmurError
from murmur.evaluation import scores
from murmur.evaluation.aggregation import Fitted, compute_levels, predict_without_segments
from murmur.evaluation.levels import Level, number_units
from murmur.features import store
from murmur.features.chain import PreparedRecordings
from murmur.models._weights import read_weights
from murmur.sections.evaluate import Evaluate
from murmur.sections.train import Train
from murmur.tables.predictions import FIGURES
from murmur.tables.recordings import DatasetCard
from murmur.training.classifier import Classifier, Inputs, predict_outputs
from murmur.training.run import Run, prepare_run
from murmur.training.saved_weights import load_classifier, select_network

AGAIN = "make them with train.keep_weights: best and `dvc repro`"

Weights = Mapping[tuple[int, int], Path]  # by run and fold
Folds = Mapping[int, pd.DataFrame]  # by run, as `murmur.tables.folds`


@dataclass(frozen=True)
class TrainedModels:
    """The trained models of an experiment. With inner folds the model of a fold is the mean of its networks.

    Attributes
    ----------
    weights : dict of (int, int) to Path
        The file of each run and fold.
    classes : tuple of str
        The classes of the models, in the order of their logits.
    fitted : Fitted
        metrics/calibration.csv and regression.csv: temperature and class weights of each fold and level, and
        the regression of each fold.
    train, evaluate : Train, Evaluate
        Sections of params.yaml.
    seed : int
        Of the experiment.
    """

    weights: Weights
    classes: tuple[str, ...]
    fitted: Fitted
    train: Train
    evaluate: Evaluate
    seed: int


def find_weights(folder: Path, fitted: pd.DataFrame, chosen: Iterable[int]) -> dict[tuple[int, int], Path]:
    """Find the files of the weights of each fold of the chosen runs.

    Parameters
    ----------
    folder : Path
        models/ of the experiment.
    fitted : DataFrame
        metrics/calibration.csv, which has all runs and folds.
    chosen : iterable of int
        Runs.

    Returns
    -------
    dict of (int, int) to Path
        By run and fold.

    Raises
    ------
    MurmurError
        If a run is not in `fitted`, or a file is missing; the message has the run or file, and what to do.
    """
    folds = fitted[["run", "fold"]].drop_duplicates().astype(int)
    if unknown := sorted({*chosen} - {*folds["run"]}):
        raise MurmurError(
            f"metrics/calibration.csv has no run {formatting.join_sorted(unknown)}: `dvc repro` first"
        )
    keys = [(run, fold) for run, fold in folds.itertuples(index=False) if run in {*chosen}]
    files = {key: folder / "run_{}.murmur_weights/fold_{}.safetensors".format(*key) for key in keys}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise MurmurError(f"{missing[0]}: no such weights ({len(missing)} of {len(files)} missing); {AGAIN}")
    return files


def predict(
    models: TrainedModels, prepared: PreparedRecordings, folds: Folds, card: DatasetCard
) -> dict[int, pd.DataFrame]:
    """Predict the test units of each fold with the model of the fold.

    The softmax is over the classes of `card` alone, which equals the probabilities of the model scaled to a
    sum of 1 over these classes. Models run in parallel, one thread each.

    Parameters
    ----------
    models : TrainedModels
        The models.
    prepared : PreparedRecordings
        The recordings with features as in training.
    folds : dict of int to DataFrame
        By run; only their test rows count.
    card : DatasetCard
        With the classes to choose from, some or all of the models'.

    Returns
    -------
    dict of int to DataFrame
        By run, as `murmur.tables.predictions`; `FIGURES` are NaN if the networks do not label frames.

    Raises
    ------
    MurmurError
        If weights are of another network, probabilities are not finite, or a site of the model is missing.
    """
    tables = (prepared.recordings, prepared.segments)
    runs = {
        run: prepare_run(*tables, table[table["role"] == "test"], card, prepared.features, models.train, 0)
        for run, table in folds.items()
    }
    device = choose_device(models.train.device, "train.device")
    x = place_array(store.read_array(prepared.features), device)
    jobs = [(run, fold) for run in runs.values() for fold in sorted(run.roles)]
    predict_job = partial(_predict_fold, x=x, device=device, models=models, card=card)
    n = None if device.type == "cpu" else 1
    with single_thread():
        parts = workers.map_threads(predict_job, jobs, "trained models", n)
    predictions = pd.concat(parts, ignore_index=True)
    return {run: predictions[predictions["run"] == run] for run in folds}


def _predict_fold(
    job: tuple[Run, int], x: torch.Tensor, device: torch.device, models: TrainedModels, card: DatasetCard
) -> pd.DataFrame:
    """The predictions of a fold's model for the fold's test units; `x` [segments, …] is of all segments."""
    run, fold = job
    units = np.flatnonzero(run.roles[fold][-1] == "test")  # the same for all networks that predict it
    choices = [models.classes.index(c) for c in card.classes]
    p, figures = np.empty((0, len(choices))), np.full((len(units), len(FIGURES)), np.nan, np.float32)
    if len(units):
        path = models.weights[run.run, fold]
        bags = None if run.bags is None else torch.tensor(run.bags, device=x.device)
        networks = [network.to(device) for network in _load(path, x[:1], models)]
        outputs = [predict_outputs(network, Inputs(x, bags, device), units) for network in networks]
        p = _average([output.logits[:, choices].softmax(dim=1) for output in outputs])
        if parts := [output.figures for output in outputs if output.figures is not None]:
            figures = _average(parts)
        if not np.isfinite(p).all():
            raise MurmurError(f"{path}: its probabilities are not finite; {AGAIN}")
    keys = {"run": run.run, "fold": fold, "role": "test", "level": run.level, "unit_id": run.units[units]}
    table = pd.DataFrame(keys).assign(**{f"p_{c}": p[:, k] for k, c in enumerate(card.classes)})
    return table.assign(**{name: figures[:, k] for k, name in enumerate(FIGURES)})


def _average(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.stack([*parts]).mean(dim=0).cpu().numpy()


def _load(path: Path, x: torch.Tensor, models: TrainedModels) -> list[Classifier]:
    """The networks with the weights in the file `path`, for features of the shape of `x`."""
    load = partial(
        load_classifier, path=path, options=models.train, classes=len(models.classes), shape=x.shape[1:]
    )
    try:
        return [load(weights) for weights in _separate_networks(read_weights(str(path)))]
    except MurmurError as error:
        raise MurmurError(f"{error}, or params.yaml is not what these were trained with; {AGAIN}") from error


def _separate_networks(weights: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Separate the networks of a fold: with inner folds, the names of tensors begin with their number."""
    numbers = sorted({int(name.split(".")[0]) for name in weights if name.split(".")[0].isdecimal()})
    prefixes = [f"{number}." for number in numbers] or [""]
    return [select_network(weights, prefix) for prefix in prefixes]


def score_models(
    models: TrainedModels, prepared: PreparedRecordings, folds: Folds, card: DatasetCard
) -> dict[str, Any]:
    """Score the predictions of the models for the test rows of `folds`.

    Parameters are those of `predict`. Rule, class weights and temperatures are those of the experiment. The
    metrics of a run are of the predictions of all its models together.

    Returns
    -------
    dict
        level, classes, headline, baseline, and of this level units, persons, no_answer (units without a
        usable segment) and counts (units of each class).
    """
    level = _predict_level(models, prepared, folds, card)
    runs = scores.score_units(level, ["run"])
    names = scores.select_headline(runs)
    drawn = scores.bootstrap_persons(level, names, models.evaluate.draws, models.seed)
    scores.log_undefined_draws(drawn)
    units = np.unique(level.unit)
    counts = np.bincount(level.units.truth[units], minlength=len(card.classes))
    return {
        "level": level.name,
        "classes": list(card.classes),
        "headline": scores.summarise_headline(runs, names, drawn),
        "baseline": scores.score_constant_prediction(level, names),
        "units": len(units),
        "persons": len(np.unique(level.person)),
        "no_answer": len(np.unique(level.unit[~level.has_probabilities])),
        "counts": dict(zip(card.classes, counts.tolist(), strict=True)),
    }


def _predict_level(
    models: TrainedModels, prepared: PreparedRecordings, folds: Folds, card: DatasetCard
) -> Level:
    """The predictions at the headline's level."""
    name = models.evaluate.level
    folds = {run: table[table["role"] == "test"] for run, table in folds.items()}
    tested = pd.concat(list(folds.values()))["recording_id"]
    recordings, segments = (
        table[table["recording_id"].isin(tested)] for table in (prepared.recordings, prepared.segments)
    )
    units = number_units(recordings, segments, card.classes)
    if not len(segments):
        return predict_without_segments(folds, units, card, name)
    all_classes = replace(card, classes=models.classes)  # the regression needs the probabilities of all
    of_models = all_classes if models.evaluate.rule == "regression" else card
    predictions = predict(models, prepared, folds, of_models)
    levels, _ = compute_levels(predictions, folds, units, card, models.evaluate, models.fitted)
    return levels[name]
