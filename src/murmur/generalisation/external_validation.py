"""External validation: the trained models of an experiment on another data set."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from murmur import formatting, spelling
from murmur.datasets import load_reader
from murmur.errors import MurmurError
from murmur.features.chain import PreparedRecordings
from murmur.files import temporary_folder
from murmur.generalisation.trained_models import Folds, TrainedModels, Weights, score_models
from murmur.params.validation import validate
from murmur.recordings import duplicates
from murmur.sections.download import Download
from murmur.sections.duplicates import Duplicates
from murmur.tables.recordings import DatasetCard

INTERVAL = (
    "The 95 % interval resamples the persons of the external data. Persons who are in both data sets are "
    "recognised by identical or near-identical audio and, within one data set, by their id."
)


def list_labels(
    dataset: str, task: str | None, default_task: str, section: Download
) -> tuple[str, tuple[str, ...]]:
    """Find the task of an external data set and its labels.

    Parameters
    ----------
    dataset : str
        The name of the data set.
    task : str or None
        One of its tasks; None: the default task if the data set has it, else its first task.
    default_task : str
        The task of the experiment.
    section : Download
        The section of params.yaml. It has the folder of your own recordings, whose labels are those of its
        table.

    Returns
    -------
    task : str
    labels : tuple of str

    Raises
    ------
    MurmurError
        If the data set has no such task.
    """
    reader = load_reader(dataset)
    tasks = reader.TASKS
    if tasks:
        task = task or (default_task if default_task in tasks else next(iter(tasks)))
        if task not in tasks:
            raise MurmurError(f"--task: {dataset} has no task {task!r}; it has {', '.join(tasks)}")
        return task, tasks[task].classes
    task = task or default_task
    content = (section.model_extra or {}).get(dataset, {})
    options = validate(reader.Options, content, f"params.yaml: download.{dataset}")
    with temporary_folder() as empty:
        table = reader.read(reader.fetch(options, empty, None), options, task).recordings
    return task, tuple(sorted({*table["label"], *table["patient_label"]}))


def map_labels(
    labels: Sequence[str], classes: Sequence[str], given: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Map each label of an external data set to a class of the models.

    Parameters
    ----------
    labels : sequence of str
        All labels of the data set.
    classes : sequence of str
        The models' classes.
    given : dict of str to str or None
        Classes of labels; None leaves the label out. A label that is not given has the class of its name.

    Returns
    -------
    dict of str to str or None
        The class of every label.

    Raises
    ------
    MurmurError
        If `given` has an unknown label or class, or a label has no class.
    """
    both = f"the external labels are {', '.join(labels)}; the models' classes are {', '.join(classes)}"
    if unknown := sorted(set(given) - set(labels)):
        raise MurmurError(f"--map {unknown[0]}: no such label; {both}")
    if unknown := sorted({c for c in given.values() if c is not None} - set(classes)):
        raise MurmurError(f"--map: the models have no class {unknown[0]}; {both}")
    if missing := [label for label in labels if label not in given and label not in classes]:
        options = " ".join(f"--map {label}=CLASS" for label in missing)
        raise MurmurError(
            f"no class for the labels {', '.join(missing)}: add {options} (null leaves one out); {both}"
        )
    return {label: given.get(label, label) for label in labels}


def restrict_classes(card: DatasetCard, present: Iterable[str | None]) -> DatasetCard:
    """Return the card of the experiment with only those of its classes that are present.

    Parameters
    ----------
    card : DatasetCard
        Of the experiment.
    present : iterable of str or None
        The classes of the external data.

    Raises
    ------
    MurmurError
        If fewer than two classes are left, or none that is positive, or only positive ones.
    """
    present = {*present}
    classes = tuple(c for c in card.classes if c in present)
    weights = tuple(w for w, c in zip(card.weights, card.classes, strict=False) if c in present)
    positive = tuple(c for c in card.positive if c in classes)
    if len(classes) < 2 or not 0 < len(positive) < len(classes):
        raise MurmurError(
            f"too few classes: of the models' classes {', '.join(card.classes)} (positive: "
            f"{', '.join(card.positive)}) the external data have {', '.join(classes) or 'none'}; a positive "
            "class and another one are needed, see --map and --task"
        )
    return replace(card, classes=classes, positive=positive, weights=weights)


def find_same_ids(external: pd.DataFrame, development: pd.DataFrame) -> set[str]:
    """Find the external recordings whose person or patient has an id of the development data.

    Parameters
    ----------
    external, development : DataFrame
        As `murmur.tables.recordings`; ids are compared by `spelling.normalise_name`.

    Returns
    -------
    set of str
        Recording ids.
    """
    person, patient = (
        external[column]
        .map(spelling.normalise_name)
        .isin(set(development[column].map(spelling.normalise_name)))
        for column in ("person_id", "patient_id")
    )
    return {*external.loc[person | patient, "recording_id"]}


def find_same_audio(
    external: pd.DataFrame, external_raw: Path, development: pd.DataFrame, raw: Path, options: Duplicates
) -> set[str]:
    """Find the external recordings that are near-duplicates of a recording of the development data.

    Parameters
    ----------
    external, development : DataFrame
        As `murmur.tables.recordings`.
    external_raw, raw : Path
        The folders of their recordings.
    options : Duplicates
        As in `duplicates.find_pairs`.

    Returns
    -------
    set of str
        Recording ids.
    """
    tables = [
        table.assign(
            recording_id=f"{name}/" + table["recording_id"], path=f"{folder.resolve()}/" + table["path"]
        )
        for name, table, folder in (("development", development, raw), ("external", external, external_raw))
    ]
    pairs = duplicates.find_pairs(pd.concat(tables, ignore_index=True), Path(), options)
    across = pairs[pairs["recording_id"].str.startswith("development/")]  # the first of both in the alphabet
    twins = across["twin_id"][across["twin_id"].str.startswith("external/")]
    return {*twins.str.removeprefix("external/")}


def exclude_known_persons(
    external: pd.DataFrame, development: pd.DataFrame, same: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the external recordings by whether their persons are in the development data.

    Parameters
    ----------
    external, development : DataFrame
        As `murmur.tables.recordings`; identical audio is recognised by its hash.
    same : collection of str
        Further external recordings of persons of the development data, by id.

    Returns
    -------
    unknown, known : DataFrame
        The rows of `external`; all recordings of a person are in the same table.

    Raises
    ------
    MurmurError
        If all persons are known.
    """
    is_same = external["audio_sha256"].isin(development["audio_sha256"]) | external["recording_id"].isin(same)
    is_known = external["person_id"].isin(external.loc[is_same, "person_id"])
    if is_known.all():
        raise MurmurError(
            "all persons of the external data are in the experiment itself; its results are in metrics/ "
            "(where an id of your own table means another person in both, use another id)"
        )
    return external[~is_known], external[is_known]


def make_test_folds(recordings: pd.DataFrame, weights: Weights) -> dict[int, pd.DataFrame]:
    """Return folds, by run, in which every recording is tested by the model of every fold."""
    tested = recordings[["recording_id"]].assign(role="test", segment_id=None, inner=None)
    keys = pd.DataFrame(list(weights), columns=["run", "fold"])
    return {int(run): folds.merge(tested, how="cross") for run, folds in keys.groupby("run")}


def evaluate_external(
    models: TrainedModels,
    development: pd.DataFrame,
    external: PreparedRecordings,
    card: DatasetCard,
    same: Collection[str] = (),
) -> dict[str, Any]:
    """Score the models on external recordings, without the persons of the development data.

    Parameters
    ----------
    models : TrainedModels
        The models; each predicts all recordings.
    development : DataFrame
        The recordings of the experiment.
    external : PreparedRecordings
        The external recordings, labelled with classes of the models.
    card : DatasetCard
        Of the experiment, with the classes of the external data (`restrict_classes`).
    same : collection of str
        As in `exclude_known_persons`.

    Returns
    -------
    dict
        That of `score_models`, its counts in `data`; the classes that are missing in the external data
        (left_unasked), the number of models, and the recordings that were left out (seen).
    """
    unknown, known = exclude_known_persons(external.recordings, development, same)
    restrict_classes(card, {*unknown["label"], *unknown["patient_label"]})
    result = score_models(models, external, make_test_folds(unknown, models.weights), card)
    data = {"recordings": len(unknown), "patients": unknown["patient_id"].nunique()}
    data |= {name: result.pop(name) for name in ("persons", "units", "no_answer", "counts")}
    return {
        **result,
        "left_unasked": [c for c in models.classes if c not in card.classes],
        "models": len(models.weights),
        "data": data,
        "seen_in_training": len(known),
        "seen": sorted(known["recording_id"]),
    }


def evaluate_internal(
    models: TrainedModels, development: PreparedRecordings, folds: Folds, card: DatasetCard
) -> dict[str, Any]:
    """Score the models on their own test parts, restricted to the classes of `card`.

    Recordings with another label are left out, so that the metrics compare with those of `evaluate_external`.
    """
    has_class = development.recordings[["label", "patient_label"]].isin(card.classes).all(axis=1)
    names = development.recordings.loc[has_class, "recording_id"]
    restricted = {run: table[table["recording_id"].isin(names)] for run, table in folds.items()}
    return score_models(models, development, restricted, card)


def format_comparison(result: Mapping[str, Any]) -> tuple[Sequence[tuple[str, ...]], list[str]]:
    """Return the rows of a table of the metrics on development and external data, and remarks.

    Parameters
    ----------
    result : dict
        The content of metrics/elsewhere_<dataset>.json.

    Returns
    -------
    rows : sequence of tuple of str
        The head first.
    remarks : list of str
        Sentences. If the experiment is leaky, the first gives the reason.
    """
    development, baseline = result["here"], result["baseline"]
    columns = ("development data", "external data", "SD", "95 % interval", f"always {baseline['answer']}")
    rows: list[tuple[str, ...]] = [(f"{result['level']} level", *columns)]
    for name, external in result["headline"].items():
        means = development.get(name, {}).get("mean"), external["mean"]
        mean, external_mean, sd = map(formatting.format_figure, (*means, external["sd"]))
        interval, always = formatting.format_interval(external), formatting.format_figure(baseline[name])
        rows.append((name, mean, external_mean, sd, interval, always))
    leak = [result["leak"]] if result.get("leak") else []
    remarks = [*leak, *_describe_data(result), *_describe_left_out(result)]
    return rows, [*remarks, f"{INTERVAL} {formatting.INTERVAL_NOTE}"]


def _describe_data(result: Mapping[str, Any]) -> list[str]:
    """Sentences about the units that were scored."""
    data = result["data"]
    counts = ", ".join(f"{n} {c}" for c, n in data["counts"].items())
    unknown = data.get("unknown_persons", 0)
    persons = formatting.format_persons(data["persons"], unknown)
    units, models = (
        formatting.format_count(n, noun) for n, noun in ((data["units"], "unit"), (result["models"], "model"))
    )
    lines = [f"{units} ({counts}) of {persons}, {models}"]
    if unknown:
        lines.append(
            f"the persons of {unknown} external recordings are unknown: some may be in the experiment too"
        )
    if names := result["left_unasked"]:
        lines.append(
            f"{', '.join(names)}: not in the external data, so not predicted, and left out of both columns"
        )
    if data["no_answer"]:
        lines.append(f"without a usable segment: {formatting.format_count(data['no_answer'], 'unit')}")
    return lines


def _describe_left_out(result: Mapping[str, Any]) -> list[str]:
    """Sentences about the recordings that were left out."""
    lines = [f"left out: {n} x {reason}" for reason, n in result["data"].get("left_out", {}).items()]
    if n := result["seen_in_training"]:
        names = ", ".join(result["seen"][:5]) or "not named: private data"
        if result["seen"] and n > 5:
            names += ", …"
        recordings = formatting.format_count(n, "recording")
        lines.append(f"left out: {recordings} of persons whose audio is in the experiment ({names})")
    return lines
