"""Run a stage in a folder that holds only its dependencies and its parameters, and list what it reads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from tests import recorder


class Stage(NamedTuple):
    """A stage of dvc.yaml, with the parameters in effect; paths are relative to the project.

    Attributes
    ----------
    command : str
        Its command.
    deps : set of Path
        The files and folders that it depends on.
    outs : set of Path
        Its outputs.
    sections : set of str
        The sections of params.yaml of which it depends on a key; empty: on the complete file.
    """

    command: str
    deps: set[Path]
    outs: set[Path]
    sections: set[str]


def read_stages(project):
    """The stages of a project by name, in the order in which they run; of `train` the first run."""
    with Repo(str(project)) as repo:
        stages = {}
        for found in repo.index.stages:
            params = [dep for dep in found.deps if isinstance(dep, ParamsDependency)]
            deps, outs = (
                {Path(item.fs_path).relative_to(project) for item in items}
                for items in ([dep for dep in found.deps if dep not in params], found.outs)
            )
            keys = {key.partition(".")[0] for dep in params for key in dep.params}
            stages.setdefault(found.name.split("@")[0], Stage(found.cmd, deps, outs, keys))
    return stages


# An environment unlike that of the project, in which a stage gives the same bytes.
ANOTHER = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}


def run_alone(project, stage, folder, *, without=(), workers=1):
    """Run a stage in an empty folder with nothing but its dependencies and its sections of params.yaml.

    Parameters
    ----------
    project : Path
        The project in which the pipeline has run.
    stage : Stage
        The stage.
    folder : Path
        The empty folder.
    without : collection of Path
        Dependencies that the folder does not get.
    workers : int
        The number of worker processes.

    Returns
    -------
    set of Path
        The files that the stage reads.

    Raises
    ------
    RuntimeError
        If the stage fails, with its output.
    """
    for path in stage.deps - {*without}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (project / path).is_dir() else shutil.copy)(project / path, folder / path)
    files = {path for path in folder.rglob("*") if path.is_file()}
    params = yaml.safe_load((project / "params.yaml").read_text())
    kept = {key: value for key, value in params.items() if key in stage.sections or not stage.sections}
    (folder / "params.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    shutil.copy(recorder.__file__, folder / "src/sitecustomize.py")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = ANOTHER | {"PATH": path, "MURMUR_WORKERS": str(workers), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["sh", "-c", stage.command], cwd=folder, env=os.environ | settings, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    read = "".join((folder / name).read_text() for name in ("opened.txt", "accessed.txt")).splitlines()
    return {path.relative_to(folder) for path in files & {Path(line) for line in read}}


def list_undeclared(reads, deps):
    """The files that are neither a dependency nor in one."""
    return {path for path in reads if not {path, *path.parents} & deps}


def list_unread(reads, deps):
    """The dependencies that are not read, nor any file in them."""
    return deps - {parent for path in reads for parent in (path, *path.parents)}


def list_differing(project, folder, outs):
    """The outputs that are not the same bytes in two folders."""
    return [path for path in outs if read_bytes(project / path) != read_bytes(folder / path)]


def read_bytes(path):
    """The content of a file, or of each file in a folder."""
    if path.is_dir():
        return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return path.read_bytes()
