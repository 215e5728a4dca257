"""How many cores work at once. No result depends on it: it is an environment variable, not a parameter."""

import logging
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from rich.progress import track

from murmur.errors import MurmurError

A = TypeVar("A")
B = TypeVar("B")


def count_workers() -> int:
    """MURMUR_WORKERS, or the cores this process may use: by its affinity and its control groups' quota."""
    wanted = os.environ.get("MURMUR_WORKERS")
    if wanted is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, int(min(cores, cpu_quota())))
    if not re.fullmatch("0*[1-9][0-9]{0,2}", wanted):
        raise MurmurError(
            f"MURMUR_WORKERS: expected a number of workers from 1 to 999, found {wanted[:40]!r}"
        )
    return int(wanted)


def cpu_quota(own: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that this process's control groups (v1, v2), such as a container's, allow; inf: no limit.

    Parameters
    ----------
    own: the process's groups, a line `number:controllers:path` each. The quota of a parent holds too.
    groups: where the groups are mounted.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in lines:
        if not controllers or "cpu" in controllers.split(","):
            place = PurePosixPath(path.lstrip("/"))
            mount = groups / "cpu" if controllers else groups
            quotas += [_quota(mount / parent) for parent in (place, *place.parents)]
    return min(quotas)


def _quota(group: Path) -> float:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or `max`
        return math.inf
    return cpus if cpus > 0 else math.inf  # v1 writes -1 for no limit


def map_threads(work: Callable[[A], B], items: Iterable[A], describe: str, n: int | None = None) -> list[B]:
    """All results of `stream` at once."""
    return list(stream_threads(work, items, describe, n))


def stream_threads(
    work: Callable[[A], B], items: Iterable[A], describe: str, n: int | None = None
) -> Iterator[B]:
    """Apply `work` to each item in `n` threads (all cores); yield the results in order, with a progress bar.

    Few results are held at any time. The first error ends the work. For work whose time goes into numpy,
    torch or libsndfile, which leave the interpreter free.
    """
    is_silent = not logging.getLogger(__name__).isEnabledFor(logging.INFO)
    items, n = list(items), n or count_workers()
    with ThreadPoolExecutor(n) as pool:
        jobs = deque(pool.submit(work, item) for item in items[: 2 * n])
        try:
            for k in track(range(len(items)), describe, disable=is_silent):
                if (ahead := k + 2 * n) < len(items):
                    jobs.append(pool.submit(work, items[ahead]))
                yield jobs.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
