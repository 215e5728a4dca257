"""Where a data set's files lie: under MURMUR_DATA if the user has them, else fetched and kept."""

import hashlib
import os
import re
import stat
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pooch
import requests
from rich.console import Console
from urllib3.exceptions import HTTPError

from murmur import workers
from murmur.errors import LOCAL, MurmurError, add_path
from murmur.files import atomic_write

LONGEST_WAIT = 60  # s that a server may be silent, and that a file may take beyond its size / SLOWEST
SLOWEST = 10_000  # bytes/s
LARGEST = 2**30  # bytes of a file
LARGEST_TABLE = 2**26  # bytes of a list of checksums
BLOCK = 2**16
MEMBERS, UNPACKED, RATIO = 100_000, 2**34, 100  # an archive's files, their bytes, and those per byte of it
GO_ON = "run again to go on where this stopped, or set MURMUR_DATA to a folder that holds the data set"
T = TypeVar("T")


def named(name: str) -> Path | None:
    """The folder `$MURMUR_DATA/<name>`, there or not; None where the variable is not set."""
    return Path(base) / name if (base := os.environ.get("MURMUR_DATA")) else None


def local(name: str, *marks: str) -> Path | None:
    """The folder `$MURMUR_DATA/<name>`, or None, with a word about it, where it is not there.

    Raises
    ------
    MurmurError
        If MURMUR_DATA is the data set's own folder, as its name or one of the files `marks` in it tells.
    """
    folder = named(name)
    if folder and not folder.is_dir():
        _check_above(folder, marks)
        Console(stderr=True).print(f"MURMUR_DATA has no folder {name}: fetching it instead", soft_wrap=True)
        return None
    return folder


def by_hand(name: str, page: str, layout: str, *marks: str) -> Path:
    """The folder `$MURMUR_DATA/<name>` of a data set that people fetch by hand from `page`.

    Raises
    ------
    MurmurError
        If it is not there: where to get the files, where to put them, and in what layout; or as in `local`.
    """
    folder = named(name)
    if folder and folder.is_dir():
        return folder
    if folder:
        _check_above(folder, marks)
    raise MurmurError(
        f"{folder or f'$MURMUR_DATA/{name}'}: no such folder, and {name} cannot be fetched by a program: get "
        f"it from {page} and put it there: {layout}" + ("" if folder else "; then set MURMUR_DATA")
    )


def _check_above(folder: Path, marks: Iterable[str]) -> None:
    base = folder.parent
    if base.is_dir() and (
        base.absolute().name == folder.name or any((base / mark).exists() for mark in marks)
    ):
        raise MurmurError(
            f"MURMUR_DATA: {base} is the folder of {folder.name} itself; name the folder above, in which it "
            f"is called {folder.name}"
        )


def kept(name: str) -> Path:
    """Where fetched files of a data set are kept between runs, outside what DVC deletes."""
    return Path(pooch.os_cache("murmur")) / name


def fetch(address: str, files: dict[str, str | None], folder: Path) -> None:
    """Fetch `files` (name under `address` -> sha256, or None where none is published) into `folder`.

    A file is moved to its final name only if its hash matches. A file that is there and matches is not
    fetched again, so that an interrupted fetch goes on where it stopped. Several are fetched at a time. Time
    and size of each are bounded: `LONGEST_WAIT`, `SLOWEST`, `LARGEST`.

    Raises
    ------
    MurmurError
        Naming the address, if a file cannot be had or does not match.
    """
    for name in files:
        if not _is_inside(name):
            raise MurmurError(
                f"{address}{name}: the name leads out of the folder; the data set is not as it was"
            )
    store = pooch.create(folder, address, registry=dict(files), retry_if_failed=2)
    pooch.get_logger().setLevel("WARNING")
    for place in {(folder / name).parent for name in files}:  # two threads of pooch may make one at once
        place.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        try:
            store.fetch(name, downloader=partial(_save, trusted=files[name] is not None))
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            if getattr(error, "errno", None) in LOCAL:  # this computer's: disk full, permissions
                raise
            raise MurmurError(f"{address}{name}: {error}; {GO_ON}") from error

    with add_path(folder):
        workers.map_threads(one, files, f"fetching {folder.name}", n=8)


def _save(address: str, out: str, _: object, *, trusted: bool) -> None:
    """Save what a server sends; `trusted`: whether a published sha256 will tell if it is right.

    Raises
    ------
    OSError, ValueError
        If the server refuses, is silent or breaks off: it is worth another try.
    MurmurError
        If it is too slow, sends too much, or a file without a sha256 comes from another host, such as a
        network's login page.
    """
    ask = partial(requests.get, stream=True, timeout=LONGEST_WAIT, headers={"Accept-Encoding": "identity"})
    begin = time.monotonic()
    try:
        with _within(LONGEST_WAIT, partial(ask, address)) as response, open(out, "wb") as file:
            response.raise_for_status()
            if not trusted and (host := urlsplit(response.url).netloc) != urlsplit(address).netloc:
                raise MurmurError(f"{address}: {host} answered, not the data set's server; {GO_ON}")
            while block := response.raw.read1(BLOCK, decode_content=True):
                size, seconds = file.tell() + file.write(block), time.monotonic() - begin
                if size > LARGEST:
                    raise MurmurError(f"{address}: more than {LARGEST} bytes and no end; {GO_ON}")
                if seconds > LONGEST_WAIT + size / SLOWEST:
                    raise MurmurError(f"{address}: too slow, {size} bytes in {seconds:.0f} s; {GO_ON}")
    except requests.Timeout as error:
        raise ValueError(f"no answer within {LONGEST_WAIT:g} s") from error
    except HTTPError as error:
        raise ValueError(str(error)) from error


def _within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns; headers that come byte by byte would outlast the timeout of a socket."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError:
        raise ValueError(f"no answer within {seconds:g} s") from None


def _is_inside(name: str) -> bool:
    """Whether a name, joined to a folder, lies in it."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def read_checksums(path: Path) -> dict[str, str]:
    """A SHA256SUMS file as {path: sha256}; {} where there is none."""
    if not path.exists():
        return {}
    if path.stat().st_size > LARGEST_TABLE:
        raise MurmurError(f"{path}: is larger than {LARGEST_TABLE} bytes; delete the file, fetch it again")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})\s+\*?(.+)", line) for line in lines if line.strip()]
    if None in found:
        raise MurmurError(
            f"{path}: line {found.index(None) + 1} is not 'sha256 name'; delete the file, fetch it again"
        )
    return {match[2]: match[1] for match in found if match}


def verify(root: Path, names: Iterable[str], checksums: dict[str, str]) -> None:
    """Compare files under `root` with the data set's checksums, where it has one for them.

    Raises
    ------
    MurmurError
        Naming the file whose content is not the published one, or that cannot be read.
    """
    for name in names:
        try:
            same = name not in checksums or file_sha256(root / name) == checksums[name]
        except OSError as error:
            raise MurmurError(f"{root / name}: cannot be read ({error}); fetch the file again") from error
        if not same:
            raise MurmurError(f"{root / name}: its sha256 is not the data set's; fetch the file again")


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unasked(root: Path, folders: Iterable[str], key: str) -> list[tuple[str, str]]:
    """(path, reason) of each WAV in `folders` under `root`: sets that the parameter `key` leaves out."""
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.wav"))]
    return [(path.relative_to(root).as_posix(), f"{key} leaves its set out") for path in paths]


def unzip(archive: Path, folder: Path) -> None:
    """Unpack a ZIP file into `folder`, which appears whole or not at all.

    A top folder in the archive that is named as `folder` is not made again inside it.

    Raises
    ------
    MurmurError
        Naming the archive, if it is broken, a name in it leads out of the folder or is there twice, or it
        holds links or more than `MEMBERS`, `UNPACKED` and `RATIO` allow.
    """
    try:
        with atomic_write(folder) as part, zipfile.ZipFile(archive) as pack:
            part.mkdir()
            for member in (members := pack.infolist()):
                member.filename = member.filename.removeprefix(f"{folder.name}/")
            _check_members(members, archive)
            for member in members:
                if member.filename:
                    pack.extract(member, part)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if getattr(error, "errno", None) in LOCAL:  # this computer's: disk full, permissions
            raise
        raise MurmurError(f"{archive}: cannot be unpacked ({error}); delete it, fetch it again") from error


def _check_members(members: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    size, most = sum(member.file_size for member in members), RATIO * archive.stat().st_size
    names = Counter(member.filename.rstrip("/") for member in members)
    for member in members:
        if not _is_inside(member.filename):
            wrong = f"{member.filename} leads out of the folder"
        elif stat.S_ISLNK(member.external_attr >> 16):
            wrong = f"{member.filename} is a link"
        elif names[member.filename.rstrip("/")] > 1:
            wrong = f"{member.filename} is in it twice"
        elif len(members) > MEMBERS or size > min(UNPACKED, most):
            wrong = f"{len(members)} files of {size} bytes are more than such an archive may hold"
        else:
            continue
        raise MurmurError(f"{archive}: {wrong}; delete it, fetch it again")
