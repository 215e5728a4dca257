"""murmur evaluate-on and murmur robustness in a copy of the project with a tiny experiment."""

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

from murmur import files, formatting
from murmur.commands import generalisation as commands
from murmur.commands.cli import show_messages_on_stderr
from murmur.errors import MurmurError
from murmur.experiments import current, external_evaluation
from murmur.experiments import project as dvc_project
from murmur.generalisation import external_validation, trained_models
from murmur.tables.recordings import DatasetCard, read_dataset_card
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
def tiny_project(tmp_path_factory):
    """A copy of the project with a tiny experiment, run once."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("src", "stages", "data/folder", "data/splits", "data/weights"):
        shutil.copytree(made.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(made.ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(made.changed(TINY), sort_keys=False))
    (folder / "recipes").mkdir()
    dvc_project.run_dvc(folder, "init", "--no-scm", "--quiet")
    dvc_project.run_dvc(folder, "repro", "--quiet")
    return folder


@pytest.fixture
def project(tiny_project, monkeypatch):
    before, text = torch.get_num_threads(), (tiny_project / "params.yaml").read_text()
    monkeypatch.chdir(tiny_project)
    show_messages_on_stderr()
    yield tiny_project
    (tiny_project / "params.yaml").write_text(text)
    torch.set_num_threads(before)


def change(**changes):
    content = yaml.safe_load(Path("params.yaml").read_text())
    for key, value in changes.items():
        section, name = key.split("__")
        content[section][name] = value
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_persons_of_the_experiment_are_left_out(project):
    """In a new process, to test that standard output has nothing but JSON."""
    arguments = ["evaluate-on", "synthetic", "--json", "-S", "download.synthetic.patients=30"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "murmur", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert done.stdout == Path("metrics/elsewhere_synthetic.json").read_text()
    recordings = pd.read_parquet("data/recordings.parquet")
    assert (
        set(recordings["recording_id"]) <= set(result["seen"])
        and len(result["seen"]) == result["seen_in_training"]
    )
    assert result["data"]["patients"] <= 30 - 14 and result["models"] == 4
    assert result["experiment"] == hashlib.sha256(Path("metrics/folds.csv").read_bytes()).hexdigest()
    details = json.loads(Path("metrics/details.json").read_text())
    assert result["here"] == details["headline"] and result["left_unasked"] == []
    assert result["class_map"] == {c: c for c in ("Present", "Unknown", "Absent")}
    assert all(0 <= row["mean"] <= 1 for row in result["headline"].values())


def test_own_recordings_with_other_labels_are_mapped(project, tmp_path, capfd):
    rows = [
        {"path": f"{k}.wav", "label": ("ill", "well", "odd")[k % 3], "patient_id": str(k)} for k in range(9)
    ]
    for row in rows:
        made.audio(tmp_path / "own" / row["path"], seconds=9)
    made.write_csv(tmp_path / "own/recordings.csv", rows)
    settings = [f"download.folder.path={os.path.relpath(tmp_path / 'own')}"]
    known = ["ill=Present", "well=Absent"]
    with pytest.raises(MurmurError, match=r"no class for the labels odd: add --map odd=CLASS"):
        commands.evaluate_on("folder", known, settings)
    commands.evaluate_on("folder", [*known, "odd=null"], settings, md=True)
    output = capfd.readouterr().out
    assert output.startswith(
        "| patient level | development data | external data | SD | 95 % interval | always Present |\n| --- |"
    )
    assert "- 6 units (3 Present, 3 Absent) of 6 persons, 4 models" in output
    assert "- left out: 3 x left out by class_map" in output
    result = json.loads(Path("metrics/elsewhere_folder.json").read_text())
    assert (result["left_unasked"], result["classes"]) == (["Unknown"], ["Present", "Absent"])
    assert result["class_map"] == {"ill": "Present", "odd": None, "well": "Absent"}
    assert "weighted_accuracy_official" not in result["here"]  # for the same two classes


def test_a_copy_with_another_gain_is_left_out(project, tmp_path):
    recordings = pd.read_parquet("data/recordings.parquet")
    rows = [
        {"path": f"{k}.wav", "label": ("Present", "Absent")[k % 2], "patient_id": str(k)} for k in range(6)
    ]
    for row in rows:
        made.audio(tmp_path / "own" / row["path"], seconds=9)
    samples, rate = soundfile.read(Path("data/raw", recordings["path"][0]))
    made.audio(tmp_path / "own/0.wav", samples / 2, rate)
    made.write_csv(tmp_path / "own/recordings.csv", rows)
    commands.evaluate_on("folder", [], [f"download.folder.path={tmp_path / 'own'}"])
    result = json.loads(Path("metrics/elsewhere_folder.json").read_text())
    assert result["seen_in_training"] == 1 and result["data"]["patients"] == 5


@pytest.mark.parametrize(
    ("dataset", "own_dataset", "unknown", "same"),
    [
        ("circor", "circor", 0, True),
        ("cinc2016", "cinc2016", 5, True),
        ("circor", "pascal", 0, False),
        ("folder", "folder", 0, True),
        ("folder", "folder", 5, False),  # names of files
        ("synthetic", "synthetic", 0, False),
    ],
)
def test_ids_are_comparable_within_a_data_set(dataset, own_dataset, unknown, same):
    external, internal = (
        DatasetCard(name, "murmur", ("a", "b"), ("a",), (), "", "", unknown_persons=n)
        for name, n in ((dataset, unknown), (own_dataset, 0))
    )
    assert external_evaluation.are_ids_comparable(external, internal) == same
    assert external_evaluation.are_ids_comparable(internal, external) == same


def test_robustness_ranges_from_the_figures_of_the_experiment_to_no_segments(project, capsys):
    commands.evaluate_disturbed(disturb="length,gain")
    table = pd.read_csv("plots/robustness.csv")
    runs = pd.read_csv("metrics/runs.csv").query("level == 'patient'")
    details = json.loads(Path("metrics/details.json").read_text())["headline"]
    assert set(table["metric"]) == set(details)
    undisturbed = table[table["value"].isna()]
    for row in undisturbed.to_dict("records"):
        expected = details[row["metric"]]
        assert row["mean"] == pytest.approx(runs[row["metric"]].mean(), abs=1e-6)
        assert [row["low"], row["high"]] == pytest.approx(
            [expected["low"], expected["high"]], abs=1e-6, nan_ok=True
        )
        assert row["n_units"] == runs["n_units"].iloc[0]
    assert len(undisturbed) == 2 * len(details)
    assert list(table["disturbance"].unique()) == ["gain", "length"]
    too_short = table.query("disturbance == 'length' and value == 3").set_index("metric")["mean"]
    assert too_short["sensitivity"] == 0 and too_short["specificity"] == 1  # all are predicted as Unknown
    assert too_short["uar"] == pytest.approx(1 / 3, abs=1e-6)
    uar_of_5_s = table.query("disturbance == 'length' and value == 5 and metric == 'uar'")["mean"].item()
    assert uar_of_5_s != pytest.approx(1 / 3, abs=1e-6)
    output = capsys.readouterr().out.splitlines()
    assert (
        output[0].startswith("disturbance  value   weighted_accuracy_official")
        and len(output) == 1 + 6 + 5 + 1
    )
    assert output[-1] == formatting.INTERVAL_NOTE


def test_robustness_of_one_run_is_the_same_however_many_workers(project, capsys, monkeypatch):
    texts = []
    for n in ("1", "3"):
        monkeypatch.setenv("MURMUR_WORKERS", n)
        commands.evaluate_disturbed(runs="1", disturb="band", as_json=True)
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
        ("synthetic", [], ["mel.n_mels=8"], "-S mel.n_mels: only download.… can be set"),
        ("syn", [], [], "dataset: no data set 'syn'; there are bmd_hs, cinc2016, circor"),
        ("pascal", ["normal=Absent"], [], "no class for the labels murmur: add --map murmur=CLASS"),
        ("pascal", ["normal=Absent", "murmur=null"], [], "too few classes: of the models' classes"),
    ],
)
def test_wrong_arguments_of_evaluate_on_are_named(project, dataset, mapped, settings, message):
    with pytest.raises(MurmurError) as error:
        commands.evaluate_on(dataset, mapped, settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": "5"}, "stage train@5 has not run with this params.yaml: `dvc repro` first"),
        ({"runs": "one"}, "--runs one: expected numbers of runs"),
        ({"disturb": "noise,hum"}, "--disturb: no disturbance 'hum'; there are noise, gain, band, length"),
    ],
)
def test_wrong_arguments_of_robustness_are_named(project, options, message):
    with pytest.raises(MurmurError) as error:
        commands.evaluate_disturbed(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train__lr": 0.5}, "train has changed since train@0"),
        ({"mel__n_mels": 8}, "mel has changed since mel"),
        ({"evaluate__level": "recording"}, "evaluate has changed since evaluate"),
        ({"clean__normalise": "rms"}, "clean has changed since clean"),
    ],
)
def test_changed_parameters_are_named(project, changes, key):
    change(**changes)
    with pytest.raises(MurmurError, match=f"params.yaml: {key} ran: `dvc repro` first, or restore its value"):
        current.load_experiment()


def test_missing_weights_are_named(project):
    path = Path("models/run_1.murmur_weights/fold_0.safetensors")
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(
        MurmurError, match=r"run_1.murmur_weights/fold_0.safetensors: no such weights \(1 of 4 missing\)"
    ):
        commands.evaluate_disturbed(disturb="gain")
    path.write_bytes(content)


def test_data_that_must_not_be_shared_have_a_remote_of_their_own(project):
    assert external_evaluation.make_params("bmd_hs", [])["download"]["remote"] == "private"
    assert external_evaluation.make_params("bmd_hs", ["download.remote=mine"])["download"]["remote"] == "mine"
    assert external_evaluation.make_params("pascal", ["download.remote=null"])["download"]["remote"] is None
    assert (
        external_evaluation.make_params("yaseen", ["download.remote=null"])["download"]["remote"] == "private"
    )


def test_the_limit_of_the_experiment_does_not_apply_to_external_data(project):
    change(download__limit=3)
    assert external_evaluation.make_params("pascal", [])["download"]["limit"] is None
    assert external_evaluation.make_params("pascal", ["download.limit=5"])["download"]["limit"] == 5


def test_a_metric_of_the_classes_of_the_experiment_is_not_required_of_external_data(project):
    change(evaluate__thresholds="expected_weighted_accuracy_official", evaluate__uar_share=0.1)
    evaluate = external_evaluation.make_params("pascal", [])["evaluate"]
    assert evaluate["thresholds"] is None and evaluate["uar_share"] == 0


def replace_file(path):
    """Write a file again, as a repro does."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def test_if_files_are_replaced_meanwhile_nothing_is_written(project, monkeypatch):
    path, original = Path("models/run_1.murmur_weights/fold_0.safetensors"), trained_models.score_models

    def score_models(*arguments, **options):
        replace_file(path)
        return original(*arguments, **options)

    monkeypatch.setattr(external_validation, "score_models", score_models)
    monkeypatch.setattr("murmur.generalisation.robustness.score_models", score_models)
    targets = (Path("plots/robustness.csv"), Path("metrics/elsewhere_synthetic.json"))
    for target in targets:
        target.unlink(missing_ok=True)
    with pytest.raises(MurmurError, match=rf"{path} was replaced while this ran .*nothing is written"):
        commands.evaluate_disturbed(runs="1", disturb="gain")
    with pytest.raises(MurmurError, match=rf"{path} was replaced while this ran .*nothing is written"):
        commands.evaluate_on("synthetic", [], ["download.synthetic.patients=30"])
    assert not any(target.exists() for target in targets)


@pytest.mark.parametrize(
    "name", ["metrics/folds.csv", "data/recordings.parquet", "data/folds/run_0.parquet", "dvc.lock"]
)
def test_each_file_of_the_experiment_is_checked(project, name):
    before = current.record_files()
    current.check_files_unchanged(before)
    files.write_text("metrics/elsewhere_x.json", "{}")
    current.check_files_unchanged(before)
    Path("metrics/elsewhere_x.json").unlink()
    replace_file(Path(name))
    with pytest.raises(MurmurError, match=f"{name} was replaced while this ran"):
        current.check_files_unchanged(before)


def test_while_dvc_repro_runs_nothing_is_scored(project):
    notes = Path(".dvc/tmp/rwlock")
    before = notes.read_text() if notes.exists() else "{}"
    writes = {str(Path("models/run_0").resolve()): {"pid": os.getpid(), "cmd": "dvc repro"}}
    notes.write_text(json.dumps({"write": writes}))
    try:
        with pytest.raises(MurmurError, match=rf"`dvc repro` is running here \(process {os.getpid()}\)"):
            commands.evaluate_disturbed(disturb="gain")
        of_others = {str(Path("metrics/elsewhere_x.json").resolve()): writes.popitem()[1]}
        notes.write_text(json.dumps({"write": of_others}))
        current.record_files()
        notes.write_text('{"write": {"')  # cut by a kill
        current.record_files()
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
    commands.evaluate_disturbed(runs="1", disturb="gain", md=True)
    assert capfd.readouterr().out.startswith(
        "LEAKY, the figures may be too optimistic: the test part selects the"
    )


def test_evaluate_on_marks_a_leaky_experiment_and_writes_no_private_names(leaky, monkeypatch, capfd):
    read = read_dataset_card
    monkeypatch.setattr(
        "murmur.tables.recordings.read_dataset_card", lambda path: replace(read(path), shareable=False)
    )
    commands.evaluate_on("synthetic", [], ["download.synthetic.patients=30"], md=True)
    out, text = capfd.readouterr().out, Path("metrics/elsewhere_synthetic.json").read_text()
    assert "- LEAKY, the figures may be too optimistic: the test part selects the epoch." in out
    result = json.loads(text)
    assert result["leak"].startswith("LEAKY") and result["seen"] == [] and result["seen_in_training"] > 0
    names = pd.read_parquet("data/recordings.parquet")["recording_id"]
    assert not [name for name in names if name in text or name in out]
