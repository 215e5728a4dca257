"""The number of parallel workers, and work in threads.

No result depends on the number: it is an environment variable, not a parameter.
"""

import math
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath
from typing import TypeVar

from murmur import progress
from murmur.errors import MurmurError

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_workers() -> int:
    """Return MURMUR_WORKERS, or the number of cores that this process may use.

    The cores are limited by the process's affinity and by the quota of its control groups.

    Raises
    ------
    MurmurError
        If MURMUR_WORKERS is not a number from 1 to 999.
    """
    value = os.environ.get("MURMUR_WORKERS")
    if value is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, int(min(cores, read_cpu_quota())))
    if not re.fullmatch("0*[1-9][0-9]{0,2}", value):
        raise MurmurError(f"MURMUR_WORKERS: expected a number of workers from 1 to 999, found {value[:40]!r}")
    return int(value)


def read_cpu_quota(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> float:
    """Return the number of CPUs that the control groups of this process (a container, say) allow.

    Parameters
    ----------
    membership : Path
        The file that lists the control groups of the process, a line `number:controllers:path` each.
    mount : Path
        The folder in which the control groups (version 1 or 2) are mounted.

    Returns
    -------
    float
        The smallest quota of the groups and of their parents; infinity without a limit.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in lines:
        if not controllers or "cpu" in controllers.split(","):
            root = mount / "cpu" if controllers else mount
            group = PurePosixPath(path.lstrip("/"))
            quotas += [_read_quota(root / folder) for folder in (group, *group.parents)]
    return min(quotas)


def _read_quota(group: Path) -> float:
    """Return the number of CPUs that one control group allows."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or `max`
        return math.inf
    return cpus if cpus > 0 else math.inf  # version 1 writes -1 for no limit


def map_threads(
    work: Callable[[Item], Result], items: Iterable[Item], describe: str, n: int | None = None
) -> list[Result]:
    """Apply `work` to each item in threads and return all results; see `stream_threads`."""
    return list(stream_threads(work, items, describe, n))


def stream_threads(
    work: Callable[[Item], Result], items: Iterable[Item], describe: str, n: int | None = None
) -> Iterator[Result]:
    """Apply `work` to each item in threads, and yield the results in the order of the items.

    At most 2 `n` results are in memory at any time. The first error ends the work. Useful if most of the
    time is spent in numpy, torch or libsndfile, which release the lock of the interpreter.

    Parameters
    ----------
    work : callable
        Called with one item.
    items : iterable
        The items.
    describe : str
        The label of the progress; see `progress.track`.
    n : int, optional
        The number of threads; by default `count_workers()`.
    """
    n = n or count_workers()
    with ThreadPoolExecutor(n) as pool:
        try:
            yield from stream_jobs(lambda item: pool.submit(work, item), list(items), describe, 2 * n)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def stream_jobs(
    submit: Callable[[Item], "Future[Result]"], items: Sequence[Item], describe: str, ahead: int
) -> Iterator[Result]:
    """Submit items to an executor, and yield the results in the order of the items.

    Parameters
    ----------
    submit : callable
        Called with one item; returns the future of its result.
    items : sequence
        The items.
    describe : str
        The label of the progress; see `progress.track`.
    ahead : int
        How many items are submitted before their results are needed.
    """
    jobs = deque(submit(item) for item in items[:ahead])
    for k in progress.track(range(len(items)), describe):
        if (following := k + ahead) < len(items):
            jobs.append(submit(items[following]))
        yield jobs.popleft().result()


def limit_time(seconds: float, work: Callable[[], Result]) -> Result:
    """Return the result of `work`, or stop waiting for it; its thread then ends with the process.

    The timeout of a socket does not limit a server that sends one byte after the other.

    Parameters
    ----------
    seconds : float
        The time to wait.
    work : callable
        Called without arguments, in another thread.

    Raises
    ------
    ValueError
        If there is no result in time.
    """
    result: Future[Result] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([result], seconds).done:
        raise ValueError(f"no answer within {seconds:g} s")
    return result.result()
