"""Repair of what a killed process left: DVC's list of locked files, dvc.lock, and unfinished files."""

import json
import logging
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from murmur.errors import MurmurError
from murmur.experiments import lock_file, project
from murmur.experiments.lock_file import LOCK
from murmur.files import remove_path, remove_unfinished, write_text
from murmur.formatting import format_count

logger = logging.getLogger(__name__)
LIST = Path(".dvc/tmp/rwlock")  # the files that DVC processes are using
OUTPUTS = ("data", "models", "metrics", "plots")
MAX_AGE = 600  # s without a change, after which DVC no longer writes a temporary file of the cache
MAX_AGE_OF_ENTRIES = 0.2  # s, the same of an entry of the run-cache: it is written in milliseconds


def repair_project() -> None:
    """Repair the project in the working directory if a killed process damaged it; notes name what was done.

    - ``.dvc/tmp/rwlock`` is removed if it cannot be read, or names only processes that have ended.
    - A ``dvc.lock`` that cannot be read is replaced by that of the last commit or, if there is none, removed.
      DVC then restores the stages that ran since from its run cache.
    - DVC's records of hashes are removed if they cannot be read; DVC makes them again.
    - Unfinished outputs of processes that have ended, old checkpoints and old temporary files of DVC's cache
      are removed.

    Raises
    ------
    MurmurError
        If one of the first three is damaged while a DVC process runs in this folder, or if dvc.lock has a
        conflict of git.
    """
    from murmur.training.checkpoint_folders import remove_old_folders  # imports numpy

    for path, is_damaged, repair in (
        (LIST, _is_damaged_list, _remove_list),
        (LOCK, _is_damaged_lock, _restore_lock),
    ):
        if path.exists() and is_damaged(path):
            _check_no_dvc_runs(path)
            if is_damaged(path):  # still: no process was writing it
                repair()
    _remove_damaged_records()
    folders = [path for path in Path().iterdir() if path.is_dir()]
    for folder, but_not in ((Path(), folders), *((Path(name), project.GIVEN) for name in OUTPUTS)):
        for path in remove_unfinished(folder, but_not):
            logger.info(f"{path}: removed; the process that was writing it has ended")
    remove_old_folders()
    _remove_temporary_files()


def _remove_temporary_files() -> None:
    """Remove files that DVC was writing to its cache when it was killed or the disk became full.

    DVC would take an unfinished entry of the run-cache for an entry, and fail, as with an empty folder of it.
    """
    cache, names, size = project.find_cache(), [], 0
    for path in cache.glob("**/.*.tmp"):
        with suppress(OSError):  # another process has removed it
            status, is_entry = path.stat(), path.is_relative_to(cache / "runs")
            if time.time() - status.st_ctime > (MAX_AGE_OF_ENTRIES if is_entry else MAX_AGE):
                path.unlink()
                names.append(path.name)
                size += status.st_size
    for folder in cache.glob("runs/*/*"):
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    if names:
        files = format_count(len(names), "file")
        logger.info(f"{cache}: {files} removed that DVC had not finished ({size / 1e6:.1f} MB)")


def _is_damaged_list(path: Path) -> bool:
    """Return whether the list cannot be read, or names only processes that have ended.

    DVC ignores a process that has ended, but not before its parent has read its exit status.
    """
    from dvc.rwlock import SCHEMA, Invalid

    try:
        content = SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        return True
    except FileNotFoundError:
        return False
    readers = [reader for readers in content["read"].values() for reader in readers]
    pids = {process["pid"] for process in (*content["write"].values(), *readers)}
    return bool(pids) and all(map(_has_ended, pids))


def _has_ended(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _remove_damaged_records() -> None:
    """Remove the records of hashes that DVC keeps outside the project if they cannot be read."""
    for path in _find_records():
        if not _is_database(path):
            _check_no_dvc_runs(path)
            remove_path(path.parent)  # with SQLite's other files
            logger.info(f"{path.parent}: removed; it was damaged, and DVC makes it again")


def _find_records() -> list[Path]:
    """Find the SQLite databases of DVC for this project."""
    from dvc.config import Config
    from dvc.repo import Repo

    if not Path(".dvc/tmp/btime").exists():  # DVC names their folder by its time
        return []
    repo = Repo.__new__(Repo)  # Repo() would open them
    config = Config(str(Path(".dvc").resolve()), validate=False)
    repo.__dict__.update(root_dir=str(Path.cwd().resolve()), tmp_dir=".dvc/tmp", config=config, _fs=None)
    return sorted(Path(repo.site_cache_dir).rglob("*.db"))


def _is_database(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("pragma quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:  # in use
        return True
    except sqlite3.DatabaseError:
        return False


def _remove_list() -> None:
    LIST.unlink(missing_ok=True)
    logger.info(f"{LIST}: removed; DVC was killed")


def _is_damaged_lock(path: Path) -> bool:
    """Return whether dvc.lock cannot be read.

    Raises
    ------
    MurmurError
        If it has a conflict of git, which the user must solve.
    """
    content = path.read_bytes()
    lock_file.check_no_conflict(content)
    return lock_file.parse_lock(content) is None


def _restore_lock() -> None:
    copy = project.find_free_path(lock_file.DAMAGED)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LOCK, copy)
    committed = None
    with suppress(MurmurError):  # no git, no repository
        committed = project.read_committed("HEAD", str(LOCK))
    if committed and lock_file.parse_lock(committed.encode()):
        write_text(LOCK, committed)
        done = "replaced by that of the last commit"
    else:
        LOCK.unlink()
        done = "removed"
    logger.info(
        f"{LOCK}: {done}; DVC was killed while it wrote this file. What ran since is in DVC's run cache. The "
        f"damaged file is {copy}"
    )


def _check_no_dvc_runs(path: Path) -> None:
    """Raise an error if a DVC process, other than those that started this one, runs in this folder."""
    import psutil

    own = {psutil.Process().pid, *(process.pid for process in psutil.Process().parents())}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in own and Path.cwd() == Path(process.cwd()) and _is_dvc(process.cmdline()):
                raise MurmurError(
                    f"{path}: is damaged, and DVC still runs in this folder (process {process.pid}: "
                    f"{' '.join(process.cmdline()[-3:])}); end it or wait for it, then try again"
                )


def _is_dvc(command: list[str]) -> bool:
    """Return whether a command may write dvc.lock."""
    names = {Path(word).name for word in command[:4]}
    return "dvc" in names or ("murmur" in names and not names.isdisjoint({"repro", "ci", "accept"}))
