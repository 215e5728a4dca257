"""Where a data set's files lie: under MURMUR_DATA if the user has them, else fetched and kept."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pooch
from rich.console import Console

from murmur import workers
from murmur.errors import MurmurError


def named(name: str) -> Path | None:
    """The folder `$MURMUR_DATA/<name>`, there or not; None where the variable is not set."""
    return Path(base) / name if (base := os.environ.get("MURMUR_DATA")) else None


def local(name: str) -> Path | None:
    """The folder `$MURMUR_DATA/<name>`, or None, with a word about it, where it is not there."""
    folder = named(name)
    if folder and not folder.is_dir():
        Console(stderr=True).print(f"MURMUR_DATA has no folder {name}: fetching it instead", soft_wrap=True)
        return None
    return folder


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
