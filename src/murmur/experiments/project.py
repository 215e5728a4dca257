"""The project in git and DVC: files of any revision or experiment, and runs in temporary folders."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from murmur import sections
from murmur.errors import MurmurError
from murmur.files import temporary_folder
from murmur.interruption import STARTED_BY, clean_up_on_signal
from murmur.params.yaml_files import format_yaml

if TYPE_CHECKING:
    import psutil

FIRST_COMMIT = "git init && git add --all && git commit -m 'First commit'"
AGAIN = "start it again: finished stages are not repeated"  # after a signal
PATIENCE = 1  # s that a stage has to end after a signal
CODE = ("src", "stages")  # the folders with the code of the stages
STDERR = 2  # its file descriptor
GIVEN = (Path("data/folder"), Path("data/splits"), Path("data/weights"))  # no stage makes these
DVC_CONFIG = """\
[core]
    no_scm = True
    analytics = false
    check_update = false
[cache]
    dir = {}
"""


class DvcExperiment(NamedTuple):
    """An experiment of DVC.

    Attributes
    ----------
    name : str
        Its name.
    commit : str
        The commit with its parameters and, if it has run, its results.
    baseline : str
        The commit on which it is based; empty in the queue.
    state : str
        queued, running or failed; empty if it has succeeded.
    """

    name: str
    commit: str
    baseline: str
    state: str = ""


def read_revision(name: str, paths: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Read files of a git revision, of a DVC experiment or of the workspace.

    Parameters
    ----------
    name : str
        A git revision, a DVC experiment or ``workspace``.
    paths : sequence of str
        Relative to the project folder.

    Returns
    -------
    str
        The name with the commit, such as ``main (1a2b3c4)``.
    dict of str to str
        The text of each file.

    Raises
    ------
    MurmurError
        If there is no such revision, or if it lacks a file.
    """
    if name == "workspace":
        if missing := [path for path in paths if not Path(path).is_file()]:
            raise MurmurError(f"workspace: no {missing[0]}: make it with `dvc repro`")
        return name, {path: Path(path).read_text(encoding="utf-8") for path in paths}
    commit = find_commit(name)
    texts = {}
    for path in paths:
        text = read_committed(commit, path)
        if text is None:
            raise MurmurError(
                f"{name} ({commit[:7]}): no {path}: run it with this version of murmur and commit metrics/"
            )
        texts[path] = text
    return f"{name} ({commit[:7]})", texts


def read_committed(commit: str, path: str) -> str | None:
    """Read a file of a commit, relative to the project folder; None if the commit lacks it."""
    content = read_committed_bytes(commit, path)
    return None if content is None else content.decode("utf-8", "replace").replace("\r\n", "\n")


def read_committed_bytes(commit: str, path: str) -> bytes | None:
    """Read the bytes of a file of a commit, relative to the project folder; None if the commit lacks it."""
    blob = run_git("rev-parse", "--verify", "--quiet", f"{commit}:./{path}")
    if not blob:
        return None
    return subprocess.run(["git", "cat-file", "blob", blob.strip()], capture_output=True, check=True).stdout


def find_commit(name: str) -> str:
    """The commit of a git revision or, if there is none, of a DVC experiment.

    Raises
    ------
    MurmurError
        If there is neither, if several experiments have this name, or if it is in the queue or has failed.

    Notes
    -----
    DVC keeps an experiment as the git reference ``refs/exps/xx/yyyy…/NAME``.
    """
    if commit := run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
        return commit.strip()
    experiments = list_experiments()
    commits = [e.commit for e in experiments if e.name == name]
    if len(commits) > 1:
        raise MurmurError(
            f"experiment {name}: several have this name; name the commit instead: {', '.join(commits)}"
        )
    if not commits:
        _refuse_queued(name)
        known = ", ".join(dict.fromkeys(e.name for e in experiments)) or "none"
        raise MurmurError(
            f"{name}: neither a git revision nor a DVC experiment; {explain_unknown_revision()}; "
            f"experiments here: {known}"
        )
    return commits[0]


def _refuse_queued(name: str) -> None:
    """Raise an error if an experiment is in the queue, where it has no results yet, or has failed."""
    state = next((e.state for e in list_queue() if e.name == name), None)
    if state == "failed":
        raise MurmurError(f"experiment {name} has failed; the reason: dvc queue logs {name}")
    if state:
        raise MurmurError(f"experiment {name} is in the queue and has no results yet (dvc queue status)")


def list_experiments() -> list[DvcExperiment]:
    """List the DVC experiments, sorted by name."""
    lines = (run_git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or "").splitlines()
    references = [(commit, name.split("/")) for commit, name in (line.split(" ", 1) for line in lines)]
    return sorted(
        DvcExperiment(parts[4], commit, parts[2] + parts[3])
        for commit, parts in references
        if len(parts) == 5
    )


def list_queue() -> list[DvcExperiment]:
    """List the experiments in the queue of DVC that have not succeeded."""
    if not Path(".dvc/tmp/exps/celery").is_dir():
        return []
    from dvc.repo import Repo

    with Repo() as repo:
        entries = repo.experiments.celery_queue.status()
    return [
        DvcExperiment(entry["name"] or entry["rev"][:7], entry["rev"], "", entry["status"].lower())
        for entry in entries
        if entry["status"] != "Success"
    ]


def run_git(*arguments: str) -> str | None:
    """Run git and return its output; None for exit status 1, with which git reports that it found nothing.

    Raises
    ------
    MurmurError
        If git is not installed, or with git's own message for any other exit status, such as no repository.
    """
    if not shutil.which("git"):
        raise MurmurError("git is not installed, but revisions and experiments need it: install it")
    environment = os.environ | {"LC_ALL": "C"}  # messages in English
    options: Any = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "replace"}
    done = subprocess.run(["git", *arguments], env=environment, **options)
    if done.returncode > 1 or done.returncode < 0:
        message = " ".join(done.stderr.split()).removeprefix("fatal: ") or f"ended with {done.returncode}"
        remedy = f"; make one: {FIRST_COMMIT}" if message.startswith("not a git repository") else ""
        raise MurmurError(f"git: {message}{remedy}")
    return done.stdout if done.returncode == 0 else None


def explain_unknown_revision() -> str:
    """Why git may not know a revision, and what to do."""
    if run_git("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        return f"nothing is committed here yet: {FIRST_COMMIT}"
    if (run_git("rev-parse", "--is-shallow-repository") or "").strip() == "true":
        return "this clone is shallow: git fetch --unshallow"
    return "fetch it, with its history"


def read_kept_versions(path: Path) -> Iterator[str]:
    """Read a file as it is in HEAD and in each DVC experiment.

    Raises
    ------
    MurmurError
        If there is no git repository.
    """
    try:
        commits = ["HEAD", *(experiment.commit for experiment in list_experiments())]
    except MurmurError as error:
        raise MurmurError(
            f"{path} may have changes that are not committed; without git this is unknown. {error}. "
            f"Or rename {path}, then try again"
        ) from error
    for commit in commits:
        if (text := read_committed(commit, path.as_posix())) is not None:
            yield text


def is_tracked(path: Path) -> bool:
    """Whether git tracks a file: it is committed, or added with `git add`."""
    return bool(run_git("ls-files", "--", str(path)))


@contextmanager
def reproduce(content: Mapping[str, Any], what: str, *targets: str) -> Iterator[Path]:
    """Run stages with other parameters in a temporary folder that shares the DVC cache.

    Parameters
    ----------
    content : mapping
        All parameters.
    what : str
        The title of the run in the terminal.
    targets : str
        The stages to run, with those that they need; by default all.

    Yields
    ------
    Path
        The folder with the outputs of the stages.

    Raises
    ------
    MurmurError
        If a parameter is wrong or a stage fails.
    """
    with temporary_folder() as folder:
        _copy_project(folder)
        _write_params(folder, content)
        (folder / ".dvc").mkdir()
        (folder / ".dvc/config").write_text(DVC_CONFIG.format(find_cache().resolve()), encoding="utf-8")
        _run_stages(folder, what, targets)
        yield folder


def reproduce_again(folder: Path, content: Mapping[str, Any], what: str, *targets: str) -> None:
    """Run stages with changed parameters in a folder that `reproduce` has made.

    Parameters
    ----------
    folder : Path
        The folder.
    content, what, targets
        As for `reproduce`.

    Raises
    ------
    MurmurError
        As `reproduce`.
    """
    _write_params(folder, content)
    _run_stages(folder, what, targets)


def _write_params(folder: Path, content: Mapping[str, Any]) -> None:
    """Write params.yaml and check all its values."""
    (folder / "params.yaml").write_text(format_yaml(dict(content)), encoding="utf-8")
    sections.load("seed", path=folder / "params.yaml")


def _run_stages(folder: Path, what: str, targets: Sequence[str]) -> None:
    Console(stderr=True).rule(what)
    run_dvc(folder, "repro", *targets)


def _copy_project(folder: Path) -> None:
    """Copy the code into a folder, and link the data that no stage makes."""
    copy_code(folder)
    shutil.copy("dvc.yaml", folder)
    (folder / "data").mkdir()
    for path in GIVEN:
        if path.exists():
            (folder / path).symlink_to(path.resolve())


def copy_code(folder: Path) -> None:
    """Copy the code of the stages into a folder."""
    for part in CODE:
        shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))


def find_cache() -> Path:
    """Find the folder of the DVC cache, in which the configuration may name another folder."""
    from dvc.config import Config

    folder = Config(str(Path(".dvc").resolve()), validate=False).get("cache", {}).get("dir")
    return Path(".dvc", folder or "cache")


def find_free_path(path: Path) -> Path:
    """Return a path with this name, or with a number after it, at which there is nothing yet."""
    paths = (path.with_name(f"{path.name}{k or ''}") for k in count())
    return next(path for path in paths if not os.path.lexists(path))


def run_dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder, with its output on standard error.

    Raises
    ------
    MurmurError
        If it fails.
    """
    if run_command([sys.executable, "-m", "dvc", *arguments], folder):
        raise MurmurError(f"`dvc {' '.join(arguments)}` failed; see its output above")


def run_command(command: Sequence[str], folder: Path, **variables: str) -> int:
    """Run a command in a folder, with its output on standard error; return its exit status.

    A signal that ends this process ends the command, and all processes that it has started, before.
    """
    import psutil  # takes 20 ms

    options: Any = {"stdin": subprocess.DEVNULL, "stdout": STDERR, "process_group": 0}
    with (
        subprocess.Popen(command, cwd=folder, env=make_environment() | variables, **options) as process,
        clean_up_on_signal(partial(_end, psutil.Process(process.pid))),
    ):
        return process.wait()


def _end(process: "psutil.Process") -> str:
    """End a command and the processes that it runs, and wait for them: their folder is removed next."""
    import psutil

    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        processes = [process, *process.children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        for remaining in psutil.wait_procs(processes, timeout=PATIENCE)[1]:
            with suppress(psutil.NoSuchProcess):
                remaining.kill()
    return AGAIN


def explain_lock(message: str) -> str:
    """Return a message of DVC in one line: if another process has a lock, which one, and what to do."""
    text = " ".join(message.split())
    if found := re.search(r"\(PID (\d+)\): ([^\n]+)", message):
        pid, command = found.groups()
    elif "Unable to acquire lock" in text:  # DVC writes the number of the process into the file
        command, pid = "DVC", ""
        with suppress(OSError):
            pid = Path(".dvc/tmp/lock").read_text(encoding="utf-8", errors="replace").strip()
    else:
        return text
    if not pid.isdecimal():
        return text
    return (
        f"another process works on this project: {command} (process {pid}); wait until it has ended, or stop "
        f"it with `kill {pid}`, then try again"
    )


def list_changes() -> list[str]:
    """List the files and parameters that have changed since the pipeline ran, according to `dvc status`.

    Outputs that are missing, as in a fresh clone, do not count.

    Raises
    ------
    MurmurError
        With DVC's message, if it fails.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, env=make_environment(), capture_output=True, text=True)
    if done.returncode:
        raise MurmurError(f"dvc status: {explain_lock(done.stderr) or 'failed'}")
    changes = []
    for entry in (entry for entries in json.loads(done.stdout).values() for entry in entries):
        for files in entry.values() if isinstance(entry, dict) else ():
            changes += [
                f"{path} ({key})" for path in files if isinstance(files[path], dict) for key in files[path]
            ]
            changes += [path for path, status in files.items() if status in ("modified", "new")]
    return sorted(set(changes))


def has_git_identity() -> bool:
    """Whether git knows the name and the e-mail address of the user, which `dvc exp run` needs."""
    return all(run_git("config", key) for key in ("user.name", "user.email"))


def make_environment() -> dict[str, str]:
    """The environment variables with which DVC runs stages.

    `PATH` begins with the folder of this Python, and `MURMUR_DATA` is absolute. DVC runs each stage with
    `SHELL`, which on a server or in a container may be no shell (nologin), so it is ``/bin/sh``. The stages
    end when this process ends.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    data = os.environ.get("MURMUR_DATA")
    changes = {"PATH": path, "SHELL": "/bin/sh", STARTED_BY: str(os.getpid())}
    return os.environ | changes | ({"MURMUR_DATA": str(Path(data).resolve())} if data else {})
