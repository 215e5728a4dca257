"""The description of a trained model, model.json: all that a program needs besides the weights."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from murmur.errors import MurmurError
from murmur.inference.familiarity import Reference
from murmur.params.validation import validate
from murmur.sections.clean import Clean
from murmur.sections.embed import Embed
from murmur.sections.evaluate import Evaluate
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment
from murmur.sections.train import NetworkOptions

SCHEMA = 2  # raised when an older version of murmur would misunderstand the file, or this one an older file
JSON_NAME, WEIGHTS_NAME = "model.json", "model.safetensors"
Interval = dict[str, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelParams(_Part):
    """The sections of params.yaml that the computation of a prediction uses."""

    clean: Clean
    segment: Segment
    mel: Mel
    embed: Embed
    train: NetworkOptions
    evaluate: Evaluate


class Decision(_Part):
    """How probabilities of a level become a class; fitted on all validation parts of the cross-validation.

    Attributes
    ----------
    temperature : float
        Divides the logarithms of the probabilities; 1 if there were no validation parts.
    weights : dict of str to float
        Factor of the probability of each class.
    regression : dict of str to dict of str to float, or None
        Of patients, with `evaluate.rule: regression`: for each figure of `evaluation.regression`, and the
        intercept, the coefficient of each class.
    """

    temperature: Annotated[float, Field(gt=0)]
    weights: dict[str, Annotated[float, Field(ge=0)]]
    regression: dict[str, dict[str, float]] | None = None


class Performance(_Part):
    """The performance in the cross-validation, which the model is expected to have on similar recordings.

    Attributes
    ----------
    level : str
        segment, recording or patient.
    units, persons : int
        Number of units of this level, and of persons.
    metrics : dict
        For each metric mean and sd over the runs, and low and high of the 95 % interval over persons.
    baseline : dict
        The metrics of the best constant prediction.
    leaky : bool
        Whether test and training parts of the cross-validation shared something.
    flaws : str
        What is leaky, or "none".
    runs, folds : int
        Number of runs, and of folds in all runs.
    """

    level: str
    units: int
    persons: int
    metrics: dict[str, Interval]
    baseline: dict[str, Any]
    leaky: bool
    flaws: str
    runs: int
    folds: int


class Data(_Part):
    """The recordings that the model was trained on: their numbers, their licence, and hashes of them."""

    dataset: str
    task: str
    recordings: int
    patients: int
    persons: int
    hours: float
    counts: dict[str, dict[str, int]]
    licence: str
    shareable: bool
    sha256: str


class ModelInfo(_Part):
    """The content of model.json.

    Attributes
    ----------
    schema_version : int
        Version of this schema.
    murmur : str
        Version of the library that wrote the file.
    classes, positive : tuple of str
        The classes in the order of the probabilities, and those counted as positive.
    level : {"segment", "patient"}
        What the network predicts.
    shape : tuple of int
        Channels, mels and frames of the features of a segment.
    params : ModelParams
        All parameters of the signal, the spectrogram, the network and the decision rule.
    decisions : dict of str to Decision
        For each level.
    ensemble : int
        Number of networks; their probabilities are averaged.
    epochs : int
        Number of epochs of the training.
    performance : Performance
    familiarity : Reference
        What the recordings of the training data are like.
    data : Data
    code_sha256 : str
        Hash of the code that trained the model and computes its features.
    weights_sha256 : str
        Hash of model.safetensors.
    intended_use : str
        What the model may be used for.
    """

    schema_version: int = SCHEMA
    murmur: str
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    level: Literal["segment", "patient"]
    shape: tuple[int, int, int]
    params: ModelParams
    decisions: dict[str, Decision]
    ensemble: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    performance: Performance
    familiarity: Reference
    data: Data
    code_sha256: str
    weights_sha256: str
    intended_use: str

    def to_json(self) -> str:
        """Return the content of model.json."""
        content = self.model_dump(mode="json")
        return json.dumps(content | {"sha256": _hash_content(content)}, indent=2, ensure_ascii=False) + "\n"


def _hash_content(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_model_info(text: str, path: str | Path) -> ModelInfo:
    """Parse and check the content of a model.json.

    Parameters
    ----------
    text : str
        The content.
    path : path-like
        Where it was read from, for error messages.

    Raises
    ------
    MurmurError
        If the text is not JSON, of another schema, has been changed, or a key is missing or wrong.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MurmurError(f"{path}: not JSON ({error}); make the model again: dvc repro package") from error
    schema = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise MurmurError(f"{path}: not the description of a model of murmur: it has no schema_version")
    if schema < SCHEMA:
        raise MurmurError(
            f"{path}: schema {schema}, made by an older version of murmur, which this version cannot read; "
            "make the model again: dvc repro package"
        )
    if schema > SCHEMA:
        raise MurmurError(
            f"{path}: schema {schema}; this version of murmur reads {SCHEMA}: update murmur, or make "
            "the model again with this version"
        )
    if "sha256" not in content:
        raise MurmurError(f"{path}: has no sha256; make the model again: dvc repro package")
    if content.pop("sha256") != _hash_content(content):
        raise MurmurError(
            f"{path}: changed since it was written (its SHA-256 differs); copy the whole folder again, or "
            "make the model again: dvc repro package"
        )
    info = validate(ModelInfo, content, where=str(path))
    _check_classes(info, path)
    _check_consistency(info, path)
    return info


def _check_consistency(info: ModelInfo, path: str | Path) -> None:
    """Check that values that must agree do so; of a file that murmur wrote they always do."""
    n = len(info.familiarity.mean)
    rows = info.familiarity.precision
    is_consistent = {
        "decisions": set(info.decisions) == {"segment", "recording", "patient"},
        "level": (info.level == "patient") == (info.params.train.model.level == "patient"),
        "familiarity": len(rows) == n and all(len(row) == n for row in rows),
        "positive": bool(info.positive),
        "decisions.patient.regression": _is_regression_complete(info),
    }
    if wrong := [key for key, holds in is_consistent.items() if not holds]:
        raise MurmurError(
            f"{path}: {wrong[0]} does not fit the rest; make the model again: dvc repro package"
        )


def _is_regression_complete(info: ModelInfo) -> bool:
    """Whether there is a regression if the rule needs it, with a coefficient for each class."""
    regression = info.decisions["patient"].regression if "patient" in info.decisions else None
    if info.params.evaluate.rule != "regression":
        return regression is None
    return regression is not None and all(set(row) == set(info.classes) for row in regression.values())


def _check_classes(info: ModelInfo, path: str | Path) -> None:
    """Check that all parts of the file are of the same classes."""
    for level, decision in info.decisions.items():
        if set(decision.weights) != set(info.classes):
            raise MurmurError(
                f"{path}: decisions.{level} is of the classes {', '.join(decision.weights)}, the model of "
                f"{', '.join(info.classes)}; make the model again: dvc repro package"
            )
    if not set(info.positive) <= set(info.classes):
        raise MurmurError(f"{path}: positive {', '.join(info.positive)}: not among the classes")
