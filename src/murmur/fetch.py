"""Where a data set's files lie: under MURMUR_DATA if the user has them, else fetched and kept."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pooch
import requests
from rich.console import Console

from murmur import workers
from murmur.errors import MurmurError


def local(name: str) -> Path | None:
    """The folder `$MURMUR_DATA/<name>`, or None where the variable or the folder is not there."""
    folder = Path(os.environ["MURMUR_DATA"]) / name if os.environ.get("MURMUR_DATA") else None
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

    def one(name: str) -> None:
        try:
            store.fetch(name, downloader=get)
        except (requests.RequestException, OSError, ValueError) as error:
            raise MurmurError(
                f"{address}{name}: {error}; run again to go on where this stopped, or set MURMUR_DATA "
                "to a folder that holds the data set"
            ) from error

    workers.threads(one, files, f"fetching {folder.name}", n=8)


def read_checksums(path: Path) -> dict[str, str]:
    """A SHA256SUMS file as {path: sha256}; {} where there is none."""
    if not path.exists():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    try:
        return {name.lstrip("*"): digest for digest, name in pairs}
    except ValueError as error:
        raise MurmurError(f"{path}: a line is not 'sha256 name'; fetch the file again") from error


def verify(root: Path, names: Iterable[str], checksums: dict[str, str]) -> None:
    """Compare files under `root` with the data set's checksums, where it has one for them.

    Raises
    ------
    MurmurError
        Naming the file whose content is not the published one.
    """
    for name in names:
        if name in checksums and file_sha256(root / name) != checksums[name]:
            raise MurmurError(f"{root / name}: its sha256 is not the data set's; fetch the file again")


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
