"""How many cores work at once. No result depends on it: it is an environment variable, not a parameter."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
    """All results of `stream` at once."""
    return list(stream(work, items, describe, n))


def stream(work: Callable[[A], B], items: Iterable[A], describe: str, n: int | None = None) -> Iterator[B]:
    """Apply `work` to each item in `n` threads (all cores); yield the results in order, with a progress bar.

    Few results are held at any time. The first error ends the work. For work whose time goes into numpy,
    torch or libsndfile, which leave the interpreter free.
    """
    items, n = list(items), n or count()
    with ThreadPoolExecutor(n) as pool:
        jobs = deque(pool.submit(work, item) for item in items[: 2 * n])
        try:
            for k in track(range(len(items)), describe):
                if (ahead := k + 2 * n) < len(items):
                    jobs.append(pool.submit(work, items[ahead]))
                yield jobs.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
