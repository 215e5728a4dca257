"""dvc.lock, in which DVC keeps the hashes of all dependencies and outputs."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from murmur.errors import MurmurError
from murmur.experiments import project

LOCK = Path("dvc.lock")
DAMAGED = Path(".dvc/tmp/dvc.lock.damaged")
CONFLICT = (b"<<<<<<< ", b"=======", b">>>>>>> ")  # the starts of lines in which git marks a conflict


class LockProblem(NamedTuple):
    """What dvc.lock lacks of a stage, or has too much.

    Attributes
    ----------
    stage : str
        The name of the stage.
    problem : str
        What is wrong.
    is_committed_right : bool
        Whether this is not wrong in dvc.lock of the last commit.
    """

    stage: str
    problem: str
    is_committed_right: bool


def parse_lock(content: bytes) -> dict[str, Any] | None:
    """Parse dvc.lock; None if DVC cannot read it, or if it ends within a line."""
    from dvc.rwlock import Invalid
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        lock = COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except (ValueError, YAMLError, Invalid, RecursionError):
        return None
    return dict(lock) if content.endswith(b"\n") else None


def check_lock() -> None:
    """Check that dvc.lock, if there is one, can be read.

    Raises
    ------
    MurmurError
        If it is damaged or has a conflict of git.
    """
    if LOCK.exists():
        check_no_conflict(content := LOCK.read_bytes())
        if parse_lock(content) is None:
            raise MurmurError(f"{LOCK}: is damaged: run `murmur repair`")


def check_no_conflict(content: bytes) -> None:
    """Check that git has marked no conflict in dvc.lock.

    Raises
    ------
    MurmurError
        With the line and what to do.
    """
    for k, line in enumerate(content.splitlines(), 1):
        if line.startswith(CONFLICT):
            raise MurmurError(
                f"{LOCK}: line {k}: a conflict of git: take either side, `git checkout --ours {LOCK}` or "
                f"`--theirs`, then run `murmur ci` (docs/cache.md, A conflict in dvc.lock)"
            )


def read_committed_stages() -> dict[str, Any]:
    """Read the stages of dvc.lock in the last commit; empty if there is none or it is damaged."""
    with suppress(MurmurError):  # no git, no repository
        lock = parse_lock(project.read_committed_bytes("HEAD", str(LOCK)) or b"")
        return lock.get("stages", {}) if lock else {}
    return {}


def format_restore() -> str:
    """Return the command that replaces dvc.lock by that of the last commit."""
    keep = f"cp {LOCK} {project.find_free_path(DAMAGED)} && " if LOCK.exists() else ""
    return f"{keep}git checkout HEAD -- {LOCK}"


def list_hashes(entry: dict[str, Any] | None) -> dict[str, str]:
    """List the hashes of the outputs of a stage in dvc.lock, by path."""
    return {out["path"]: out["md5"] for out in (entry or {}).get("outs", ()) if out.get("md5")}


def list_missing_stages(repo: Any) -> list[str]:
    """List the stages of dvc.yaml that dvc.lock does not have and that have no output."""
    stages = _read_stages()
    return [s.name for s in _list_pipeline(repo) if stages and s.name not in stages and not _has_output(s)]


def find_lock_problems(repo: Any) -> Iterator[LockProblem]:
    """Compare the outputs in dvc.lock with those of dvc.yaml.

    A stage without an entry has not run; but if it has outputs, they cannot be verified. Entries of stages
    that dvc.yaml no longer has are normal.
    """
    stages, committed = _read_stages(), None
    for stage in _list_pipeline(repo):
        if problem := _compare_stage(stage, stages):
            committed = read_committed_stages() if committed is None else committed
            yield LockProblem(stage.name, problem, not _compare_stage(stage, committed))


def _read_stages() -> dict[str, Any]:
    lock = parse_lock(LOCK.read_bytes()) if LOCK.exists() else None
    return lock.get("stages", {}) if lock else {}


def _list_pipeline(repo: Any) -> list[Any]:
    """List the stages of dvc.yaml in the folder of the project."""
    path = Path(repo.root_dir, "dvc.yaml")
    return [stage for stage in repo.index.stages if stage.cmd and Path(stage.path) == path]


def _has_output(stage: Any) -> bool:
    return any(out.exists for out in stage.outs)


def _compare_stage(stage: Any, stages: dict[str, Any]) -> str:
    """Describe the first difference between a stage and its entry; empty if there is none."""
    if stage.name not in stages:
        return f"has no entry of the stage {stage.name}, which has outputs" if _has_output(stage) else ""
    recorded, outs = list_hashes(stages[stage.name]), {out.def_path for out in stage.outs}
    if missing := sorted(outs - {*recorded}):
        return f"has no hash of {missing[0]}, an output of the stage {stage.name}"
    if surplus := sorted({*recorded} - outs):
        return f"names {surplus[0]}, which is no output of the stage {stage.name} in dvc.yaml"
    return ""
