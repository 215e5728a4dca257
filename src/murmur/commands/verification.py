"""The command that looks for damaged files."""

import logging
from typing import Annotated

import typer

from murmur.errors import MurmurError
from murmur.experiments import integrity

logger = logging.getLogger(__name__)


def verify_files(
    every: Annotated[bool, typer.Option("--all", help="read also what dvc.lock does not name")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="replace or remove damaged files of the cache")
    ] = False,
) -> None:
    """Find damaged results, and show how to get them back.

    Reads the outputs in dvc.lock, their objects in the DVC cache and the run-cache, and compares them with
    their hashes, which DVC does only when it writes them. Exit status 1 if a file is damaged. Nothing is
    changed without --repair, which replaces a damaged object by an intact file of the workspace, or removes
    it: then DVC fetches or computes it again. Files of the workspace are never changed.

    Examples
    --------
    murmur verify
    murmur verify --all --repair
    """
    check = integrity.find_damage(in_all_objects=every)
    for damage in check.damages:
        print(f"{damage.path}: {damage.problem}\n  {damage.remedy}")
    amount = f"{check.n_files:,} files ({check.n_bytes / 1e9:.2f} GB)"
    if check.n_missing:
        logger.info("%d objects that dvc.lock names are not in the cache: dvc fetch", check.n_missing)
    if not check.damages:
        print(f"{amount}: none is damaged")
    elif repair:
        integrity.repair(check.damages)
        logger.info("damaged files of the cache are replaced or removed: murmur verify shows what is left")
    if check.damages:
        raise MurmurError(f"{len(check.damages)} of {amount} are damaged; above is how to get them back")
