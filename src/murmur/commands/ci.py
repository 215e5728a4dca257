"""Bring the pipeline up to date from what the remotes have, running only what changed; what moved by it."""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from murmur.commands import comment
from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.params.yaml_files import read_yaml

NOWHERE = "/dev/null/"  # how the address of a remote begins that has none yet


def bring_up_to_date(
    base: str, tries: int, optional_remote: bool
) -> tuple[list[comment.Stage], list[str], comment.Problem | None]:
    """Run what changed, from what the remotes have: the stages, remarks, why it is red.

    Where the commit has other metrics or plots than `base`, the stages that write them run whatever dvc.lock
    says: no figure is taken from the commit.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if links := _links():
        return [], [], comment.linked(links)
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would say on stdout that it skips stages
    have_moved = bool(_moved(base, "HEAD"))
    try:
        with Repo() as repo:
            (remotes, unknown), is_same = _remotes(repo), _is_same(repo) and not have_moved
            for_git = [s.addressing for s in repo.index.stages if not all(out.use_cache for out in s.outs)]
            plan = [comment.Stage(stage.addressing, "reused", 0.0) for stage in repo.index.stages]
            lacking, how, problem = _fetched(repo, remotes, is_same, tries)
    except DvcException as error:
        return [], [], comment.unreadable(str(error))
    if problem and not optional_remote:
        return [], [], problem
    notes = comment.remarks(remotes, lacking, problem, unknown)
    if is_same and not lacking:
        return plan, notes, None
    tries_here = tries if how else 1
    done, said = _said("repro", *how, tries=tries_here)
    stages = comment.stages(said, time.monotonic())
    again = [s.name for s in stages if s.name in for_git and s.outcome != "ran"]
    if done and have_moved and again:
        done, more = _said("repro", *how, "--force", "--single-item", *again, tries=tries_here)
        said += more
        stages = comment.stages(said, time.monotonic())
    if done:
        return stages, notes, None
    is_broken = any(stage.outcome == "failed" for stage in stages)
    if is_broken:
        return stages, notes, comment.broken(stages, said, private=_is_private())
    return stages, notes, comment.out_of_reach(remotes, tries, comment.reason(said))


def _is_private() -> bool:
    """Whether the data set of params.yaml may not be passed on."""
    from murmur.datasets import is_shareable, load_reader

    try:
        content = read_yaml("params.yaml")
        return not is_shareable(load_reader(content["dataset"]), content["download"][content["dataset"]])
    except (MurmurError, KeyError, TypeError, AttributeError):  # no such data set: nothing of it was read
        return False


def _links() -> list[str]:
    """Symbolic links that git has where stages write: what they lead to would be replaced."""
    tracked = project.run_git("ls-files", "--stage", "-z", "--", "data", "metrics", "models", "plots") or ""
    return [entry.partition("\t")[2] for entry in tracked.split("\0") if entry.startswith("120000 ")]


def _moved(*revisions: str) -> list[str]:
    """The files in metrics and plots that differ between two revisions, or one and the workspace."""
    return (project.run_git("diff", "--name-only", *revisions, "--", "metrics", "plots") or "").splitlines()


def _remotes(repo: Any) -> tuple[str, list[str]]:
    """The DVC remotes of the pipeline's outputs in words, and the names of which none has an address.

    Where one has no address there are none in words: DVC then neither fetches nor pushes anything.
    """
    names = sorted({*(out.remote for out in _cached(repo)), repo.config["core"].get("remote")} - {None})
    urls = {name: repo.config["remote"].get(name, {}).get("url", NOWHERE) for name in names}
    if unknown := [name for name, url in urls.items() if url.startswith(NOWHERE)]:
        return "", unknown
    return " and ".join(f"{comment.code(n)} ({re.sub('//[^/]*@', '//', u)})" for n, u in urls.items()), []


def _cached(repo: Any) -> list[Any]:
    """The outputs of the pipeline that DVC keeps, not git."""
    return [out for stage in repo.index.stages for out in stage.outs if out.use_cache]


def _is_same(repo: Any) -> bool:
    """Whether nothing changed since dvc.lock was written; what is not here is taken as it says."""
    from dvc.exceptions import ReproductionError

    try:
        return not repo.reproduce(dry=True, allow_missing=True)
    except ReproductionError:  # what a changed stage reads is not here
        return False


def _fetched(
    repo: Any, remotes: str, is_same: bool, tries: int
) -> tuple[list[str], list[str], comment.Problem | None]:
    """What the remotes lack of what dvc.lock names; the options of `dvc repro` that then do; what went wrong.

    If something is to run, fetches what `dvc repro --pull --allow-missing` would not, of a folder that a
    stage reads whole: its outputs if several stages fill it, all of it if another stage fetches a part.
    """
    if not remotes:
        return [], [], None
    refreshed = {"not_in_remote": True, "remote_refresh": True}
    status, problem = _tried(tries, remotes, repo.data_status, **refreshed)
    if problem:
        return [], [], problem
    if lacking := status["not_in_remote"]:
        return lacking, ["--pull"], None
    stages = repo.index.stages
    read = {Path(dep.fs_path) for stage in stages for dep in stage.deps}
    parts = {parent for path in read for parent in path.parents}
    outs = [Path(out.fs_path) for out in _cached(repo) if out.hash_info]
    shared = [os.path.relpath(out) for out in outs if out.parent in read or out in parts]
    if shared and not is_same:
        _, problem = _tried(tries, remotes, repo.pull, shared, allow_missing=True)
    return [], [] if problem else ["--pull", "--allow-missing"], problem


def _tried(
    tries: int, remotes: str, call: Callable[..., Any], *arguments: Any, **options: Any
) -> tuple[Any, comment.Problem | None]:
    """The result of a call that needs the remotes, or why they are out of reach after so many tries."""
    for k in range(tries):
        time.sleep(2**k if k else 0)
        try:
            return call(*arguments, **options), None
        except Exception as error:  # each kind of remote has its own
            why = str(error)
    return None, comment.out_of_reach(remotes, tries, why)


def _said(*arguments: str, tries: int = 1) -> tuple[bool, list[tuple[float, str]]]:
    """Run dvc, a few times if it fails, passing on what it says: whether it succeeded, and its lines."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {"PYTHONUNBUFFERED": "1"} | project.make_environment()
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    said: list[tuple[float, str]] = []
    for k in range(tries):
        time.sleep(2**k if k else 0)
        with subprocess.Popen(command, env=environment, **pipe) as process:
            for line in process.stdout or ():
                print(line, end="", file=sys.stderr, flush=True)
                said.append((time.monotonic(), line.rstrip("\n")))
        if process.returncode == 0 or comment.is_final(said):
            break
    return process.returncode == 0, said


def moved(base: str) -> dict[str, str]:
    """What differs from the base, in Markdown by title: metrics, whether it means anything, plots."""
    changed = _moved(base)
    if not changed:
        return {"What moved": f"Nothing: metrics and plots are those of {comment.plain(base)}."}
    from murmur.experiments import comparison  # imports scipy

    command = [sys.executable, "-m", "dvc", "metrics", "diff", base, "--md"]
    figures = subprocess.run(command, capture_output=True, text=True, env=project.make_environment()).stdout
    try:
        sides = [
            comparison.parse_experiment(*project.read_revision(name, comparison.FILES))
            for name in (base, "workspace")
        ]
        meaning = comparison.format_markdown(_plain(comparison.compare_experiments(*sides)))
    except MurmurError as error:
        meaning = f"No comparison: {comment.plain(str(error))}"
    moved = comment.metrics(figures) or "No figure of metrics/summary.json."
    plots = comment.plots([path for path in changed if path.startswith("plots/")], base)
    return {"Does it mean anything?": meaning, "What moved": moved, "Plots that changed": plots}


def _plain(result: Any) -> Any:
    """A result with every text and name in it as Markdown shows it unchanged."""
    if isinstance(result, dict):
        return {_plain(key): _plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_plain(value) for value in result]
    return comment.plain(result) if isinstance(result, str) else result


def pushed(tries: int) -> comment.Problem | None:
    """Push what dvc.lock names, and the run-cache, which goes to the default remote: not where outputs have
    one of their own, as those have that may not be passed on.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        remotes, _ = _remotes(repo)
        own = any(out.remote for out in _cached(repo))
    if not remotes:
        return None
    done, said = _said("push", *([] if own else ["--run-cache"]), tries=tries)
    return None if done else comment.out_of_reach(remotes, tries, comment.reason(said))


def not_committed() -> list[str]:
    """What the stages write for git that is not as in HEAD."""
    others = (":(exclude)metrics/elsewhere_*.json", ":(exclude)plots/robustness.csv")  # of other commands
    paths = ("dvc.lock", "metrics", "plots", *others)
    status = project.run_git("status", "--porcelain", "--untracked-files=all", "--", *paths) or ""
    return [line[3:] for line in status.splitlines()]
