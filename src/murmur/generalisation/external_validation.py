"""The kept weights of an experiment, asked about other recordings than those they come from."""

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from murmur import formatting, input_csv
from murmur.datasets import load_reader
from murmur.errors import MurmurError
from murmur.features.chain import PreparedRecordings
from murmur.generalisation.trained_models import Folds, TrainedModels, Weights, score_models
from murmur.params.validation import check
from murmur.recordings import duplicates
from murmur.sections.download import Download
from murmur.sections.duplicates import Duplicates
from murmur.tables.recordings import Card

INTERVAL = (
    "The 95 % interval resamples the persons there. Who is in both is known by identical or near-identical "
    "audio and, within one data set, by the id."
)


def list_labels(dataset: str, task: str | None, home: str, section: Download) -> tuple[str, tuple[str, ...]]:
    """The task of a data set, and its labels; of one's own folder those in its table.

    Where no task is named it is the experiment's own, `home`, if the data set has that, else its first.
    """
    source = load_reader(dataset)
    known = source.TASKS
    if known:
        task = task or (home if home in known else next(iter(known)))
        if task not in known:
            raise MurmurError(f"--task: {dataset} has no task {task!r}; it has {', '.join(known)}")
        return task, known[task].classes
    given = (section.model_extra or {}).get(dataset, {})
    options = check(source.Options, given, f"params.yaml: download.{dataset}")
    with tempfile.TemporaryDirectory(prefix="murmur-") as empty:
        table = source.read(source.fetch(options, Path(empty), None), options, task or home).recordings
    return task or home, tuple(sorted({*table["label"], *table["patient_label"]}))


def map_labels(
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


def restrict_classes(home: Card, there: Iterable[str | None]) -> Card:
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


def find_same_ids(recordings: pd.DataFrame, home: pd.DataFrame) -> set[str]:
    """The recordings whose person or patient has, in whatever spelling, the id of one in the experiment."""
    columns = ["person_id", "patient_id"]
    alike = [recordings[c].map(spelling.folded).isin(set(home[c].map(spelling.folded))) for c in columns]
    return {*recordings.loc[alike[0] | alike[1], "recording_id"]}


def find_same_audio(
    recordings: pd.DataFrame, raw: Path, home: pd.DataFrame, home_raw: Path, options: Duplicates
) -> set[str]:
    """The recordings that hold the audio of one in the experiment, as `duplicates.find` tells."""
    names, places = ("home", "there"), ((home, home_raw), (recordings, raw))
    tables = [
        table.assign(
            recording_id=f"{name}/" + table["recording_id"], path=f"{folder.resolve()}/" + table["path"]
        )
        for name, (table, folder) in zip(names, places, strict=True)
    ]
    pairs = duplicates.find_pairs(pd.concat(tables, ignore_index=True), Path(), options)
    across = pairs["recording_id"].str.startswith("home/") & pairs["twin_id"].str.startswith("there/")
    return {*pairs.loc[across, "twin_id"].str.removeprefix("there/")}


def exclude_known_persons(
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


def test_in_every_fold(recordings: pd.DataFrame, weights: Weights) -> dict[int, pd.DataFrame]:
    """Folds, by run, in each of which every recording is test: all models are asked about all of them."""
    one = recordings[["recording_id"]].assign(role="test", segment_id=None)
    places = pd.DataFrame(list(weights), columns=["run", "fold"])
    return {int(run): part.merge(one, how="cross") for run, part in places.groupby("run")}


def evaluate_external(
    models: TrainedModels,
    home: pd.DataFrame,
    there: PreparedRecordings,
    card: Card,
    same: Collection[str] = (),
) -> dict[str, Any]:
    """How the models do on the recordings `there`: `figures`, and what was scored.

    Persons of whom the experiment has a recording take no part: they are counted and named.

    Parameters
    ----------
    home: the recordings of the experiment.
    card: of the experiment, with the classes that are there (`asked`).
    same: as `unseen`.
    """
    fresh, seen = exclude_known_persons(there.recordings, home, same)
    restrict_classes(card, {*fresh["label"], *fresh["patient_label"]})
    found = score_models(models, there, test_in_every_fold(fresh, models.weights), card)
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


def evaluate_internal(
    models: TrainedModels, home: PreparedRecordings, folds: Folds, card: Card
) -> dict[str, Any]:
    """`figures` of the experiment's own test units asked about the classes of `card` alone.

    Who has another label takes no part, so that the figures compare with those of `elsewhere`.
    """
    same = home.recordings[["label", "patient_label"]].isin(card.classes).all(axis=1)
    names = home.recordings.loc[same, "recording_id"]
    return score_models(models, home, {r: t[t["recording_id"].isin(names)] for r, t in folds.items()}, card)


def summarise(result: Mapping[str, Any]) -> tuple[Sequence[tuple[str, ...]], list[str]]:
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
        always = formatting.format_figure(baseline[name])
        rows.append((name, *map(formatting.format_figure, values), formatting.format_interval(there), always))
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
    return rows, [*said, f"{INTERVAL} {formatting.INTERVAL_NOTE}"]
