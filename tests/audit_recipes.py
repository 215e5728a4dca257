"""Audit the stages of all recipes, and of other experiments, on tiny data: python -m tests.audit_recipes.

The pipeline of each experiment runs with DVC. Then each stage runs in a folder that holds only its
dependencies and its sections of params.yaml, and must write the same bytes. A dependency that no experiment
reads is an error.
"""

import os
import sys
from collections import defaultdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import yaml

from murmur.files import temporary_folder
from tests import made, stage_audit, test_recipes
from tests.test_pipeline import TINY, copy_project, edit, repro

FETCHED = {Path(f"src/murmur/datasets/_{name}.py") for name in ("archives", "fetch")}  # for downloads
NEVER_READ = {"download": {Path("data/checked")}}  # it only makes download run after check
OTHER = {  # experiments that read what no recipe reads
    "default": {},
    "own recordings": {
        "dataset": "folder",
        "task": "label",
        "positive": ["ill"],
        "download": {"remote": "private"},
        "segment": {"length": 0.3, "min_length": 0.1},
        "split": {"method": "file", "file": "data/splits/made.csv"},
        "train": {"model": {"name": "backbone", "arch": "test_resnet"}},
    },
}


def main():
    """Audit all experiments; exit with status 1 and the list of problems if there are any."""
    with temporary_folder() as root:
        os.environ["MURMUR_DATA"] = str(test_recipes.make_data(root / "data"))
        names = [*OTHER, *test_recipes.RECIPES]
        with get_context("spawn").Pool() as pool:
            results = pool.map(partial(audit_experiment, root), names, chunksize=1)
    problems = [problem for found, _ in results for problem in found]
    unread = defaultdict(list)
    for _, paths in results:
        for stage, found in paths.items():
            unread[stage].append(found)
    for stage, found in unread.items():
        for path in sorted(set.intersection(*found) - NEVER_READ.get(stage, set()) - FETCHED):
            problems.append(f"{stage}: {path} is a dependency in dvc.yaml, but no experiment reads it")
    sys.stdout.write(f"{len(names)} experiments, {len(unread)} stages, {len(problems)} problems\n")
    sys.exit("\n".join(problems) or 0)


def audit_experiment(root, name):
    """Run the stages of an experiment; return the problems, and what each stage does not read."""
    project, problems, unread = root / name, [], {}
    make_experiment(project, name)
    repro(project, MURMUR_WORKERS="1")
    for stage_name, stage in stage_audit.read_stages(project).items():
        if stage_name == "check":  # in test_pipeline.py
            continue
        folder = root / "alone" / name / stage_name
        try:
            reads = stage_audit.run_alone(project, stage, folder)
        except RuntimeError as error:
            problems.append(f"{name}: {stage_name} fails with its dependencies alone: {error}")
            continue
        unread[stage_name] = stage_audit.list_unread(reads, stage.deps)
        for path in stage_audit.list_differing(project, folder, stage.outs):
            problems.append(f"{name}: {stage_name}, run alone, writes another {path}")
    sys.stderr.write(f"{name}: {len(unread)} stages, {len(problems)} problems\n")
    return problems, unread


def make_experiment(project, name):
    """Copy the project, with the parameters of an experiment and its data."""
    copy_project(project, TINY)
    if name in OTHER:
        edit(project, OTHER[name])
    else:
        content = test_recipes.recipe(name, project / "data")
        if content["embed"]["models"]:
            weights = made.m2d_checkpoint(project / "data/weights").relative_to(project)
            content["embed"]["weights"] = str(weights)
        (project / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if name == "own recordings":
        patients = [f"p{k}" for k in range(12)]
        rows = [{"path": f"{p}.wav", "label": ("ill", "well")[k % 2]} for k, p in enumerate(patients)]
        made.folder(project / "data/folder", [row | {"patient_id": row["path"][:-4]} for row in rows])
        parts = [(p, ("train", "train", "test")[k // 4]) for k, p in enumerate(patients)]
        roles = [{"patient_id": p, "run": run, "role": role} for run in "01" for p, role in parts]
        made.write_csv(project / "data/splits/made.csv", roles)


if __name__ == "__main__":
    main()
