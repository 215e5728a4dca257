"""murmur predict: its table, JSON, CSV and pictures, its exit codes, and files that cannot be read."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from murmur.commands import cli
from murmur.inference.loading import load_model
from murmur.reporting import prediction_plot
from tests import made
from tests.trained_model import CLASSES, draw_samples, make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained_model(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def predict(trained, monkeypatch):
    """Run the command with that model; by default without the check of the quality."""

    def run(*arguments, model=trained.folder, check=False):
        options = ["--model", str(model), *([] if check else ["--no-check"])]
        return CliRunner().invoke(cli.app, ["predict", *map(str, arguments), *options])

    monkeypatch.setenv("MURMUR_WORKERS", "2")
    return run


def message(result):
    """The error that ends the command."""
    assert result.exit_code == 1 and isinstance(result.exception, Exception)
    return str(result.exception)


def test_the_table_has_the_patient_its_recordings_and_the_model(trained, predict):
    result = predict(*sorted(trained.raw.glob("5_*.wav")), "--segments")
    assert result.exit_code == 0, result.output
    table, model = result.stdout.split("\n\n")
    header, patient, *rows = (line.split() for line in table.splitlines())
    expected = load_model(trained.folder).predict(
        sorted(trained.raw.glob("5_*.wav")), sites=("AV", "PV"), check=False
    )
    figures = [f"{p:.3f}" for p in expected.probabilities.values()]
    assert header == ["patient", "answer", *CLASSES, "site", "length", "quality", "heart", "rate"]
    assert patient == ["5", expected.answer, *figures]
    names = [row[0] for row in rows if not row[0][0].isdigit() or row[0].startswith("5_")]
    assert names == ["5_AV.wav", "5_PV.wav"] and rows[1][:2] == ["0.0-4.0", "s"]
    assert len(rows) == 2 + sum(len(r.starts) for r in expected.recordings)
    model = " ".join(model.split())
    assert "trained on made, 6 patients" in model and "0.700 (0.600-0.800) always Absent: 0.333" in model
    assert "Not a medical device" in model and "SIMULATED" not in model


def test_json_and_csv_have_the_same_values(trained, predict, tmp_path):
    result = predict(trained.raw, "--json", "--csv", tmp_path / "out.csv")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["failures"] == [] and document["model"]["classes"] == list(CLASSES)
    table = pd.read_csv(tmp_path / "out.csv", dtype={"patient_id": str})
    assert [p["patient"] for p in document["patients"]] == [*"012345"]
    for level, units in {
        "patient": document["patients"],
        "recording": [r for p in document["patients"] for r in p["recordings"]],
        "segment": [s for p in document["patients"] for r in p["recordings"] for s in r["segments"]],
    }.items():
        rows = table[table["level"] == level]
        expected = [list(unit["probabilities"].values()) for unit in units]
        np.testing.assert_allclose(rows[[f"p_{c}" for c in CLASSES]], expected, atol=1e-6)


def test_the_result_does_not_depend_on_the_number_of_workers(trained, predict, monkeypatch):
    outputs = set()
    for n in "123":
        monkeypatch.setenv("MURMUR_WORKERS", n)
        outputs.add(predict(trained.raw, "--json").stdout)
    assert len(outputs) == 1


def test_a_file_that_cannot_be_read_does_not_stop_the_others(trained, predict, tmp_path):
    for name in ("5_AV.wav", "4_AV.wav"):
        shutil.copy(trained.raw / name, tmp_path)
    made.audio(tmp_path / "5_MV.wav", seconds=0.5)
    (tmp_path / "5_PV.wav").write_text("no audio")
    nan = made.audio(tmp_path / "nan.wav", np.full(9000, np.nan, np.float32), subtype="FLOAT")
    files = [tmp_path / f"{name}.wav" for name in ("5_AV", "5_MV", "5_PV", "4_AV")]
    result = predict(*files, nan, "--csv", tmp_path / "out.csv")
    assert result.exit_code == 3
    table, text, _ = result.stdout.split("\n\n")
    first = [row.split()[0] for row in table.splitlines()[1:]]
    assert first == ["5", "5_AV.wav", "5_MV.wav", "5_PV.wav", "4", "nan.wav"]
    assert [row.endswith("not read") for row in table.splitlines()[1:]] == [*[False] * 3, True, False, True]
    assert table.splitlines()[1].endswith("  1 of 3 used") and "used" not in table.splitlines()[5]
    text = " ".join(text.split())
    assert "1 answer is from only some of the recordings of the patient." in text
    assert "does not use these recordings and their probabilities): 5_MV.wav: too short" in text
    csv = pd.read_csv(tmp_path / "out.csv").query("level == 'patient'")
    assert csv[["recordings_given", "recordings_used"]].to_numpy().tolist() == [[3, 1], [1, 1]]
    patient = json.loads(predict(*files, "--json").stdout)["patients"][0]
    assert (patient["recordings_given"], patient["recordings_used"]) == (3, 1)
    assert "5_PV.wav: " in result.stderr and "nan.wav: " in result.stderr
    only = predict(nan, "--json")
    assert message(only).startswith(f"{nan}: sample 0 is not a finite number")
    assert json.loads(only.stdout)["failures"][0]["path"] == str(nan)


def test_a_patient_without_an_answer_has_an_exit_code_and_a_reason(trained, predict, tmp_path):
    short = made.audio(tmp_path / "short.wav", seconds=0.5)
    result = predict(short, trained.raw / "5_AV.wav")
    assert result.exit_code == 4
    assert result.stdout.splitlines()[1].split()[:3] == ["short", "cannot", "tell"]
    assert "  short.wav: too short" in result.stdout
    assert predict(short, trained.raw / "5_AV.wav", tmp_path / "missing.wav").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "expected"), [((), "name a recording"), (("x", "--challenge", "a", "b"), "name a")]
)
def test_a_path_or_the_challenge_is_required(predict, arguments, expected):
    assert expected in message(predict(*arguments))


def test_a_model_that_does_not_exist_is_named_with_the_remedy(trained, predict, tmp_path):
    text = message(predict(trained.raw, model=tmp_path / "none"))
    assert str(tmp_path / "none") in text and "make repro" in text and "--model" in text


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_an_output_of_the_wrong_kind_is_refused_before_any_work(trained, predict, tmp_path, option):
    path = tmp_path if option == "--csv" else made.audio(tmp_path / "a.wav")
    assert message(predict("missing.wav", option, path)).startswith(f"{option} {path}: ")


def test_wrong_options_are_errors_of_usage(predict):
    assert predict("--plott", "x").exit_code == 2


def test_there_is_a_picture_of_each_recording_and_an_overview_of_each_patient(trained, predict, tmp_path):
    files = [*sorted(trained.raw.glob("5_*.wav")), trained.raw / "0_AV.wav"]
    result = predict(*files, "--plot", tmp_path / "pictures")
    assert result.exit_code == 0 and "4 pictures" in result.stderr
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "pictures").iterdir()}
    assert sizes.keys() == {"5_AV.png", "5_PV.png", "5.png", "0_AV.png"}
    assert sizes["5_AV.png"] == (900, 610)


def test_equal_names_get_pictures_of_their_own(trained, predict, tmp_path):
    for folder in "ab":
        made.audio(tmp_path / folder / "X.wav", draw_samples(3, seed=ord(folder)))
    predict(tmp_path / "a", tmp_path / "b", "--plot", tmp_path / "pictures")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"X.png", "X_2.png"}


def test_a_file_name_can_have_any_bytes(trained, predict, tmp_path):
    names = (b"caf\xe9.wav", b"a\x1b[31m\n$x_{1}$.wav")
    for k, name in enumerate(names):
        made.audio(tmp_path / f"{k}.wav", draw_samples(3, seed=k)).rename(tmp_path / os.fsdecode(name))
    result = predict(tmp_path, "--csv", tmp_path / "out.csv", "--plot", tmp_path / "pictures")
    assert result.exit_code == 0 and len(list((tmp_path / "pictures").iterdir())) == 2
    patients = {r"caf\udce9", r"a\x1b[31m\n$x_{1}$"}
    assert {line.split()[0] for line in result.stdout.splitlines()[1:3]} == patients
    assert set(pd.read_csv(tmp_path / "out.csv")["patient_id"]) == patients


def test_the_limit_of_a_plot_is_that_of_the_decision(trained):
    weights = dict(zip(CLASSES, (0.8, 1.5, 1.1), strict=True))
    decision = trained.info.decisions["segment"].model_copy(update={"weights": weights, "temperature": 1.3})
    info = trained.info.model_copy(update={"decisions": {"segment": decision}})
    p = np.random.default_rng(0).dirichlet(np.ones(3), 500)  # before the temperature
    calibrated = p ** (1 / 1.3) / (p ** (1 / 1.3)).sum(axis=1, keepdims=True)
    total, limit = prediction_plot._compute_positive(calibrated, info)
    np.testing.assert_array_equal(total > limit, (p * list(weights.values())).argmax(axis=1) == 0)


def test_the_picture_of_an_hour_needs_little_time(trained):
    model = load_model(trained.folder)
    samples = np.tile(draw_samples(60), 60)
    short = model.predict(samples[:400_000], 4000, check=False).recordings[0]
    recording = replace(
        short,
        seconds=3600.0,
        starts=np.arange(0.0, 3598, 2),
        segments=np.random.default_rng(0).dirichlet(np.ones(3), 1799),
    )
    start = time.monotonic()
    figure = prediction_plot.plot_recording_prediction(recording, samples, 4000, model.info)
    figure.savefig(os.devnull, format="png")
    assert time.monotonic() - start < 20
    assert figure.axes[2].get_legend().get_texts()[0].get_text() == "mean of 12 segments"


def test_the_command_works_outside_the_project_and_without_dvc(trained, tmp_path):
    code = "import sys; from murmur.commands.cli import main; main()"
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        code,
        "predict",
        trained.raw / "5_AV.wav",
        "--no-check",
    ]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(
        [*command, "--model", trained.folder], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"dvc", "matplotlib", "sklearn", "librosa"}
