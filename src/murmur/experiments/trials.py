"""What was tried: commits, the workspace and DVC experiments, with their scores and changed parameters."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from murmur import formatting
from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.experiments.current import check_params_unchanged
from murmur.experiments.recipes import format_value
from murmur.params.yaml_files import parse_yaml

PARAMS_FILE, SUMMARY_FILE = "params.yaml", "metrics/summary.json"
IN_HEADING = ("dataset", "task", "evaluate.level")  # parameters in the heading of each group
# validation scores are comparable only if these are the same; fitted thresholds make them much higher
COMPARED = (*IN_HEADING, "class_map", "positive", "download.limit", "evaluate.thresholds")
MISSING = "(none)"  # the value of a parameter that an older or newer params.yaml does not have


@dataclass(frozen=True)
class Trial:
    """One set of parameters and, if it has run, its scores.

    Attributes
    ----------
    name, commit : str
        The name of the experiment or revision; the commit is empty for the workspace.
    state : str
        queued, running, failed or not run; empty if there are scores.
    params : dict
        The parameters by dotted key.
    metric : str
        The first headline metric; empty without scores.
    validation, test, low, high : float or None
        The score of the validation parts, that of the test parts, and the 95 % interval of the latter.
    leaky : bool
        Whether the experiment is leaky.
    """

    name: str
    commit: str
    state: str
    params: dict[str, Any]
    metric: str = ""
    validation: float | None = None
    test: float | None = None
    low: float | None = None
    high: float | None = None
    leaky: bool = False

    @property
    def compared(self) -> dict[str, Any]:
        """The parameters of data, level and thresholds; scores are comparable only if they are the same."""
        names = (*COMPARED, f"download.{self.params.get('dataset')}")
        sections = tuple(f"{name}." for name in names)
        return {key: value for key, value in self.params.items() if f"{key}.".startswith(sections)}


def list_trials(commits: int = 1) -> list[Trial]:
    """List the last commits of the branch, the workspace if it differs from HEAD, and all DVC experiments.

    Parameters
    ----------
    commits : int
        The number of commits; the first is HEAD.

    Raises
    ------
    MurmurError
        If there is no commit, or if a file of an experiment cannot be read.
    """
    head = project.find_commit("HEAD")
    listed = (project.run_git("log", "--format=%H", f"--max-count={commits}", head) or "").split()
    trials = [_read_commit(f"HEAD {head[:7]}", head), *(_read_commit(c[:7], c) for c in listed[1:])]
    workspace = _read_workspace()
    if replace(workspace, name=trials[0].name, commit=head) != trials[0]:
        trials.append(workspace)
    experiments = [*project.list_experiments(), *project.list_queue()]
    return trials + [_read_commit(e.name, e.commit, e.state) for e in experiments]


def _read_commit(name: str, commit: str, state: str = "") -> Trial:
    params, summary = (project.read_committed(commit, path) for path in (PARAMS_FILE, SUMMARY_FILE))
    return _make_trial(name, commit, state, params, None if state else summary)


def _read_workspace() -> Trial:
    """The workspace; without scores if params.yaml has changed since they were made."""
    files = (Path(PARAMS_FILE), Path(SUMMARY_FILE))
    params, summary = (file.read_text("utf-8") if file.is_file() else None for file in files)
    try:
        check_params_unchanged(["download", "duplicates", "evaluate"])
    except MurmurError:
        summary = None
    return _make_trial("workspace", "", "", params, summary)


def _make_trial(name: str, commit: str, state: str, params: str | None, summary: str | None) -> Trial:
    flat = dict(_flatten(parse_yaml(params or "{}", f"{name}: {PARAMS_FILE}")))
    if summary is None:
        return Trial(name, commit, state or "not run", flat)
    try:
        return Trial(name, commit, state, flat, **_parse_summary(json.loads(summary)))
    except (ValueError, AttributeError, KeyError, StopIteration) as error:
        raise MurmurError(
            f"{name}: {SUMMARY_FILE} is not as the stage evaluate writes it; make it again: dvc repro"
        ) from error


def _parse_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of metrics/summary.json; older versions have test scores only, without the key test."""
    test = summary.get("test", summary)
    metric = next(iter(test))
    return {
        "metric": metric,
        "validation": summary.get("validation", {}).get(metric),
        "test": test[metric],
        "low": test.get("interval_low"),
        "high": test.get("interval_high"),
        "leaky": bool(summary.get("leaky")),
    }


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values. The model is one value, because each model has other options."""
    for key, value in values.items() if isinstance(values, dict) else ():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name != "train.model":
            yield from _flatten(value, f"{name}.")
        else:
            yield name, value


def list_changes(trial: Trial, base: Trial) -> dict[str, Any]:
    """List the parameters in which a trial differs from `base`, without those of `compared`."""
    shown_in_heading = {**base.compared, **trial.compared}
    return {
        key: trial.params.get(key, MISSING)
        for key in {**base.params, **trial.params}
        if key not in shown_in_heading and trial.params.get(key, MISSING) != base.params.get(key, MISSING)
    }


def group_trials(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group the trials whose scores are comparable: same data, level, thresholds and metric.

    Returns
    -------
    list of list of Trial
        The groups in the order of their first trials. Each is sorted by the validation score, the best first,
        and trials without one last. A trial that has not run is in the first group of the same data.
    """
    groups: list[list[Trial]] = []
    for trial in sorted(trials, key=lambda trial: not trial.metric):
        same = (g for g in groups if trial.compared == g[0].compared and trial.metric in (g[0].metric, ""))
        if group := next(same, None):
            group.append(trial)
        else:
            groups.append([trial])
    groups.sort(key=lambda group: min(map(trials.index, group)))
    return [sorted(group, key=_rank) for group in groups]


def _rank(trial: Trial) -> tuple[bool, float, str]:
    return trial.validation is None, -(trial.validation or 0), trial.name


def describe_group(group: Sequence[Trial], base: Trial) -> str:
    """Describe metric, level and data of a group, and what else makes it not comparable with `base`."""
    dataset, task, level = (group[0].params.get(key, MISSING) for key in IN_HEADING)
    metric = next((f"{trial.metric} by {level}" for trial in group if trial.metric), "not run")
    changes = [
        f"{key}={format_value(value)}"
        for key, value in group[0].compared.items()
        if key not in IN_HEADING and base.params.get(key, MISSING) != value
    ]
    return ", ".join([f"{metric}: {dataset} ({task})", *changes])


def tabulate_trials(group: Sequence[Trial], base: Trial, *, test: bool) -> formatting.Rows:
    """Make the table of a group as rows of text, the header first.

    Parameters
    ----------
    group : sequence of Trial
        Comparable trials.
    base : Trial
        Only parameters that differ from its parameters are shown.
    test : bool
        Whether to show the test scores.
    """
    of_test = ("test", "95 % interval") if test else ()
    rows: list[tuple[str, ...]] = [("experiment", "validation", *of_test, "changed parameters")]
    for trial in group:
        scores = [trial.state or formatting.format_figure(trial.validation) + " LEAKY" * trial.leaky]
        if test:
            interval = formatting.format_interval({"low": trial.low, "high": trial.high})
            scores += [formatting.format_figure(trial.test), interval]
        changes = [f"{key}={format_value(value)}" for key, value in list_changes(trial, base).items()]
        rows.append((trial.name, *scores, ", ".join(changes)))
    return rows


def list_records(trials: Sequence[Trial], base: Trial, *, test: bool) -> list[dict[str, Any]]:
    """List the trials as records, with the parameters of the data and those that any trial changes."""
    keys = [*dict.fromkeys(key for t in trials for key in {**t.compared, **list_changes(t, base)})]
    of_test = ("test", "low", "high") if test else ()
    shown = ("name", "commit", "state", "metric", "validation", *of_test, "leaky")
    return [
        {name: getattr(trial, name) for name in shown}
        | {key: format_value(trial.params.get(key, MISSING)) for key in keys}
        for trial in trials
    ]
