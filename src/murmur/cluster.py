"""Work on a Dask cluster if MURMUR_DASK is set, to the address of its scheduler; otherwise on this machine.

No result depends on it: it is an environment variable, not a parameter. The files of the project and of the
data set must be on a file system that this machine and all workers have at the same place: a task holds paths
and numbers of recordings or folds, no features.
"""

import hashlib
import logging
import os
import platform
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import chdir, contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

from murmur import workers
from murmur.errors import MurmurError
from murmur.interruption import clean_up_on_signal

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
VARIABLE = "MURMUR_DASK"
TIMEOUT = 10.0  # s in which a scheduler must answer
PACKAGES = (  # those that compute results, or whose objects are sent
    *(
        "dask",
        "distributed",
        "noisereduce",
        "numpy",
        "pandas",
        "pydantic",
        "safetensors",
        "scikit-learn",
        "scipy",
    ),
    *("soundfile", "soxr", "timm", "torch", "torchaudio", "torchvision"),
)
RECORDINGS = 16  # recordings of a task: together they take longer than the sending of the task
MIN_TASKS = 32  # tasks of recordings that are sent in advance, also if the cluster is still small

Item = TypeVar("Item")
Result = TypeVar("Result")


class Requirements(NamedTuple):
    """What a worker must have in common with the process that uses it.

    Attributes
    ----------
    folder : str
        The working directory.
    file : str
        A file that exists in it while the work goes on.
    software : dict of str to str
        As `describe_software`.
    """

    folder: str
    file: str
    software: dict[str, str]


def is_used() -> bool:
    """Return whether MURMUR_DASK is set; an empty value is as none."""
    return bool(os.environ.get(VARIABLE))


def count_workers() -> int:
    """Return the number of workers of the cluster, at least 1; without MURMUR_DASK that of this machine."""
    if not is_used():
        return workers.count_workers()
    with _connect() as client:
        return max(1, len(client.nthreads()))


def map_recordings(work: Callable[[Item], Result], recordings: Iterable[Item], describe: str) -> list[Result]:
    """Apply `work` to each recording and return all results; see `stream_recordings`."""
    return list(stream_recordings(work, recordings, describe))


def stream_recordings(
    work: Callable[[Item], Result], recordings: Iterable[Item], describe: str
) -> Iterator[Result]:
    """Apply `work` to each recording, and yield the results in the order of the recordings.

    Without MURMUR_DASK the work is done in threads, as `workers.stream_threads`. A limited number of results
    is in memory at any time. The first error ends the work.

    Parameters
    ----------
    work : callable
        Called with one item.
    recordings : iterable
        The items.
    describe : str
        The label of the progress; see `progress.track`.
    """
    if not is_used():
        yield from workers.stream_threads(work, recordings, describe)
        return
    items = list(recordings)
    parts = [items[k : k + RECORDINGS] for k in range(0, len(items), RECORDINGS)]
    with open_pool(partial(_apply_to_each, work)) as (submit, n):
        for results in workers.stream_jobs(submit, parts, describe, max(2 * n, MIN_TASKS)):
            yield from results


def _apply_to_each(work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [work(item) for item in items]


@contextmanager
def open_pool(
    function: Callable[[Item], Result],
) -> Iterator[tuple[Callable[[Item], "Future[Result]"], int]]:
    """Connect to the cluster; the work that is not finished at the end of the block is cancelled.

    If a worker ends, another one repeats its work. All work in the working directory of this process.

    Parameters
    ----------
    function : callable
        The function that the workers apply; functions within functions are allowed.

    Yields
    ------
    submit : callable
        Submits an item, and returns the future of the function's result.
    n_workers : int
        The present number of workers.

    Raises
    ------
    MurmurError
        If no scheduler answers, if the scheduler or a worker has another version of Python, of a package or
        of murmur, if a worker has several threads or not the files of this process, if several workers died
        on one item, or if the connection is lost.
    """
    from distributed.protocol.pickle import dumps

    with _connect() as client, _shared_file() as file, _explain_errors():
        requirements = Requirements(str(file.parent), file.name, describe_software())
        _check_scheduler(client, requirements.software)
        if not (n := len(client.nthreads())):
            logger.info(f"{VARIABLE}: the scheduler has no workers yet; waiting for the first")
        executor = client.get_executor(pure=False)  # else it returns results of an earlier equal task
        task = partial(_run_task, requirements, zlib.compress(dumps(function), 1))
        yield lambda item: executor.submit(task, dumps(item)), n


@contextmanager
def _connect() -> Iterator["Client"]:
    """Connect to the scheduler."""
    import asyncio

    from distributed import Client

    address = os.environ[VARIABLE]
    if not re.fullmatch(r"tcp://[^\s/]+:[0-9]{1,5}", address):
        raise MurmurError(
            f"{VARIABLE}: expected an address tcp://HOST:PORT, found {address[:100]!r}; correct it, or unset "
            "the variable to work on this machine"
        )
    try:
        kind = asyncio.run(asyncio.wait_for(_identify(address), TIMEOUT))
    except Exception as error:
        raise MurmurError(
            f"{VARIABLE}: no Dask scheduler answers at {address} within {TIMEOUT:g} s; start one, correct "
            "the address, or unset the variable to work on this machine"
        ) from error
    if kind != "Scheduler":
        raise MurmurError(
            f"{VARIABLE}: {address} is a Dask {kind.lower()}; set it to the scheduler's address"
        )
    with Client(address, timeout=TIMEOUT, set_as_default=False) as client:
        yield client


async def _identify(address: str) -> str:
    """Return what is at an address, "Scheduler" or "Worker"."""
    from distributed.core import rpc

    async with rpc(address, timeout=TIMEOUT) as server:
        return (await server.identity())["type"]


@contextmanager
def _shared_file() -> Iterator[Path]:
    """Make an empty file in the working directory, by which workers recognise it."""
    path = Path.cwd() / f".murmur_dask_{uuid4().hex}"
    with clean_up_on_signal(partial(path.unlink, missing_ok=True)):
        try:
            path.touch()
            yield path
        finally:
            path.unlink(missing_ok=True)


@cache
def describe_software() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`, and a hash of the code of murmur.

    The first result is kept: a process that has imported modules does not notice that they have changed.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    python = ".".join(platform.python_version_tuple()[:2])
    return (
        {"Python": python} | {name: _find_version(name) for name in PACKAGES} | {"murmur": digest.hexdigest()}
    )


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _check_scheduler(client: "Client", software: dict[str, str]) -> None:
    """Check that the scheduler has the same packages; it computes nothing, so its code may be older."""
    found = client.run_on_scheduler(describe_software)
    _check_software("the scheduler", found | {"murmur": software["murmur"]}, software)


def _check_software(place: str, found: dict[str, str], expected: dict[str, str]) -> None:
    """Check that a scheduler or worker has the software of the client."""
    different = [name for name, value in expected.items() if found.get(name) != value]
    if different == ["murmur"]:
        raise MurmurError(
            f"{VARIABLE}: {place} has other code of murmur than this process; restart the workers, with "
            "PYTHONPATH set to the folder src of this project"
        )
    if different:
        pairs = [
            f"{name} {found.get(name)} instead of {expected[name]}" for name in different if name != "murmur"
        ]
        raise MurmurError(
            f"{VARIABLE}: {place} has {', '.join(pairs)}; install requirements.txt on the whole cluster"
        )


def _run_task(requirements: Requirements, function: bytes, item: bytes) -> Any:
    """Apply a function to an item on a worker; both are bytes, so that the software is compared first."""
    from distributed import get_worker
    from distributed.protocol.pickle import loads
    from threadpoolctl import threadpool_limits

    worker = get_worker()
    place = f"the worker {worker.address}"
    _check_software(place, describe_software(), requirements.software)
    if worker.state.nthreads > 1:
        raise MurmurError(
            f"{VARIABLE}: {place} has {worker.state.nthreads} threads; start workers with --nthreads 1, "
            "more of them instead (--nworkers)"
        )
    if not Path(requirements.folder, requirements.file).exists():
        raise MurmurError(
            f"{VARIABLE}: {place} has another folder {requirements.folder} or none; the project must be on a "
            "file system that all workers have at the same place"
        )
    with chdir(requirements.folder), threadpool_limits(1):
        return loads(zlib.decompress(function))(loads(item))


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Raise a MurmurError for an error of the cluster."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise MurmurError(
            f"{VARIABLE}: several workers died on the same work, most likely for lack of memory; give each "
            "worker more (--memory-limit)"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise MurmurError(
            f"{VARIABLE}: the connection to {os.environ[VARIABLE]} is lost; start the scheduler and its "
            "workers again, then this command"
        ) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "murmur":
            raise
        raise MurmurError(
            f"{VARIABLE}: the scheduler or a worker does not find {error.name}; start both with PYTHONPATH "
            "set to the folder src of this project"
        ) from error
