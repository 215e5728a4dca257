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
    their hashes, which DVC does only when it writes them. For each damaged file it prints where an intact
    copy is, which it reads, also in the remote, and the command that gets it. Exit status 1 if a file is
    damaged. The commands delete nothing: they move damaged files to .dvc/tmp/damaged.

    Nothing is changed without --repair, which replaces a damaged object by an intact file of the workspace,
    or moves it there: then DVC fetches or computes it again. It stays where nothing can get it
    back. Files of the workspace are never changed. The exit status is then 0; run `murmur verify` again.

    Examples
    --------
    murmur verify
    murmur verify --all --repair
    """
    check = integrity.find_damage(in_all_objects=every)
    printed = {""}
    for damage in check.damages:
        print(f"{damage.path}: {damage.problem}; {damage.remedy.source}")
        if damage.remedy.command not in printed and not repair:
            printed.add(damage.remedy.command)
            print(f"  {damage.remedy.command}")
    _log_what_is_missing(check)
    amount = f"{check.n_files:,} files ({check.n_bytes / 1e9:.2f} GB)"
    if not check.damages:
        print(f"{amount}: none is damaged")
    elif repair:
        integrity.repair(check.damages)
        logger.info("the cache is repaired, as far as possible: murmur verify shows what is left")
    else:
        raise MurmurError(f"{len(check.damages)} of {amount} are damaged; above is how to get them back")


def _log_what_is_missing(check: integrity.Check) -> None:
    """Log what is no damage: what is on another machine, or has not run."""
    if check.n_missing:
        logger.info(
            "objects that dvc.lock names and the cache does not have: %d; `dvc fetch` gets them, and what it "
            "cannot get `dvc repro` makes again",
            check.n_missing,
        )
    if check.not_run:
        logger.info("dvc.lock does not have %s: not verified; `dvc repro` runs it", ", ".join(check.not_run))
