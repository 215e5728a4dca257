"""The murmur command: recipes are put in place without losing work, and two protocols stand side by side."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from murmur import params
from murmur.commands import cli
from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.params.yaml_files import as_yaml, parse_yaml
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS
from tests import made

CLASSES = ("Present", "Unknown", "Absent")
PROTOCOL = {
    **{"group_by": "person", "validate_on": "validation", "flaws": "none"},
    **{"shared_persons": 0, "shared_recordings": 0, "shared_near": 0, "leaky": False},
}


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A git repository with a pipeline, a params.yaml that is no recipe's, committed, and two recipes."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.ROOT / "dvc.yaml", ".")
    Path("params.yaml").write_text((made.ROOT / "params.yaml").read_text() + "# mine\n")
    Path("recipes").mkdir()
    for part in ("folder", "splits"):
        shutil.copytree(made.ROOT / "data" / part, Path("data", part))
    for name in ("default", "circor_cnn", "circor_bilstm"):
        shutil.copy(made.ROOT / f"recipes/{name}.yaml", "recipes")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    return tmp_path


def test_recipes_are_listed_with_a_line_each(project, capsys):
    cli.list_recipes()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["default", "circor_bilstm", "circor_cnn"]
    assert "2,370,051 parameters" in lines[1]


def test_the_differences_of_a_recipe_are_shown_below_its_head(project, capsys):
    cli.list_recipes("circor_bilstm")
    head, _, table = capsys.readouterr().out.partition("\n\n")
    assert head == recipes.head("circor_bilstm").strip()
    rows = [re.split(r"  +", line) for line in table.splitlines()]
    assert rows[:2] == [["key", "default", "circor_bilstm"], ["dataset", "synthetic", "circor"]]
    assert ["clean.bandpass", "{order: 4, low: 25, high: 800}", "null"] in rows
    assert [
        "train.model",
        "{name: cnn, width: 8, dropout: 0.2}",
        "{name: bilstm, width: 256, layers: 2, dropout: 0.5}",
    ] in rows
    assert rows[-1] == ["published", "{}", "{split.group_by: segment, split.on_leak: warn}"]
    assert [row[0] for row in rows[1:]] == [key for key, _, _ in recipes.differences("circor_bilstm")]
    cli.list_recipes("default")
    assert capsys.readouterr().out.endswith("\n\nThis is the default.\n")


def test_use_puts_a_recipe_in_place_and_then_another(project, capsys):
    for name in ("circor_cnn", "circor_bilstm", "default"):
        cli.use(name)
        assert Path("params.yaml").read_bytes() == recipes.complete(name).encode()
        params.load("train")
    assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()
    assert "git checkout params.yaml; to the default: murmur use default" in capsys.readouterr().out


def test_use_default_goes_back_after_a_recipe_or_a_change_was_committed(project):
    cli.use("circor_cnn")
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 0", "seed: 1"))
    git("commit", "--quiet", "-a", "-m", "another")
    cli.use("default")
    assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()


def test_use_goes_on_beside_a_recipe_with_an_error_and_refuses_that_one(project):
    head = recipes.head("circor_cnn")
    Path("recipes/broken.yaml").write_text(head + "sed: 1\n")
    cli.use("circor_bilstm")
    cli.use("circor_cnn")
    before = Path("params.yaml").read_bytes()
    with pytest.raises(MurmurError, match=r"^recipes/broken\.yaml: unknown key sed; known here: class_map"):
        cli.use("broken")
    assert Path("params.yaml").read_bytes() == before
    Path("recipes/circor_cnn.yaml").write_text(head + "seed: 1\n")  # what it gave before is in no file now
    with pytest.raises(MurmurError, match="not committed"):
        cli.use("circor_bilstm")


def test_use_refuses_to_overwrite_what_git_does_not_have(project):
    before = Path("params.yaml").read_text() + "# mine\n"
    Path("params.yaml").write_text(before)
    with pytest.raises(MurmurError, match=r"params.yaml has changes that are not committed: commit them"):
        cli.use("circor_cnn")
    git("add", "params.yaml")  # staged is not committed
    with pytest.raises(MurmurError, match="not committed"):
        cli.use("circor_cnn")
    assert Path("params.yaml").read_text() == before
    git("commit", "--quiet", "-m", "mine")
    cli.use("circor_cnn")


def test_use_never_overwrites_a_file_that_git_does_not_track(project):
    git("rm", "--quiet", "--cached", "params.yaml")
    git("commit", "--quiet", "-m", "no params")
    with pytest.raises(MurmurError, match="not committed"):
        cli.use("circor_cnn")


def test_use_outside_git_refuses_too_unless_nothing_is_lost(project):
    shutil.rmtree(".git")
    with pytest.raises(MurmurError, match="not committed"):
        cli.use("circor_cnn")
    Path("params.yaml").unlink()
    cli.use("circor_cnn")
    cli.use("circor_bilstm")
    cli.use("default")
    cli.use("circor_cnn")


@pytest.mark.parametrize("command", [cli.use, lambda name: cli.optimism(name, [])])
def test_an_unknown_recipe_is_told(project, command):
    with pytest.raises(
        MurmurError, match=r"no recipe 'circor_cmn'; there are default, circor_bilstm, circor_cnn"
    ):
        command("circor_cmn")


def test_outside_a_project_it_says_where_to_go(tmp_path):
    source = {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "murmur.commands.cli", "recipes"],
        **{"cwd": tmp_path, "capture_output": True, "text": True, "env": os.environ | source},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip() == "error: no dvc.yaml and recipes/ here: go to the project's folder"


def test_optimism_runs_both_protocols_and_prints_the_gap(project, monkeypatch, capsys):
    ran = []

    def summary(content, what):
        ran.append((what, content))
        flawed = content["split"]["group_by"] == "segment"
        figure = {"mean": 0.9 if flawed else 0.7, "sd": 0.0, "low": 0.6, "high": None if flawed else 0.8}
        protocol = PROTOCOL | ({"group_by": "segment", "shared_persons": 9, "leaky": True} if flawed else {})
        baseline = {"answer": "Absent", "uar": 0.3333}
        figures = {"uar": figure | {"low": None} if flawed else figure}
        return {"level": "patient", "headline": figures, "baseline": baseline, "protocol": protocol}

    monkeypatch.setattr(cli, "_run", summary)
    cli.optimism("circor_cnn", ["split.runs=[3]"], md=True)
    (honest, one), (published, other) = ran
    assert (honest, published) == ("circor_cnn, honest", "circor_cnn, as published")
    assert one["split"]["runs"] == other["split"]["runs"] == [3]
    assert one | {"split": 0} == other | {"split": 0} and other["split"]["group_by"] == "segment"
    said = capsys.readouterr().out
    assert "| uar | 0.700 [0.600, 0.800] | 0.900 | +0.200 | 0.333 | 0.333 |" in said
    assert "|  | honest | as published (LEAKY) | gap |" in said
    assert "as published: LEAKY, the figures may flatter: the worst fold shares 9 persons." in said
    assert "| leaky | False | True |" in said and "| shared_persons | 0 | 9 |" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["split.foo=1"], "-S split.foo: the recipe has no such key"),
        (["nothing"], "-S nothing: the recipe has no such key"),
        (["published={}"], "recipe circor_cnn names no published protocol"),
        (["published={seeds: 1}"], "recipe circor_cnn: published: seeds: the recipe has no such key"),
    ],
)
def test_optimism_tells_what_it_cannot_do(project, settings, message):
    with pytest.raises(MurmurError, match=message):
        cli.optimism("circor_cnn", settings)


def test_optimism_for_real_on_a_tiny_data_set(project, tmp_path, monkeypatch, capfd):
    for part in ("src", "stages"):
        shutil.copytree(made.ROOT / part, part, ignore=shutil.ignore_patterns("__pycache__"))
    patients = [made.patient(f"{10 * c + k}", "AV+PV", m) for c, m in enumerate(CLASSES, 1) for k in range(3)]
    made.circor(tmp_path / "data sets/circor", patients)
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path / "data sets"))
    small = {"segment.length": 0.2, "split.runs": [0], "split.folds": 2, "train.epochs": 1}
    small |= {"train.model": {"name": "bilstm", "width": 4, "layers": 1}, "evaluate.draws": 10}
    settings = [f"{key}={json.dumps(value)}" for key, value in small.items()]
    cli.optimism("circor_bilstm", settings)
    said = capfd.readouterr()
    assert "as published" in said.out and "uar" in said.out
    cli.optimism("circor_bilstm", settings)
    again = capfd.readouterr()
    assert again.out == said.out and "is cached - skipping run" in again.err
    assert not list(Path().glob("metrics/*"))  # the workspace is left as it was


def images_of(project, colours):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["mel"]["image"] = colours
    Path("params.yaml").write_text(yaml.safe_dump(params))


LOCKED = """\
schema: '2.0'
stages:
  train@0:
    cmd: x
    params:
      params.yaml:
        seed: 8
        train.lr: 4e-05
        positive: [Yes]
"""


@pytest.mark.parametrize("lr", ["0.00004", "4e-5", "4e-05", "4.0e-05"])
def test_values_of_dvc_lock_are_compared_as_numbers_however_they_are_written(project, lr):
    Path("dvc.lock").write_text(LOCKED)
    text = (
        Path("params.yaml").read_text().replace("lr: 0.004", f"lr: {lr}").replace("seed: 0  ", "seed: 0o10  ")
    )
    Path("params.yaml").write_text(text.replace("positive: null", "positive: [Yes]"))
    cli._check_as_run(["train@0"])
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace(f"lr: {lr}", "lr: 4.1e-05"))
    with pytest.raises(MurmurError, match=r"params\.yaml: train\.lr is not what train@0 ran with"):
        cli._check_as_run(["train@0"])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("positive=[Yes]", ["Yes"]), ("positive=['010', No, \"1e3\"]", ["010", "No", "1e3"]), ("seed=010", 10)],
)
def test_a_setting_is_read_as_dvc_reads_it_and_reaches_the_stages_unchanged(
    project, monkeypatch, setting, expected
):
    written = []
    monkeypatch.setattr(cli, "_run", lambda content, what: written.append(as_yaml(content)) or made_run())
    cli.optimism("circor_cnn", [setting], md=False)
    key = setting.partition("=")[0]
    assert [parse_yaml(text, "x")[key] for text in written] == [expected] * 2


def made_run():
    protocol = PROTOCOL | {"leaky": False}
    return {"headline": {}, "baseline": {"answer": "Absent"}, "protocol": protocol, "level": "patient"}


def test_a_setting_that_is_no_yaml_is_named(project):
    with pytest.raises(MurmurError, match=r"^-S positive: cannot be read as YAML: line 1: "):
        cli.optimism("circor_cnn", ["positive=[Yes"], md=False)


def test_images_are_written_by_label_with_low_frequencies_below(project):
    images_of(project, {"size": 4, "colours": "magma"})
    rows = {"recording_id": ["a", "b"], "label": ["Present", "Absent"], "sample_rate": 4000, "n_samples": 9}
    facts = {
        "path": "x",
        "patient_id": "p",
        "person_id": "p",
        "site": "AV",
        "audio_sha256": "0",
        "source": "s",
    }
    nothing = {"role": None, "sex": None, "age_group": None, "quality": None}
    recordings = pd.DataFrame(rows | facts | nothing).assign(patient_label="Present")
    parquet.write(recordings, "data/recordings.parquet", RECORDINGS)
    pieces = {"segment_id": ["a@0", "b@0"], "recording_id": ["a", "b"], "start": 0, "n_samples": 9}
    parquet.write(pd.DataFrame(pieces | {"reversed": False}), "data/segments.parquet", SEGMENTS)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), np.uint8)
    Path("data/mel").mkdir()
    np.save("data/mel/array.npy", pictures)
    cli.images(Path("png"))
    found = np.asarray(Image.open("png/Absent/b@0.png"))
    np.testing.assert_array_equal(found[::-1].transpose(2, 0, 1), pictures[1])
    assert len(list(Path("png").rglob("*.png"))) == 2
    with pytest.raises(MurmurError, match="png: is not an empty folder"):
        cli.images(Path("png"))


def test_without_images_it_says_how_to_make_them(project):
    with pytest.raises(MurmurError, match=r"mel.image is null: there are no images; set it to \{size"):
        cli.images(Path("png"))


def test_the_first_line_of_a_recipe_does_not_command_the_terminal(project, capsys):
    Path("recipes/evil.yaml").write_text("# x \x1b[2J\x9b31m y\n")
    cli.list_recipes()
    assert r"x \x1b[2J\x9b31m y" in capsys.readouterr().out
