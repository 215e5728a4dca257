"""Worker processes for the folds of a run."""

import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.context import BaseContext
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_processes(
    function: Callable[[A], B], items: Iterable[A], n: int, modules: Sequence[str]
) -> Iterator[tuple[A, B]]:
    """Apply a function to items in worker processes; yield each item and its result as soon as it is ready.

    Parameters
    ----------
    function : callable
        The function; it must be picklable.
    items : iterable
        Its arguments.
    n : int
        Number of processes.
    modules : sequence of str
        Modules that the function needs; on Linux they are imported once for all processes.

    Yields
    ------
    item, result

    Raises
    ------
    BrokenProcessPool
        If a process was killed. An exception of the function is raised too; either cancels the remaining
        work.
    """
    with ProcessPoolExecutor(n, _start_method(modules), initializer=_exit_with_parent) as pool:
        jobs = {pool.submit(function, item): item for item in items}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_method(modules: Sequence[str]) -> BaseContext:
    """Return how processes are started: without the threads of this one, which a fork does not copy safely.

    On Linux a fork server imports the modules once. It needs a socket in TMPDIR whose path has at most 107
    bytes, 32 of them added by Python.
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > 75:
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(modules))
    return server


def _exit_with_parent() -> None:
    """Exit this worker process when its parent ends, even if the parent is killed."""

    def wait_for_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
