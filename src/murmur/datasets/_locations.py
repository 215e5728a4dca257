"""The folders of data sets: `$MURMUR_DATA/<name>`, or a cache for files that murmur fetches."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import pooch

from murmur.errors import MurmurError

logger = logging.getLogger(__name__)


def local_folder(name: str) -> Path | None:
    """Return `$MURMUR_DATA/<name>`, whether it exists or not; None where the variable is not set."""
    return Path(base) / name if (base := os.environ.get("MURMUR_DATA")) else None


def find_local(name: str, *markers: str) -> Path | None:
    """Find the folder `$MURMUR_DATA/<name>`.

    Parameters
    ----------
    name : str
        The data set.
    *markers : str
        Files or folders in the data set by which its folder is recognised.

    Returns
    -------
    Path or None
        The folder; None where it does not exist, which is logged.

    Raises
    ------
    MurmurError
        If MURMUR_DATA is the data set's own folder instead of the one above it.
    """
    folder = local_folder(name)
    if folder and not folder.is_dir():
        _check_base(folder, markers)
        logger.info(f"MURMUR_DATA has no folder {name}: fetching it instead")
        return None
    return folder


def require_local(name: str, page: str, layout: str, *markers: str) -> Path:
    """Find the folder `$MURMUR_DATA/<name>` of a data set that users must download themselves.

    Parameters
    ----------
    name : str
        The data set.
    page : str
        The address of its web page.
    layout : str
        What the folder must contain.
    *markers : str
        As `find_local`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    MurmurError
        If it does not exist: where to get the files and where to put them; or as `find_local`.
    """
    folder = local_folder(name)
    if folder and folder.is_dir():
        return folder
    if folder:
        _check_base(folder, markers)
    source = f"{name} cannot be fetched by a program: get it from {page} and put it"
    if folder:
        raise MurmurError(f"{folder}: no such folder, and {source} into that folder: {layout}")
    raise MurmurError(
        f"MURMUR_DATA is not set, and {source} into a folder {name}: {layout}; then set MURMUR_DATA to the "
        f"folder that contains {name}"
    )


def _check_base(folder: Path, markers: Iterable[str]) -> None:
    base = folder.parent
    if base.is_dir() and (
        base.absolute().name == folder.name or any((base / marker).exists() for marker in markers)
    ):
        raise MurmurError(
            f"MURMUR_DATA: {base} is the folder of {folder.name} itself; name the folder above, in which it "
            f"is called {folder.name}"
        )


def cache_folder(name: str) -> Path:
    """Return the folder for fetched files of a data set, which DVC does not delete."""
    return Path(pooch.os_cache("murmur")) / name


def list_unselected(root: Path, folders: Iterable[str], key: str) -> list[tuple[str, str]]:
    """List the recordings in parts of a data set that are not selected.

    Parameters
    ----------
    root : Path
        The data set's folder.
    folders : iterable of str
        The parts that are not selected, relative to `root`.
    key : str
        The parameter that selects the parts.

    Returns
    -------
    list of (path relative to `root`, reason)
        All WAV files in `folders`.
    """
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.wav"))]
    return [(path.relative_to(root).as_posix(), f"{key} leaves its set out") for path in paths]
