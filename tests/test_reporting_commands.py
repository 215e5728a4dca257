"""murmur report and murmur images: the page, and the images that a model sees."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from murmur.commands import reporting
from murmur.errors import MurmurError
from murmur.reporting import drawings
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS
from tests import made, test_report


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml; `mel.image` is null."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.ROOT / "params.yaml", ".")
    for part in ("folder", "splits"):
        shutil.copytree(made.ROOT / "data" / part, Path("data", part))


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
    empty = {"role": None, "sex": None, "age_group": None, "quality": None}
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
