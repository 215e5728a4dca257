"""The command that brings the pipeline up to date with independent stages side by side.

DVC runs one stage after another. Here each changed stage has a thread, in which DVC removes the earlier
outputs, runs the command of the stage and saves the new outputs, as in `dvc repro`. Only the commands run at
the same time: in all else, DVC works in one thread at a time and with its lock.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import typer

from murmur.errors import MurmurError, add_path, explain_os_error
from murmur.experiments import project
from murmur.experiments.repair import repair_project
from murmur.files import atomic_write
from murmur.interruption import clean_up_on_signal
from murmur.workers import count_workers

PATIENCE = 5  # s that a command has to end before it is killed, and DVC to finish what it is writing
WAIT = 1  # s after which a thread that only waits for the lock of another DVC process is not waited for
UNFINISHED = "DVC had not finished: `murmur repro` (or `murmur repair && dvc repro`) repairs this and goes on"


def reproduce_pipeline(
    stages: Annotated[
        list[str] | None, typer.Argument(help="stages, with those that they need; by default all")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="stages at the same time; by default one a core")
    ] = None,
) -> None:
    """Run what changed, independent stages side by side.

    Outputs and dvc.lock are those of `dvc repro`. The workers (MURMUR_WORKERS, by default all cores) are
    divided among the stages that run. If a stage fails, the others that are running finish, and no further
    stage starts. First, it repairs what a killed process left, as `murmur repair`.

    Examples
    --------
    murmur repro
    murmur repro -j 2 evaluate
    """
    outcomes = list(_reproduce(stages or [], jobs or count_workers()).values())
    names = ("ran", "restored from the run cache", "unchanged")
    print(", ".join(f"{outcomes.count(name)} {name}" for name in names if name in outcomes))


def repair() -> None:
    """Repair what a killed process left, so that DVC can run again.

    `make repro` and `murmur repro` do this first; before `dvc repro` it is needed only if DVC cannot read
    .dvc/tmp/rwlock or dvc.lock. The first is removed, the second is replaced by that of the last commit;
    what ran since is restored from DVC's run cache. Unfinished files (*.part) are removed.

    Examples
    --------
    murmur repair && dvc repro
    """
    repair_project()


def _reproduce(targets: Sequence[str], jobs: int) -> dict[str, str]:
    """Reproduce stages, with those that they need; return how each ended, by name."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    repair_project()
    os.environ.update(project.make_environment())
    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).setLevel(logging.WARNING)
    reproduction = _Reproduction(jobs)
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(reproduction.run, targets)
        try:  # this thread only waits, so that after a signal it can let DVC finish what it is writing
            with clean_up_on_signal(reproduction.stop), add_path(".dvc"):
                return job.result()
        except LockError as error:
            raise MurmurError(project.explain_lock(str(error))) from error
        except DvcException as error:
            raise MurmurError(f"dvc: {_explain(error)}") from error


class _Reproduction:
    """The stages, and the processes that run them.

    Parameters
    ----------
    jobs : int
        How many stages run at the same time, at most.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._repo: Any = None
        self._turn = Lock()  # held by the thread in which DVC works
        self._processes: set[subprocess.Popen[str]] = set()
        self._ran: set[str] = set()
        self._outcomes: dict[str, str] = {}
        self._is_ending = False
        self._has_ended = False

    def run(self, targets: Sequence[str]) -> dict[str, str]:
        """Reproduce stages; see `_reproduce`."""
        import dvc.stage.run
        from dvc.repo import Repo

        dvc.stage.run.cmd_run = self._run_commands
        try:
            with Repo(_wait_for_lock=True) as self._repo, self._repo.scm_context(quiet=True):
                self._plan_stages(targets)
                with self._lock_files():
                    self._run_stages()
            return self._outcomes
        finally:
            self._has_ended = True

    def stop(self) -> str:
        """End all commands, let DVC finish what it is writing, and return what to do then."""
        self._is_ending = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in list(self._processes):
                _end(process, number)
            begin = time.monotonic()
            while (seconds := time.monotonic() - begin) < PATIENCE:
                if self._has_ended or (seconds > WAIT and not (self._processes or self._is_locked())):
                    return project.AGAIN
                time.sleep(0.02)  # without a lock: a second signal may call this function again
        return UNFINISHED

    def _is_locked(self) -> bool:
        """Return whether this process has the lock of DVC, so that DVC may be writing."""
        return bool(self._repo and self._repo.lock.is_locked)

    @contextmanager
    def _dvc_locked(self) -> Iterator[None]:
        """Wait for the turn of this thread and for the lock of DVC, which other processes may hold."""
        with self._turn, self._repo.lock:
            yield

    def _plan_stages(self, targets: Sequence[str]) -> None:
        """List the stages in the order of `dvc repro`, and which of them each needs."""
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        with self._dvc_locked():
            graph = get_active_graph(self._repo.index.graph)
            self._plan = plan_repro(graph, collect_stages(self._repo, targets or ["dvc.yaml"]))
        self._unsaved = list(self._plan)
        self._waiting = TopologicalSorter({stage: graph.successors(stage) for stage in self._plan})
        self._waiting.prepare()

    def _lock_files(self) -> AbstractContextManager[None]:
        """Let no other DVC process change a dependency or an output within the block."""
        from dvc.rwlock import rwlock

        folder = self._repo.tmp_dir
        has_hard_links = self._repo.config["core"].get("hardlink_lock", False)
        paths = sorted({item.fs_path for stage in self._plan for item in (*stage.deps, *stage.outs)})
        owner = " ".join(sys.argv)  # as DVC names this process, so that its stages do not wait for this lock
        return rwlock(folder, self._repo.fs, owner, paths, [], has_hard_links)

    def _run_stages(self) -> None:
        ready: list[Any] = []
        running: dict[Future[None], Any] = {}
        failed: dict[str, str] = {}
        with ThreadPoolExecutor(self._jobs) as pool:
            while self._waiting.is_active():
                ready = sorted([*ready, *self._list_changed()], key=self._plan.index)
                while ready and len(running) < self._jobs and not failed and not self._is_ending:
                    n = min(self._jobs, len(running) + len(ready))
                    stage = ready.pop(0)
                    running[pool.submit(self._run_stage, stage, n)] = stage
                if not running:
                    break
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    self._finish(running.pop(job), job, failed)
                self._save()
        if failed:
            raise MurmurError("; ".join(f"stage {name} failed: {why}" for name, why in failed.items()))

    def _list_changed(self) -> list[Any]:
        """The changed stages whose dependencies have become up to date."""
        changed = []
        while new := self._waiting.get_ready():
            for stage in new:
                with self._dvc_locked():
                    is_changed = stage.changed()
                if is_changed:
                    changed.append(stage)
                else:
                    self._outcomes[stage.addressing] = "unchanged"
                    self._waiting.done(stage)
        return changed

    def _run_stage(self, stage: Any, n_running: int) -> None:
        """Run a stage with its part of the workers, or restore its outputs from the run cache."""
        workers = max(1, count_workers() // n_running)
        with self._dvc_locked(), add_path(self._repo.cache.local.path):
            stage.run(run_env={"MURMUR_WORKERS": str(workers)})

    def _run_commands(self, stage: Any, *, run_env: Mapping[str, str], **_: Any) -> None:
        """Run the commands of a stage, in place of DVC's function; meanwhile DVC works in other threads."""
        from dvc.stage.exceptions import StageCmdFailedError
        from dvc.stage.run import prepare_kwargs

        self._ran.add(stage.addressing)
        self._turn.release()
        try:
            for command in stage.cmd if isinstance(stage.cmd, list) else stage.cmd.splitlines():
                _print(stage.addressing, f"> {command}")
                status = self._run_command(stage.addressing, command, prepare_kwargs(stage, run_env))
                if status:
                    raise StageCmdFailedError(command, status)
        finally:
            self._turn.acquire()

    def _run_command(self, name: str, command: str, options: dict[str, Any]) -> int:
        """Run a command in a process group of its own, and print its output; return its status."""
        pipes: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        options |= pipes | {"text": True, "errors": "replace", "process_group": 0}
        with subprocess.Popen(["/bin/sh", "-c", command], **options) as process:
            self._processes.add(process)
            if self._is_ending:
                _end(process, signal.SIGTERM)
            for line in process.stdout or ():
                _print(name, line.rstrip("\n"))
            process.wait()
            self._processes.discard(process)
        return process.returncode

    def _finish(self, stage: Any, job: Future[None], failed: dict[str, str]) -> None:
        """Note how a stage ended."""
        from dvc.exceptions import DvcException

        name = stage.addressing
        try:
            job.result()
        except (DvcException, OSError) as error:
            failed[name] = _explain(error)
            if not self._is_ending:
                _print(name, "failed; no further stage starts")
            return
        self._outcomes[name] = "ran" if name in self._ran else "restored from the run cache"
        self._waiting.done(stage)

    def _save(self) -> None:
        """Write the entries of finished stages to dvc.lock, in the order of `dvc repro`.

        A stage waits for those before it; until then its results are in the run cache. The file is replaced:
        DVC would write it in place, and a kill at that moment would damage it.
        """
        n = next((k for k, s in enumerate(self._unsaved) if s.addressing not in self._outcomes), None)
        finished, self._unsaved = self._unsaved[:n], self._unsaved[n:] if n is not None else []
        stages = [stage for stage in finished if self._outcomes[stage.addressing] != "unchanged"]
        if stages:
            with self._dvc_locked():
                write_entries(self._repo, stages)


def write_entries(repo: Any, stages: Sequence[Any]) -> None:
    """Write the entries of stages to dvc.lock, which is replaced in one step."""
    from dvc.stage.serialize import to_lockfile
    from dvc.utils.serialize import modify_yaml

    path = Path(repo.root_dir, "dvc.lock")
    with atomic_write(path) as part:
        if path.exists():
            shutil.copyfile(path, part)
        with modify_yaml(part) as content:
            content.setdefault("schema", "2.0")
            for stage in stages:
                if Path(stage.dvcfile.path) == path.with_suffix(".yaml"):
                    content.setdefault("stages", {}).update(to_lockfile(stage))
                else:  # of a file or folder added with `dvc add`
                    stage.dump(update_pipeline=False)
    repo.scm_context.track_file("dvc.lock")


def _end(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and to those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _print(stage: str, text: str) -> None:
    with suppress(OSError):  # the terminal is closed
        sys.stderr.write(f"{stage}: {text}\n")  # print would write the line end separately


def _explain(error: BaseException | None) -> str:
    """The message of an error and of its causes, in one line."""
    messages = []
    while error:
        text = explain_os_error(error) if isinstance(error, OSError) else str(error)
        messages.append(" ".join(text.split()))
        error = error.__cause__
    return ": ".join(filter(None, messages))
