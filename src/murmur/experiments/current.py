"""The current experiment: the parameters, data, models and figures in the folder of the project."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from murmur import sections
from murmur.errors import MurmurError
from murmur.params.yaml_files import read_yaml

if TYPE_CHECKING:  # these import torch
    import pandas as pd

    from murmur.features.chain import PreparedRecordings
    from murmur.generalisation.trained_models import TrainedModels
    from murmur.tables.recordings import DatasetCard

logger = logging.getLogger(__name__)

FOLDS_FILE, DETAILS_FILE = "metrics/folds.csv", "metrics/details.json"
EVALUATE = "dvc repro evaluate"
PATTERNS = (
    *("dvc.lock", "params.yaml", "metrics", "models", "data/folds", "data/mel", "data/embedding"),
    *("data/*.parquet", "data/*.npy"),
)
SECTIONS = (  # of params.yaml that the models and their figures depend on
    *("seed", "task", "duplicates", "clean", "segment", "mel", "embed", "split", "train", "evaluate"),
)


class Moments(BaseModel):
    """A headline metric in metrics/details.json."""

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


class Baseline(BaseModel):
    """The best constant-class baseline in metrics/details.json; it also has each headline metric."""

    answer: str


class Validation(BaseModel):
    """The score of the validation parts in metrics/details.json."""

    metric: str
    mean: float | None
    sd: float | None
    undefined_because: str | None


class Protocol(BaseModel):
    """The protocol in metrics/details.json: the entries that pages and tables need."""

    method: str
    folds: int
    runs: int
    group_by: str
    merge_near_duplicates: bool
    leaky: bool


class Resampled(BaseModel):
    """What the bootstrap resamples, in metrics/details.json."""

    groups: int
    persons: int


class Data(BaseModel):
    """What metrics/details.json has about the data: the entries that pages and tables need."""

    dataset: str
    task: str
    classes: list[str]
    positive: list[str]
    recordings: int
    patients: int
    persons: int
    unknown_persons: int
    counts: Annotated[dict[str, dict[str, int]], Field(min_length=1)]
    sample_rates: dict[str, dict[str, int]]
    sha256: str


class Details(BaseModel):
    """What metrics/details.json must have."""

    level: str
    rule: dict[str, Any]
    headline: Annotated[dict[str, Moments], Field(min_length=1)]
    baseline: Baseline
    validation: Validation
    missed: int
    no_answer: dict[str, int]
    absent: dict[str, int]
    data: Data
    protocol: Protocol
    scored: dict[str, Any]
    resampled: Resampled
    parts: dict[str, int]


FileState = dict[str, tuple[int, ...]]  # by path: inode, size and time of the last change


@dataclass(frozen=True)
class CurrentExperiment:
    """The current experiment with its trained models.

    Attributes
    ----------
    params : namespace
        The sections `SECTIONS` of params.yaml.
    card : DatasetCard
        The facts about its data set.
    models : TrainedModels
        The model of each fold of the chosen runs.
    data : PreparedRecordings
        Its recordings, with the groups that the bootstrap resamples.
    folds : dict of int to DataFrame
        The folds of each chosen run.
    """

    params: SimpleNamespace
    card: "DatasetCard"
    models: "TrainedModels"
    data: "PreparedRecordings"
    folds: "dict[int, pd.DataFrame]"


def load_experiment(runs: Sequence[int] | None = None) -> CurrentExperiment:
    """Read the current experiment.

    Parameters
    ----------
    runs : sequence of int, optional
        The chosen runs; by default all of `split.runs`.

    Raises
    ------
    MurmurError
        If a part of it is missing, or if params.yaml has changed since it ran.
    """
    from murmur.evaluation.aggregation import Fitted
    from murmur.evaluation.regression import COLUMNS
    from murmur.generalisation import trained_models  # imports torch
    from murmur.tables import parquet
    from murmur.tables.csv_reader import read_csv
    from murmur.tables.folds import FOLDS
    from murmur.tables.recordings import read_dataset_card

    p = sections.load(*SECTIONS)
    chosen = sorted({*(runs or p.split.runs)})
    trainings = [f"train@{run}" for run in chosen]
    check_params_unchanged(["download", "clean", "segment", *list_feature_stages(p), *trainings, "evaluate"])
    decisions = read_csv("metrics/calibration.csv", ["run", "fold"], may_be_empty=False)
    fitted = Fitted(decisions, read_csv("metrics/regression.csv", COLUMNS))
    weights = trained_models.find_weights(Path("models"), decisions, chosen)
    card = read_dataset_card("data/recordings.parquet")
    return CurrentExperiment(
        params=p,
        card=card,
        models=trained_models.TrainedModels(weights, card.classes, fitted, p.train, p.evaluate, p.seed),
        data=_read_recordings(p.train.features),
        folds={run: parquet.read(f"data/folds/run_{run}.parquet", FOLDS) for run in chosen},
    )


def _read_recordings(features: str) -> "PreparedRecordings":
    from murmur.features.chain import read_prepared
    from murmur.tables import parquet
    from murmur.tables.groups import GROUPS

    data = read_prepared(Path("data"), features)
    groups = parquet.read("data/groups.parquet", GROUPS)
    return replace(data, recordings=data.recordings.merge(groups, on="recording_id", validate="1:1"))


def list_feature_stages(p: SimpleNamespace) -> list[str]:
    """The DVC stages that compute the features of the model: mel, and embed if it reads embeddings.

    Parameters
    ----------
    p : namespace
        The sections embed and train of params.yaml.
    """
    embeddings = [f"embed@{name}" for name in p.embed.models] if p.train.features == "embedding" else []
    return ["mel", *embeddings]


def read_details(folder: Path = Path()) -> dict[str, Any]:
    """Read metrics/details.json of the experiment in a folder.

    Raises
    ------
    MurmurError
        If it is missing, is not JSON, lacks a key or has a value of another type.
    """
    details = read_json(folder / DETAILS_FILE)
    if missing := [key for key in Details.model_fields if key not in details]:
        raise MurmurError(f"{folder / DETAILS_FILE}: no {', '.join(missing)}; make it again: {EVALUATE}")
    try:
        Details.model_validate(details, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MurmurError(
            f"{folder / DETAILS_FILE}: {key}: {first['msg']}; make it again: {EVALUATE}"
        ) from None
    return details


def read_bytes(path: Path) -> bytes:
    """Read a file that the stage evaluate writes.

    Raises
    ------
    MurmurError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MurmurError(f"{path}: cannot be read; make it: {EVALUATE}") from error


def read_text(path: Path) -> str:
    """As `read_bytes`, decoded as UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise MurmurError(f"{path}: is not UTF-8 ({error}); make it again: {EVALUATE}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that the stage evaluate writes.

    Raises
    ------
    MurmurError
        If it cannot be read, or is not a JSON object.
    """
    try:
        content = json.loads(read_text(path))
        if not isinstance(content, dict):
            raise ValueError(f"found {type(content).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise MurmurError(f"{path}: is not JSON ({error}); make it again: {EVALUATE}") from error
    return content


def hash_experiment(folder: Path = Path()) -> str:
    """The SHA-256 of metrics/folds.csv.

    Files that other commands write hold it, so that they can be recognised as parts of the same experiment.

    Raises
    ------
    MurmurError
        If there is no metrics/folds.csv.
    """
    return hashlib.sha256(read_bytes(folder / FOLDS_FILE)).hexdigest()


def check_params_unchanged(stages: Sequence[str]) -> None:
    """Check that params.yaml has the values with which stages last ran, according to dvc.lock.

    Parameters
    ----------
    stages : sequence of str
        Names as in dvc.lock, such as ``train@0``.

    Raises
    ------
    MurmurError
        Naming the stage that has not run, or the key that has changed.
    """
    if not Path("dvc.lock").is_file():
        raise MurmurError("workspace: no dvc.lock: make it with `dvc repro`")
    lock, current = read_yaml("dvc.lock"), read_yaml("params.yaml")
    for stage in stages:
        entry = _get(lock, f"stages.{stage}")
        if not isinstance(entry, dict):
            raise MurmurError(f"stage {stage} has not run with this params.yaml: `dvc repro` first")
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            if _get(current, key) != value:
                raise MurmurError(
                    f"params.yaml: {key} has changed since {stage} ran: `dvc repro` first, or restore "
                    "its value"
                )


def _get(content: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def warn_if_params_changed() -> None:
    """Log a note if the figures of the experiment were made with another params.yaml."""
    if not (Path("dvc.lock").is_file() and Path("params.yaml").is_file()):
        return
    try:
        check_params_unchanged(["download", "duplicates", "evaluate"])
    except MurmurError as error:
        logger.info("the figures are of an earlier run: %s", error)


def record_files() -> FileState:
    """Record the state of the files of the experiment, to check later that none was replaced.

    Raises
    ------
    MurmurError
        If `dvc repro` is running and replaces them.
    """
    if pids := _find_writing_processes():
        raise MurmurError(
            f"`dvc repro` is running here (process {pids[0]}) and replaces files: wait until it has ended"
        )
    paths = [path for pattern in PATTERNS for path in Path().glob(pattern)]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    state = {f.as_posix(): f.stat() for f in files if f.is_file() and not f.name.startswith("elsewhere_")}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in state.items()}


def check_files_unchanged(before: Mapping[str, tuple[int, ...]]) -> None:
    """Check that no file of the experiment was replaced.

    Parameters
    ----------
    before : mapping
        The state that `record_files` returned.

    Raises
    ------
    MurmurError
        Naming a file that was replaced, removed or added.
    """
    now = record_files()
    if changed := sorted(path for path in {*before, *now} if before.get(path) != now.get(path)):
        raise MurmurError(
            f"{changed[0]} was replaced while this ran (such files: {len(changed)}): the figures would be of "
            "two experiments, so nothing is written; run it again"
        )


def _find_writing_processes() -> list[int]:
    """The running processes that write files of the experiment, according to the lock file of DVC."""
    import psutil

    try:
        lock = json.loads(Path(".dvc/tmp/rwlock").read_text(encoding="utf-8"))
        pids = {int(entry["pid"]) for path, entry in lock.get("write", {}).items() if _is_part(path)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, or cut off by a kill of DVC
        return []
    return sorted(pid for pid in pids if psutil.pid_exists(pid))


def _is_part(path: str) -> bool:
    """Whether a file or folder belongs to the experiment."""
    folders = [Path(name).resolve() for name in ("data", "models", "metrics")]
    return any(Path(path).is_relative_to(folder) for folder in folders) and "elsewhere_" not in path
