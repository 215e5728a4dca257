"""The notebook docs/tour.ipynb runs, with a small model and the first patients of the embedded data set."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

import murmur
from tests import made
from tests.trained_model import make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")
TOUR = made.ROOT / "docs/tour.ipynb"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained_model(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def notebook(trained, tmp_path_factory):
    """The notebook with the output of a run in a project in another place."""
    project = tmp_path_factory.mktemp("project")
    made.download("synthetic", project / "data/raw", options={"patients": 12, "seed": 0}, remote=None)
    (project / "docs").mkdir()
    path = shutil.copy(TOUR, project / "docs")
    shutil.copytree(trained.folder, project / "models/murmur")
    own = {"IPYTHONDIR": project / "ipython", "JUPYTER_RUNTIME_DIR": project / "runtime"}
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    done = subprocess.run(
        [sys.executable, made.ROOT / "docs/run_notebook.py", path],
        env=environment | own | {"PYTHONPATH": made.ROOT / "src"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return nbformat.read(path, as_version=4)


def list_outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_the_notebook_runs(notebook):
    outputs = list_outputs(notebook)
    texts = "\n".join(output.data["text/plain"] for output in outputs)
    assert sum("image/png" in output.data for output in outputs) == 2
    assert "Model trained on made" in texts and "Prediction for P001: " in texts
    assert "cannot tell" in texts and "silent: all samples are 0" in texts


def test_the_committed_notebook_has_the_output_of_a_run_and_is_small(notebook):
    committed = nbformat.read(TOUR, as_version=4)
    assert committed.metadata == notebook.metadata and TOUR.stat().st_size < 150_000
    assert [list(output.data) for output in list_outputs(committed)] == [
        list(output.data) for output in list_outputs(notebook)
    ]
    for cell, run in zip(committed.cells, notebook.cells, strict=True):
        assert (cell.id, cell.source, cell.metadata) == (run.id, run.source, {})
        assert cell.get("execution_count") is None


def test_the_plot_of_a_prediction_is_shown_before_pyplot_is_imported(trained):
    model = murmur.load_model(trained.folder)
    figure = murmur.plot_prediction(model.predict(trained.raw / "0_AV.wav"), model)
    assert figure._repr_png_().startswith(b"\x89PNG") and len(figure.axes) == 3


def test_arrays_of_several_sites_are_plotted(trained):
    model, recording = murmur.load_model(trained.folder), murmur.read_recording(trained.raw / "0_AV.wav")
    prediction = model.predict([recording[0]] * 2, recording[1], sites=["AV", "PV"])
    assert len(murmur.plot_prediction(prediction, model, [recording, recording]).axes) == 4
    with pytest.raises(ValueError, match="recordings: give the samples and the rate"):
        murmur.plot_prediction(prediction, model)
