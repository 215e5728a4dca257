"""A search of parameters by the score of the validation parts; no test part is scored."""

import fcntl
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from murmur.datasets import load_reader
from murmur.errors import MurmurError
from murmur.evaluation.aggregation import Tables, compute_levels
from murmur.evaluation.levels import Units, number_units
from murmur.evaluation.metrics import compute_count_metrics
from murmur.evaluation.validation_score import score_validation
from murmur.experiments import project
from murmur.experiments.comparison import LOWER_IS_BETTER
from murmur.experiments.search_results import BASE, REASON, Results, decode_values, format_values, name_state
from murmur.experiments.search_space import Range, Search, set_values
from murmur.params.validation import suggest, validate
from murmur.sections.evaluate import Evaluate
from murmur.sections.experiment import Params
from murmur.tables import parquet
from murmur.tables.folds import FOLDS
from murmur.tables.predictions import make_predictions_schema
from murmur.tables.recordings import RECORDINGS, DatasetCard, read_dataset_card
from murmur.tables.segments import SEGMENTS
from murmur.training import live

JOURNAL = "journal.log"
MOST_FAILURES = 5  # in a row
PREDICTIONS = "predictions/run_{}.murmur_predictions.parquet"

logger = logging.getLogger(__name__)


class Workspace(NamedTuple):
    """Where the trials run.

    Attributes
    ----------
    folder : Path
        The temporary folder of the project.
    parts : str
        The SHA-256 of the recordings and folds of the base, from `hash_parts`.
    """

    folder: Path
    parts: str


def run_search(search: Search, folder: Path) -> Iterator[Results]:
    """Score the base, then the trials that the journal does not have.

    All run in one temporary folder with the cache of the project: what ran before is not repeated. A trial is
    scored after each run, and is pruned if its score is worse than the median of the earlier trials after the
    same number of runs.

    The random numbers of a trial depend only on the number of trials before it. An interrupted search
    therefore tries the same values as one without interruption.

    Parameters
    ----------
    search : Search
        The search.
    folder : Path
        Where the journal is, or will be.

    Yields
    ------
    Results
        After the base and after each trial.

    Raises
    ------
    MurmurError
        If the base cannot be run or scored, if `MOST_FAILURES` trials in a row fail, or if the journal is of
        another search or in use.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if classes := _list_classes(search.base):
        _check_metric(search, classes)
    with _lock(folder / JOURNAL), _prepare(search) as workspace:
        study = _open_study(search, folder / JOURNAL, workspace.parts)
        results = Results(study, [*_score_runs(search, {}, workspace, BASE)][-1])
        yield results
        failures = 0
        while (n := len(results.trials)) < search.plan.trials:
            study.sampler = optuna.samplers.TPESampler(seed=n, constant_liar=False)
            _run_trial(study, search, workspace, f"trial {n + 1} of {search.plan.trials}")
            yield results
            failures = failures + 1 if name_state(results.trials[-1]) == "failed" else 0
            if failures == MOST_FAILURES:
                raise MurmurError(
                    f"the last {failures} trials failed, see above; correct the cause, then start it again"
                )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Refuse to use a journal that another process uses; remove a last line that is not complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MurmurError(f"{path}: another `murmur tune` uses it; wait until it has ended") from None
        file.truncate(path.read_bytes().rfind(b"\n") + 1)
        yield


@contextmanager
def _prepare(search: Search) -> Iterator[Workspace]:
    """Make the temporary folder with data and folds of the base; its trainings can be watched from here."""
    params = set_values(search.base, {"split.runs": search.runs})
    live.FOLDER.mkdir(exist_ok=True)
    with project.reproduce(params, "recordings", "download") as folder:
        _check_metric(search, read_dataset_card(folder / "data/recordings.parquet").classes)
        project.reproduce_again(folder, params, "data and folds", "split")
        (folder / live.FOLDER).symlink_to(live.FOLDER.resolve())
        yield Workspace(folder, hash_parts(folder, search.runs))


def _list_classes(base: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes, after `class_map`; none if they are known only from the labels of the recordings."""
    task = load_reader(base["dataset"]).TASKS.get(base["task"])
    names = dict.fromkeys(base["class_map"].get(name, name) for name in (task.classes if task else ()))
    return tuple(name for name in names if name is not None)


def _check_metric(search: Search, classes: Sequence[str]) -> None:
    """Refuse a metric that is not one of these classes."""
    n, name = len(classes), search.plan.metric
    known = compute_count_metrics(np.zeros((n, n)), classes, classes[:1]).keys() - {"n_no_answer"}
    if name not in known:
        raise MurmurError(f"{search.path}: metric: {name!r} is unknown; {suggest(name, known)}")


def hash_parts(folder: Path, runs: list[int]) -> str:
    """Return the SHA-256 of the recordings and folds; scores are comparable only if it is the same."""
    files = ["recordings.parquet", *(f"folds/run_{run}.parquet" for run in runs)]
    return hashlib.sha256(b"".join((folder / "data" / name).read_bytes() for name in files)).hexdigest()


def _open_study(search: Search, path: Path, parts: str) -> optuna.Study:
    """Open the journal, or begin it.

    Raises
    ------
    MurmurError
        If it is damaged, or of a search with other parameters, values, metric or data.
    """
    settings = {
        "parameters of the base": search.base,
        "runs": search.runs,
        "metric": search.plan.metric,
        "space": search.plan.space,
        "recordings or folds": parts,
    }
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="murmur",
            load_if_exists=True,
            direction="minimize" if search.plan.metric in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(),
        )
        earlier = study.user_attrs.get("settings", settings)
        other = next((name for name, value in settings.items() if earlier[name] != value), None)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # Optuna does not check its journal
        raise MurmurError(f"{path}: is damaged ({error}); remove it to begin again") from error
    if other:
        raise MurmurError(
            f"{path}: is of a search with other {other}; give {search.path} another name, or remove "
            f"{path.parent} to begin again"
        )
    study.set_user_attr("settings", settings)
    return study


def _run_trial(study: optuna.Study, search: Search, workspace: Workspace, name: str) -> None:
    """Choose values, score them after each run and record the result."""
    trial = study.ask({key: _make_distribution(domain) for key, domain in search.domains.items()})
    values = decode_values(search, trial.params)
    try:
        score = None
        for k, score in enumerate(_score_runs(search, values, workspace, name)):
            trial.report(score, k)
            if k + 1 < len(search.runs) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
        study.tell(trial, score)
    except MurmurError as error:
        logger.warning("%s: failed: %s", name, error)
        trial.set_user_attr(REASON, str(error))
        study.tell(trial, state=TrialState.PRUNED)  # TPE does not learn from the state FAIL


def _make_distribution(domain: Range | Mapping[str, Any]) -> BaseDistribution:
    if not isinstance(domain, Range):
        return CategoricalDistribution([*domain])
    if isinstance(domain.low, int):
        step = 1 if domain.step is None else int(domain.step)
        return IntDistribution(domain.low, int(domain.high), log=domain.log, step=step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _score_runs(
    search: Search, values: Mapping[str, Any], workspace: Workspace, name: str
) -> Iterator[float]:
    """Train one run after another; yield after each the mean score of the runs so far.

    Raises
    ------
    MurmurError
        If the values do not fit together, a stage fails, or the score is undefined.
    """
    params = set_values(search.base, {**values, "split.runs": search.runs})
    options = validate(Params, params, name).evaluate
    for k, run in enumerate(search.runs, 1):
        title = ": ".join(filter(None, [f"{name}, run {run}", format_values(values)]))
        project.reproduce_again(workspace.folder, params, title, f"train@{run}")
        if hash_parts(workspace.folder, search.runs) != workspace.parts:
            raise MurmurError("these values change the recordings or folds, so the score is not comparable")
        yield read_and_score(workspace.folder / "data", search.runs[:k], options, search.plan.metric)


def read_and_score(data: Path, runs: list[int], options: Evaluate, metric: str) -> float:
    """Read the tables of some runs and score their validation parts.

    Parameters
    ----------
    data : Path
        The folder with the outputs of the stages.
    runs : list of int
        The runs.
    options, metric
        As for `score_validation_parts`.
    """
    card = read_dataset_card(data / "recordings.parquet")
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    segments = parquet.read(data / "segments.parquet", SEGMENTS)
    folds = {run: parquet.read(data / f"folds/run_{run}.parquet", FOLDS) for run in runs}
    schema = make_predictions_schema(card.classes)
    predictions = {run: parquet.read(data / PREDICTIONS.format(run), schema) for run in runs}
    units = number_units(recordings, segments, card.classes)
    return score_validation_parts(predictions, folds, units, card, options, metric)


def score_validation_parts(
    predictions: Tables,
    folds: Tables,
    units: Mapping[str, Units],
    card: DatasetCard,
    options: Evaluate,
    metric: str,
) -> float:
    """Score the validation parts as the stage evaluate does, without the predictions of the test parts.

    Parameters
    ----------
    predictions, folds, units, card, options, metric
        As for `murmur.evaluation.validation_score.score_validation`.

    Returns
    -------
    float
        The mean over runs.

    Raises
    ------
    MurmurError
        If the score is undefined.
    """
    validation = {run: table[table["role"] == "validation"] for run, table in predictions.items()}
    inputs = (validation, folds, units, card, options)
    levels, fitted = compute_levels(*inputs, part="validation")
    if options.level not in levels:
        raise MurmurError(f"evaluate.level: {options.level} is below {next(iter(levels))}, what is predicted")
    score = score_validation(*inputs, fitted, metric)
    if reason := score["undefined_because"]:
        raise MurmurError(f"metric {metric} is undefined ({reason}); choose another, such as accuracy")
    return float(score["mean"])
