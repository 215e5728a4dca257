"""Work on a real Dask scheduler and its worker processes gives the bytes of local work."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from distributed.cli import dask_worker

from murmur import cluster
from murmur.errors import MurmurError
from murmur.features.cleaning import clean_recordings
from murmur.inference.final_fit import fit_networks, prepare_final
from murmur.recordings import duplicates
from murmur.sections.clean import Clean
from murmur.sections.duplicates import Duplicates
from murmur.tables.recordings import DatasetCard
from murmur.training import live
from murmur.training.run import fit_one_network, fit_run, prepare_run
from tests import made

N_WORKERS = 2
EPOCHS = 40
CARD = DatasetCard("made", "murmur", ("Present", "Absent"), ("Present",), (), "ids", "none")
PAGE = (made.ROOT / "docs/cluster.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """A scheduler and its workers on the loopback interface, in a working directory of their own."""
    folder = tmp_path_factory.mktemp("dask")
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
        with (folder / "log").open("a") as log:
            command += ["--scheduler-file", "scheduler.json"]
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    scheduler = start("scheduler", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    workers = [start("worker", "--nthreads", "1", "--no-nanny") for _ in range(N_WORKERS)]
    try:
        wait_until((folder / "scheduler.json").exists)
        address = json.loads((folder / "scheduler.json").read_text())["address"]
        yield SimpleNamespace(address=address, scheduler=scheduler, workers=workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def wait_until(is_done):
    end = time.monotonic() + 120
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def on_dask(dask, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MURMUR_DASK", dask.address)
    return dask


def make_tables():
    """The tables of twelve recordings of one segment, and their features in the working directory."""
    ids = [f"r{k}" for k in range(12)]
    np.save("mel.npy", np.random.default_rng(0).normal(size=(12, 1, 16, 16)).astype("float16"))
    segments = pd.DataFrame({"segment_id": [f"{i}@0" for i in ids], "recording_id": ids, "reversed": False})
    return pd.DataFrame({"recording_id": ids, "label": ["Present", "Absent"] * 6}), segments


def make_run(epochs):
    """A run of two folds."""
    recordings, segments = make_tables()
    roles = ["train"] * 4 + ["validation"] * 2 + ["test"] * 6
    parts = [
        pd.DataFrame({"fold": fold, "recording_id": recordings["recording_id"], "role": roles[::step]})
        for fold, step in ((0, 1), (1, -1))
    ]
    folds = pd.concat(parts).assign(run=7, segment_id=None, inner=None)
    options = made.train_options(epochs=epochs, patience=epochs, batch_size=8, keep_weights="best")
    return prepare_run(recordings, segments, folds, CARD, Path("mel.npy"), options, seed=0)


def fit(run, weights):
    """Fit a run, and return the tables and the files of weights."""
    predictions, history, note = fit_run(run, Path(weights), live.FOLDER)
    files = {path.name: path.read_bytes() for path in Path(weights).iterdir()}
    return predictions.to_csv(), history.to_csv(), note, files


@pytest.fixture
def killed(monkeypatch):
    """The first worker that trains fold 1 is killed after two epochs."""

    def fit_and_be_killed(run, network, weights, folder, checkpoints):
        def kill():
            epochs = []
            while len(epochs) < 2:
                time.sleep(0.005)
                epochs = (folder / "fold_1.tsv").read_text().splitlines()[1:]
            Path("epochs").write_text(str(len(epochs)))
            os.kill(os.getpid(), signal.SIGKILL)

        if network.fold == 1 and not Path("begun").exists():
            Path("begun").touch()
            threading.Thread(target=kill, daemon=True).start()
        return fit_one_network(run, network, weights, folder, checkpoints)

    with monkeypatch.context() as patch:
        patch.setattr("murmur.training.run.fit_one_network", fit_and_be_killed)
        yield patch


def test_a_worker_that_is_killed_changes_no_byte(on_dask, killed, monkeypatch):
    run = make_run(EPOCHS)
    found = fit(run, "cluster")
    assert int(Path("epochs").read_text()) < EPOCHS
    wait_until(lambda: cluster.count_workers() == N_WORKERS - 1)
    for fold in (0, 1):
        table = pd.read_csv(f"live/run_7/fold_{fold}.tsv", sep="\t")
        assert list(table["epoch"]) == list(range(1, EPOCHS + 1)), (
            "the epochs of the killed worker are removed"
        )
    killed.undo()
    monkeypatch.delenv("MURMUR_DASK")
    assert found == fit(run, "local")
    assert sorted(found[3]) == ["fold_0.safetensors", "fold_1.safetensors"]
    assert not list(Path().glob(".murmur_dask_*"))


def test_final_networks_have_the_same_bytes(on_dask, monkeypatch):
    run = prepare_final(*make_tables(), CARD, Path("mel.npy"), made.train_options(batch_size=8), 0)
    fit_networks(run, 2, 1, Path("cluster.safetensors"))
    monkeypatch.delenv("MURMUR_DASK")
    fit_networks(run, 2, 1, Path("local.safetensors"))
    assert Path("cluster.safetensors").read_bytes() == Path("local.safetensors").read_bytes()


def prepare_data(source):
    """Download, clean and compare; return the tables and the samples."""
    data = Path("cluster" if cluster.is_used() else "local")
    recordings, _, left_out = made.download(
        "folder", data / "raw", options={"path": source}, on_bad="leave_out", positive=["ill"]
    )
    options = Clean(sample_rate=2000, denoise=None, bandpass=None, normalise="peak")
    signals = clean_recordings(recordings, data / "raw", options, data / "signals.npy")
    pairs = duplicates.find_pairs(recordings, data / "raw", Duplicates(correlation=0.9, overlap=0.2))
    tables = [table.to_csv() for table in (recordings, left_out, signals, pairs)]
    return tables, (data / "signals.npy").read_bytes()


def test_the_data_stages_give_the_same_bytes(on_dask, monkeypatch):
    opened, open_pool = [], cluster.open_pool
    monkeypatch.setattr(cluster, "RECORDINGS", 2)
    monkeypatch.setattr(cluster, "open_pool", lambda work: opened.append(work) or open_pool(work))
    made.folder(Path("own"))
    made.cut(Path("own/b.wav"))
    Path("own/d.wav").write_bytes(Path("own/c.wav").read_bytes())
    found = prepare_data("own")
    assert len(opened) == 3, "download, clean and duplicates"
    monkeypatch.delenv("MURMUR_DASK")
    assert found == prepare_data("own")
    recordings, left_out, _, pairs = found[0]
    assert "b.wav" in left_out and "b.wav" not in recordings and "True" in pairs


def test_a_task_holds_no_features_and_is_small_with_many_units(on_dask, monkeypatch):
    n, sizes = 100_000, []
    units = np.array([f"recording_{k:06d}@{k}" for k in range(n)])
    roles = {
        fold: np.random.default_rng(fold).permutation(np.repeat([["train", "test"]], n // 2, 1))
        for fold in (0, 1)
    }
    run = replace(make_run(1), units=units, labels=np.arange(n) % 2, recordings=np.arange(n), roles=roles)

    def compress(content, level):
        sizes.append((len(content), len(packed := zlib.compress(content, level))))
        return packed

    monkeypatch.setattr(cluster, "zlib", SimpleNamespace(compress=compress))
    with cluster.open_pool(partial(fit_one_network, run, weights=Path("weights"))):
        pass
    ((size, packed),) = sizes
    assert size > 12e6 and packed < 1e6


def test_errors_of_the_work_are_those_of_local_work(on_dask):
    def work(item):
        raise MurmurError(f"{item}: is wrong in {Path.cwd()}")

    with pytest.raises(MurmurError, match=f"^a: is wrong in {Path.cwd()}$"):
        cluster.map_recordings(work, ["a"], "working")


@contextmanager
def missing_file():
    yield Path.cwd() / "missing"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("torch", "1.0", r"torch 2\S+ instead of 1\.0; install requirements\.txt on the whole cluster$"),
        ("murmur", "0", "other code of murmur than this process; restart the workers, with PYTHONPATH set"),
        ("file", "", r"another folder /\S+ or none; the project must be on a file system that all workers"),
    ],
)
def test_a_worker_that_differs_is_refused(on_dask, monkeypatch, name, value, message):
    if name == "file":
        monkeypatch.setattr(cluster, "_shared_file", missing_file)
    else:
        software = cluster.describe_software() | {name: value}
        monkeypatch.setattr(cluster, "describe_software", lambda: software)
    with pytest.raises(MurmurError, match=rf"^MURMUR_DASK: the worker tcp://127\S+ has {message}"):
        cluster.map_recordings(str, ["a"], "working")


def test_a_scheduler_with_other_packages_is_refused(on_dask):
    expected = cluster.describe_software() | {"Python": "3.1", "dask": "2020.1", "murmur": "0"}
    message = r"the scheduler has Python 3\.\d+ instead of 3\.1, dask 202\S+ instead of 2020\.1; install"
    with cluster._connect() as client, pytest.raises(MurmurError, match=f"^MURMUR_DASK: {message}"):
        cluster._check_scheduler(client, expected)


def test_a_worker_with_several_threads_is_refused(monkeypatch):
    worker = SimpleNamespace(address="tcp://a:1", state=SimpleNamespace(nthreads=4))
    monkeypatch.setattr("distributed.get_worker", lambda: worker)
    requirements = cluster.Requirements("/", "", cluster.describe_software())
    with pytest.raises(
        MurmurError, match="the worker tcp://a:1 has 4 threads; start workers with --nthreads 1"
    ):
        cluster._run_task(requirements, b"", b"")


@pytest.mark.parametrize(
    "address", ["localhost:8786", "tcp://localhost", "http://localhost:8787", "tcp://:1"]
)
def test_an_address_of_another_form_is_refused(monkeypatch, address):
    monkeypatch.setenv("MURMUR_DASK", address)
    with pytest.raises(
        MurmurError,
        match=f"^MURMUR_DASK: expected an address tcp://HOST:PORT, found '{address}'; correct it",
    ):
        cluster.count_workers()


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_that_does_not_answer_is_refused_in_bounded_time(monkeypatch, listens):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MURMUR_DASK", address)
        begin = time.monotonic()
        with pytest.raises(
            MurmurError, match=f"^MURMUR_DASK: no Dask scheduler answers at {address} within 0.3 s"
        ):
            cluster.count_workers()
    assert time.monotonic() - begin < 5


def test_the_address_of_a_worker_is_refused(on_dask, monkeypatch):
    with cluster._connect() as client:
        address = next(iter(client.nthreads()))
    monkeypatch.setenv("MURMUR_DASK", address)
    with pytest.raises(
        MurmurError, match=f"^MURMUR_DASK: {address} is a Dask worker; set it to the scheduler's"
    ):
        cluster.count_workers()


def test_an_empty_variable_is_as_none(monkeypatch):
    monkeypatch.setenv("MURMUR_DASK", "")
    monkeypatch.setenv("MURMUR_WORKERS", "3")
    assert cluster.count_workers() == 3
    assert cluster.map_recordings(str, [1, 2], "working") == ["1", "2"]


def read_block(kind):
    return PAGE.split(f"```{kind}\n")[1].split("```")[0]


def test_the_page_shows_the_job_script_of_its_slurm_cluster():
    names = {}
    exec(read_block("python").partition("\ncluster.")[0], names)  # its next line would submit the jobs
    with names["cluster"] as slurm:
        script = slurm.job_script().replace(slurm.scheduler_address, "tcp://192.0.2.1:8786")
    assert (
        script.replace(sys.executable, "/home/me/murmur/.venv/bin/python").strip()
        == read_block("bash").strip()
    )


def test_the_manifest_of_the_page_starts_a_scheduler_and_workers_of_one_thread():
    service, scheduler, workers = yaml.safe_load(read_block("yaml"))["items"]
    assert service["spec"]["selector"] == scheduler["metadata"]["labels"]
    assert workers["spec"]["selector"]["matchLabels"] == workers["spec"]["template"]["metadata"]["labels"]
    ((_, command, *arguments),) = (c["command"] for c in workers["spec"]["template"]["spec"]["containers"])
    found = dask_worker.main.make_context(command, arguments).params  # parses them
    assert (found["scheduler"], found["nthreads"]) == ("tcp://scheduler:8786", 1)


def test_a_scheduler_that_ends_is_reported(on_dask):  # the last test: it ends the cluster
    def work(seconds):
        time.sleep(seconds)

    threading.Timer(1, on_dask.scheduler.kill).start()
    with pytest.raises(
        MurmurError, match=f"^MURMUR_DASK: the connection to {on_dask.address} is lost; start"
    ):
        cluster.map_recordings(work, [30], "working")
    assert not list(Path().glob(".murmur_dask_*"))
