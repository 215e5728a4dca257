"""The project as git and DVC have it: files of any revision or experiment, runs in a folder of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from murmur import params
from murmur.errors import MurmurError
from murmur.params.yaml_files import as_yaml

FIRST_COMMIT = "git init && git add --all && git commit -m 'The project as it came'"
DVC_CONFIG = """\
[core]
    no_scm = True
    analytics = false
    check_update = false
[cache]
    dir = {}
"""


def read_revision(name: str, paths: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A full name and the texts of files, by path, of a git revision, a DVC experiment or the workspace."""
    if name == "workspace":
        if missing := [path for path in paths if not Path(path).is_file()]:
            raise MurmurError(f"workspace: no {missing[0]}: make it with `dvc repro`")
        return name, {path: Path(path).read_text(encoding="utf-8") for path in paths}
    commit = find_commit(name)
    texts = {}
    for path in paths:
        blob = run_git("rev-parse", "--verify", "--quiet", f"{commit}:./{path}")
        text = run_git("cat-file", "blob", blob.strip()) if blob else None
        if text is None:
            raise MurmurError(
                f"{name} ({commit[:7]}): no {path}: run it with this version of murmur and commit metrics/"
            )
        texts[path] = text
    return f"{name} ({commit[:7]})", texts


def find_commit(name: str) -> str:
    """The commit of a git revision, else of a DVC experiment: refs/exps/xx/yyyy…/NAME."""
    if found := run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
        return found.strip()
    lines = (run_git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or "").splitlines()
    refs = [(commit, ref.split("/")) for commit, ref in (line.split(" ", 1) for line in lines)]
    named = sorted((parts[4], commit) for commit, parts in refs if len(parts) == 5)
    commits = [commit for known, commit in named if known == name]
    if len(commits) > 1:
        raise MurmurError(
            f"experiment {name}: several have this name; give one's commit: {', '.join(commits)}"
        )
    if not commits:
        known = ", ".join(dict.fromkeys(known for known, _ in named)) or "none"
        raise MurmurError(
            f"{name}: neither a git revision nor a DVC experiment; {explain_unknown_revision()}; "
            f"experiments here: {known}"
        )
    return commits[0]


def run_git(*arguments: str) -> str | None:
    """What git prints, None if it finds nothing (exit status 1).

    Raises
    ------
    MurmurError
        If git is not installed or refuses, in git's words: no repository, one of another owner, a bare one.
    """
    if not shutil.which("git"):
        raise MurmurError("git is not here, and revisions and experiments are git's: install it")
    english = os.environ | {"LC_ALL": "C"}
    how: Any = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "replace"}
    done = subprocess.run(["git", *arguments], env=english, **how)
    if done.returncode > 1 or done.returncode < 0:
        refusal = " ".join(done.stderr.split()).removeprefix("fatal: ") or f"ended with {done.returncode}"
        remedy = f"; make one: {FIRST_COMMIT}" if refusal.startswith("not a git repository") else ""
        raise MurmurError(f"git: {refusal}{remedy}")
    return done.stdout if done.returncode == 0 else None


def explain_unknown_revision() -> str:
    """Why git may not know a revision, and what to do."""
    if run_git("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        return f"nothing is committed here yet: {FIRST_COMMIT}"
    if (run_git("rev-parse", "--is-shallow-repository") or "").strip() == "true":
        return "this clone is shallow: git fetch --unshallow"
    return "fetch it, with its history"


def has_uncommitted_changes(path: Path) -> bool:
    """Whether git does not have these very bytes in HEAD."""
    try:
        committed = run_git("rev-parse", "--verify", "--quiet", f"HEAD:./{path}")
    except MurmurError as error:
        raise MurmurError(
            f"{path} may have changes that are not committed, which only git can tell. {error}. "
            f"Or give {path} another name, then try again"
        ) from error
    return not committed or run_git("hash-object", "--no-filters", "--", str(path)) != committed


EXPERIMENT = (
    *("dvc.lock", "params.yaml", "metrics", "models", "data/folds", "data/mel", "data/embedding"),
    *("data/*.parquet", "data/*.npy"),
)


def list_state() -> dict[str, tuple[int, ...]]:
    """The files of the experiment in place, each with what changes when it is written again.

    Raises
    ------
    MurmurError
        If `dvc repro` is at work on them.
    """
    if pids := _at_work():
        raise MurmurError(
            f"`dvc repro` is running here (process {pids[0]}) and replaces files: wait until it has ended"
        )
    places = [path for pattern in EXPERIMENT for path in Path().glob(pattern)]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    own = [file for file in files if file.is_file() and not file.name.startswith("elsewhere_")]
    facts = {file.as_posix(): file.stat() for file in own}
    return {path: (fact.st_ino, fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}


def check_unchanged(before: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse to go on if the files of the experiment are no longer those of `before`, a `state`."""
    now = list_state()
    if changed := sorted(path for path in {*before, *now} if before.get(path) != now.get(path)):
        raise MurmurError(
            f"{changed[0]} was replaced while this ran ({len(changed)} such files): the figures would be of "
            "two experiments, so nothing is written; run it again"
        )


def _at_work() -> list[int]:
    """The processes, still running, that DVC notes as writing files of the experiment."""
    try:
        notes = json.loads(Path(".dvc/tmp/rwlock").read_text(encoding="utf-8"))
        pids = {int(note["pid"]) for path, note in notes.get("write", {}).items() if _is_part(path)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or cut when DVC was killed
        return []
    return sorted(pid for pid in pids if psutil.pid_exists(pid))


def _is_part(path: str) -> bool:
    folders = ("data", "models", "metrics")
    return (
        any(Path(path).is_relative_to(Path(name).resolve()) for name in folders) and "elsewhere_" not in path
    )


@contextmanager
def reproduce(content: Mapping[str, Any], what: str, *targets: str) -> Iterator[Path]:
    """A folder that shares the cache, where the stages, all or up to `targets`, ran with these parameters."""
    with tempfile.TemporaryDirectory(prefix="murmur-") as name:
        folder = Path(name)
        for part in ("src", "stages"):
            shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("dvc.yaml", folder)
        (folder / "params.yaml").write_text(as_yaml(dict(content)), encoding="utf-8")
        params.load("seed", path=folder / "params.yaml")
        (folder / "data").mkdir()
        for part in ("folder", "splits", "weights"):  # what the user put there; the stages make all else
            if Path("data", part).exists():
                (folder / "data" / part).symlink_to(Path("data", part).resolve())
        run_dvc(folder, "init", "--no-scm", "--quiet")
        (folder / ".dvc/config").write_text(DVC_CONFIG.format(find_cache()), encoding="utf-8")
        Console(stderr=True).rule(what)
        run_dvc(folder, "repro", *targets)
        yield folder


def find_cache() -> str:
    """The cache of the project, wherever it is set to be."""
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return found or str(Path(".dvc/cache").resolve())


def run_dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=make_environment(), stdout=sys.stderr)
    if done.returncode:
        raise MurmurError(f"`dvc {' '.join(arguments)}` ended with an error; it is told above")


def make_environment() -> dict[str, str]:
    """This process's, where stages find its python first, MURMUR_DATA from any folder, and a shell.

    DVC runs a stage with $SHELL, which on a server or in a container may be no shell (nologin).
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    data = os.environ.get("MURMUR_DATA")
    own = {"PATH": path, "SHELL": "/bin/sh"}
    return os.environ | own | ({"MURMUR_DATA": str(Path(data).resolve())} if data else {})
