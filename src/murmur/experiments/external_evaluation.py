"""Evaluation of the models of the current experiment on another data set.

DVC prepares the recordings of that data set in a temporary folder, with the parameters of the experiment.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from murmur import leaks
from murmur.errors import MurmurError
from murmur.experiments import project, recipes
from murmur.experiments.current import (
    CurrentExperiment,
    hash_experiment,
    list_feature_stages,
    load_experiment,
    read_details,
)
from murmur.params.validation import validate
from murmur.params.yaml_files import read_yaml
from murmur.sections.download import Download

if TYPE_CHECKING:  # these import torch
    from murmur.features.chain import PreparedRecordings
    from murmur.tables.recordings import DatasetCard

logger = logging.getLogger(__name__)


def evaluate_on_dataset(
    dataset: str, mappings: Sequence[str], settings: Sequence[str], task: str | None = None
) -> dict[str, Any]:
    """Evaluate the model of every fold on the recordings of another data set.

    Recordings of persons who are in the experiment are left out.

    Parameters
    ----------
    dataset : str
        The name of the other data set, as in params.yaml.
    mappings : sequence of str
        ``LABEL=CLASS`` for each label of the other data set that has another name than its class.
    settings : sequence of str
        ``download.KEY=VALUE`` for the other data set.
    task : str, optional
        The task of the other data set; by default that of the experiment if it has it, else its first.

    Returns
    -------
    dict
        The content of metrics/elsewhere_DATASET.json.

    Raises
    ------
    MurmurError
        If the experiment is incomplete, an argument is wrong, or no recording can be scored.
    """
    from murmur.generalisation import external_validation  # imports torch

    experiment, details = load_experiment(), read_details()
    content = make_params(dataset, settings)
    section = validate(Download, content["download"], "params.yaml: download")
    task, labels = external_validation.list_labels(dataset, task, experiment.params.task, section)
    class_map = external_validation.map_labels(labels, experiment.card.classes, _parse_mappings(mappings))
    card = external_validation.restrict_classes(experiment.card, class_map.values())
    renamed = {label: c for label, c in class_map.items() if label != c}
    content |= {"dataset": dataset, "task": task, "class_map": renamed, "positive": list(card.positive)}
    with _prepare(content, dataset, experiment) as folder:
        result = _evaluate(experiment, card, folder)
    if result["left_unasked"]:  # the figures of the experiment are of more classes
        internal = external_validation.evaluate_internal(
            experiment.models, experiment.data, experiment.folds, card
        )["headline"]
    else:
        internal = details["headline"]
    origin = {"experiment": hash_experiment(), "leak": leaks.mark_leak(details)}
    request = {"dataset": dataset, "task": task, "class_map": class_map}
    return {**origin, **request, **result, "here": internal}


def _prepare(
    content: Mapping[str, Any], dataset: str, experiment: CurrentExperiment
) -> AbstractContextManager[Path]:
    """A temporary folder in which the stages up to the features ran with these parameters."""
    return project.reproduce(content, dataset, list_feature_stages(experiment.params)[-1])


def _evaluate(experiment: CurrentExperiment, card: "DatasetCard", folder: Path) -> dict[str, Any]:
    """The figures on the recordings that were prepared in a folder, and what was left out."""
    from murmur.features.chain import read_prepared
    from murmur.generalisation import external_validation
    from murmur.tables import parquet
    from murmur.tables.left_out import LEFT_OUT, classify_reasons
    from murmur.tables.recordings import read_dataset_card

    external = read_prepared(folder / "data", experiment.params.train.features)
    external_card = read_dataset_card(folder / "data/recordings.parquet")
    excluded = _find_known_persons(experiment, external, external_card, folder)
    result = external_validation.evaluate_external(
        experiment.models, experiment.data.recordings, external, card, excluded
    )
    left_out = parquet.read(folder / "data/left_out/download.parquet", LEFT_OUT)
    if not (external_card.shareable and experiment.card.shareable):  # the result is for git: no names
        left_out, result["seen"] = left_out.assign(reason=classify_reasons(left_out["reason"])), []
    result["data"]["left_out"] = left_out["reason"].value_counts().to_dict()
    result["data"]["unknown_persons"] = external_card.unknown_persons
    return result


def _find_known_persons(
    experiment: CurrentExperiment, external: "PreparedRecordings", external_card: "DatasetCard", folder: Path
) -> set[str]:
    """The external recordings with the audio, or the person's id, of a recording in the experiment."""
    from murmur.generalisation import external_validation

    internal, options = experiment.data.recordings, experiment.params.duplicates
    known = external_validation.find_same_audio(
        external.recordings, folder / "data/raw", internal, Path("data/raw"), options
    )
    if not are_ids_comparable(external_card, experiment.card):
        return known
    same_ids = external_validation.find_same_ids(external.recordings, internal)
    if same_ids and external_card.dataset == "folder":
        logger.info(
            "%d recordings have an id that the experiment has too: counted as the same persons", len(same_ids)
        )
    return known | same_ids


def are_ids_comparable(external: "DatasetCard", internal: "DatasetCard") -> bool:
    """Whether the same id means the same person in two data sets.

    This holds within a data set, except for simulated persons and for folders in which the id is a file name.
    """
    has_file_names = "folder" in (external.dataset, internal.dataset) and not (
        external.names_all_persons and internal.names_all_persons
    )
    return external.dataset == internal.dataset != "synthetic" and not has_file_names


def make_params(dataset: str, settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of the experiment, changed to download all of another data set.

    Parameters
    ----------
    dataset : str
        The other data set. If it must not be shared, its data get a remote of their own.
    settings : sequence of str
        Changes ``download.KEY=VALUE``.

    Raises
    ------
    MurmurError
        If a setting is of another section, or is wrong.
    """
    from murmur.datasets import is_shareable, load_reader

    content = read_yaml("params.yaml")
    content["download"]["limit"] = None
    content["evaluate"] |= {"thresholds": None, "uar_share": 0.0}  # it may be defined for other classes only
    for setting in settings:
        if not setting.startswith("download."):
            key = setting.partition("=")[0]
            raise MurmurError(
                f"-S {key}: only download.… can be set: all other parameters are those of the training"
            )
        recipes.apply_setting(content, setting)
    section = content["download"].get(dataset) or {}
    if not is_shareable(load_reader(dataset), section) and not content["download"]["remote"]:
        content["download"]["remote"] = "private"
    own_folder = content["download"]["folder"]
    if own_folder["path"] != "data/folder":  # relative to this folder, but read from another one
        own_folder["path"] = str(Path(own_folder["path"]).resolve())
    return content


def _parse_mappings(mappings: Sequence[str]) -> dict[str, str | None]:
    """The class of each label; None leaves the label out."""
    pairs = [mapping.rpartition("=") for mapping in mappings]
    wrong = [m for m, (label, _, c) in zip(mappings, pairs, strict=True) if not label or not c]
    if wrong:
        raise MurmurError(f"--map {wrong[0]}: expected LABEL=CLASS, or LABEL=null to leave the label out")
    return {label: None if c == "null" else c for label, _, c in pairs}
