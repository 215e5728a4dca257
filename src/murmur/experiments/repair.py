"""Repair of what a killed process left: DVC's list of locked files, dvc.lock, and unfinished outputs."""

import json
import logging
from contextlib import suppress
from pathlib import Path

from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.files import remove_unfinished, write_text

logger = logging.getLogger(__name__)
LIST = Path(".dvc/tmp/rwlock")  # the files that DVC processes are using
LOCK = Path("dvc.lock")
CONFLICT = "<<<<<<< "  # the start of a line in which git marks a conflict
OUTPUTS = ("data", "models", "metrics", "plots")
NOT_OUTPUTS = (Path("data/folder"), Path("data/splits"), Path("data/weights"))


def repair_project() -> None:
    """Repair the project in the working directory if a killed process damaged it; notes name what was done.

    - ``.dvc/tmp/rwlock`` is removed if it cannot be read.
    - A ``dvc.lock`` that cannot be read is replaced by that of the last commit or, if there is none, removed.
      DVC then restores the stages that ran since from its run cache.
    - Unfinished outputs of processes that have ended, and old checkpoints, are removed.

    Raises
    ------
    MurmurError
        If one of the first two is damaged while a DVC process runs in this folder.
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
    for name in OUTPUTS:
        for path in remove_unfinished(Path(name), NOT_OUTPUTS):
            logger.info(f"{path}: removed; the process that was writing it has ended")
    remove_old_folders()


def _is_damaged_list(path: Path) -> bool:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        return True
    except FileNotFoundError:
        return False
    return False


def _remove_list() -> None:
    LIST.unlink(missing_ok=True)
    logger.info(f"{LIST}: removed; DVC was killed while it wrote this file")


def _is_damaged_lock(path: Path) -> bool:
    """Return whether dvc.lock cannot be read, other than for a conflict, which the user must solve."""
    content = path.read_bytes()
    has_conflict = any(line.startswith(CONFLICT.encode()) for line in content.splitlines())
    return not has_conflict and not _is_valid_lock(content)


def _is_valid_lock(content: bytes) -> bool:
    """Return whether DVC can read this content of dvc.lock, and it does not end within a line."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except (ValueError, YAMLError, Invalid):
        return False
    return content.endswith(b"\n")


def _restore_lock() -> None:
    committed = None
    with suppress(MurmurError):  # no git, no repository
        committed = project.read_committed("HEAD", str(LOCK))
    if committed and _is_valid_lock(committed.encode()):
        write_text(LOCK, committed)
        done = "replaced by that of the last commit"
    else:
        LOCK.unlink()
        done = "removed"
    logger.info(
        f"{LOCK}: {done}; DVC was killed while it wrote this file. What ran since is in DVC's run cache"
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
    names = {Path(word).name for word in command[:3]}
    return "dvc" in names or {"murmur", "repro"} <= {*names, *command[2:3]}
