"""The model folder of an experiment, from its final networks and the results of its cross-validation."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from murmur import workers
from murmur.evaluation.aggregation import fit_decisions
from murmur.evaluation.levels import number_units
from murmur.evaluation.regression import read_coefficients
from murmur.features import store
from murmur.inference.familiarity import Reference, describe_signal, fit_reference
from murmur.inference.model_info import Data, Decision, ModelInfo, ModelParams, Performance
from murmur.sections.evaluate import Evaluate
from murmur.sections.train import NetworkOptions
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import DatasetCard
from murmur.version import __version__

logger = logging.getLogger(__name__)
INTENDED_USE = (
    "Research only. Not a medical device: it must not be used for diagnosis, for screening or for decisions "
    "on treatment. Its performance is known only for recordings like those of its training data."
)


def select_params(params: Any) -> ModelParams:
    """Select the parameters that the computation of a prediction uses.

    Parameters
    ----------
    params : object
        With the sections of params.yaml that `ModelParams` names.

    Returns
    -------
    ModelParams
    """
    sections = {name: getattr(params, name) for name in ModelParams.model_fields}
    train = sections["train"].model_dump(include=set(NetworkOptions.model_fields))
    return ModelParams(**sections | {"train": NetworkOptions(**train)})


def describe_decisions(
    recordings: pd.DataFrame,
    card: DatasetCard,
    segments: pd.DataFrame,
    predictions: Mapping[int, pd.DataFrame],
    options: Evaluate,
) -> dict[str, Decision]:
    """Fit temperature, class weights and regression of each level to the validation parts of all folds.

    Parameters
    ----------
    recordings, segments : DataFrame
        As in `murmur.tables`; recordings with the column group of `murmur.tables.groups`.
    card : DatasetCard
        The description of the data set.
    predictions : dict of int to DataFrame
        By run.
    options : Evaluate
        Section `evaluate` of params.yaml.

    Returns
    -------
    dict of str to Decision
        By level. Without validation parts (`split.validate_on: test`) all temperatures and weights are 1.
    """
    fitted = fit_decisions(predictions, number_units(recordings, segments, card.classes), card, options)
    neutral = Decision(temperature=1.0, weights=dict.fromkeys(card.classes, 1.0))
    decisions = dict.fromkeys(LEVELS, neutral)
    for fit in fitted.decisions.to_dict("records"):
        temperature = 1.0 if np.isnan(fit["temperature"]) else fit["temperature"]
        weights = {c: float(fit[f"weight_{c}"]) for c in card.classes}
        decisions[fit["level"]] = Decision(temperature=temperature, weights=weights)
    if len(fitted.regression):
        coefficients = read_coefficients(fitted.regression, card.classes).to_dict("index")
        decisions["patient"] = decisions["patient"].model_copy(update={"regression": coefficients})
    return decisions


def describe_recordings(
    recordings: pd.DataFrame, signals: pd.DataFrame, samples: Path, rate: int
) -> Reference:
    """Describe what the recordings are like, for the check of new recordings.

    Parameters
    ----------
    recordings, signals : DataFrame
        As in `murmur.tables`.
    samples : Path
        data/signals.npy.
    rate : int
        Sample rate of the signals, Hz.

    Returns
    -------
    Reference
    """

    def describe(row: Any) -> np.ndarray:
        flat = store.map_npy(samples)  # opened for each recording: mapped pages count as memory in use
        return describe_signal(np.array(flat[row.offset : row.offset + row.n_samples]), rate)

    rows = signals.set_index("recording_id").loc[recordings["recording_id"]]
    figures = workers.map_threads(describe, list(rows.itertuples()), "describing the recordings")
    return fit_reference(np.stack(figures), recordings["person_id"].to_numpy(str))


def describe_performance(details: Mapping[str, Any]) -> Performance:
    """Take the performance from metrics/details.json.

    Parameters
    ----------
    details : dict
        Its content.

    Returns
    -------
    Performance
    """
    protocol = details["protocol"]
    return Performance(
        level=details["level"],
        units=details["scored"]["units"],
        persons=details["data"]["persons"],
        metrics=details["headline"],
        baseline=details["baseline"],
        leaky=protocol["leaky"],
        flaws=protocol["flaws"],
        runs=protocol["runs"],
        folds=details["parts"]["folds"],
    )


def log_smaller_ensemble(ensemble: int, details: Mapping[str, Any]) -> None:
    """Log a note if the model has fewer networks than each fold that its performance is measured on."""
    protocol = details["protocol"]
    n = protocol.get("refit") or protocol.get("inner") or 1
    if ensemble < n:
        logger.info(
            f"final.ensemble {ensemble}: the performance in model.json is that of the mean of {n} networks; "
            f"set final.ensemble to {n} for a model like those of the cross-validation"
        )


def describe_data(details: Mapping[str, Any]) -> Data:
    """Take the description of the data from metrics/details.json, of which `details` is the content."""
    return Data(**{name: details["data"][name] for name in Data.model_fields})


def hash_files(paths: Iterable[Path]) -> str:
    """Compute a hash of the names and contents of files, and of the Python files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def make_model_info(
    card: DatasetCard,
    params: ModelParams,
    details: Mapping[str, Any],
    weights: bytes,
    *,
    decisions: Mapping[str, Decision],
    familiarity: Reference,
    shape: tuple[int, int, int],
    ensemble: int,
    epochs: int,
    code_sha256: str,
) -> ModelInfo:
    """Collect the description of a model.

    Parameters
    ----------
    card : DatasetCard
        The description of the data set.
    params : ModelParams
        From `select_params`.
    details : dict
        Content of metrics/details.json.
    weights : bytes
        Content of model.safetensors.
    decisions, familiarity
        From `describe_decisions` and `describe_recordings`.
    shape : tuple of int
        Channels, mels and frames of the features.
    ensemble, epochs : int
        Number of networks, and of the epochs of their training.
    code_sha256 : str
        From `hash_files`.

    Returns
    -------
    ModelInfo
    """
    log_smaller_ensemble(ensemble, details)
    return ModelInfo(
        murmur=__version__,
        classes=card.classes,
        positive=card.positive,
        level="patient" if params.train.model.level == "patient" else "segment",
        shape=shape,
        params=params,
        decisions=dict(decisions),
        ensemble=ensemble,
        epochs=epochs,
        performance=describe_performance(details),
        familiarity=familiarity,
        data=describe_data(details),
        code_sha256=code_sha256,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        intended_use=INTENDED_USE,
    )


def read_epochs(path: Path) -> int:
    """Read the number of epochs from the metadata of the file that `fit_networks` wrote."""
    with safe_open(path, "numpy") as file:
        return int(file.metadata()["epochs"])
