"""Download of a data set's files over HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pooch
import requests
from urllib3.exceptions import HTTPError

from murmur import workers
from murmur.datasets._archives import is_inside
from murmur.errors import MACHINE_ERRORS, MurmurError, add_path
from murmur.files import remove_path
from murmur.interruption import clean_up_on_signal

TIMEOUT = 60  # s without a byte from the server, and s that a file may take beyond its size / MIN_SPEED
MIN_SPEED = 10_000  # bytes/s
MAX_SIZE = 2**30  # bytes of a file
BLOCK = 2**16  # bytes
RETRY = "run again to continue where this stopped, or set MURMUR_DATA to a folder that holds the data set"
T = TypeVar("T")


def fetch_files(address: str, files: dict[str, str | None], folder: Path) -> None:
    """Fetch files into a folder, eight at a time.

    A file gets its final name only if its hash matches. A file that exists and matches is not fetched again,
    so that an interrupted download continues where it stopped. Time and size of each file are limited by
    `TIMEOUT`, `MIN_SPEED` and `MAX_SIZE`.

    Parameters
    ----------
    address : str
        The URL of the folder of all files.
    files : dict
        {name under `address`: sha256, or None where none is published}.
    folder : Path
        Where to put the files.

    Raises
    ------
    MurmurError
        Naming the address, if a file cannot be fetched or does not match its hash.
    """
    for name in files:
        if not is_inside(name):
            raise MurmurError(f"{address}{name}: the name leads out of the folder; the data set has changed")
    store = pooch.create(folder, address, registry=dict(files), retry_if_failed=2)
    for subfolder in {(folder / name).parent for name in files}:  # two threads of pooch might both create it
        subfolder.mkdir(parents=True, exist_ok=True)

    def fetch_one(name: str) -> None:
        try:
            store.fetch(name, downloader=partial(_download, has_checksum=files[name] is not None))
        except (OSError, ValueError) as error:  # the errors of requests are OSErrors
            if (
                getattr(error, "errno", None) in MACHINE_ERRORS
            ):  # a problem of this computer, not of the server
                raise
            raise MurmurError(f"{address}{name}: {error}; {RETRY}") from error

    with add_path(folder), _quiet_pooch():
        workers.map_threads(fetch_one, files, f"fetching {folder.name}", n=8)


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Hide pooch's message for each file, and restore the level of its logger afterwards."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def _download(address: str, out: str, _: object, *, has_checksum: bool) -> None:
    """Save the file at `address` as `out`; pooch passes itself as the third argument.

    Raises
    ------
    OSError, ValueError
        If the server refuses, does not answer in time or closes the connection: a retry may succeed.
    MurmurError
        If the server is too slow or sends too much, or if a file without a checksum comes from another host,
        such as a network's login page.
    """
    request = partial(requests.get, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    start = time.monotonic()
    try:
        with (
            clean_up_on_signal(partial(remove_path, Path(out))),
            _limit_time(TIMEOUT, partial(request, address)) as response,
            open(out, "wb") as file,
        ):
            response.raise_for_status()
            if not has_checksum and (host := urlsplit(response.url).netloc) != urlsplit(address).netloc:
                raise MurmurError(f"{address}: {host} answered, not the data set's server; {RETRY}")
            while block := response.raw.read1(BLOCK, decode_content=True):
                size = file.tell() + file.write(block)
                _check_progress(address, size, time.monotonic() - start)
    except requests.Timeout as error:
        raise ValueError(f"no answer within {TIMEOUT:g} s") from error
    except HTTPError as error:
        raise ValueError(str(error)) from error


def _check_progress(address: str, size: int, seconds: float) -> None:
    if size > MAX_SIZE:
        raise MurmurError(f"{address}: larger than {MAX_SIZE} bytes, the limit; {RETRY}")
    if seconds > TIMEOUT + size / MIN_SPEED:
        raise MurmurError(f"{address}: too slow, {size} bytes in {seconds:.0f} s; {RETRY}")


def _limit_time(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of `work`; a socket's timeout alone does not limit headers that come byte by byte."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError:
        raise ValueError(f"no answer within {seconds:g} s") from None
