"""Damaged files: outputs, objects of the DVC cache, entries of the run-cache, and dvc.lock."""

import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from murmur.errors import MurmurError, first_line
from murmur.experiments import lock_file
from murmur.experiments.remedies import DAMAGED, REPAIR, Remedies, Remedy
from murmur.experiments.remote_objects import RemoteObjects
from murmur.experiments.stored_files import Output, StoredFiles, get_oid
from murmur.files import atomic_write, remove_path
from murmur.progress import track

RUN = re.compile(r"[0-9a-f]{64}")


class Damage(NamedTuple):
    """A damaged file.

    Attributes
    ----------
    path : str
        The output, or the file in the cache.
    problem : str
        What is wrong.
    remedy : Remedy
        How to get it back.
    stored : Path or None
        The file in the cache, which `repair` replaces or moves.
    content : Path or bytes or None
        The content that `stored` should have: a file of the workspace with it, or the list of a folder.
    """

    path: str
    problem: str
    remedy: Remedy
    stored: Path | None = None
    content: Path | bytes | None = None


class Check(NamedTuple):
    """What was read, and what is damaged.

    Attributes
    ----------
    n_files, n_bytes : int
        How much was read.
    n_missing : int
        Objects that dvc.lock names and the cache lacks.
    not_run : list of str
        Stages that dvc.lock does not have.
    damages : list of Damage
        The damaged files.
    """

    n_files: int
    n_bytes: int
    n_missing: int
    not_run: list[str]
    damages: list[Damage]


def find_damage(*, in_all_objects: bool) -> Check:
    """Compare files with their hashes: the outputs in dvc.lock, their objects in the cache, the run-cache.

    Outputs of stages that dvc.yaml no longer has are among the other objects.

    Parameters
    ----------
    in_all_objects : bool
        Whether to read every object of the cache, not only those that dvc.lock names.

    Raises
    ------
    MurmurError
        If dvc.lock is damaged, or if DVC cannot read the project.
    """
    lock_file.check_lock()
    with _errors_explained():
        from dvc.repo import Repo

        with Repo() as repo:
            return _check(repo, in_all_objects)


@contextmanager
def _errors_explained() -> Iterator[None]:
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        remedy = "; without git: dvc config --local core.no_scm true"
        is_git = "is not a git repository" in str(error)
        raise MurmurError(f"dvc: {first_line(error)}{remedy if is_git else ''}") from error
    except sqlite3.DatabaseError as error:
        raise MurmurError(
            f"DVC's record of hashes is damaged ({first_line(error)}): run `murmur repair`"
        ) from error


def _check(repo: Any, in_all_objects: bool) -> Check:
    stored = StoredFiles(repo, in_all_objects)
    remedies = Remedies(stored, RemoteObjects(repo))
    runs = _list_runs(Path(repo.stage_cache.cache_dir))
    damages = [
        *_find_lock_damages(repo),
        *_find_damaged_objects(stored, remedies),
        *_find_damaged_others(stored, remedies),
        *_find_damaged_outputs(stored, remedies),
        *_find_damaged_runs(runs),
    ]
    n_bytes = sum(path.stat().st_size for path in (*stored.hashes, *runs) if path.exists())
    cached = {oid for oid, ((output, _), *_) in stored.owners.items() if output.is_cached}
    n_missing = len(cached - {*stored.objects})
    return Check(
        len(stored.hashes) + len(runs), n_bytes, n_missing, lock_file.list_missing_stages(repo), damages
    )


def repair(damages: Iterable[Damage]) -> None:
    """Replace damaged files of the cache by what the workspace holds, and move the others to `DAMAGED`."""
    for path, content in {damage.stored: damage.content for damage in damages if damage.stored}.items():
        if os.path.lexists(path):
            kept = DAMAGED / path.parent.name / path.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            remove_path(kept)
            shutil.move(path, kept)
        if content is not None:
            _write_object(path, content)


def _write_object(path: Path, content: Path | bytes) -> None:
    with atomic_write(path) as part:
        if isinstance(content, Path):
            shutil.copyfile(content, part)
        else:
            part.write_bytes(content)
        part.chmod(0o444)  # as DVC protects objects


def _find_lock_damages(repo: Any) -> Iterator[Damage]:
    for stage, problem, is_committed_right in lock_file.find_lock_problems(repo):
        remedy = Remedy("DVC restores it from the run-cache, or runs it", f"dvc repro {shlex.quote(stage)}")
        if is_committed_right:
            remedy = Remedy("that of the last commit has it", lock_file.format_restore())
        yield Damage(str(lock_file.LOCK), problem, remedy)


def _find_damaged_objects(stored: StoredFiles, remedies: Remedies) -> Iterator[Damage]:
    damaged = [oid for oid in stored.objects if not stored.is_intact(oid)]
    for oid in (*damaged, *stored.missing_listings):
        (output, _), path, content = stored.owners[oid][0], stored.locate(oid), stored.find_content(oid)
        state = "damaged" if oid in damaged else "missing"
        facts = (os.path.relpath(path), f"this object of the cache, of {output.path}, is {state}")
        if content is not None:
            yield Damage(*facts, Remedy("the workspace has its content", REPAIR), path, content)
            continue
        remedy = remedies.find_for_output(output)
        removed = path if remedy.command else None
        if remedy.command and stored.list_differences(output):
            remedy = Remedy(f"the command for {output.path} below gets it", "")
        yield Damage(*facts, remedy, removed)


def _find_damaged_others(stored: StoredFiles, remedies: Remedies) -> Iterator[Damage]:
    for path in sorted(path for path in stored.others if not stored.is_other_intact(path)):
        is_in_remote = not remedies.remotes.find_problem(get_oid(path), None)
        fetch = "`dvc fetch --all-commits` gets it from the remote, or " if is_in_remote else ""
        remedy = Remedy(f"without it, {fetch}a run that needs it makes it again", REPAIR)
        problem = "this object of the cache, which dvc.lock does not name, is damaged"
        yield Damage(os.path.relpath(path), problem, remedy, path)


def _find_damaged_outputs(stored: StoredFiles, remedies: Remedies) -> Iterator[Damage]:
    for output in stored.outputs:
        if names := stored.list_differences(output):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            some = f": {', '.join(names[:3])}{more}" if names != [""] else ""
            problem = f"differs from {_name_record(output)}{some}"
            yield Damage(str(output.path), problem, remedies.find_for_output(output))


def _name_record(output: Output) -> str:
    return str(lock_file.LOCK) if output.is_made else output.stage


def _list_runs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*/*") if RUN.fullmatch(path.name))


def _find_damaged_runs(runs: list[Path]) -> Iterator[Damage]:
    """The entries of the run-cache that are not what their names require."""
    for path in track(runs, "reading the run-cache"):
        if not _is_run_intact(path):
            remedy = Remedy("without it the stage runs, unless `dvc fetch --run-cache` gets it", REPAIR)
            yield Damage(os.path.relpath(path), "this entry of the run-cache is damaged", remedy, path)


def _is_run_intact(path: Path) -> bool:
    from dvc.stage.cache import _get_cache_hash
    from dvc.utils.serialize import load_yaml

    try:
        content = load_yaml(str(path))
        return (path.name, path.parent.name) == (_get_cache_hash(content), _get_cache_hash(content, key=True))
    except PermissionError:
        raise
    except Exception:  # noqa: BLE001  # YAML, encoding, types: a damaged file can be anything
        return False
