"""murmur evaluate-on and murmur robustness, for real: a copy of the project, a tiny experiment in place."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch
import yaml

from murmur import files, formatting, tables
from murmur.commands import cli
from murmur.errors import MurmurError
from murmur.experiments import project as dvc_project
from murmur.generalisation import external_validation, trained_models
from murmur.tables.recordings import Card, read_card
from tests import made

TINY = {
    "download.synthetic.patients": 14,
    "segment.overlap": 0.0,
    "segment.short": "drop",
    "split.runs": [0, 1],
    "split.folds": 2,
    "train.epochs": 1,
    "train.model.width": 4,
    "train.keep_weights": "best",
    "evaluate.draws": 20,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The project with a tiny experiment in place."""
    place = tmp_path_factory.mktemp("project")
    for part in ("src", "stages", "data/folder", "data/splits", "data/weights"):
        shutil.copytree(made.ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(made.ROOT / "dvc.yaml", place)
    (place / "params.yaml").write_text(yaml.safe_dump(made.changed(TINY), sort_keys=False))
    (place / "recipes").mkdir()
    dvc_project.run_dvc(place, "init", "--no-scm", "--quiet")
    dvc_project.run_dvc(place, "repro", "--quiet")
    return place


@pytest.fixture
def project(ran, monkeypatch):
    before, text = torch.get_num_threads(), (ran / "params.yaml").read_text()
    monkeypatch.chdir(ran)
    yield ran
    (ran / "params.yaml").write_text(text)
    torch.set_num_threads(before)


def change(**changes):
    content = yaml.safe_load(Path("params.yaml").read_text())
    for key, value in changes.items():
        section, name = key.split("__")
        content[section][name] = value
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_who_is_in_the_experiment_takes_no_part_elsewhere(project):
    """By the shell, so that standard output is seen to hold nothing but JSON."""
    arguments = ["evaluate-on", "synthetic", "--json", "-S", "download.synthetic.patients=30"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "murmur.commands.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert done.stdout == Path("metrics/elsewhere_synthetic.json").read_text()
    home = pd.read_parquet("data/recordings.parquet")
    assert set(home["recording_id"]) <= set(got["seen"]) and len(got["seen"]) == got["seen_in_training"]
    assert got["data"]["patients"] <= 30 - 14 and got["models"] == 4
    assert got["experiment"] == hashlib.sha256(Path("metrics/folds.csv").read_bytes()).hexdigest()
    details = json.loads(Path("metrics/details.json").read_text())
    assert got["here"] == details["headline"] and got["left_unasked"] == []
    assert got["class_map"] == {c: c for c in ("Present", "Unknown", "Absent")}
    assert all(0 <= row["mean"] <= 1 for row in got["headline"].values())


def test_ones_own_recordings_with_labels_of_their_own(project, tmp_path, capfd):
    rows = [
        {"path": f"{k}.wav", "label": ("ill", "well", "odd")[k % 3], "patient_id": str(k)} for k in range(9)
    ]
    for row in rows:
        made.audio(tmp_path / "own" / row["path"], seconds=9)
    made.write_csv(tmp_path / "own/recordings.csv", rows)
    where = [f"download.folder.path={os.path.relpath(tmp_path / 'own')}"]
    known = ["ill=Present", "well=Absent"]
    with pytest.raises(MurmurError, match=r"which classes are odd\? Say --map odd=CLASS"):
        cli.evaluate_on("folder", known, where)
    cli.evaluate_on("folder", [*known, "odd=null"], where, md=True)
    said = capfd.readouterr().out
    assert said.startswith("| patient level | here | there | SD | 95 % interval | always Present |\n| --- |")
    assert "- 6 units (3 Present, 3 Absent) of 6 persons, 4 models" in said
    assert "- left out: 3 x left out by class_map" in said
    got = json.loads(Path("metrics/elsewhere_folder.json").read_text())
    assert (got["left_unasked"], got["classes"]) == (["Unknown"], ["Present", "Absent"])
    assert got["class_map"] == {"ill": "Present", "odd": None, "well": "Absent"}
    assert "weighted_accuracy_official" not in got["here"]  # asked about the same two classes


def test_a_copy_at_another_gain_takes_no_part_elsewhere(project, tmp_path):
    home = pd.read_parquet("data/recordings.parquet")
    rows = [
        {"path": f"{k}.wav", "label": ("Present", "Absent")[k % 2], "patient_id": str(k)} for k in range(6)
    ]
    for row in rows:
        made.audio(tmp_path / "own" / row["path"], seconds=9)
    samples, rate = soundfile.read(Path("data/raw", home["path"][0]))
    made.audio(tmp_path / "own/0.wav", samples / 2, rate)
    made.write_csv(tmp_path / "own/recordings.csv", rows)
    cli.evaluate_on("folder", [], [f"download.folder.path={tmp_path / 'own'}"])
    got = json.loads(Path("metrics/elsewhere_folder.json").read_text())
    assert got["seen_in_training"] == 1 and got["data"]["patients"] == 5


@pytest.mark.parametrize(
    ("there", "home", "unknown", "same"),
    [
        ("circor", "circor", 0, True),
        ("cinc2016", "cinc2016", 5, True),
        ("circor", "pascal", 0, False),
        ("folder", "folder", 0, True),
        ("folder", "folder", 5, False),  # names of files
        ("synthetic", "synthetic", 0, False),
    ],
)
def test_ids_compare_within_a_data_set(there, home, unknown, same):
    one, other = (
        Card(name, "murmur", ("a", "b"), ("a",), (), "", "", unknown_persons=n)
        for name, n in ((there, unknown), (home, 0))
    )
    assert cli._ids_compare(one, other) == cli._ids_compare(other, one) == same


def test_robustness_begins_with_the_experiments_own_figures_and_ends_in_silence(project, capsys):
    cli.robustness(disturb="length,gain")
    table = pd.read_csv("plots/robustness.csv")
    runs = pd.read_csv("metrics/runs.csv").query("level == 'patient'")
    details = json.loads(Path("metrics/details.json").read_text())["headline"]
    assert set(table["metric"]) == set(details)
    undisturbed = table[table["value"].isna()]
    for row in undisturbed.to_dict("records"):
        own = details[row["metric"]]
        assert row["mean"] == pytest.approx(runs[row["metric"]].mean(), abs=1e-6)
        assert [row["low"], row["high"]] == pytest.approx([own["low"], own["high"]], abs=1e-6, nan_ok=True)
        assert row["n_units"] == runs["n_units"].iloc[0]
    assert len(undisturbed) == 2 * len(details)
    assert list(table["disturbance"].unique()) == ["gain", "length"]
    too_short = table.query("disturbance == 'length' and value == 3").set_index("metric")["mean"]
    assert too_short["sensitivity"] == 0 and too_short["specificity"] == 1  # all are answered Unknown
    assert too_short["uar"] == pytest.approx(1 / 3, abs=1e-6)
    heard = table.query("disturbance == 'length' and value == 5 and metric == 'uar'")["mean"].item()
    assert heard != pytest.approx(1 / 3, abs=1e-6)
    said = capsys.readouterr().out.splitlines()
    assert (
        said[0].startswith("disturbance  value   weighted_accuracy_official") and len(said) == 1 + 6 + 5 + 1
    )
    assert said[-1] == formatting.INTERVAL_NOTE


def test_robustness_of_one_run_is_the_same_however_many_workers(project, capsys, monkeypatch):
    texts = []
    for n in ("1", "3"):
        monkeypatch.setenv("MURMUR_WORKERS", n)
        cli.robustness(runs="1", disturb="band", as_json=True)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    rows = pd.DataFrame(json.loads(texts[0]))
    runs = pd.read_csv("metrics/runs.csv").query("level == 'patient' and run == 1")
    undisturbed = rows[rows["value"].isna()].set_index("metric")["mean"]
    for name in ("uar", "roc_auc"):
        assert undisturbed[name] == pytest.approx(runs[name].item(), abs=1e-6)


@pytest.mark.parametrize(
    ("dataset", "mapped", "settings", "message"),
    [
        ("synthetic", ["Present"], [], "--map Present: expected LABEL=CLASS"),
        ("synthetic", [], ["mel.n_mels=8"], "-S mel.n_mels: only download.… can differ"),
        ("syn", [], [], "dataset: no data set 'syn'; there are bmd_hs, cinc2016, circor"),
        ("pascal", ["normal=Absent"], [], "which classes are murmur? Say --map murmur=CLASS"),
        ("pascal", ["normal=Absent", "murmur=null"], [], "nothing to tell apart: of the models' classes"),
    ],
)
def test_evaluate_on_tells_what_it_cannot_do(project, dataset, mapped, settings, message):
    with pytest.raises(MurmurError) as error:
        cli.evaluate_on(dataset, mapped, settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": "5"}, "stage train@5 has not run with this params.yaml: `dvc repro` first"),
        ({"runs": "one"}, "--runs one: expected numbers of runs"),
        ({"disturb": "noise,hum"}, "--disturb: no disturbance 'hum'; there are noise, gain, band, length"),
    ],
)
def test_robustness_tells_what_it_cannot_do(project, options, message):
    with pytest.raises(MurmurError) as error:
        cli.robustness(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train__lr": 0.5}, "train is not what train@0"),
        ({"mel__n_mels": 8}, "mel is not what mel"),
        ({"evaluate__level": "recording"}, "evaluate is not what evaluate"),
        ({"clean__normalise": "rms"}, "clean is not what clean"),
    ],
)
def test_parameters_that_changed_since_are_told(project, changes, key):
    change(**changes)
    with pytest.raises(MurmurError, match=f"params.yaml: {key} ran with: `dvc repro` first, or put it back"):
        cli._experiment()


def test_weights_that_were_not_kept_are_told(project):
    path = Path("models/run_1.murmur_weights/fold_0.safetensors")
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(
        MurmurError, match=r"run_1.murmur_weights/fold_0.safetensors: no such weights \(1 of 4 missing\)"
    ):
        cli.robustness(disturb="gain")
    path.write_bytes(content)


def test_data_that_may_not_be_passed_on_go_to_a_remote_of_their_own(project):
    assert cli._content_for("bmd_hs", [])["download"]["remote"] == "private"
    assert cli._content_for("bmd_hs", ["download.remote=mine"])["download"]["remote"] == "mine"
    assert cli._content_for("pascal", ["download.remote=null"])["download"]["remote"] is None
    assert cli._content_for("yaseen", ["download.remote=null"])["download"]["remote"] == "private"


def test_the_limit_of_the_experiment_does_not_hold_elsewhere(project):
    change(download__limit=3)
    assert cli._content_for("pascal", [])["download"]["limit"] is None
    assert cli._content_for("pascal", ["download.limit=5"])["download"]["limit"] == 5


def replaced(path):
    """Write a file again, as a repro does."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def test_files_replaced_meanwhile_are_refused_and_nothing_is_written(project, monkeypatch):
    path, ask = Path("models/run_1.murmur_weights/fold_0.safetensors"), trained_models.score_models

    def figures(*arguments, **options):
        replaced(path)
        return ask(*arguments, **options)

    monkeypatch.setattr(external_validation, "figures", figures)
    monkeypatch.setattr("murmur.generalisation.robustness.score_models", figures)
    targets = (Path("plots/robustness.csv"), Path("metrics/elsewhere_synthetic.json"))
    for target in targets:
        target.unlink(missing_ok=True)
    with pytest.raises(MurmurError, match=rf"{path} was replaced while this ran .*nothing is written"):
        cli.robustness(runs="1", disturb="gain")
    with pytest.raises(MurmurError, match=rf"{path} was replaced while this ran .*nothing is written"):
        cli.evaluate_on("synthetic", [], ["download.synthetic.patients=30"])
    assert not any(target.exists() for target in targets)


@pytest.mark.parametrize(
    "name", ["metrics/folds.csv", "data/recordings.parquet", "data/folds/run_0.parquet", "dvc.lock"]
)
def test_each_file_of_the_experiment_counts(project, name):
    before = dvc_project.list_state()
    dvc_project.check_unchanged(before)
    files.write_text("metrics/elsewhere_x.json", "{}")
    dvc_project.check_unchanged(before)
    Path("metrics/elsewhere_x.json").unlink()
    replaced(Path(name))
    with pytest.raises(MurmurError, match=f"{name} was replaced while this ran"):
        dvc_project.check_unchanged(before)


def test_beside_a_repro_at_work_nothing_is_scored(project):
    notes = Path(".dvc/tmp/rwlock")
    before = notes.read_text() if notes.exists() else "{}"
    writes = {str(Path("models/run_0").resolve()): {"pid": os.getpid(), "cmd": "dvc repro"}}
    notes.write_text(json.dumps({"write": writes}))
    try:
        with pytest.raises(MurmurError, match=rf"`dvc repro` is running here \(process {os.getpid()}\)"):
            cli.robustness(disturb="gain")
        other = {str(Path("metrics/elsewhere_x.json").resolve()): writes.popitem()[1]}
        notes.write_text(json.dumps({"write": other}))
        dvc_project.list_state()
        notes.write_text('{"write": {"')  # cut by a kill
        dvc_project.list_state()
    finally:
        notes.write_text(before)


@pytest.fixture
def leaky(project):
    path = Path("metrics/details.json")
    before = path.read_text()
    details = json.loads(before)
    details["protocol"] |= {"leaky": True, "flaws": "validate_on"}
    path.write_text(json.dumps(details))
    yield
    path.write_text(before)


def test_robustness_of_a_leaky_experiment_is_marked(leaky, capfd):
    cli.robustness(runs="1", disturb="gain", md=True)
    assert capfd.readouterr().out.startswith("LEAKY, the figures may flatter: the test part selects the")


def test_a_leaky_experiment_is_marked_elsewhere_and_private_names_are_not_written(leaky, monkeypatch, capfd):
    read = read_card
    monkeypatch.setattr(tables, "read_card", lambda path: replace(read(path), shareable=False))
    cli.evaluate_on("synthetic", [], ["download.synthetic.patients=30"], md=True)
    out, text = capfd.readouterr().out, Path("metrics/elsewhere_synthetic.json").read_text()
    assert "- LEAKY, the figures may flatter: the test part selects the epoch." in out
    got = json.loads(text)
    assert got["leak"].startswith("LEAKY") and got["seen"] == [] and got["seen_in_training"] > 0
    names = pd.read_parquet("data/recordings.parquet")["recording_id"]
    assert not [name for name in names if name in text or name in out]
