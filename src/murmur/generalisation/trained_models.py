"""The trained models of an experiment: their weights, their predictions and the figures of these."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from murmur import formatting, workers
from murmur.devices import choose_device, single_thread
from murmur.errors import MurmurError
from murmur.evaluation import levels, scores
from murmur.features import store
from murmur.features.chain import PreparedRecordings
from murmur.models import needs_download
from murmur.models._construction import build
from murmur.models._weights import check_keys, read_weights
from murmur.sections.evaluate import Evaluate
from murmur.sections.train import Train
from murmur.tables.recordings import Card
from murmur.training.classifier import Classifier, Inputs, predict_logits
from murmur.training.run import Run, prepare_run

AGAIN = "make them with train.keep_weights: best and `dvc repro`"


Weights = Mapping[tuple[int, int], Path]


Folds = Mapping[int, pd.DataFrame]


@dataclass(frozen=True)
class TrainedModels:
    """The models of an experiment: a file a fold, the classes they know, how they were made and are asked.

    fitted: metrics/calibration.csv, the temperatures and the weights of the classes of each fold.
    """

    weights: Weights
    classes: tuple[str, ...]
    fitted: pd.DataFrame
    train: Train
    evaluate: Evaluate
    seed: int


def find_weights(folder: Path, fitted: pd.DataFrame, chosen: Iterable[int]) -> dict[tuple[int, int], Path]:
    """The kept weights of each (run, fold) of the chosen runs; `fitted` says which folds there are.

    Raises
    ------
    MurmurError
        Naming the run that is not in `fitted`, or the file that is not there, and how to make them.
    """
    folds = fitted[["run", "fold"]].drop_duplicates().astype(int)
    if unknown := sorted({*chosen} - {*folds["run"]}):
        raise MurmurError(
            f"metrics/calibration.csv has no run {formatting.join_sorted(unknown)}: `dvc repro` first"
        )
    places = [(run, fold) for run, fold in folds.itertuples(index=False) if run in {*chosen}]
    files = {place: folder / "run_{}.murmur_weights/fold_{}.safetensors".format(*place) for place in places}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise MurmurError(f"{missing[0]}: no such weights ({len(missing)} of {len(files)} missing); {AGAIN}")
    return files


def predict(
    models: TrainedModels, heard: PreparedRecordings, folds: Folds, card: Card
) -> dict[int, pd.DataFrame]:
    """What each fold's own model says of its test units: by run, as `tables.predictions_schema`.

    Only the classes of `card` are among the choices: the softmax is over their logits alone, so that their
    probabilities are those of the model scaled to a sum of one. Models answer side by side, one thread each.

    Raises
    ------
    MurmurError
        If a file of weights is of another network, its answers are not finite, or a site is missing.
    """
    tables = (heard.recordings, heard.segments)
    prepared = {
        run: prepare_run(*tables, table[table["role"] == "test"], card, heard.features, models.train, 0)
        for run, table in folds.items()
    }
    device = choose_device(models.train.device, "train.device")
    x = torch.tensor(store.read_array(heard.features), device=device)
    jobs = [(run, fold) for run in prepared.values() for fold in sorted(run.roles)]
    ask, n = partial(_ask, x=x, models=models, card=card), None if device.type == "cpu" else 1
    with single_thread():
        said = pd.concat(workers.map_threads(ask, jobs, "kept weights", n), ignore_index=True)
    return {run: said[said["run"] == run] for run in folds}


def _ask(job: tuple[Run, int], x: torch.Tensor, models: TrainedModels, card: Card) -> pd.DataFrame:
    """What the model of a fold says of the fold's test units; `x` is of all segments."""
    run, fold = job
    units = np.flatnonzero(run.roles[fold] == "test")
    choices = [models.classes.index(c) for c in card.classes]
    p = np.empty((0, len(choices)))
    if len(units):
        path = models.weights[run.run, fold]
        bags = None if run.bags is None else torch.tensor(run.bags, device=x.device)
        logits = predict_logits(_load(path, x[:1], models).to(x.device), Inputs(x, bags), units)
        p = logits[:, choices].softmax(dim=1).cpu().numpy()
        if not np.isfinite(p).all():
            raise MurmurError(f"{path}: its answers are not numbers; {AGAIN}")
    facts = {"run": run.run, "fold": fold, "role": "test", "level": run.level, "unit_id": run.units[units]}
    return pd.DataFrame(facts).assign(**{f"p_{c}": p[:, k] for k, c in enumerate(card.classes)})


def _load(path: Path, x: torch.Tensor, models: TrainedModels) -> Classifier:
    """The model whose weights lie at `path`, for features like the one in `x`."""
    model, options = models.train.model, models.train
    if needs_download(model.options):  # not needed: they are replaced by those of the file
        model = model.model_copy(update={"weights": "none"})
    _, channels, mels, frames = x.shape
    network = build(model, classes=len(models.classes), channels=channels, mels=mels, frames=frames)
    classifier = Classifier(network, Inputs(x, None), np.zeros(1, int), options)
    found = read_weights(str(path))
    try:
        check_keys(found, classifier.state_dict(), path)
    except MurmurError as error:
        raise MurmurError(f"{error}, or params.yaml is not what these were trained with; {AGAIN}") from error
    classifier.load_state_dict(found)
    return classifier


def score_models(
    models: TrainedModels, heard: PreparedRecordings, folds: Folds, card: Card, quiet: bool = False
) -> dict[str, Any]:
    """level, classes, headline, baseline, and at that level units, persons, no_answer and counts by class.

    The units are those that `folds` name; they are answered by the rule of the experiment, with the weights
    and temperatures that were fitted there. A figure of a run is that of all its models' answers.
    """
    options, level = models.evaluate, models.evaluate.level
    folds = {run: table[table["role"] == "test"] for run, table in folds.items()}
    asked_of = pd.concat(folds.values())["recording_id"]
    recordings, segments = (
        table[table["recording_id"].isin(asked_of)] for table in (heard.recordings, heard.segments)
    )
    units = levels.number_units(recordings, segments, card.classes)
    if len(segments):
        said = predict(models, heard, folds, card)
        table = levels.compute_levels(said, folds, units, card, options, models.fitted)[0][level]
    else:
        table = _silence(folds, units, card, level)
    by_run = scores.score_units(table, units[level], card, ["run"])
    names = scores.select_headline(by_run)
    drawn = scores.bootstrap_persons(table, units[level], card, names, options.draws, models.seed)
    unit = table["unit"].unique()
    counts = np.bincount(units[level].truth[unit], minlength=len(card.classes))
    return {
        "level": level,
        "classes": list(card.classes),
        "headline": scores.summarise_headline(by_run, names, drawn, quiet),
        "baseline": scores.score_constant_answer(table["unit"].to_numpy(), units[level], card, names),
        "units": len(unit),
        "persons": len(np.unique(units[level].person[unit])),
        "no_answer": table.loc[table[f"p_{card.classes[0]}"].isna(), "unit"].nunique(),
        "counts": dict(zip(card.classes, counts.tolist(), strict=True)),
    }


def _silence(folds: Folds, units: Mapping[str, levels.Units], card: Card, level: str) -> pd.DataFrame:
    """What `answers.answers` says at `level` where no recording has a usable segment."""
    every = pd.concat(folds.values())
    unit = units["recording"].names.get_indexer(pd.Index(every["recording_id"]))
    unit = units["recording"].parent[unit] if level == "patient" else unit
    table = (
        every[["run", "fold"]]
        .assign(unit=unit, answer=levels.answer_without_segments(card.classes))
        .drop_duplicates()
    )
    return table.assign(**{f"{kind}_{c}": np.nan for kind in "pq" for c in card.classes})
