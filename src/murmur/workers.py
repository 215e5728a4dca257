"""How many cores work at once. No result depends on it: it is an environment variable, not a parameter."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.progress import track

from murmur.errors import MurmurError

A = TypeVar("A")
B = TypeVar("B")


def count() -> int:
    """MURMUR_WORKERS, or the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("MURMUR_WORKERS", str(cores))
    if not wanted.isdigit() or int(wanted) < 1:
        raise MurmurError(f"MURMUR_WORKERS: expected a number of workers, found {wanted!r}")
    return int(wanted)


def threads(work: Callable[[A], B], items: Iterable[A], describe: str, n: int | None = None) -> list[B]:
    """Apply `work` to each item in `n` threads (all cores), in order, with a progress bar.

    The first error ends it.

    For work whose time goes into numpy, torch or libsndfile, which leave the interpreter free.
    """
    items = list(items)
    with ThreadPoolExecutor(n or count()) as pool:
        jobs = [pool.submit(work, item) for item in items]
        results = []
        try:
            for job in track(jobs, describe):  # a comprehension would leave the bar to the error's traceback,
                results.append(job.result())  # and its thread can lock up with that of the next bar
            return results
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def stream(work: Callable[[A], B], items: Sequence[A], describe: str) -> Iterator[B]:
    """As `threads`, but yield each result in order as it comes; few are held at any time."""
    items = list(items)
    with ThreadPoolExecutor(count()) as pool:
        jobs = deque(pool.submit(work, item) for item in items[: 2 * count()])
        try:
            for k in track(range(len(items)), describe):
                if (ahead := k + 2 * count()) < len(items):
                    jobs.append(pool.submit(work, items[ahead]))
                yield jobs.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
