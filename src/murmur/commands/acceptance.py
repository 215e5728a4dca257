"""The command that records an edit of code that changes no result, without training all networks again."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from murmur.commands.reproduction import write_entries
from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.experiments.repair import repair_project
from murmur.files import temporary_folder

SLOW = ("train", "final")  # the stages that train, with all stages before them
logger = logging.getLogger(__name__)


def accept_code() -> None:
    """Record edited code that changes no result.

    After an edit of code that a training reads, `dvc repro` trains all networks again. If the edit cannot
    change a result, as a new name of a variable, this command shows it with less work. In a temporary folder
    it trains one fold with the new code, runs the other changed stages up to the training, and the final
    training. The new code writes the files of the run from this fold and the existing results of the others.
    Only if all files are the same, byte for byte, it records in dvc.lock that the existing results are also
    those of the new code. Otherwise it changes nothing and prints what differs.

    It prints which folds and runs were not trained: an edit that affects only those is not noticed.

    Examples
    --------
    murmur accept
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    repair_project()
    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        _accept()
    except LockError as error:
        raise MurmurError(project.explain_lock(str(error))) from error
    except DvcException as error:
        raise MurmurError(f"dvc: {' '.join(str(error).split())}") from error


def _accept() -> None:
    from dvc.repo import Repo

    with Repo() as repo, repo.scm_context(quiet=True):
        with repo.lock:
            stages = _list_stages(repo)
            changes = _find_changes(stages)
        if not changes:
            print("nothing to accept: no code of a training, or of a stage before it, has changed")
            return
        _check_stages(stages, changes)
        with temporary_folder() as folder:
            changed = [stage for stage in stages if stage.addressing in changes]
            chosen = list(_choose_stages(changed))
            shown, skipped = _run_copies(chosen, folder)
            skipped += [stage.addressing for stage in changed if stage not in chosen]
            with repo.lock:
                _record(repo, changes, folder / "code")
                following = _find_changes([stage for stage in repo.index.stages if stage not in stages])
    print(f"the same bytes with the changed code: {'; '.join(shown)}")
    if skipped:
        print(f"not trained again: {'; '.join(skipped)}")
    print(f"recorded in dvc.lock: {', '.join(changes)}; no output was changed")
    if following:
        print(f"`dvc repro` now runs {', '.join(following)}, whose code or parameters have changed")


def _list_stages(repo: Any) -> list[Any]:
    """List the stages that train and all stages before them, in the order of `dvc repro`."""
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    return list(plan_repro(get_active_graph(repo.index.graph), collect_stages(repo, SLOW)))


def _find_changes(stages: Sequence[Any]) -> dict[str, list[str]]:
    """Find the changed files and parameters of each stage that has any, by the name of the stage."""
    changes = {}
    for stage in stages:
        paths = ["its command"] if stage.cmd_changed else []
        for path, status in (item for dep in stage.deps for item in dep.status().items()):
            paths += [f"{path} ({key})" for key in status] if isinstance(status, Mapping) else [path]
        if paths:
            changes[stage.addressing] = paths
    return changes


def _check_stages(stages: Sequence[Any], changes: Mapping[str, Sequence[str]]) -> None:
    """Check that there are results to compare with, and that nothing but code has changed for a training."""
    for stage in stages:
        name = stage.addressing
        if any(not out.hash_info for out in stage.outs):
            raise MurmurError(f"{name} has not run yet: run it with `dvc repro --single-item {name}`")
        for output, path, status in ((out, *item) for out in stage.outs for item in out.status().items()):
            get = _format_restore(output, status)
            raise MurmurError(
                f"{path} of {name} is {status}: run `{get}` for the recorded results, or `dvc repro`"
            )
        if not name.startswith("train@"):
            continue
        others = [path for path in changes.get(name, ()) if not path.startswith(("src/", "stages/"))]
        if others:
            raise MurmurError(f"{name}: not only code has changed but {', '.join(others)}: run `dvc repro`")


def _format_restore(out: Any, status: str) -> str:
    """Return the command that restores an output or, if it was changed, shows how."""
    if status == "modified":
        return "murmur verify"
    if not out.use_cache:
        return f"git checkout HEAD -- {out.def_path}"
    return f"dvc {'pull' if out.changed_cache() else 'checkout'} {out.def_path}"


def _run_copies(stages: Sequence[Any], folder: Path) -> tuple[list[str], list[str]]:
    """Run changed stages with the new code in a folder.

    Returns
    -------
    shown : list of str
        The stages whose outputs are the same as before.
    skipped : list of str
        The trainings that did not run, and the folds that were not trained.

    Raises
    ------
    MurmurError
        If a stage fails or writes something else.
    """
    from murmur.experiments import refit

    refit.copy_code_and_params(folder / "code")
    shown, skipped = [], []
    for stage in stages:
        name = stage.addressing
        fold, others = _choose_fold(stage)
        what = name if fold is None else f"{name}, fold {fold}"
        logger.info(f"{what}: runs with the changed code")
        inputs = [path for path in _list_paths(stage.deps) if path.parts[0] not in project.CODE]
        refit.run_copy(stage.cmd, inputs, folder / "code", folder / name, fold)
        if differing := refit.list_differences(_list_paths(stage.outs), folder / name):
            raise MurmurError(
                f"{what}: not the same with the changed code: {', '.join(differing)}. Nothing was recorded; "
                "`dvc repro` runs what has changed"
            )
        shown.append(what)
        skipped += [f"{name}, fold {other}" for other in others]
    return shown, skipped


def _choose_fold(stage: Any) -> tuple[int | None, list[int]]:
    """Return the fold to train, and the others; None if the stage is no training of folds."""
    from murmur.experiments import refit

    if not stage.addressing.startswith("train@"):
        return None, []
    (path,) = (path for path in _list_paths(stage.deps) if path.parent.name == "folds")
    first, *others = refit.list_folds(path)
    return first, others


def _choose_stages(stages: Sequence[Any]) -> Iterator[Any]:
    """Yield the stages to run: of trainings that were recorded with the same code only the first."""
    recorded = set()
    for stage in stages:
        code = frozenset((dep.def_path, str(dep.hash_info)) for dep in stage.deps if _is_code(dep))
        if not stage.addressing.startswith("train@") or code not in recorded:
            yield stage
        recorded.add(code)


def _is_code(dep: Any) -> bool:
    return Path(dep.def_path).parts[0] in project.CODE


def _list_paths(items: Sequence[Any]) -> list[Path]:
    """List the paths of dependencies or outputs, relative to the project, without params.yaml."""
    return [path for item in items if (path := Path(item.def_path)) != Path("params.yaml")]


def _record(repo: Any, changes: Mapping[str, Sequence[str]], code: Path) -> None:
    """Write the code that changed stages have now to dvc.lock and the run cache, as `dvc commit`.

    dvc.lock is replaced in one step: DVC would write it in place.
    """
    from murmur.experiments import refit

    repo._reset()  # noqa: SLF001  # what was read before may have changed
    stages = _list_stages(repo)
    if not refit.is_code_unchanged(code) or _find_changes(stages) != changes:
        raise MurmurError("a file was changed meanwhile: run `murmur accept` again")
    changed = [stage for stage in stages if stage.addressing in changes]
    for stage in changed:
        stage.save()
    write_entries(repo, changed)
