"""The functions at the top level of murmur, and the page about them."""

import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import murmur
from murmur.features import chain, store
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from tests import made


class AnyProbability(doctest.OutputChecker):
    """Compares outputs without the figures that depend on the type of processor."""

    def check_output(self, want, got, optionflags):
        figures = re.compile(r"((?:Present|Unknown|Absent|mix\):) )[\d.()-]+( \([\d.-]+\))?")
        return super().check_output(figures.sub(r"\1", want), figures.sub(r"\1", got), optionflags)


def prepare(folder, dataset, **keys):
    """Do the work of the stages from download to mel in the folder data of a project; return its features."""
    recordings, card, _ = made.download(dataset, folder / "data/raw", **keys)
    parquet.write(recordings, folder / "data/recordings.parquet", RECORDINGS, card)
    return chain.compute_features(folder / "data", murmur.load_params(made.ROOT / "params.yaml"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with the first 12 patients of the embedded data set."""
    folder = tmp_path_factory.mktemp("page") / "murmur"
    prepare(folder, "synthetic", options={"patients": 12, "seed": 0}, remote=None)
    shutil.copy(made.ROOT / "params.yaml", folder)
    shutil.copytree(made.ROOT / "metrics", folder / "metrics")
    return folder


def compute(path, params=None):
    segments = murmur.cut_into_segments(murmur.clean_recording(*murmur.read_recording(path), params), params)
    return murmur.compute_log_mel(segments, params)


def assert_equal_to_the_stages(prepared, params=None):
    stored = store.read_array(prepared.features)
    for recording in prepared.recordings[:3].itertuples():
        rows = prepared.segments["recording_id"] == recording.recording_id
        computed = compute(prepared.features.parent / "raw" / recording.path, params)
        assert computed.dtype == stored.dtype
        np.testing.assert_array_equal(computed, stored[rows.to_numpy()])


def test_the_values_are_those_of_the_stages(project):
    assert_equal_to_the_stages(chain.read_prepared(project / "data", "mel"))


@pytest.mark.parametrize(
    "changes",
    [
        {"segment.short": "wrap", "segment.mirror": True, "segment.first": 2, "clean.normalise": "rms"},
        {"mel.win_length": [64, 128], "mel.hop_length": [32, 64], "mel.dtype": "float32"},
        {"mel.image": {"size": 16, "colours": "magma"}, "segment.short": "drop", "clean.bandpass": None},
    ],
    ids=["mirror", "windows", "images"],
)
def test_the_values_are_those_of_the_stages_with_other_parameters(project, tmp_path, changes):
    params = murmur.load_params(changes=changes)
    shutil.copytree(project / "data/raw", tmp_path / "raw")
    shutil.copy(project / "data/recordings.parquet", tmp_path)
    assert_equal_to_the_stages(chain.compute_features(tmp_path, params), params)


@pytest.mark.skipif("MURMUR_DATA" not in os.environ, reason="MURMUR_DATA names no real recordings")
def test_the_values_of_real_recordings_are_those_of_the_stages(tmp_path):
    found = sorted(Path(os.environ["MURMUR_DATA"], "circor/training_data").glob("*.wav"))[:3]
    rows = [{"path": path.name, "label": f"{k}"} for k, path in enumerate(found)]
    made.folder(tmp_path / "own", rows)
    for path in found:
        shutil.copy(path, tmp_path / "own")
    options = {"path": str(tmp_path / "own")}
    assert_equal_to_the_stages(prepare(tmp_path, "folder", options=options, positive=["0"]))


IMPORTED = """
import sys
import murmur
slow = {"numpy", "pandas", "pydantic", "scipy", "torch", "dvc", "matplotlib", "wfdb"}
print(sorted(slow & {*sys.modules}))
murmur.compute_log_mel(murmur.cut_into_segments(murmur.clean_recording(*murmur.read_recording(sys.argv[1]))))
print(sorted({"torch", "dvc", "matplotlib", "wfdb"} & {*sys.modules}))
"""


def test_only_what_is_used_is_imported_and_the_working_folder_does_not_matter(tmp_path):
    path = made.audio(tmp_path / "a.wav", seconds=2)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, path],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(made.ROOT / "src")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n[]\n"


def test_the_names_at_the_top_level():
    assert all(callable(getattr(murmur, name)) for name in murmur.__all__)
    assert set(dir(murmur)) == {*murmur.__all__, "__version__"}
    version = tomllib.loads((made.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert murmur.__version__ == version
    with pytest.raises(AttributeError, match="module 'murmur' has no attribute 'clean_recordings'"):
        _ = murmur.clean_recordings


def test_the_default_parameters_are_those_of_the_project():
    assert murmur.load_params() == murmur.load_params(made.ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mel.nmels": 64}, r"^mel\.nmels: there is no such parameter; all parameters are in params\.yaml$"),
        ({"clean.denoise.n_fft": 64}, r"^clean\.denoise\.n_fft: there is no such parameter"),
        ({"nel.n_mels": 64}, r"^nel\.n_mels: there is no such parameter"),
        ({"mel.n_mels": 0}, r"^default parameters: mel\.n_mels: "),
        ({"clean.sample_rate": 1000}, r"^default parameters: mel\.f_max 800 Hz is above Nyquist, 500 Hz"),
    ],
)
def test_wrong_changes_are_named(changes, message):
    with pytest.raises(murmur.MurmurError, match=message):
        murmur.load_params(changes=changes)


@pytest.mark.parametrize("samples", [[], [[0.1, 0.2]], [0.1, np.nan]])
def test_samples_that_are_not_one_channel_of_numbers_are_refused(samples):
    with pytest.raises(ValueError, match="samples: expected finite numbers of shape"):
        murmur.clean_recording(np.array(samples), 4000)


def test_integers_and_short_signals(project):
    samples, rate = murmur.read_recording(project / "data/raw/P000_AV.wav")
    integers = (samples * 2**15).astype(np.int16)
    np.testing.assert_allclose(
        murmur.clean_recording(integers, rate), murmur.clean_recording(samples, rate), atol=1e-6
    )
    with pytest.raises(murmur.MurmurError, match=r"segment\.min_length 1 s: .* 0\.50 s, too short"):
        murmur.cut_into_segments(np.zeros(1000))


def test_a_plot_shows_the_waveform_and_the_spectrogram(project):
    samples, rate = murmur.read_recording(project / "data/raw/P001_AV.wav")
    with mpl.rc_context({"backend": "agg"}):
        above, below = murmur.plot_recording(samples, rate)
        (line,) = above.get_lines()
        np.testing.assert_array_equal(line.get_ydata(), samples)
        (image,) = below.collections
        assert image.get_array().shape == (32, 466) and image.get_array().max() == 0
        assert below.get_xlim() == (0, 14.9) and below.get_ylim()[1] == pytest.approx(800, rel=0.03)
        several = {"mel.win_length": [64, 128], "mel.hop_length": [32, 64]}
        murmur.plot_recording(samples, rate, murmur.load_params(changes=several))
        mpl.pyplot.close("all")


def test_the_page_shows_real_output(project, monkeypatch):
    table = pd.read_parquet(project / "data/segments.parquet")
    shares = dict.fromkeys(("p_Present", "p_Unknown", "p_Absent"), 1 / 3)
    columns = {"run": 0, "fold": 0, "role": "test", "level": "segment", "unit_id": table["segment_id"]}
    (project / "data/predictions").mkdir()
    pd.DataFrame(columns | shares).to_parquet(project / "data/predictions/run_0.murmur_predictions.parquet")
    (project.parent / "notebooks").mkdir()
    monkeypatch.chdir(project.parent / "notebooks")
    page = (made.ROOT / "docs/python.md").read_text(encoding="utf-8")
    if (model := made.ROOT / "models/murmur").is_dir():
        shutil.copytree(model, project / "models/murmur")
    else:
        page = re.sub(
            r"^## Predict a recording\n.*(?=^## Load results)", "", page, flags=re.DOTALL | re.MULTILINE
        )
    examples = doctest.DocTestParser().get_doctest(page, {}, "docs/python.md", None, 0)
    with mpl.rc_context({"backend": "agg"}):
        failed, attempted = doctest.DocTestRunner(AnyProbability(), optionflags=doctest.ELLIPSIS).run(
            examples
        )
    assert failed == 0 and attempted > 20
    mpl.pyplot.close("all")
