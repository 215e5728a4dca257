"""Download of a data set's files over HTTP."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import pooch
import requests
from urllib3.exceptions import HTTPError

from murmur import workers
from murmur.datasets._archives import is_inside
from murmur.datasets._checksums import read_checksums
from murmur.errors import MACHINE_ERRORS, MurmurError, add_path
from murmur.files import remove_path
from murmur.interruption import clean_up_on_signal

TABLE = "SHA256SUMS.txt"
TIMEOUT = 60  # s without a byte from the server, and s that a file may take beyond its size / MIN_SPEED
MIN_SPEED = 10_000  # bytes/s
MAX_SIZE = 2**30  # bytes of a file
MAX_REDIRECTS = 5
BLOCK = 2**16  # bytes
RETRY = "run again to continue where this stopped, or set MURMUR_DATA to a folder that holds the data set"
CERTIFICATE = "if your network has certificates of its own, name their file in REQUESTS_CA_BUNDLE"
Downloader = Callable[[str, str, pooch.Pooch], None]


def fetch_checksums(address: str, folder: Path) -> dict[str, str]:
    """Fetch the data set's SHA256SUMS.txt, unless it is in the folder, and read it.

    No checksum of this file itself is published. It is fetched once, from the data set's own host, and all
    later downloads into this folder are checked against it.

    Parameters
    ----------
    address : str
        The URL of the folder of all files.
    folder : Path
        Where to put the file.

    Returns
    -------
    dict of str to str
        {name: sha256}.

    Raises
    ------
    MurmurError
        Naming the address, if the file cannot be fetched or is not a table of checksums.
    """
    _fetch(address, {TABLE: None}, folder, _download_table)
    return read_checksums(folder / TABLE)


def fetch_files(address: str, files: dict[str, str | None], folder: Path) -> None:
    """Fetch files into a folder, eight at a time.

    A file gets its final name only if its hash matches. A file that exists and matches is not fetched again,
    and one that was received in part (`.NAME.part`) is continued, so that an interrupted download continues
    where it stopped. Time and size of each file are limited by `TIMEOUT`, `MIN_SPEED` and `MAX_SIZE`.

    Parameters
    ----------
    address : str
        The URL of the folder of all files.
    files : dict
        {name under `address`: sha256, or None where none is published, which is refused}.
    folder : Path
        Where to put the files.

    Raises
    ------
    MurmurError
        Naming the address, if a file has no hash, cannot be fetched or does not match its hash.
    """
    for name, checksum in files.items():
        if not is_inside(name):
            raise MurmurError(f"{address}{name}: the name leads out of the folder; the data set has changed")
        if checksum is None:
            raise MurmurError(
                f"{address}{name}: {folder / TABLE} has no checksum of it; delete that table and run again, "
                "or set MURMUR_DATA to a folder that holds the data set"
            )
    _fetch(address, files, folder, _download_file)


def _fetch(address: str, files: dict[str, str | None], folder: Path, download: Downloader) -> None:
    store = pooch.create(folder, address, registry=dict(files), retry_if_failed=2)
    for subfolder in {(folder / name).parent for name in files}:  # two threads of pooch might both create it
        subfolder.mkdir(parents=True, exist_ok=True)

    def fetch_one(name: str) -> None:
        try:
            store.fetch(name, downloader=download)
        except (OSError, ValueError) as error:  # the errors of requests are OSErrors
            if (
                getattr(error, "errno", None) in MACHINE_ERRORS
            ):  # a problem of this computer, not of the server
                raise
            remedy = f"{CERTIFICATE}; {RETRY}" if "CERTIFICATE_VERIFY_FAILED" in str(error) else RETRY
            raise MurmurError(f"{address}{name}: {error}; {remedy}") from error

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


def _download_table(address: str, out: str, _: pooch.Pooch) -> None:
    """Save the table of checksums as `out`, if the data set's own host sends one."""
    with clean_up_on_signal(partial(remove_path, Path(out))):
        with open(out, "wb") as file:
            _receive(address, file, has_checksum=False)
        try:
            checksums = read_checksums(Path(out))
        except MurmurError:
            checksums = {}
        if not checksums:
            raise MurmurError(f"{address}: is not a table of checksums; {RETRY}")


def _download_file(address: str, out: str, store: pooch.Pooch) -> None:
    """Save the file at `address` as `out`, of which pooch then compares the hash."""
    path = store.abspath / address.removeprefix(store.base_url)
    remove_path(Path(out))  # empty until the end: pooch has made it, and a killed process would leave it
    with (
        clean_up_on_signal(partial(_keep_part, Path(out))),
        _open_part(path.with_name(f".{path.name}.part"), out) as file,
    ):
        _receive(address, file, has_checksum=True)
        Path(file.name).replace(out)


def _keep_part(out: Path) -> str:
    """Remove `out`, but not the part that was received; return the note for the user."""
    remove_path(out)
    return "files that were received in part are kept as .NAME.part and continued"


def _open_part(part: Path, out: str) -> BinaryIO:
    """Open the part of a file that was received before; `out` if another process is writing to the part."""
    file = open(part, "ab")  # noqa: SIM115  # returned
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), part.stat()):  # the other process has not just finished
            return file
    except OSError:  # locked, or a file system without locks
        pass
    file.close()
    return open(out, "wb")


def _receive(address: str, file: BinaryIO, *, has_checksum: bool) -> None:
    """Append to `file` what it lacks of the file at `address`; begin again if the server sends all of it.

    Raises
    ------
    OSError, ValueError
        If the server refuses, does not answer in time or closes the connection: a retry may succeed.
    MurmurError
        If the server is too slow or sends too much, or redirects to where it may not.
    """
    start, offset = time.monotonic(), file.tell()
    request = partial(_request, address, offset, has_checksum=has_checksum)
    try:
        with workers.limit_time(TIMEOUT, request) as response:
            if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # the part is already the whole file, unless its hash differs
            offset = _find_start(response, file)
            while block := _read_block(response.raw):
                file.write(block)
                _check_progress(address, file, offset, time.monotonic() - start)
    except requests.Timeout as error:
        raise ValueError(f"no answer within {TIMEOUT:g} s") from error
    except HTTPError as error:
        raise ValueError(str(error)) from error


class _Session(requests.Session):
    """A session that follows no redirect: requests reads the body of each, of any size, into memory."""

    def get_redirect_target(self, _: requests.Response) -> None:
        return None


def _request(address: str, offset: int, *, has_checksum: bool) -> requests.Response:
    """Request a file from byte `offset` on, and follow redirects."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    url = address
    with _Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
            _check_redirect(address, url, has_checksum)
    raise MurmurError(f"{address}: more than {MAX_REDIRECTS} redirects; {RETRY}")


def _check_redirect(address: str, url: str, has_checksum: bool) -> None:
    """Refuse a redirect to what is not HTTP or not encrypted; without a checksum, to another host."""
    source, target = urlsplit(address), urlsplit(url)
    is_safe = target.scheme in ("https", source.scheme) and (has_checksum or target.netloc == source.netloc)
    if not is_safe:
        place = f"{target.scheme}://{target.netloc}"[:100]
        raise MurmurError(f"{address}: refused, it redirects to {place!r}; {RETRY}")


def _find_start(response: requests.Response, file: BinaryIO) -> int:
    """Return the byte with which the response begins; empty `file` if the server sends all of it.

    Whether a server sends the part that was requested is left to the hash.
    """
    status, offset = response.status_code, file.tell()
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise ValueError(f"the server answered {status} {responses.get(status, '')}".rstrip())
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ValueError(f"the server answered with the encoding {encoding[:50]!r}, which was not requested")
    if status == HTTPStatus.PARTIAL_CONTENT:
        if not offset:
            raise ValueError("the server answered with a part of the file, which was not requested")
        return offset
    _clear(file)
    return 0


def _clear(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _read_block(body: Any) -> bytes:
    """Read what has arrived; a socket's timeout does not limit a chunk's header that comes byte by byte."""
    timer = threading.Timer(2 * TIMEOUT, body.shutdown)
    timer.daemon = True
    timer.start()
    try:
        return body.read1(BLOCK, decode_content=False)
    finally:
        timer.cancel()


def _check_progress(address: str, file: BinaryIO, offset: int, seconds: float) -> None:
    if file.tell() > MAX_SIZE:
        _clear(file)
        raise MurmurError(f"{address}: larger than {MAX_SIZE} bytes, the limit; {RETRY}")
    if seconds > TIMEOUT + (n := file.tell() - offset) / MIN_SPEED:
        raise MurmurError(f"{address}: too slow, {n} bytes in {seconds:.0f} s; {RETRY}")
