"""dvc.yaml is honest: each stage names exactly what it reads, and a change re-runs what follows from it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

ROOT = Path(__file__).parents[1]
STAGES = ("download", "clean", "segment", "mel", "split", "train", "evaluate")
TINY = {
    "download": {"synthetic": {"patients": 14}},
    "segment": {"overlap": 0.0},
    "split": {"runs": [0, 1], "folds": 2},
    "train": {"epochs": 1, "model": {"width": 4}, "keep_weights": "best"},
    "evaluate": {"draws": 20},
}

# Which stages read a parameter themselves. A key that is not named here is read by the stage of its name.
READERS = {
    "dataset": {"download"},
    "task": {"download"},
    "class_map": {"download"},
    "positive": {"download"},
    "seed": {"split", "train", "evaluate"},
    "download.circor.recording_label": set(),  # of another data set than the one in use
    "download.folder.csv": set(),
    "download.folder.path": {"download"},  # as a folder it depends on
    "clean.sample_rate": {"clean", "segment", "mel", "evaluate"},
    "segment.length": {"segment", "mel"},
    "segment.short": {"segment", "mel"},
    "mel.format": {"mel", "train", "evaluate"},
    "mel": {"mel", "evaluate"},
    "split": {"split", "evaluate"},
}
# What follows from a change of each stage: all stages below it, but mel and split stand side by side.
AFTER = {name: set(STAGES[k:]) for k, name in enumerate(STAGES)} | {"mel": {"mel", "train", "evaluate"}}

# What a change of a key must be for params.yaml to stay valid; else any other value of the same type.
OTHER = {
    "dataset": "circor", "task": "disease", "class_map": {"Unknown": None}, "positive": ["Unknown"],
    "download.folder.path": "tests", "segment.short": "wrap", "mel.format": "parquet",
    "train.model.name": "other",
}  # fmt: skip


def leaves(tree, prefix=()):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield ".".join((*prefix, key)), value


def merged(tree, changes):
    return tree | {k: merged(tree[k], v) if isinstance(v, dict) else v for k, v in changes.items()}


def run(folder, *command, **environment):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path} | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def repro(folder):
    """The stages that `dvc repro` runs."""
    said = run(folder, "dvc", "repro")
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


def edit(folder, changes):
    params = merged(yaml.safe_load((folder / "params.yaml").read_text()), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def copy_project(folder, changes):
    for name in ("src", "stages", "dvc.yaml", "params.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "data" / "folder").mkdir(parents=True)
    (folder / "README.md").write_text("words\n")
    edit(folder, changes)
    run(folder, "dvc", "init", "--no-scm", "--quiet")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a tiny data set, run once from download to evaluate."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder, TINY)
    assert repro(folder) == ["download", "clean", "segment", "mel", "split", "train@0", "train@1", "evaluate"]
    return folder


@pytest.mark.skipif("MURMUR_DATA" not in os.environ, reason="MURMUR_DATA names no real recordings")
def test_real_recordings_go_all_the_way(tmp_path):
    changes = {"download": {"limit": 60}, "split": {"runs": [3], "folds": 2}, "train": {"epochs": 1}}
    copy_project(tmp_path, {"dataset": "circor"} | changes)
    repro(tmp_path)
    summary = json.loads((tmp_path / "metrics/summary.json").read_text())
    assert summary["data"]["dataset"] == "circor" and summary["data"]["patients"] == 60
    assert summary["protocol"]["shared_persons"] == 0 and not summary["protocol"]["leaky"]
    patients = pd.read_csv(tmp_path / "metrics/runs.csv").query("level == 'patient'")
    assert patients["n_units"].tolist() == [60] and patients.notna().all(axis=None)
    left_out = pd.read_csv(tmp_path / "metrics/left_out.csv")
    assert (left_out["reason"] == "beyond download.limit 60").sum() == 902 - summary["data"]["recordings"]


def test_a_second_repro_runs_nothing(project):
    assert repro(project) == []


def test_what_no_stage_reads_runs_nothing(project):
    (project / "README.md").write_text("other words\n")
    (project / "src/murmur/models/other.py").write_text("def build(): ...\n")
    (project / "src/murmur/datasets/other.py").write_text("TASKS = {}\n")
    assert repro(project) == []


def test_an_eleventh_run_trains_only_itself_and_one_taken_off_trains_nothing(project):
    before = (project / "dvc.lock").read_bytes()
    edit(project, {"split": {"runs": [0, 1, 5]}})
    assert repro(project) == ["split", "train@5", "evaluate"]
    edit(project, {"split": {"runs": [0, 1]}})
    assert "train@1" not in repro(project)
    locks = [
        yaml.safe_load(text)["stages"]["train@1"] for text in (before, (project / "dvc.lock").read_bytes())
    ]
    assert locks[0] == locks[1]


def changed_stages(folder):
    """The stages one of whose own parameters or dependencies DVC sees changed, without a run's number."""
    with Repo(str(folder)) as repo:
        stages = [s for s in repo.index.stages if any(dep.status() for dep in s.deps)]
        graph = repo.index.graph
        follow = set().union(*(nx.ancestors(graph, stage) | {stage} for stage in stages))
        return {s.name.split("@")[0] for s in stages}, {s.name.split("@")[0] for s in follow}


def readers(key):
    parts = key.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((READERS[name] for name in names if name in READERS), {parts[0]})


def other(key, value):
    if key in OTHER:
        return OTHER[key]
    return value + 1 if isinstance(value, int) else value * 0.9 + 0.05 if isinstance(value, float) else "x"


KEYS = [key for key, _ in leaves(yaml.safe_load((ROOT / "params.yaml").read_text()))]


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key != "split.runs"]
)  # that one by a real repro, above
def test_a_parameter_is_read_by_exactly_the_stages_said_here(project, tmp_path, key):
    folder = tmp_path / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("cache", "tmp"))
    (folder / "src/murmur/models/other.py").write_text("def build(): ...\n")
    change = other(key, dict(leaves(yaml.safe_load((folder / "params.yaml").read_text())))[key])
    for part in reversed(key.split(".")):
        change = {part: change}
    edit(folder, change)
    direct, follow = changed_stages(folder)
    assert direct == readers(key)
    assert follow == set().union(*(AFTER[name] for name in direct))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_loads_the_parameters_that_dvc_yaml_declares(stage):
    declared = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["params"])
    declared = {"download" if name.startswith("download.") else name for name in declared}
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "params.load"]
    loaded = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    assert loaded == declared


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_with_nothing_but_its_dependencies_and_gives_the_same_bytes(project, tmp_path, stage):
    with Repo(str(project)) as repo:
        (found, *_) = [s for s in repo.index.stages if s.name.split("@")[0] == stage]
        deps = [dep.fs_path for dep in found.deps if not isinstance(dep, ParamsDependency)]
        outs = [Path(out.fs_path).relative_to(project) for out in found.outs]
        command = found.cmd
    for path in [*deps, str(project / "params.yaml")]:
        target = tmp_path / Path(path).relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if Path(path).is_dir() else shutil.copy)(path, target)
    run(tmp_path, "sh", "-c", command, MURMUR_WORKERS="1")
    for out in outs:
        assert contents(tmp_path / out) == contents(project / out), out


def contents(path):
    if path.is_dir():
        return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return path.read_bytes()
