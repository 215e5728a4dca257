"""Worker processes for the folds of a run, on this machine or on a cluster."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from murmur import cluster
from murmur.files import remove_path
from murmur.interruption import clean_up_on_signal

A = TypeVar("A")
B = TypeVar("B")


def map_processes(
    function: Callable[[A], B], items: Iterable[A], n: int, modules: Sequence[str]
) -> Iterator[tuple[A, B]]:
    """Apply a function to items in worker processes; yield each item and its result as soon as it is ready.

    With MURMUR_DASK they are processes of the cluster, see `murmur.cluster`; otherwise of this machine.

    Parameters
    ----------
    function : callable
        The function; it must be picklable.
    items : iterable
        Its arguments.
    n : int
        Number of processes on this machine.
    modules : sequence of str
        Modules that the function needs; on Linux they are imported once for all processes.

    Yields
    ------
    item, result

    Raises
    ------
    BrokenProcessPool
        If a process of this machine was killed. An exception of the function is raised too; either cancels
        the remaining work.
    MurmurError
        As `murmur.cluster.open_pool`.
    """
    if cluster.is_used():
        with cluster.open_pool(function) as (submit, _):
            yield from _collect({submit(item): item for item in items})
        return
    _start_resource_tracker()
    with (
        clean_up_on_signal(partial(remove_path, Path(util.get_temp_dir()))),  # has the fork server's socket
        clean_up_on_signal(_kill_workers),
        ProcessPoolExecutor(n, _start_method(modules), initializer=_exit_with_parent) as pool,
    ):
        try:
            with _keyboard_signals_blocked(), _parent_named():
                jobs = {pool.submit(function, item): item for item in items}
            yield from _collect(jobs)
        except BaseException as error:
            _kill_workers()  # they would otherwise finish the items that they have begun
            if not isinstance(error, Exception) or error.__cause__ is None:
                raise
            error.add_note(str(error.__cause__).strip('\n"'))  # the worker's traceback
            raise error.with_traceback(None) from None


def _collect(jobs: Mapping["Future[B]", A]) -> Iterator[tuple[A, B]]:
    """Yield each item and the result of its job as soon as it is ready."""
    for job in as_completed(jobs):
        yield jobs[job], job.result()


def _start_resource_tracker() -> None:
    """Start the process that removes the semaphores of a killed process, without its warning about them."""
    sys.warnoptions.append("ignore:resource_tracker")
    resource_tracker.ensure_running()
    sys.warnoptions.pop()


@contextmanager
def _keyboard_signals_blocked() -> Iterator[None]:
    r"""Block SIGINT and SIGQUIT in processes that are started within the block; this one ends them itself.

    Ctrl-C and Ctrl-\ in a terminal send these to all processes, which would print tracebacks.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _parent_named() -> Iterator[None]:
    """Give the fork server, which is started within the block, the number of this process."""
    os.environ["MURMUR_FORK_SERVER_OF"] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop("MURMUR_FORK_SERVER_OF", None)  # another thread may have removed it


def _kill_workers() -> None:
    """Kill the worker processes, and the fork server, which may be importing modules."""
    for process in multiprocessing.active_children():
        process.kill()
    if pid := getattr(forkserver._forkserver, "_forkserver_pid", None):  # noqa: SLF001
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start_method(modules: Sequence[str]) -> BaseContext:
    """Return how processes are started: without the threads of this one, which a fork does not copy safely.

    On Linux a fork server imports the modules once. It needs a socket in TMPDIR whose path has at most 107
    bytes, 32 of them added by Python.
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > 75:
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["murmur.training.fork_server", *modules])
    return server


def _exit_with_parent() -> None:
    """Exit this worker process when its parent ends, even if the parent is killed."""

    def wait_for_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
