"""Where a data set's files lie: under MURMUR_DATA if the user has them, else fetched and kept."""

import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pooch
from rich.console import Console

from murmur import workers
from murmur.errors import MurmurError
from murmur.files import beside


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
    fetched again, so that an interrupted fetch goes on where it stopped. Several are fetched at a time.

    Raises
    ------
    MurmurError
        Naming the address, if a file cannot be had or does not match.
    """
    store = pooch.create(folder, address, registry=dict(files), retry_if_failed=2)
    pooch.get_logger().setLevel("WARNING")
    get = pooch.HTTPDownloader(timeout=60)
    for place in {(folder / name).parent for name in files}:  # two threads of pooch may make one at once
        place.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        try:
            store.fetch(name, downloader=get)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            raise MurmurError(
                f"{address}{name}: {error}; run again to go on where this stopped, or set MURMUR_DATA "
                "to a folder that holds the data set"
            ) from error

    workers.threads(one, files, f"fetching {folder.name}", n=8)


def read_checksums(path: Path) -> dict[str, str]:
    """A SHA256SUMS file as {path: sha256}; {} where there is none."""
    if not path.exists():
        return {}
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
        Naming the archive, if it is broken or a name in it leads out of the folder.
    """
    try:
        with beside(folder) as part, zipfile.ZipFile(archive) as pack:
            part.mkdir()
            for member in pack.infolist():
                path = Path(member.filename)
                if path.is_absolute() or ".." in path.parts:
                    raise MurmurError(f"{archive}: {path} leads out of the folder; delete it, fetch it again")
                member.filename = member.filename.removeprefix(f"{folder.name}/")
                if member.filename:
                    pack.extract(member, part)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MurmurError(f"{archive}: cannot be unpacked ({error}); delete it, fetch it again") from error
