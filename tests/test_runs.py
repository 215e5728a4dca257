"""A run: its folds fitted in worker processes, the same bytes however many there are."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from murmur import runs, tables
from tests.made import train_options

CARD = tables.Card("made", "murmur", ("Present", "Absent"), ("Present",), (), "ids", "none")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
OPTIONS = train_options(epochs=2, batch_size=8, keep_weights="best")


@pytest.fixture
def made(tmp_path):
    """Twelve recordings of two segments each, dealt to two folds; recording r11 takes no part."""
    ids = [f"r{k}" for k in range(12)]
    recordings = pd.DataFrame({"recording_id": ids, "label": ["Present", "Absent"] * 6})
    segments = pd.DataFrame({"segment_id": [f"{i}@{s}" for i in ids for s in (0, 9)]})
    segments["recording_id"] = segments["segment_id"].str.split("@").str[0]
    rows = [(7, fold, i, role) for fold in (0, 1) for i, role in zip(ids[:11], deal(fold), strict=True)]
    folds = pd.DataFrame(rows, columns=["run", "fold", "recording_id", "role"]).assign(segment_id=None)
    features = np.random.default_rng(0).normal(size=(24, 1, 16, 16)).astype("float16")
    np.save(tmp_path / "mel.npy", features)
    run = runs.prepare(recordings, segments, folds, CARD, tmp_path / "mel.npy", OPTIONS, seed=0)
    return run, segments, folds


def deal(fold):
    halves = (["train"] * 4 + ["validation"] * 2, ["test"] * 5)
    return [*halves[0], *halves[1]] if fold == 0 else [*halves[1], *halves[0]]


def test_labels_and_roles_stand_beside_their_segments(made):
    run, _, _ = made
    assert (run.run, run.weights) == (7, (1.0, 1.0))
    assert list(run.labels[:4]) == [0, 0, 1, 1]
    assert list(run.roles[0]) == [r for role in [*deal(0), ""] for r in (role, role)]


def test_segments_may_be_dealt_one_by_one(made):
    _, segments, _ = made
    folds = pd.DataFrame(
        {"run": 0, "fold": 0, "recording_id": "r0", "segment_id": ["r0@0", "r0@9"], "role": ["train", "test"]}
    )
    roles = runs._roles(segments, folds)
    assert list(roles[:3]) == ["train", "test", ""]


def test_the_bytes_do_not_depend_on_the_number_of_workers(made, tmp_path, monkeypatch):
    run, segments, _ = made
    found = {}
    for n in (1, 2):
        monkeypatch.setenv("MURMUR_WORKERS", str(n))
        predictions, history, note = runs.fit_run(run, segments, CARD, tmp_path / f"weights{n}")
        tables.write(predictions, tmp_path / f"{n}.parquet", tables.predictions_schema(CARD.classes), note)
        weights = sorted((tmp_path / f"weights{n}").iterdir())
        found[n] = [
            (tmp_path / f"{n}.parquet").read_bytes(),
            history.to_csv(),
            *(w.read_bytes() for w in weights),
        ]
    assert found[1] == found[2]
    assert [w.name for w in weights] == ["fold_0.safetensors", "fold_1.safetensors"]
    assert "network.0.weight" in load_file(weights[0])
    assert predictions.groupby(["fold", "role"]).size().to_dict() == {
        (0, "test"): 10, (0, "validation"): 4, (1, "test"): 10, (1, "validation"): 4
    }  # fmt: skip
    assert (predictions["run"] == 7).all() and note.device == "cpu" and "torch" in note.versions
    assert list(history.groupby("fold").size()) == [2, 2]


def test_workers_end_with_a_parent_that_was_killed():
    code = """if True:
        import os, time
        from concurrent.futures import ProcessPoolExecutor
        from murmur import runs
        pool = ProcessPoolExecutor(1, runs._start_method(), initializer=runs._leave_with_parent)
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=ENVIRONMENT)
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    pytest.fail("the worker outlived its parent")
