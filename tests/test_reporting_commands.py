"""murmur show, report and images: the results, the page, and the images that a model sees."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from PIL import Image

from murmur.commands import reporting
from murmur.errors import MurmurError
from murmur.evaluation.summary import format_summary
from murmur.experiments import project as current_project
from murmur.reporting import drawings, interpretation
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS
from tests import made, test_cards, test_report
from tests.test_cards import NAN


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml; `mel.image` is null."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.ROOT / "params.yaml", ".")
    for part in ("folder", "splits"):
        shutil.copytree(made.ROOT / "data" / part, Path("data", part))


def show(folder, monkeypatch, capsys, **changes):
    """The output of `murmur show` on an experiment with some details changed."""
    (folder / "metrics").mkdir()
    (folder / "metrics/details.json").write_text(json.dumps(test_cards.changed(changes)))
    monkeypatch.chdir(folder)
    reporting.show_results()
    return capsys.readouterr().out


@pytest.fixture
def up_to_date(monkeypatch):
    """Nothing has changed since the pipeline ran, and git knows the user."""
    monkeypatch.setattr(current_project, "list_changes", list)
    monkeypatch.setattr(current_project, "has_git_identity", lambda: True)


def test_show_prints_the_table_what_it_means_and_four_commands(tmp_path, monkeypatch, capsys, up_to_date):
    monkeypatch.setenv("COLUMNS", "100")
    output = show(tmp_path, monkeypatch, capsys)
    table, meaning, commands = output.split("\n\n")
    assert table == "\n".join(fill(line, 100) for line in format_summary(test_cards.DETAILS).splitlines())
    assert re.findall(r"^\w+", meaning, re.MULTILINE) == ["Data", "Result", "Baseline", "Protocol", "Limits"]
    words = " ".join(meaning.split())
    assert "902 recordings (5.567 h, 8000 segments) of 272 patients, 253 persons." in words
    assert "0.763 (95 % interval over persons 0.719-0.807); always predicting Present gives 0.499." in words
    assert "above the baseline" in words and "simulated" not in words
    assert len(re.findall(r"^  (make|dvc|murmur) ", commands, re.MULTILINE)) == 4
    assert all(len(line) <= 100 for line in output.splitlines())


@pytest.mark.parametrize(
    ("baseline", "low", "high", "words"),
    [
        (0.5, 0.51, 0.9, "above the baseline: the models are better than always predicting Present."),
        (0.5, 0.5, 0.9, "contains the baseline: nothing shows that the models are better than"),
        (0.95, 0.6, 0.9, "below the baseline: the models are worse than always predicting Present."),
        (0.5, None, None, "is unknown: there is no interval"),
        (0.5, NAN, NAN, "is unknown: there is no interval"),
        (None, 0.6, 0.9, "is unknown: there is no interval, or no baseline"),
    ],
)
def test_the_interval_is_compared_with_the_baseline(baseline, low, high, words):
    row = {"mean": 0.7, "sd": None, "low": low, "high": high}
    changes = {"headline": {"uar": row}, "baseline": {"answer": "Present", "uar": baseline}}
    assert words in interpretation.interpret_results(test_cards.changed(changes))["Baseline"]


def test_simulated_data_and_leaks_are_named(tmp_path, monkeypatch, capsys, up_to_date):
    changes = {"data.dataset": "synthetic", "protocol.leaky": True, "protocol.shared_persons": 3}
    words = " ".join(show(tmp_path, monkeypatch, capsys, **changes).split())
    assert words.startswith("LEAKY, the figures may be too optimistic: the worst fold shares 3 persons.")
    assert "synthetic (simulated)" in words and "with no clinical meaning" in words
    assert "In the worst fold the test part and the training parts share 3 persons." in words


def test_one_run_of_few_unknown_persons_is_described(tmp_path, monkeypatch, capsys, up_to_date):
    counts = {
        name: {"recordings": n, "patients": n, "persons": n} for name, n in (("ill\x1b[2J", 9), ("well", 12))
    }
    changes = {
        "data.unknown_persons": 9,
        "data.counts": counts,
        "protocol.runs": 1,
        "parts.without_validation": 4,
    }
    output = show(tmp_path, monkeypatch, capsys, **changes)
    words = " ".join(output.split())
    assert (
        "2-fold cross-validation, once" in words and "Small class: ill\\x1b[2J has at most 9 persons" in words
    )
    assert "\x1b" not in output and "Small class: well" not in words


def test_show_names_what_has_changed_and_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        current_project, "list_changes", lambda: ["params.yaml (mel)", "params.yaml (mel.n_mels)", "data/own"]
    )
    monkeypatch.setattr(current_project, "has_git_identity", lambda: False)
    monkeypatch.setattr(reporting.shutil, "which", lambda name: f"/usr/bin/{name}")
    output = show(tmp_path, monkeypatch, capsys)
    assert "an earlier run: `dvc repro` updates them; changed: params.yaml (mel), data/own\n" in output
    assert "git config --global user.name" in output
    assert f"source {sys.prefix}/bin/activate" in output


@pytest.mark.parametrize("dataset", ["synthetic", "folder"])
def test_the_next_commands_are_those_that_help(tmp_path, monkeypatch, capsys, up_to_date, dataset):
    output = show(tmp_path, monkeypatch, capsys, **{"data.dataset": dataset})
    assert "then: murmur experiments\n" in output, "no committed figures of the same data"
    assert ("own recordings" in output) == (dataset == "synthetic")
    committed = json.dumps(test_cards.changed({"data.dataset": "synthetic"}))
    monkeypatch.setattr(current_project, "read_committed", lambda commit, path: committed)
    reporting.show_results()
    assert ("then: murmur compare\n" in capsys.readouterr().out) == (dataset == "synthetic")


def test_a_model_file_that_git_does_not_track_is_named(project, tmp_path, monkeypatch, capsys, up_to_date):
    path = Path("src/murmur/models/tiny.py")
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr(reporting, "find_file", lambda name: path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    warning = f"git does not track {path}: commit it together with these figures"
    assert warning in show(tmp_path, monkeypatch, capsys)
    subprocess.run(["git", "add", path], check=True)
    reporting.show_results()
    assert "does not track" not in capsys.readouterr().out


def test_changes_since_the_last_run_are_those_of_dvc_status(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = "{cmd: cp own copy, deps: [own], params: [mel], outs: [copy]}"
    next_stage = "{cmd: cp copy end, deps: [copy], metrics: [{end: {cache: false}}]}"
    Path("dvc.yaml").write_text(f"stages: {{a: {stage}, b: {next_stage}}}")
    Path("params.yaml").write_text("mel: {n_mels: 1}")
    Path("own").write_text("1")
    Repo.init(no_scm=True)
    with Repo() as repo:
        repo.reproduce()
    assert current_project.list_changes() == []
    Path("copy").unlink()  # as in a fresh clone
    assert current_project.list_changes() == []
    for name in ("own", "end"):
        Path(name).write_text("2")
    Path("params.yaml").write_text("mel: {n_mels: 2}")
    assert current_project.list_changes() == ["end", "own", "params.yaml (mel)"]
    Path("dvc.yaml").write_text("stages: [")
    with pytest.raises(MurmurError, match=r"dvc status: .*dvc.yaml"):
        current_project.list_changes()


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawings, "_to_svg", lambda draw, **size: "data:image/svg+xml;base64,")
    test_report.write_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    reporting.write_html_report(Path("out/mine.html"))
    assert Path("out/mine.html").read_text().startswith("<!DOCTYPE html>")
    assert "out/mine.html" in capsys.readouterr().out


def test_images_are_written_by_label_with_low_frequencies_at_the_bottom(project):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["mel"]["image"] = {"size": 4, "colours": "magma"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    rows = {"recording_id": ["a", "b"], "label": ["Present", "Absent"], "sample_rate": 4000, "n_samples": 9}
    rows |= {
        "path": "x",
        "patient_id": "p",
        "person_id": "p",
        "site": "AV",
        "audio_sha256": "0",
        "source": "s",
    }
    empty = dict.fromkeys(field.name for field in RECORDINGS if field.nullable)
    recordings = pd.DataFrame(rows | empty).assign(patient_label="Present")
    parquet.write(recordings, "data/recordings.parquet", RECORDINGS)
    segments = {"segment_id": ["a@0", "b@0"], "recording_id": ["a", "b"], "start": 0, "n_samples": 9}
    parquet.write(pd.DataFrame(segments | {"reversed": False}), "data/segments.parquet", SEGMENTS)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), np.uint8)
    Path("data/mel").mkdir()
    np.save("data/mel/array.npy", images)
    reporting.export_images(Path("png"))
    written = np.asarray(Image.open("png/Absent/b@0.png"))
    np.testing.assert_array_equal(written[::-1].transpose(2, 0, 1), images[1])
    assert len(list(Path("png").rglob("*.png"))) == 2
    with pytest.raises(MurmurError, match="png: is not an empty folder"):
        reporting.export_images(Path("png"))


def test_without_images_the_error_names_the_remedy(project):
    with pytest.raises(MurmurError, match=r"mel.image is null: there are no images; set it to \{size"):
        reporting.export_images(Path("png"))
