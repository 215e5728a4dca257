"""The kept weights of an experiment, asked about other recordings than those they come from."""

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from murmur import csvs, params, workers
from murmur import text as words
from murmur.devices import choose_device
from murmur.errors import MurmurError
from murmur.evaluation import levels as answers
from murmur.evaluation import scores
from murmur.features import mel
from murmur.models import build, check_keys, read_weights
from murmur.params import Evaluate, Train
from murmur.recordings import duplicates
from murmur.recordings.download import reader
from murmur.tables import Card
from murmur.training import run as runs
from murmur.training.classifier import Classifier, Inputs, predict

INTERVAL = (
    "The 95 % interval resamples the persons there. Who is in both is known by identical or near-identical "
    "audio and, within one data set, by the id."
)
AGAIN = "make them with train.keep_weights: best and `dvc repro`"
Weights = Mapping[tuple[int, int], Path]
Folds = Mapping[int, pd.DataFrame]


@dataclass(frozen=True)
class Heard:
    """Recordings on their way to the models: the tables, and the features, a row for a row of `segments`."""

    recordings: pd.DataFrame
    segments: pd.DataFrame
    features: Path


@dataclass(frozen=True)
class Models:
    """The models of an experiment: a file a fold, the classes they know, how they were made and are asked.

    fitted: metrics/calibration.csv, the temperatures and the weights of the classes of each fold.
    """

    weights: Weights
    classes: tuple[str, ...]
    fitted: pd.DataFrame
    train: Train
    evaluate: Evaluate
    seed: int


def kept(folder: Path, fitted: pd.DataFrame, chosen: Iterable[int]) -> dict[tuple[int, int], Path]:
    """The kept weights of each (run, fold) of the chosen runs; `fitted` says which folds there are.

    Raises
    ------
    MurmurError
        Naming the run that is not in `fitted`, or the file that is not there, and how to make them.
    """
    folds = fitted[["run", "fold"]].drop_duplicates().astype(int)
    if unknown := sorted({*chosen} - {*folds["run"]}):
        raise MurmurError(f"metrics/calibration.csv has no run {words.listed(unknown)}: `dvc repro` first")
    places = [(run, fold) for run, fold in folds.itertuples(index=False) if run in {*chosen}]
    files = {place: folder / "run_{}.murmur_weights/fold_{}.safetensors".format(*place) for place in places}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise MurmurError(f"{missing[0]}: no such weights ({len(missing)} of {len(files)} missing); {AGAIN}")
    return files


def labels(
    dataset: str, task: str | None, home: str, section: params.Download
) -> tuple[str, tuple[str, ...]]:
    """The task of a data set, and its labels; of one's own folder those in its table.

    Where no task is named it is the experiment's own, `home`, if the data set has that, else its first.
    """
    source = reader(dataset)
    known = source.TASKS
    if known:
        task = task or (home if home in known else next(iter(known)))
        if task not in known:
            raise MurmurError(f"--task: {dataset} has no task {task!r}; it has {', '.join(known)}")
        return task, known[task].classes
    given = (section.model_extra or {}).get(dataset, {})
    options = params.check(source.Options, given, f"params.yaml: download.{dataset}")
    with tempfile.TemporaryDirectory(prefix="murmur-") as empty:
        table = source.read(source.fetch(options, Path(empty), None), options, task or home).recordings
    return task or home, tuple(sorted({*table["label"], *table["patient_label"]}))


def class_map(
    labels: Sequence[str], classes: Sequence[str], given: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Of each label of another data set the class of the models it stands for, or None to leave it out.

    A label that `given` does not name stands for the class of the same name.

    Raises
    ------
    MurmurError
        If `given` names no label or no class, or a label has no class; all of them are listed.
    """
    both = f"the labels there are {', '.join(labels)}; the models' classes are {', '.join(classes)}"
    if unknown := sorted(set(given) - set(labels)):
        raise MurmurError(f"--map {unknown[0]}: no such label; {both}")
    if unknown := sorted({c for c in given.values() if c is not None} - set(classes)):
        raise MurmurError(f"--map: the models know no class {unknown[0]}; {both}")
    if unmapped := [x for x in labels if x not in given and x not in classes]:
        ask = " ".join(f"--map {x}=CLASS" for x in unmapped)
        raise MurmurError(f"which classes are {', '.join(unmapped)}? Say {ask} (null leaves one out); {both}")
    return {x: given.get(x, x) for x in labels}


def asked(home: Card, there: Iterable[str | None]) -> Card:
    """The experiment's card with only those of its classes that are there, in its own order.

    Raises
    ------
    MurmurError
        If there is nothing left to tell apart: one class, or no positive one, or positive ones alone.
    """
    found = {*there}
    classes = tuple(c for c in home.classes if c in found)
    weights = tuple(w for w, c in zip(home.weights, home.classes, strict=False) if c in found)
    positive = tuple(c for c in home.positive if c in classes)
    if len(classes) < 2 or not 0 < len(positive) < len(classes):
        raise MurmurError(
            f"nothing to tell apart: of the models' classes {', '.join(home.classes)} (positive: "
            f"{', '.join(home.positive)}) there is only {', '.join(classes) or 'none'}; see --map and --task"
        )
    return replace(home, classes=classes, positive=positive, weights=weights)


def same_ids(recordings: pd.DataFrame, home: pd.DataFrame) -> set[str]:
    """The recordings whose person or patient has, in whatever spelling, the id of one in the experiment."""
    columns = ["person_id", "patient_id"]
    alike = [recordings[c].map(csvs.folded).isin(set(home[c].map(csvs.folded))) for c in columns]
    return {*recordings.loc[alike[0] | alike[1], "recording_id"]}


def same_audio(
    recordings: pd.DataFrame, raw: Path, home: pd.DataFrame, home_raw: Path, options: params.Duplicates
) -> set[str]:
    """The recordings that hold the audio of one in the experiment, as `duplicates.find` tells."""
    names, places = ("home", "there"), ((home, home_raw), (recordings, raw))
    tables = [
        table.assign(
            recording_id=f"{name}/" + table["recording_id"], path=f"{folder.resolve()}/" + table["path"]
        )
        for name, (table, folder) in zip(names, places, strict=True)
    ]
    pairs = duplicates.find(pd.concat(tables, ignore_index=True), Path(), options)
    across = pairs["recording_id"].str.startswith("home/") & pairs["twin_id"].str.startswith("there/")
    return {*pairs.loc[across, "twin_id"].str.removeprefix("there/")}


def unseen(
    recordings: pd.DataFrame, home: pd.DataFrame, same: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recordings of persons of whom no audio is in the experiment `home`, and all the others.

    same: recordings of which it is known from something else than their samples that the person is in it.

    Raises
    ------
    MurmurError
        If all are in it.
    """
    known = recordings["audio_sha256"].isin(home["audio_sha256"]) | recordings["recording_id"].isin(same)
    seen = recordings["person_id"].isin(recordings.loc[known, "person_id"])
    if seen.all():
        raise MurmurError(
            "all of these recordings, or others of their persons, are in the experiment itself: how it does "
            "there is in metrics/ (where an id of your own table there means another person, give another id)"
        )
    return recordings[~seen], recordings[seen]


def by_every_fold(recordings: pd.DataFrame, weights: Weights) -> dict[int, pd.DataFrame]:
    """Folds, by run, in each of which every recording is test: all models are asked about all of them."""
    one = recordings[["recording_id"]].assign(role="test", segment_id=None)
    places = pd.DataFrame(list(weights), columns=["run", "fold"])
    return {int(run): part.merge(one, how="cross") for run, part in places.groupby("run")}


def predictions(models: Models, heard: Heard, folds: Folds, card: Card) -> dict[int, pd.DataFrame]:
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
        run: runs.prepare(*tables, table[table["role"] == "test"], card, heard.features, models.train, 0)
        for run, table in folds.items()
    }
    device = choose_device(models.train.device, "train.device")
    x = torch.tensor(mel.read(heard.features), device=device)
    torch.set_num_threads(1)  # two threads add in another order
    jobs = [(run, fold) for run in prepared.values() for fold in sorted(run.roles)]
    ask, n = partial(_ask, x=x, models=models, card=card), None if device.type == "cpu" else 1
    said = pd.concat(workers.threads(ask, jobs, "kept weights", n), ignore_index=True)
    return {run: said[said["run"] == run] for run in folds}


def _ask(job: tuple[runs.Run, int], x: torch.Tensor, models: Models, card: Card) -> pd.DataFrame:
    """What the model of a fold says of the fold's test units; `x` is of all segments."""
    run, fold = job
    units = np.flatnonzero(run.roles[fold] == "test")
    choices = [models.classes.index(c) for c in card.classes]
    p = np.empty((0, len(choices)))
    if len(units):
        path = models.weights[run.run, fold]
        bags = None if run.bags is None else torch.tensor(run.bags, device=x.device)
        logits = predict(_load(path, x[:1], models).to(x.device), Inputs(x, bags), units)
        p = logits[:, choices].softmax(dim=1).cpu().numpy()
        if not np.isfinite(p).all():
            raise MurmurError(f"{path}: its answers are not numbers; {AGAIN}")
    facts = {"run": run.run, "fold": fold, "role": "test", "level": run.level, "unit_id": run.units[units]}
    return pd.DataFrame(facts).assign(**{f"p_{c}": p[:, k] for k, c in enumerate(card.classes)})


def _load(path: Path, x: torch.Tensor, models: Models) -> Classifier:
    """The model whose weights lie at `path`, for features like the one in `x`."""
    model, options = models.train.model, models.train
    if model.options.get("weights") == "imagenet":  # replaced at once: nothing to fetch
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


def figures(models: Models, heard: Heard, folds: Folds, card: Card, quiet: bool = False) -> dict[str, Any]:
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
    units = answers.number_units(recordings, segments, card.classes)
    if len(segments):
        said = predictions(models, heard, folds, card)
        table = answers.answers(said, folds, units, card, options, models.fitted)[0][level]
    else:
        table = _silence(folds, units, card, level)
    by_run = scores.score(table, units[level], card, ["run"])
    names = scores.headline_names(by_run)
    drawn = scores.bootstrap(table, units[level], card, names, options.draws, models.seed)
    unit = table["unit"].unique()
    counts = np.bincount(units[level].truth[unit], minlength=len(card.classes))
    return {
        "level": level,
        "classes": list(card.classes),
        "headline": scores.headline(by_run, names, drawn, quiet),
        "baseline": scores.constant_answer(table["unit"].to_numpy(), units[level], card, names),
        "units": len(unit),
        "persons": len(np.unique(units[level].person[unit])),
        "no_answer": table.loc[table[f"p_{card.classes[0]}"].isna(), "unit"].nunique(),
        "counts": dict(zip(card.classes, counts.tolist(), strict=True)),
    }


def _silence(folds: Folds, units: Mapping[str, answers.Units], card: Card, level: str) -> pd.DataFrame:
    """What `answers.answers` says at `level` where no recording has a usable segment."""
    every = pd.concat(folds.values())
    unit = units["recording"].names.get_indexer(pd.Index(every["recording_id"]))
    unit = units["recording"].parent[unit] if level == "patient" else unit
    table = every[["run", "fold"]].assign(unit=unit, answer=answers.silent(card.classes)).drop_duplicates()
    return table.assign(**{f"{kind}_{c}": np.nan for kind in "pq" for c in card.classes})


def elsewhere(
    models: Models, home: pd.DataFrame, there: Heard, card: Card, same: Collection[str] = ()
) -> dict[str, Any]:
    """How the models do on the recordings `there`: `figures`, and what was scored.

    Persons of whom the experiment has a recording take no part: they are counted and named.

    Parameters
    ----------
    home: the recordings of the experiment.
    card: of the experiment, with the classes that are there (`asked`).
    same: as `unseen`.
    """
    fresh, seen = unseen(there.recordings, home, same)
    asked(card, {*fresh["label"], *fresh["patient_label"]})
    found = figures(models, there, by_every_fold(fresh, models.weights), card)
    facts = {"recordings": len(fresh), "patients": fresh["patient_id"].nunique()}
    facts |= {name: found.pop(name) for name in ("persons", "units", "no_answer", "counts")}
    return {
        **found,
        "left_unasked": [c for c in models.classes if c not in card.classes],
        "models": len(models.weights),
        "data": facts,
        "seen_in_training": len(seen),
        "seen": sorted(seen["recording_id"]),
    }


def at_home(models: Models, home: Heard, folds: Folds, card: Card) -> dict[str, Any]:
    """`figures` of the experiment's own test units asked about the classes of `card` alone.

    Who has another label takes no part, so that the figures compare with those of `elsewhere`.
    """
    same = home.recordings[["label", "patient_label"]].isin(card.classes).all(axis=1)
    names = home.recordings.loc[same, "recording_id"]
    return figures(models, home, {r: t[t["recording_id"].isin(names)] for r, t in folds.items()}, card)


def in_words(result: Mapping[str, Any]) -> tuple[Sequence[tuple[str, ...]], list[str]]:
    """The figures here and there as the rows of a table, its head first, and remarks in sentences.

    If the experiment is leaky, the first remark says why.
    """
    here, baseline, facts = result["here"], result["baseline"], result["data"]
    head = (
        f"{result['level']} level",
        "here",
        "there",
        "SD",
        "95 % interval",
        f"always {baseline['answer']}",
    )
    rows = [head]
    for name, there in result["headline"].items():
        values = (here.get(name, {}).get("mean"), there["mean"], there["sd"])
        always = words.shown(baseline[name])
        rows.append((name, *map(words.shown, values), words.interval(there), always))
    counts = ", ".join(f"{n} {c}" for c, n in facts["counts"].items())
    unknown = facts.get("unknown_persons", 0)
    persons = f"{'at most ' * bool(unknown)}{facts['persons']} persons"
    said = [result["leak"]] if result.get("leak") else []
    said.append(f"{facts['units']} units ({counts}) of {persons}, {result['models']} models")
    if unknown:
        said.append(
            f"the persons of {unknown} recordings there are unknown: some may be in the experiment too"
        )
    if names := result["left_unasked"]:
        said.append(f"{', '.join(names)}: not there, so not among the choices, neither there nor here")
    if facts["no_answer"]:
        said.append(f"without a usable segment: {facts['no_answer']} units")
    said += [f"left out: {n} x {reason}" for reason, n in facts.get("left_out", {}).items()]
    if n := result["seen_in_training"]:
        names = [*result["seen"][:5], *["…"] * (n > 5)] if result["seen"] else ["not named: private data"]
        said.append(
            f"{n} recordings are of persons whose audio is in the experiment: left out ({', '.join(names)})"
        )
    return rows, [*said, f"{INTERVAL} {words.GIVEN}"]
