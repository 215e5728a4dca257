"""dvc.yaml names exactly the files that each stage needs, and a change re-runs exactly what depends on it."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from textwrap import dedent

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.utils.serialize import _yaml

from murmur.commands import acceptance
from murmur.errors import MurmurError
from murmur.experiments import refit
from murmur.experiments.stored_files import compute_hash
from stages import check
from tests import made, stage_audit

ROOT = made.ROOT
STAGES = (
    "download",
    "duplicates",
    "clean",
    "segment",
    "mel",
    "label",
    "split",
    "train",
    "cycles",
    "evaluate",
    "final",
    "package",
)
TINY = {
    "download": {"synthetic": {"patients": 14}, "remote": None},
    "segment": {"overlap": 0.0},
    "split": {"runs": [0, 1], "folds": 2},
    "train": {"epochs": 1, "model": {"width": 4}, "keep_weights": "best"},
    "evaluate": {"draws": 20},
}

M2D = {"embed.models": ["m2d"], "mel.scale": "ln_plus", "mel.edges": "reflect"}
OF_OTHER_DATA_SETS = [
    *("download.circor.recording_label", "download.cinc2016.sets", "download.pascal.sets"),
    *("download.bmd_hs", "download.yaseen", "download.folder.csv", "download.folder.may_be_passed_on"),
]
# Which stages read a parameter themselves. A key that is not named here is read by the stage of its name.
READERS = {
    "dataset": {"download"},
    "task": {"download"},
    "class_map": {"download"},
    "positive": {"download"},
    "seed": {"split", "train", "evaluate", "final"},
    **{key: set() for key in OF_OTHER_DATA_SETS},
    "download.remote": {"download"},
    "download.folder.path": {"download"},  # as a folder it depends on
    "clean": {"clean", "evaluate", "package"},
    "clean.sample_rate": {"clean", "segment", "mel", "label", "cycles", "evaluate", "package"},
    "segment": {"segment", "evaluate", "package"},
    "segment.length": {"segment", "mel", "label", "cycles", "evaluate", "package"},
    "segment.short": {"segment", "mel", "label", "evaluate", "package"},
    "train": {"train", "evaluate", "final", "package"},
    "mel": {"mel", "evaluate", "package"},
    "mel.n_fft": {"mel", "label", "evaluate", "package"},
    "mel.hop_length": {"mel", "label", "cycles", "evaluate", "package"},
    "embed": {"package"},  # there is no stage embed while embed.models is empty
    "embed.models": {"embed", "package"},
    "split": {"split", "evaluate"},
    "evaluate": {"evaluate", "package"},
    "final": {"final", "package"},
    "published": set(),
}
# The stages that depend on each stage, with itself; duplicates, mel, label and embed are beside others.
AFTER = {name: set(STAGES[k:]) for k, name in enumerate(STAGES)}
AFTER |= {"duplicates": {"duplicates", *STAGES[6:]}, "embed": {"embed"}}
AFTER |= {name: {name, *STAGES[7:]} for name in ("mel", "label")}
AFTER |= {"cycles": {"cycles", "evaluate", "package"}, "evaluate": {"evaluate", "package"}}

# Other valid values of keys for which not every value of the same type is valid.
OTHER = {
    "dataset": "circor", "task": "disease", "class_map": {"Unknown": None}, "positive": ["Unknown"],
    "download.folder.path": "tests", "segment.short": "wrap", "mel.format": "parquet",
    "download.cinc2016.sets": ["a"], "download.pascal.sets": ["a"], "embed.models": ["m2d"],
    "download.bmd_hs": {"more": 1}, "download.yaseen": {"more": 1}, "published": {"mel.fill": "max"},
    "split.file": "data/splits/other.csv", "split.merge_near_duplicates": False,
    "segment.first_of": ["Absent"], "train.features": "embedding", "train.model.name": "other",
    "train.schedule_factor": 0.6,
}  # fmt: skip


def leaves(tree, prefix=()):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield ".".join((*prefix, key)), value


def merged(tree, changes):
    """A tree with changes; a mapping with a name, such as another model, is replaced completely."""
    inner = {k: isinstance(v, dict) and "name" not in v for k, v in changes.items()}
    return tree | {k: merged(tree[k], v) if inner[k] else v for k, v in changes.items()}


def run(folder, *command, **environment):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path} | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def repro(folder, *targets, **environment):
    """The stages that `dvc repro` runs, except check, which runs after every change of params.yaml."""
    output = run(folder, "dvc", "repro", *targets, **environment)
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    return [stage for stage in ran if stage != "check"]


def edit(folder, changes):
    params = merged(yaml.safe_load((folder / "params.yaml").read_text()), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def copy_project(folder, changes):
    (folder / "data" / "folder").mkdir(parents=True)
    for name in ("src", "stages", "dvc.yaml", "params.yaml", "data/splits", "data/weights"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "README.md").write_text("words\n")
    edit(folder, changes)
    run(folder, "dvc", "init", "--no-scm", "--quiet")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a tiny data set, run once from download to evaluate."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder, TINY)
    ran = repro(folder)
    assert sorted(ran) == sorted([*STAGES[:7], "train@0", "train@1", *STAGES[8:]])
    assert ran.index("split") < ran.index("mel")  # a class with too few persons is reported early
    return folder


@pytest.mark.skipif("MURMUR_DATA" not in os.environ, reason="MURMUR_DATA names no real recordings")
def test_real_recordings_run_from_download_to_evaluate(tmp_path):
    changes = {"download": {"limit": 60}, "split": {"runs": [3], "folds": 2}, "train": {"epochs": 1}}
    copy_project(tmp_path, {"dataset": "circor"} | changes)
    repro(tmp_path)
    details = json.loads((tmp_path / "metrics/details.json").read_text())
    assert details["data"]["dataset"] == "circor" and details["data"]["patients"] == 60
    assert details["protocol"]["shared_persons"] == 0 and not details["protocol"]["leaky"]
    patients = pd.read_csv(tmp_path / "metrics/runs.csv").query("level == 'patient'")
    assert patients["n_units"].tolist() == [60] and patients.notna().all(axis=None)
    left_out = pd.read_csv(tmp_path / "metrics/left_out.csv")
    assert (left_out["reason"] == "beyond download.limit 60").sum() == 902 - details["data"]["recordings"]


def test_a_second_repro_runs_nothing(project):
    assert repro(project) == []


def test_a_change_of_a_file_that_no_stage_reads_runs_nothing(project):
    (project / "README.md").write_text("other words\n")
    (project / "src/murmur/models/other.py").write_text("def build(): ...\n")
    (project / "src/murmur/datasets/other.py").write_text("TASKS = {}\n")
    assert repro(project) == []


def test_an_additional_run_trains_only_itself_and_a_removed_run_trains_nothing(project):
    before = (project / "dvc.lock").read_bytes()
    edit(project, {"split": {"runs": [0, 1, 5]}})
    assert repro(project, MURMUR_WORKERS="1") == [
        *("split", "train@5", "cycles", "evaluate", "final", "package")
    ]
    edit(project, {"split": {"runs": [0, 1]}})
    assert "train@1" not in repro(project)
    locks = [yaml.safe_load(text)["stages"] for text in (before, (project / "dvc.lock").read_bytes())]
    assert locks[0]["train@1"] == locks[1]["train@1"]
    for stage in ("cycles", "evaluate", "final", "package"):
        assert locks[0][stage] == locks[1][stage]  # it names no file of the removed run
    assert not list(project.glob("data/*/run_5*"))


def test_data_that_may_not_be_shared_are_pushed_only_to_the_private_remote(project, tmp_path):
    folder, store, private = (tmp_path / name for name in ("project", "store", "private"))
    shutil.copytree(project, folder)
    run(folder, "dvc", "remote", "add", "--default", "store", str(store))
    edit(folder, {"download": {"remote": "private"}})
    assert repro(folder) == ["download"]
    with pytest.raises(AssertionError, match="remote 'private' doesn't exist"):
        run(folder, "dvc", "push")
    committed = (ROOT / ".dvc/config").read_text()
    with (folder / ".dvc/config").open("a") as config:
        config.write(committed[committed.index("['remote \"private\"']") :])
    without_address = r"Not a directory: '/dev/null/private-has-no-address-see-docs-cache\.md"
    with pytest.raises(AssertionError, match=without_address):
        run(folder, "dvc", "push")
    run(folder, "dvc", "push", "-r", "store")
    run(folder, "dvc", "checkout")
    run(folder, "dvc", "data", "status")
    run(folder, "dvc", "remote", "add", "--local", "private", str(private))
    run(folder, "dvc", "push")
    assert not store.exists() and any(private.rglob("*"))


def test_the_model_is_an_artifact_that_another_folder_can_fetch(project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    (folder / ".dvc/config").write_text("")  # the project of the other tests has no git repository
    (folder / ".gitignore").write_text("/data\n/models\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-qm", "run"]):
        run(folder, "git", *command)
    run(folder, "git", *who, "tag", "-a", "murmur@v1.0.0", "-m", "first")
    run(tmp_path, "dvc", "artifacts", "get", str(folder), "murmur")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "murmur" / name).read_bytes() == (project / "models/murmur" / name).read_bytes()


def changed_stages(repo):
    """The stages of which a parameter or file has changed, and these with all stages that depend on them."""
    repo._reset()  # reads params.yaml and dvc.yaml anew
    stages = [s for s in repo.index.stages if s.name != "check" and any(dep.status() for dep in s.deps)]
    graph = repo.index.graph
    following = set().union(*(nx.ancestors(graph, stage) | {stage} for stage in stages))
    return {s.name.split("@")[0] for s in stages}, {s.name.split("@")[0] for s in following}


def readers(key):
    parts = key.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((READERS[name] for name in names if name in READERS), {parts[0]})


def other(key, value):
    if key in OTHER:
        return OTHER[key]
    return value + 1 if isinstance(value, int) else value * 0.9 + 0.05 if isinstance(value, float) else "x"


DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text())
KEYS = [key for key, _ in leaves(yaml.safe_load((ROOT / "params.yaml").read_text()))]


@pytest.fixture(scope="module")
def opened(project, tmp_path_factory):
    """A copy of the project in which tests change parameters; no stage is run there."""
    folder = tmp_path_factory.mktemp("opened") / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("cache", "tmp"))
    (folder / "src/murmur/models/other.py").write_text("def build(): ...\n")
    known = cache(_yaml.parse_yaml)  # DVC parses params.yaml for every stage: half of the time
    with pytest.MonkeyPatch.context() as patch, Repo(str(folder)) as repo:
        patch.setattr(_yaml, "parse_yaml", lambda *text, **options: deepcopy(known(*text, **options)))
        yield repo


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key != "split.runs"]
)  # that one by a real repro, above
def test_a_parameter_is_read_by_exactly_the_stages_in_this_test(opened, key):
    file = Path(opened.root_dir, "params.yaml")
    before = file.read_text()
    change = other(key, dict(leaves(yaml.safe_load(before)))[key])
    for part in reversed(key.split(".")):
        change = {part: change}
    edit(file.parent, change)
    try:
        direct, follow = changed_stages(opened)
    finally:
        file.write_text(before)
    assert direct == readers(key)
    assert follow == set().union(*(AFTER[name] for name in direct))


@pytest.mark.parametrize("stage", [*STAGES, "embed"])
def test_a_stage_loads_the_parameters_that_dvc_yaml_declares(stage):
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    declared = set(found.get("do", found)["params"])
    declared = {"download" if name.startswith("download.") else name for name in declared}
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "sections.load"]
    loaded = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    assert loaded == declared


# Dependencies that the tiny project does not read. Other experiments read them (`make audit`), except
# data/checked, which only makes download run after check.
NOT_READ = {
    "download": {
        *("data/checked", "data/folder"),
        *(f"src/murmur/datasets/_{name}.py" for name in ("archives", "fetch", "locations", "states")),
    },
    "split": {"data/splits/synthetic.csv"},
    "train": {"data/frame_labels.npy", "src/murmur/models/_weights.py"},
    "final": {"data/frame_labels.npy", "src/murmur/models/_weights.py"},
}


@pytest.fixture(scope="module")
def stages(project):
    return stage_audit.read_stages(project)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_with_nothing_but_its_dependencies_and_gives_the_same_bytes(
    project, stages, tmp_path, name
):
    stage, expected = stages[name], {Path(path) for path in NOT_READ.get(name, ())}
    workers = 2 if name == "train" else 1  # with worker processes
    reads = stage_audit.run_alone(project, stage, tmp_path / "alone", workers=workers)
    assert not stage_audit.list_differing(project, tmp_path / "alone", stage.outs)
    unread = stage_audit.list_unread(reads, stage.deps)
    assert expected <= unread
    for path in unread - expected:  # a file system without access times: the stage fails without the file
        with pytest.raises(RuntimeError):
            stage_audit.run_alone(project, stage, tmp_path / path.name, without=[path])
    for path in stage.deps - unread:  # each dependency that dvc.yaml would lack is noticed
        assert stage_audit.list_undeclared(reads, stage.deps - {path}), path


@pytest.mark.parametrize("path", ["src/murmur/features/segmentation.py", "data/signals.parquet"])
def test_a_stage_fails_without_a_dependency(project, stages, tmp_path, path):
    with pytest.raises(RuntimeError, match=Path(path).stem):
        stage_audit.run_alone(project, stages["segment"], tmp_path, without=[Path(path)])


NAMES = "src/murmur/__init__.py"  # every module imports it; it imports others only when their names are used


def imported(path):
    """The file of a module, and the files of the project that it imports, directly or not."""
    found, remaining = set(), [path]
    while remaining:
        found.add(path := remaining.pop())
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            files = [
                f"src/{name.replace('.', '/')}{end}" for name in names for end in (".py", "/__init__.py")
            ]
            files = [file for file in files if file != NAMES]
            remaining += [file for file in files if (ROOT / file).exists() and file not in found]
    return found


STAGE_DEPS = {
    name: stage.get("do", stage)["deps"]
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
CHOICES = [
    (stage, path.relative_to(ROOT).as_posix())
    for stage, deps in STAGE_DEPS.items()
    for dep in deps
    if dep.startswith("src/") and "$" in dep
    for path in sorted((ROOT / dep).parent.glob("[!_]*.py"))
]


@pytest.mark.parametrize(("stage", "module"), CHOICES)
def test_a_module_that_a_parameter_names_imports_nothing_but_dependencies(stage, module):
    needed = imported(module) - {module} - set(DOCUMENTED_ONLY)
    assert not {path for path in needed if not is_dependency(path, stage)}


def is_dependency(path, stage):
    """Whether a file, or a folder that it is in, is a dependency of a stage."""
    parents = {path, *(parent.as_posix() for parent in Path(path).parents)}
    return bool(parents & set(STAGE_DEPS[stage]))


def is_documentation(path):
    """Whether a module holds nothing but its docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse((ROOT / path).read_text()).body)


MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "src/murmur").rglob("*.py"))
DOCUMENTED_ONLY = [path for path in MODULES if path.endswith("__init__.py") and is_documentation(path)]
EVERY = {"check", *STAGES, "embed"}
# The stages that an edit of a module re-runs; the stages after them run only if the outputs change.
EDITS = {
    "__init__": set(),
    "__main__": set(),
    "version": {"package"},
    "circor_weights": {"check", "download", "evaluate", "package"},
    "input_csv": {"download", "split"},
    "cluster": {"download", "duplicates", "clean", "train", "final"},
    "devices": {"embed", "train", "final"},
    "code_changes": EVERY,
    "errors": EVERY,
    "files": EVERY,
    "formatting": {"cycles", "evaluate", "final", "package"},
    "interruption": EVERY,
    "leaks": {"split", "evaluate"},
    "logs": EVERY,
    "progress": EVERY - {"check", "segment", "label", "split", "evaluate"},
    "spelling": {"download", "split"},
    "workers": EVERY - {"check", "segment", "label", "split", "evaluate"},
    "commands": set(),
    "datasets": set(),
    "datasets/__init__": {"check", "download"},
    "datasets/_archives": {"download"},
    "datasets/_checksums": {"download"},
    "datasets/_fetch": {"download"},
    "datasets/_locations": {"download"},
    "datasets/_states": {"download"},
    "datasets/synthetic": {"download"},
    "evaluation": {"evaluate"},
    "evaluation/aggregation": {"evaluate", "package"},
    "evaluation/calibration": {"evaluate", "package"},
    "evaluation/challenges": {"evaluate", "package"},
    "evaluation/levels": {"evaluate", "package"},
    "evaluation/metrics": {"evaluate", "package"},
    "evaluation/ratio": {"evaluate", "package"},
    "evaluation/regression": {"evaluate", "package"},
    "evaluation/rules": {"evaluate", "package"},
    "evaluation/run_files": {"cycles", "evaluate", "final", "package"},
    "evaluation/temperature": {"evaluate", "package"},
    "evaluation/thresholds": {"evaluate", "package"},
    "experiments": set(),
    "features/bandpass": {"check", "clean", "package"},
    "features/chain": {"package"},
    "features/cleaning": {"clean", "package"},
    "features/embedding": {"embed", "package"},
    "features/frame_tracks": {"cycles", "package"},
    "features/frame_labels": {"label", "package"},
    "features/heart_cycles": {"cycles", "evaluate", "package"},
    "features/images": {"mel", "package"},
    "features/log_mel": {"mel", "package"},
    "features/mel": {"mel", "package"},
    "features/mel_scale": {"mel", "evaluate", "package"},
    "features/one_recording": {"package"},
    "features/run_cycles": {"cycles", "package"},
    "features/segmentation": {"segment", "package"},
    "features/store": EVERY - {"check", "download", "duplicates", "segment", "split"},
    "generalisation": set(),
    "inference": set(),
    "inference/familiarity": {"package"},
    "inference/final_fit": {"final"},
    "inference/model_folder": {"package"},
    "inference/model_info": {"package"},
    "inference/packaging": {"package"},
    "models": set(),
    "models/__init__": {"check", "embed", "train", "final", "package"},
    "models/_pretrained": {"check", "train", "final"},
    "models/_requirements": {"check"},
    "models/_signatures": {"check"},
    "models/_time_convolutions": {"train", "final", "package"},
    "models/_weights": {"embed", "train", "final", "package"},
    "models/cnn": {"train", "final", "package"},
    "models/m2d": {"embed"},
    "params": EVERY,
    "recordings/audio": {"download", "duplicates", "clean"},
    "recordings/containers/__init__": {"download", "duplicates", "clean"},
    "recordings/containers/checks": {"download", "duplicates", "clean"},
    "recordings/containers/flac": {"download", "duplicates", "clean"},
    "recordings/containers/wav": {"download", "duplicates", "clean"},
    "recordings/containers/wfdb_records": {"download", "duplicates", "clean"},
    "recordings/candidates": {"duplicates"},
    "recordings/classes": {"download"},
    "recordings/download": {"download"},
    "recordings/licences": {"download"},
    "recordings/missing_files": {"download"},
    "recordings/summary": {"download"},
    "recordings/duplicates": {"duplicates"},
    "reporting": set(),
    "reporting/cards": {"evaluate"},
    "reporting/cycle_colours": {"evaluate"},
    "reporting/cycle_drawing": {"evaluate"},
    "reporting/descriptions": {"evaluate"},
    "reporting/error_descriptions": {"evaluate"},
    "reporting/guideline_items": {"evaluate"},
    "reporting/guidelines": {"evaluate"},
    "reporting/illustrations": {"evaluate"},
    "reporting/limits": {"evaluate"},
    "reporting/result_tables": {"evaluate"},
    "reporting/spectrograms": {"evaluate"},
    "sections/__init__": EVERY,
    "sections/clean": {"check", "clean", "segment", "mel", "label", "cycles", "evaluate", "package"},
    "sections/data": {"check", "download"},
    "sections/defaults": {"check"},
    "sections/download": {"check", "download"},
    "sections/duplicates": {"check", "duplicates"},
    "sections/embed": {"check", "embed", "package"},
    "sections/evaluate": {"check", "evaluate", "package"},
    "sections/experiment": {"check"},
    "sections/mel": {"check", "mel", "label", "cycles", "evaluate", "package"},
    "sections/seed": {"check", "split", "train", "evaluate", "final"},
    "sections/segment": {"check", "segment", "mel", "label", "cycles", "evaluate", "package"},
    "sections/split": {"check", "split", "cycles", "evaluate", "final", "package"},
    "sections/train": {"check", "train", "evaluate", "final", "package"},
    "sections/final": {"check", "final", "package"},
    "splits": {"split"},
    "tables/annotations": {"download", "label", "train", "cycles", "final", "evaluate"},
    "tables/csv_reader": {"evaluate", "final"},
    "tables/csv_writer": {"split", "train", "evaluate"},
    "tables/cycles": {"cycles", "evaluate"},
    "tables/duplicates": {"duplicates", "split"},
    "tables/folds": {"split", "train", "evaluate", "final"},
    "tables/groups": {"split", "evaluate", "package"},
    "tables/left_out": {"download", "segment", "evaluate"},
    "tables/levels": {"download", "evaluate", "package"},
    "tables/parquet": {*STAGES},
    "tables/predictions": {"train", "cycles", "evaluate", "final", "package"},
    "tables/recordings": {*STAGES} - {"label"},
    "tables/segments": {*STAGES} - {"download", "duplicates", "clean"},
    "tables/signals": {"clean", "segment", "mel", "package"},
    "training": {"train", "final", "package"},
}


@pytest.mark.parametrize("path", [path for path in MODULES if path not in DOCUMENTED_ONLY])
def test_an_edit_of_a_module_reruns_exactly_the_stages_in_this_test(path):
    name = path.removeprefix("src/murmur/").removesuffix(".py")
    chosen = {f"src/murmur/datasets/{DEFAULT['dataset']}.py": ("download",)}
    chosen |= {f"src/murmur/models/{DEFAULT['train']['model']['name']}.py": ("train", "final", "package")}
    rerun = {stage for stage in STAGE_DEPS if is_dependency(path, stage) or stage in chosen.get(path, ())}
    assert rerun == (EDITS[name] if name in EDITS else EDITS[name.partition("/")[0]])


def test_dvc_reruns_the_stages_of_an_edited_module(opened):
    for name in (
        "evaluation/metrics",
        "training/losses",
        "sections/evaluate",
        "models/vgg16",
        "params/types",
    ):
        file = Path(opened.root_dir, f"src/murmur/{name}.py")
        before = file.read_text()
        file.write_text(before + "# edited\n")
        try:
            direct, _ = changed_stages(opened)
        finally:
            file.write_text(before)
        expected = EDITS[name] if name in EDITS else EDITS[name.partition("/")[0]]
        assert direct == expected - {"check", "embed"}, name


def test_the_check_runs_with_nothing_but_its_dependencies_and_gives_the_same_bytes(project, stages, tmp_path):
    (tmp_path / "data/folder").mkdir(parents=True)  # it only checks that these exist
    (tmp_path / "data/splits").mkdir()
    (tmp_path / "data/splits/synthetic.csv").touch()
    reads = stage_audit.run_alone(project, stages["check"], tmp_path)
    assert not stage_audit.list_differing(project, tmp_path, stages["check"].outs)
    assert stage_audit.list_unread(reads, stages["check"].deps) == {Path("data/weights")}  # no weights


def test_code_that_changes_nothing_is_recorded_after_one_fold(project, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    for path in ("stages/split.py", "src/murmur/training/losses.py", "src/murmur/evaluation/metrics.py"):
        Path(path).write_text(Path(path).read_text() + "# edited\n")
    acceptance.accept_code()
    assert capsys.readouterr().out.splitlines()[-4:] == [  # before them may be notes
        "the same bytes with the changed code: split; train@0, fold 0; final",
        "not trained again: train@0, fold 1; train@1",
        "recorded in dvc.lock: split, train@0, train@1, final; no output was changed",
        "`dvc repro` now runs evaluate, package, whose code or parameters have changed",
    ]
    with Repo(str(folder)) as repo:
        assert {s.name for s in repo.reproduce(dry=True)} == {"evaluate", "package"}
    acceptance.accept_code()
    assert capsys.readouterr().out.startswith("nothing to accept")


def test_code_that_changes_a_result_is_not_recorded(project, tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    edit(folder, {"train": {"lr": 0.002}})
    with pytest.raises(MurmurError, match=r"train@0: not only code has changed but params\.yaml \(train\)"):
        acceptance.accept_code()
    edit(folder, {"train": {"lr": DEFAULT["train"]["lr"]}})
    path, lock = Path("src/murmur/features/frame_labels.py"), Path("dvc.lock").read_bytes()
    path.write_text(path.read_text().replace("np.int8", "np.int16"))
    with pytest.raises(
        MurmurError, match=r"^label: not the same .*: data/frame_labels\.npy\. Nothing was rec"
    ):
        acceptance.accept_code()
    path.write_text(path.read_text().replace("np.int16", "np.int8"))
    path = Path("stages/train.py")
    sort = 'predictions = predictions.sort_values("fold", ascending=False, kind="stable")'
    path.write_text(path.read_text().replace("        schema =", f"        {sort}\n        schema ="))
    predictions = "data/predictions/run_0.murmur_predictions.parquet"
    with pytest.raises(
        MurmurError, match=rf"^train@0, fold 0: not the same .*: {predictions} \(other rows, "
    ):
        acceptance.accept_code()
    assert Path("dvc.lock").read_bytes() == lock
    labels = Path("data/frame_labels.npy")
    value = compute_hash(labels)
    labels.unlink()
    with pytest.raises(MurmurError, match=r"^data/frame_labels\.npy of label is deleted: .* `dvc checkout d"):
        acceptance.accept_code()
    Path(".dvc/cache/files/md5", value[:2], value[2:]).unlink()
    with pytest.raises(
        MurmurError, match=r"^data/frame_labels\.npy of label is not in cache: run `dvc pull d"
    ):
        acceptance.accept_code()


def test_how_predictions_differ_is_named(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    path = Path("data/predictions/run_0.murmur_predictions.parquet")
    (tmp_path / path).parent.mkdir(parents=True)
    table = pq.read_table(path)
    p = table["p_Absent"].to_numpy().copy()
    p[-1] += 0.001
    k = table.column_names.index("p_Absent")
    for new, how in (
        (table.set_column(k, table.schema.field(k), [p]), "probabilities by up to 0.001"),
        (table.take(list(range(len(table)))[::-1]), "other rows, columns or figures"),
        (table.replace_schema_metadata(), "trained on another device or with other versions of packages"),
    ):
        pq.write_table(new, tmp_path / path)
        assert refit.list_differences([path], tmp_path) == [f"{path} ({how})"]
    shutil.copy(path, tmp_path / path)
    assert refit.list_differences([path], tmp_path) == []


@pytest.mark.parametrize("key", KEYS)
def test_the_check_depends_on_every_parameter(opened, key):
    (stage,) = [s for s in opened.index.stages if s.name == "check"]
    (found,) = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    assert found.params == [] and key.split(".")[0] in found.hash_info.value


HARMFUL = [
    "x/../../../victim",
    "x/../../data/weights",
    "x/../../data/folder/recordings",
    "$(touch ../victim)",
    "'",
    1.5,
]


@pytest.mark.parametrize("value", HARMFUL)
def test_dvc_deletes_only_files_of_a_run_whatever_its_name_is(opened, value):
    file = Path(opened.root_dir, "params.yaml")
    before = file.read_text()
    edit(file.parent, {"split": {"runs": [value]}})
    try:
        opened._reset()
        stages = {s.name.split("@")[0]: s for s in opened.index.stages}
    finally:
        file.write_text(before)
    endings = [out.fs_path.rpartition(".murmur_")[2] for out in stages["train"].outs]
    assert endings == ["predictions.parquet", "history.csv", "tracks.npy", "weights"]
    words = shlex.split(stages["train"].cmd)
    assert words == ["exec", "env", "PYTHONPATH=src", "python", "stages/train.py", "--run", str(value)]


def test_no_other_output_path_has_a_parameter_in_it():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = [
        out
        for s in stages.values()
        for kind in ("outs", "metrics", "plots")
        for out in s.get("do", s).get(kind, [])
    ]
    paths = [path for out in outs for path in ([out] if isinstance(out, str) else out)]
    assert [path for path in paths if "$" in path] == [
        "data/predictions/run_${item.run}.murmur_predictions.parquet",
        "data/history/run_${item.run}.murmur_history.csv",
        "data/tracks/run_${item.run}.murmur_tracks.npy",
        "models/run_${item.run}.murmur_weights",
    ]


def test_a_harmful_value_deletes_nothing_and_is_refused(tmp_path):
    folder, victim = tmp_path / "project", tmp_path / "victim"
    copy_project(folder, TINY | {"split": {"runs": ["x/../../../victim", "x/../../data/weights"]}})
    for untouched in (victim, folder / "data/weights"):
        untouched.mkdir(exist_ok=True)
        (untouched / "file").touch()
    message = r"params\.yaml: split\.runs\.0: Input should be a valid integer \(it is 'x/\.\./"
    with pytest.raises(AssertionError, match=message):
        run(folder, "dvc", "repro")
    for command in (["checkout", "--force"], ["repro", "--single-item", "train"]):
        with pytest.raises(AssertionError):
            run(folder, "dvc", *command)
    assert (victim / "file").exists() and (folder / "data/weights/file").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "circorr"}, r"dataset: there is no 'circorr'; there are bmd_hs, .*circor"),
        (
            {"train.model.name": "resnet50"},
            r"train\.model\.name: no model 'resnet50'; there are attention",
        ),
        ({"clean.bandpass.order": 100, "clean.bandpass.low": 1e-9}, r"clean\.bandpass: no stable filter"),
        (
            M2D,
            r"embed\.weights: no file data/weights/m2d.*README\.md .* recipes/circor_m2d_transformer\.yaml",
        ),
        (
            M2D | {"embed.models": [], "train.model": {"name": "m2d"}, "train.standardise": "none"},
            r"train\.model\.weights: no file data/weights/m2d_vit_base",
        ),
        (
            {"download.folder.path": "none"},
            r"download\.folder\.path: no folder none; name an existing folder$",
        ),
        (
            {"download.folder.path": "params.yaml"},
            r"download\.folder\.path: params\.yaml is a file; name the folder that contains it, \.",
        ),
        ({"download.folder.path": "~/own"}, r"download\.folder\.path: ~ is not expanded here; write /"),
        (
            {"train.model.hidden": 8},
            r"params\.yaml: train\.model: cnn has no option hidden; its options are width, dropout",
        ),
        ({"train.model.width": "8"}, r"train\.model\.width: Input should be a valid integer .it is '8'"),
        ({"train.state_loss": 0.5}, r"params\.yaml: train\.state_loss: model cnn does not label frames; set"),
        (
            {"train.model": {"name": "backbone"}},
            r"train\.model: backbone needs the option arch; its options are arch, weights, dropout",
        ),
        (
            {"train.model": {"name": "vgg16", "weights": "mine.pth"}},
            r"train\.model\.weights: no file mine\.pth; .* imagenet or none",
        ),
        (
            {"train.model": {"name": "vgg16", "weights": "params.yaml"}},
            r"train\.model\.weights: params\.yaml is not in data/weights, .*as data/weights/params\.yaml$",
        ),
    ],
)
def test_a_missing_file_or_module_is_named_before_any_work(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(made.changed(changes)))
    with pytest.raises(MurmurError, match=message):
        check.main()
    assert not Path("data").exists()


def test_a_copy_for_an_experiment_names_what_git_does_not_track(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    Path("params.yaml").write_text(yaml.safe_dump(made.changed({"train.model.name": "mine"})))
    with pytest.raises(
        MurmurError, match=r"no model 'mine'; .*`--temp` and `--queue` run in a copy .*commit a new model"
    ):
        check.main()


def read_example(heading):
    """The first Python code below a heading of CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition(f"## {heading}\n")[2]
    return dedent(re.search(r"^( *)```python\n(.*?)^\1```$", section, re.DOTALL | re.MULTILINE)[2])


def test_the_model_in_the_documentation_is_chosen_and_trained(project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "src/murmur/models/tiny.py").write_text(read_example("Add a model"))
    murmur = (sys.executable, "-m", "murmur", "model")
    source = {"PYTHONPATH": str(folder / "src")}
    assert "tiny: Two linear layers on the mean spectrum.\n    hidden=16\n" in run(folder, *murmur, **source)
    run(folder, *murmur, "tiny", "hidden=8", **source)
    assert yaml.safe_load((folder / "params.yaml").read_text())["train"]["model"] == {
        "name": "tiny",
        "hidden": 8,
    }
    assert repro(folder, "train@0", MURMUR_WORKERS="1") == ["train@0"]


def test_only_a_change_of_the_weights_that_are_used_trains_again(project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    weights = folder / "data/weights/start.pth"
    model = {"name": "backbone", "arch": "test_resnet", "weights": "data/weights/start.pth"}
    edit(folder, {"split": {"runs": [0]}, "train": {"model": model}})
    outputs = []
    for width in (1.0, 2.0):
        state = timm.create_model("test_resnet").state_dict()
        torch.save({key: torch.full_like(value, width) for key, value in state.items()}, weights)
        assert repro(folder, "train@0", MURMUR_WORKERS="1")[-1] == "train@0"
        outputs.append((folder / "models/run_0.murmur_weights/fold_0.safetensors").read_bytes())
    assert outputs[0] != outputs[1]
    (folder / "data/weights/other.pth").write_bytes(b"another file")
    assert repro(folder, "train@0") == []
    weights.write_bytes(b"changed, and check has not run")
    with pytest.raises(
        AssertionError, match=r"start\.pth: changed since the stage check .*`dvc repro` again"
    ):
        run(folder, "dvc", "repro", "--force", "--single-item", "train@0")


def test_embeddings_are_computed_once_and_only_if_they_are_used(project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    weights = made.m2d_checkpoint(folder / "data/weights").relative_to(folder)
    embed = {"models": ["m2d"], "weights": str(weights)}
    mel = {"n_mels": 80, "n_fft": 1024, "scale": "ln_plus", "edges": "reflect"}
    edit(folder, {"embed": embed, "mel": mel, "train": {"features": "embedding"}})
    assert repro(folder, "train@0", MURMUR_WORKERS="1") == ["mel", "label", "embed@m2d", "train@0"]
    assert np.load(folder / "data/embedding/array.npy").shape[1:] == (1, 960, 1)
    stage = stage_audit.read_stages(folder)["embed"]
    reads = stage_audit.run_alone(folder, stage, tmp_path / "alone")
    assert not stage_audit.list_differing(folder, tmp_path / "alone", stage.outs)
    assert not stage_audit.list_unread(reads, stage.deps)
    with Repo(str(folder)) as repo:
        edit(folder, {"train": {"lr": 0.002}})
        assert not changed_stages(repo)[1] & {"mel", "embed"}
        edit(folder, {"embed": {"pool": "none"}})
        assert changed_stages(repo)[1] >= {"embed", "train", "evaluate"}
