"""Every output has the same bytes, however and wherever the pipeline runs; MURMUR_SOAK=1, as it takes long.

`make test` compares each stage alone in another folder, with another locale, time zone and hash seed
(test_pipeline.py), the trainings with other numbers of workers (test_run.py) and on Dask (test_cluster.py).
"""

import hashlib
import os
import sys

import pytest

from tests import made
from tests.test_cluster import dask  # noqa: F401  # a fixture
from tests.test_pipeline import TINY, copy_project, run

pytestmark = pytest.mark.skipif("MURMUR_SOAK" not in os.environ, reason="MURMUR_SOAK is not set")
FIRST = {"MURMUR_WORKERS": "1", "PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
OTHERS = {"PYTHONHASHSEED": "4000000000", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "tr_TR.UTF-8"}
REPRO = ["dvc", "repro", "--force"]
SIDE_BY_SIDE = [sys.executable, "-m", "murmur", "repro", "-j", "3"]
WITHOUT_DVC = (made.ROOT / "docs/dvc.md").read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0]
WAYS = {  # the name of a folder, a command and environment variables
    "again": ("first", REPRO, {}),
    "another folder": ("b/ä folder", REPRO, {}),
    "many workers": ("c", REPRO, {"MURMUR_WORKERS": "5"}),
    "stages side by side": (
        "d",
        [sys.executable, "-m", "murmur", "repro", "-j", "3"],
        {"MURMUR_WORKERS": "4"},
    ),
    "Dask": ("e", REPRO, {"MURMUR_DASK": ""}),
    "another environment": ("f", REPRO, OTHERS),
    "without DVC": ("g", ["sh", "-e", "-c", WITHOUT_DVC], {}),
}
FRAMES = {
    "dataset": "synthetic",
    "download.synthetic.patients": 40,
    "download.remote": None,
    "split.runs": [0, 1],
    "split.folds": 2,
    "split.inner": 2,
    "train.epochs": 1,
    "train.keep_weights": "best",
    "evaluate.draws": 20,
}
RECIPES = {"default": TINY, "frames": made.changed(FRAMES, "circor_frames")}


def hash_outputs(folder):
    """The SHA-256 hash of each file that the stages write."""
    paths = [path for part in ("data", "models", "metrics", "plots") for path in (folder / part).rglob("*")]
    inputs = (folder / "data/folder", folder / "data/splits")
    outputs = [p for p in paths if p.is_file() and not any(p.is_relative_to(part) for part in inputs)]
    names = {p.relative_to(folder).as_posix(): p for p in outputs if p.name != ".gitignore"}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items()}


@pytest.fixture(scope="module", params=RECIPES)
def first(request, tmp_path_factory):
    """The folder and the hashes of a first run."""
    root = tmp_path_factory.mktemp("determinism")
    copy_project(root / "first", RECIPES[request.param])
    run(root / "first", *REPRO, **FIRST)
    expected = hash_outputs(root / "first")
    assert len(expected) > 60
    return root, RECIPES[request.param], expected


@pytest.mark.parametrize("way", WAYS)
def test_every_output_has_the_same_bytes(first, dask, way):  # noqa: F811
    root, changes, expected = first
    name, command, variables = WAYS[way]
    if "MURMUR_DASK" in variables:
        variables = {"MURMUR_DASK": dask.address}
    if not (root / name).exists():
        copy_project(root / name, changes)
    (root / name / "recipes").mkdir(exist_ok=True)  # murmur requires it
    run(root / name, *command, **FIRST | variables)
    found = hash_outputs(root / name)
    assert found == expected, sorted(k for k, _ in found.items() ^ expected.items())
