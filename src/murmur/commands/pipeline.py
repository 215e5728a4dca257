"""Bring the pipeline up to date from the DVC remotes, running only what changed, and describe the changes."""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from murmur.commands import comment
from murmur.commands.comment import OutputLine, Problem, Stage
from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.interruption import clean_up_on_signal
from murmur.params.yaml_files import parse_yaml, read_yaml

NO_ADDRESS = "/dev/null/"  # the address of a remote that has none yet begins with this


class RemoteState(NamedTuple):
    """What the DVC remotes hold.

    Attributes
    ----------
    missing : list of str
        Outputs that dvc.lock names and the remotes lack.
    options : list of str
        The options with which `dvc repro` fetches from them.
    problem : Problem or None
        Why they cannot be read.
    """

    missing: list[str]
    options: list[str]
    problem: Problem | None


class Plan(NamedTuple):
    """What is to be done, before any stage runs.

    Attributes
    ----------
    stages : list of Stage
        All stages, as reused.
    written_to_git : list of str
        The names of the stages with outputs that git keeps.
    remotes : str
        The DVC remotes in words; empty if there is none.
    without_address : list of str
        Remotes that outputs name and that have no address.
    is_unchanged : bool
        Whether nothing has to run.
    have_figures_changed : bool
        Whether the commit has other metrics or plots than the base.
    remote_state : RemoteState
        What the remotes hold.
    """

    stages: list[Stage]
    written_to_git: list[str]
    remotes: str
    without_address: list[str]
    is_unchanged: bool
    have_figures_changed: bool
    remote_state: RemoteState


def bring_up_to_date(
    base: str, tries: int, optional_remote: bool
) -> tuple[list[Stage], list[str], Problem | None]:
    """Run the stages that changed; fetch all others from the DVC remotes.

    If the commit has other metrics or plots than `base`, the stages that write them run even if dvc.lock
    shows no change, so that no figure is taken from the commit.

    Parameters
    ----------
    base : str
        The git revision to compare with.
    tries : int
        The number of attempts at each access to a remote.
    optional_remote : bool
        Whether to continue without a remote that cannot be read.

    Returns
    -------
    list of Stage
        All stages with their outcome.
    list of str
        Notes on the remotes.
    Problem or None
        Why the run is red.
    """
    from dvc.exceptions import DvcException

    if links := _find_links():
        return [], [], comment.report_links(links)
    try:
        plan = _make_plan(base, tries)
    except DvcException as error:
        return [], [], comment.report_unreadable(project.explain_lock(str(error)))
    missing, _, problem = plan.remote_state
    if problem and not optional_remote:
        return [], [], problem
    notes = comment.list_remote_notes(plan.remotes, missing, problem, plan.without_address)
    if plan.is_unchanged and not missing:
        return plan.stages, notes, None
    succeeded, lines, stages = _reproduce(plan, tries)
    if succeeded:
        return stages, notes, None
    if any(stage.outcome == "failed" for stage in stages):
        return stages, notes, comment.report_failed_stage(stages, lines, private=_is_private())
    return stages, notes, comment.report_unreachable(plan.remotes, tries, comment.find_reason(lines))


def _make_plan(base: str, tries: int) -> Plan:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # no lines about skipped stages on standard output
    have_figures_changed = bool(_list_changed_figures(base, "HEAD"))
    with Repo() as repo:
        stages = repo.index.stages
        remotes, without_address = _describe_remotes(repo)
        is_unchanged = _is_unchanged(repo) and not have_figures_changed
        return Plan(
            [Stage(stage.addressing, "reused", 0.0) for stage in stages],
            [stage.addressing for stage in stages if not all(out.use_cache for out in stage.outs)],
            remotes,
            without_address,
            is_unchanged,
            have_figures_changed,
            _fetch_outputs(repo, remotes, is_unchanged, tries),
        )


def _reproduce(plan: Plan, tries: int) -> tuple[bool, list[OutputLine], list[Stage]]:
    """Run `dvc repro`: whether it succeeded, its output, and the stages."""
    options = plan.remote_state.options
    tries = tries if options else 1  # without a remote a second attempt would be the same
    succeeded, lines = _run_dvc("repro", *options, tries=tries)
    stages = comment.parse_stages(lines, time.monotonic())
    forced = [s.name for s in stages if s.name in plan.written_to_git and s.outcome != "ran"]
    if succeeded and plan.have_figures_changed and forced:
        succeeded, more = _run_dvc("repro", *options, "--force", "--single-item", *forced, tries=tries)
        lines += more
        stages = comment.parse_stages(lines, time.monotonic())
    return succeeded, lines, stages


def _is_private() -> bool:
    """Whether the data set of params.yaml must not be shared."""
    from murmur.datasets import is_shareable, load_reader

    try:
        content = read_yaml("params.yaml")
        return not is_shareable(load_reader(content["dataset"]), content["download"][content["dataset"]])
    except (MurmurError, KeyError, TypeError, AttributeError):  # no such data set, so none of it was read
        return False


def _find_links() -> list[str]:
    """Symbolic links in git where stages write: a stage would replace the files that they point to."""
    files = project.run_git("ls-files", "--stage", "-z", "--", "data", "metrics", "models", "plots") or ""
    return [entry.partition("\t")[2] for entry in files.split("\0") if entry.startswith("120000 ")]


def _list_changed_figures(*revisions: str) -> list[str]:
    """The files in metrics and plots that differ between two revisions, or between one and the workspace."""
    return (project.run_git("diff", "--name-only", *revisions, "--", "metrics", "plots") or "").splitlines()


def _describe_remotes(repo: Any) -> tuple[str, list[str]]:
    """The DVC remotes of the outputs in words, and the names of those without an address.

    If any has no address the words are empty, because then DVC neither fetches nor pushes anything.
    """
    names = sorted({*(out.remote for out in _list_cached(repo)), repo.config["core"].get("remote")} - {None})
    urls = {name: repo.config["remote"].get(name, {}).get("url", NO_ADDRESS) for name in names}
    if without_address := [name for name, url in urls.items() if url.startswith(NO_ADDRESS)]:
        return "", without_address
    without_keys = {name: re.sub("//[^/]*@", "//", url) for name, url in urls.items()}
    return " and ".join(f"{comment.format_code(name)} ({url})" for name, url in without_keys.items()), []


def _list_cached(repo: Any) -> list[Any]:
    """The outputs of the pipeline that DVC keeps; git keeps the others."""
    return [out for stage in repo.index.stages for out in stage.outs if out.use_cache]


def _is_unchanged(repo: Any) -> bool:
    """Whether nothing changed since dvc.lock was written; data that are not here count as unchanged."""
    from dvc.exceptions import ReproductionError

    try:
        return not repo.reproduce(dry=True, allow_missing=True)
    except ReproductionError:  # an input of a changed stage is not here
        return False


def _fetch_outputs(repo: Any, remotes: str, is_unchanged: bool, tries: int) -> RemoteState:
    """Fetch the outputs that `dvc repro --pull --allow-missing` does not fetch.

    These are outputs in a folder that several stages fill and one stage reads as a whole, and outputs of
    which another stage reads a part.
    """
    if not remotes:
        return RemoteState([], [], None)
    status, problem = _try(tries, remotes, repo.data_status, not_in_remote=True, remote_refresh=True)
    if problem:
        return RemoteState([], [], problem)
    if missing := status["not_in_remote"]:
        return RemoteState(missing, ["--pull"], None)
    shared = _list_shared_outputs(repo)
    if shared and not is_unchanged:
        _, problem = _try(tries, remotes, repo.pull, shared, allow_missing=True)
    return RemoteState([], [] if problem else ["--pull", "--allow-missing"], problem)


def _list_shared_outputs(repo: Any) -> list[str]:
    """Cached outputs inside a folder that a stage reads, or with a part that a stage reads."""
    read = {Path(dep.fs_path) for stage in repo.index.stages for dep in stage.deps}
    folders_read_in_part = {parent for path in read for parent in path.parents}
    outputs = [Path(out.fs_path) for out in _list_cached(repo) if out.hash_info]
    return [os.path.relpath(out) for out in outputs if out.parent in read or out in folders_read_in_part]


def _try(
    tries: int, remotes: str, call: Callable[..., Any], *arguments: Any, **options: Any
) -> tuple[Any, Problem | None]:
    """Call a function that needs the remotes, again if it fails: its result, or the problem."""
    for k in range(tries):
        time.sleep(2**k if k else 0)
        try:
            return call(*arguments, **options), None
        except Exception as error:  # noqa: BLE001  # each kind of remote has its own
            reason = str(error)
    return None, comment.report_unreachable(remotes, tries, reason)


def _run_dvc(*arguments: str, tries: int = 1) -> tuple[bool, list[OutputLine]]:
    """Run dvc, again if it fails, and print its output: whether it succeeded, and the lines of the output."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {"PYTHONUNBUFFERED": "1"} | project.make_environment()
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    lines: list[OutputLine] = []
    for k in range(tries):
        time.sleep(2**k if k else 0)
        with (
            subprocess.Popen(command, env=environment, **pipe) as process,
            clean_up_on_signal(process.terminate),
        ):
            for line in process.stdout or ():
                print(line, end="", file=sys.stderr, flush=True)
                lines.append(OutputLine(time.monotonic(), line.rstrip("\n")))
        if process.returncode == 0 or comment.is_final(lines):
            break
    return process.returncode == 0, lines


def describe_changes(base: str) -> dict[str, str]:
    """Describe how metrics and plots differ from those of a git revision.

    Returns
    -------
    dict of str to str
        Sections of the comment in Markdown, by title.
    """
    changed = _list_changed_figures(base)
    if not changed:
        return {"Changes": f"None: metrics and plots are those of {comment.escape(base)}."}
    command = [sys.executable, "-m", "dvc", "metrics", "diff", base, "--md"]
    diff = subprocess.run(command, capture_output=True, text=True, env=project.make_environment()).stdout
    return {
        "Is the difference significant?": _compare_with(base),
        "Changed metrics": comment.format_metrics(diff) or "None of metrics/summary.json.",
        "Changed plots": comment.format_plots([path for path in changed if path.startswith("plots/")], base),
    }


def _compare_with(base: str) -> str:
    """The comparison of the workspace with a git revision, in Markdown."""
    from murmur.experiments import comparison  # imports scipy

    try:
        sides = [
            comparison.parse_experiment(*project.read_revision(name, comparison.FILES))
            for name in (base, "workspace")
        ]
        return comparison.format_markdown(_escape_all(comparison.compare_experiments(*sides)))
    except MurmurError as error:
        return f"No comparison: {comment.escape(str(error))}"


def _escape_all(result: Any) -> Any:
    """A copy of nested data with all texts and keys escaped for Markdown."""
    if isinstance(result, dict):
        return {_escape_all(key): _escape_all(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_escape_all(value) for value in result]
    return comment.escape(result) if isinstance(result, str) else result


def push_results(tries: int) -> Problem | None:
    """Push the outputs of dvc.lock and the run-cache to the DVC remotes.

    The run-cache goes to the default remote. It is not pushed if outputs have a remote of their own, as data
    that must not be shared have.

    Returns
    -------
    Problem or None
        Why a remote cannot be written.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        remotes, _ = _describe_remotes(repo)
        has_private_remote = any(out.remote for out in _list_cached(repo))
    if not remotes:
        return None
    options = [] if has_private_remote else ["--run-cache"]
    succeeded, lines = _run_dvc("push", *options, tries=tries)
    return None if succeeded else comment.report_unreachable(remotes, tries, comment.find_reason(lines))


def list_uncommitted_outputs() -> list[str]:
    """The files of stages in git, including dvc.lock, that differ from those in HEAD.

    The hash of data/weights in dvc.lock may differ: this folder holds other files on each computer. The hash
    of those that a training reads is in an output of the stage check.
    """
    of_other_commands = (":(exclude)metrics/elsewhere_*.json", ":(exclude)plots/robustness.csv")
    paths = ("dvc.lock", "metrics", "plots", *of_other_commands)
    status = project.run_git("status", "--porcelain", "--untracked-files=all", "--", *paths) or ""
    lines = [line for line in status.splitlines() if line[2:] != " dvc.lock" or _is_lock_changed(line[:2])]
    return [line[3:] for line in lines]


def _is_lock_changed(status: str) -> bool:
    """Whether more differs in dvc.lock than the hash of data/weights on which the stage check depends."""
    if set(status) - set(" M"):  # not modified but new, deleted or in conflict
        return True
    texts = (project.read_committed("HEAD", "dvc.lock") or "", Path("dvc.lock").read_text(encoding="utf-8"))
    locks = [parse_yaml(text, "dvc.lock") for text in texts]
    for lock in locks:
        check = lock["stages"].get("check", {})
        check["deps"] = [dep for dep in check.get("deps", []) if dep["path"] != "data/weights"]
    return locks[0] != locks[1]
