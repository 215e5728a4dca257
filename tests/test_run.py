"""One run of the cross-validation: its folds, worker processes and outputs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from murmur.errors import MurmurError
from murmur.experiments.cached_folds import replace_training
from murmur.tables import parquet
from murmur.tables.csv_writer import write_csv
from murmur.tables.predictions import make_predictions_schema
from murmur.tables.recordings import DatasetCard
from murmur.training import display, fit, live, processes
from murmur.training import run as training_run
from murmur.training.fit import Fit
from murmur.training.run import fit_run, prepare_run
from tests.made import SITES, train_options

CARD = DatasetCard("made", "murmur", ("Present", "Absent"), ("Present",), (), "ids", "none")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
OPTIONS = train_options(epochs=2, batch_size=8, keep_weights="best")
pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def example(tmp_path):
    """Twelve recordings of two segments each in two folds; recording r11 is not used."""
    ids = [f"r{k}" for k in range(12)]
    recordings = pd.DataFrame({"recording_id": ids, "label": ["Present", "Absent"] * 6})
    segments = pd.DataFrame({"segment_id": [f"{i}@{s}" for i in ids for s in (0, 9)]})
    segments["recording_id"] = segments["segment_id"].str.split("@").str[0]
    segments["reversed"] = False
    rows = [(7, fold, i, role) for fold in (0, 1) for i, role in zip(ids[:11], roles_of(fold), strict=True)]
    columns = ["run", "fold", "recording_id", "role"]
    folds = pd.DataFrame(rows, columns=columns).assign(segment_id=None, inner=None)
    features = np.random.default_rng(0).normal(size=(24, 1, 16, 16)).astype("float16")
    np.save(tmp_path / "mel.npy", features)
    run = prepare_run(recordings, segments, folds, CARD, tmp_path / "mel.npy", OPTIONS, seed=0)
    return run, segments, folds


def roles_of(fold):
    halves = (["train"] * 4 + ["validation"] * 2, ["test"] * 5)
    return [*halves[0], *halves[1]] if fold == 0 else [*halves[1], *halves[0]]


def test_labels_and_roles_have_the_order_of_the_segments(example):
    run, segments, _ = example
    assert (run.run, run.weights, run.classes) == (7, (1.0, 1.0), ("Present", "Absent"))
    assert (run.level, run.bags) == ("segment", None) and list(run.units) == list(segments["segment_id"])
    assert list(run.labels[:4]) == [0, 0, 1, 1]
    assert list(run.roles[0][0]) == [r for role in [*roles_of(0), ""] for r in (role, role)]


def test_folds_may_assign_single_segments(example):
    _, segments, _ = example
    folds = pd.DataFrame(
        {"run": 0, "fold": 0, "recording_id": "r0", "segment_id": ["r0@0", "r0@9"], "role": ["train", "test"]}
    )
    roles = training_run._segment_roles(segments, folds)
    assert list(roles[:3]) == ["train", "test", ""]


def with_reversed_copies(segments):
    """All segments, then a reversed copy of each."""
    copies = segments.assign(segment_id=segments["segment_id"] + "r", reversed=True)
    return pd.concat([segments, copies], ignore_index=True)


def test_a_validation_part_without_a_usable_segment_is_an_error(example, tmp_path):
    run, segments, folds = example
    validation = folds.query("fold == 1 and role == 'validation'")["recording_id"]
    fewer = segments[~segments["recording_id"].isin(validation)].reset_index(drop=True)
    recordings = pd.DataFrame(
        {"recording_id": [f"r{k}" for k in range(12)], "label": ["Present", "Absent"] * 6}
    )
    with pytest.raises(
        MurmurError, match="train: run 7, fold 1: no recording of the validation part has a us"
    ):
        prepare_run(recordings, fewer, folds, CARD, tmp_path / "mel.npy", OPTIONS, seed=0)
    assert (run.roles[1] == "validation").any()


def test_a_reversed_copy_is_used_for_training_only(example):
    _, segments, folds = example
    for fold, table in folds.groupby("fold"):
        roles = training_run._segment_roles(with_reversed_copies(segments), table)
        expected = [r for role in [*roles_of(fold), ""] for r in (role, role)]
        assert list(roles[:24]) == expected
        assert list(roles[24:]) == [role if role == "train" else "" for role in expected]


def test_a_reversed_copy_named_in_the_folds_has_that_role(example):
    _, segments, _ = example
    named = pd.DataFrame({"segment_id": ["r0@0", "r0@0r", "r1@0r"], "role": ["train", "test", "validation"]})
    folds = named.assign(run=0, fold=0, recording_id=["r0", "r0", "r1"])
    roles = dict(
        zip(
            with_reversed_copies(segments)["segment_id"],
            training_run._segment_roles(with_reversed_copies(segments), folds),
            strict=True,
        )
    )
    assert {name: role for name, role in roles.items() if role} == dict(named.values.tolist())


def fit_with_a_substitute(fits, run, tmp_path, monkeypatch):
    """Run with a substitute for `fit_network` that records the folds; return the predictions."""

    def substitute(features, labels, fold, options, **_):
        fits.append(fold)
        history = pd.DataFrame({"epoch": [0], "train_loss": [0.0]})
        return Fit(np.full((len(fold.predict), 2), 0.5, "float32"), history, {}, "cpu", "float32")

    monkeypatch.setattr(fit, "fit_network", substitute)
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    return fit_run(run, tmp_path / "weights")[0]


def prepare(tmp_path, segments, folds, options=OPTIONS, **columns):
    ids = [f"r{k}" for k in range(12)]
    table = pd.DataFrame({"recording_id": ids, "label": ["Present", "Absent"] * 6} | columns)
    return prepare_run(table, segments, folds, CARD, tmp_path / "mel.npy", options, seed=0)


def test_reversed_copies_are_neither_validated_nor_predicted(example, tmp_path, monkeypatch):
    _, segments, folds = example
    np.save(tmp_path / "mel.npy", np.zeros((48, 1, 16, 16), "float16"))
    fits = []
    predictions = fit_with_a_substitute(
        fits, prepare(tmp_path, with_reversed_copies(segments), folds), tmp_path, monkeypatch
    )
    assert len(fits) == 2
    for fold in fits:
        assert (fold.train >= 24).sum() == (fold.train < 24).sum() > 0
        assert (fold.validation < 24).all() and (fold.predict < 24).all()
        assert not set(fold.train % 24) & set(fold.predict)
    assert not predictions["unit_id"].str.endswith("r").any()


def test_without_a_validation_part_the_test_part_stops_the_training(example, tmp_path, monkeypatch):
    run, segments, folds = example
    fits = []
    fit_with_a_substitute(fits, run, tmp_path, monkeypatch)
    test = [np.flatnonzero(roles[0] == "test") for roles in run.roles.values()]
    for fold, tested in zip(fits, test, strict=True):
        assert len(fold.validation) and not set(fold.validation) & set(tested)
    fits.clear()
    without_validation = folds.assign(role=folds["role"].replace("validation", "train"))
    predictions = fit_with_a_substitute(
        fits, prepare(tmp_path, segments, without_validation), tmp_path, monkeypatch
    )
    for fold, tested in zip(fits, test, strict=True):
        assert list(fold.validation) == list(fold.predict) == list(tested)
        assert not set(fold.train) & set(tested)
    assert set(predictions["role"]) == {"test"} and len(predictions) == sum(map(len, test))


def with_inner_folds(folds):
    """The folds, each with two inner folds: the recordings of the training part in turn."""
    networks = []
    for inner in (0, 1):
        number = folds[folds["role"] != "test"].groupby("fold").cumcount() // 2  # of both classes
        role = pd.Series(np.where(number % 2 == inner, "validation", "train"), number.index)
        networks.append(folds.assign(role=role.reindex(folds.index, fill_value="test"), inner=inner))
    return pd.concat(networks, ignore_index=True)


@pytest.mark.parametrize("n", ["1", "2"])
def test_with_inner_folds_a_unit_is_predicted_by_the_networks_not_trained_on_it(
    example, tmp_path, monkeypatch, n
):
    _, segments, folds = example
    run = prepare(tmp_path, segments, with_inner_folds(folds))
    monkeypatch.setenv("MURMUR_WORKERS", n)
    predictions, history, _ = fit_run(run, tmp_path / "weights", tmp_path / "live")
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [
        "fold_0.safetensors", "fold_1.safetensors"
    ]  # fmt: skip
    assert history.groupby(["fold", "inner"]).size().tolist() == [2] * 4
    assert display.describe_run(live.read_run(tmp_path / "live/run_7")).startswith(
        "train run 7: 4 networks (2 for each fold), 8 epochs"
    )
    for fold, table in predictions.groupby("fold"):
        assert table["unit_id"].is_unique
        roles = dict(zip(table["unit_id"], table["role"], strict=True))
        expected = folds[folds["fold"] == fold].merge(segments, on="recording_id")
        assert roles == dict(
            zip(expected["segment_id_y"], expected["role"].replace("train", "validation"), strict=True)
        )
        alone = [
            training_run.fit_one_network(run, training_run.Network(fold, inner), tmp_path).probabilities
            for inner in (0, 1)
        ]
        found = table.set_index("unit_id")[["p_Present", "p_Absent"]]
        for inner, p in enumerate(alone):
            units = run.units[np.isin(run.roles[fold][inner], ("validation", "test"))]
            alone[inner] = pd.DataFrame(p, units, found.columns)
        mean = (
            pd.concat(alone).groupby(level=0).mean()
        )  # one network for a training unit, two for a test unit
        pd.testing.assert_frame_equal(found.sort_index(), mean.sort_index(), check_names=False)
        test = table["unit_id"][table["role"] == "test"]
        assert not np.allclose(alone[0].loc[test], alone[1].loc[test])


@pytest.mark.parametrize("has_inner_folds", [True, False])
def test_networks_trained_again_on_the_whole_training_part_alone_predict_the_test_part(
    example, tmp_path, has_inner_folds
):
    _, segments, folds = example
    options = OPTIONS.model_copy(update={"select_on": "last", "refit": 2})
    run = prepare(tmp_path, segments, with_inner_folds(folds) if has_inner_folds else folds, options)
    predictions, history, _ = fit_run(run, tmp_path / "weights")
    n = 2 if has_inner_folds else 1
    assert history["inner"].max() == n - 1
    for fold, table in predictions.groupby("fold"):
        networks = [training_run.Network(fold, n + k) for k in range(2)]
        is_test = run.roles[fold][n] == "test"
        is_used = (run.roles[fold][:n] != "").any(axis=0)
        assert ((run.roles[fold][n] == "train") == (is_used & ~is_test)).all()
        alone = [training_run.fit_one_network(run, network, tmp_path).probabilities for network in networks]
        test = table[table["role"] == "test"]
        assert set(test["unit_id"]) == set(run.units[is_test])
        np.testing.assert_allclose(test[["p_Present", "p_Absent"]], np.mean(alone, axis=0), atol=1e-6)
        tensors = load_file(tmp_path / f"weights/fold_{fold}.safetensors")
        assert {name.partition(".")[0] for name in tensors} == {"0", "1"}


def test_figures_and_tracks_of_frames_are_averaged_as_probabilities_are(example, tmp_path, monkeypatch):
    _, segments, folds = example

    def substitute(features, labels, fold, options, **_):
        history, shape = pd.DataFrame({"epoch": [0], "train_loss": [0.0]}), (len(fold.predict), 4)
        figures = np.full(shape, float(len(fold.train)), "float32")
        tracks = np.full((len(fold.track), 3, 6), len(fold.train) / 8, "float32")
        tracks[:, 1] += fold.track[:, None]  # the numbers of the units
        precision = "bfloat16" if len(fold.train) == 4 else "float32"
        p = np.full((len(fold.predict), 2), 0.5, "float32")
        return Fit(p, history, {}, "cpu", precision, figures, tracks)

    monkeypatch.setattr(fit, "fit_network", substitute)
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    uneven = with_inner_folds(folds[folds["recording_id"] != "r2"])
    options = OPTIONS.model_copy(update={"keep_weights": "none"})
    run, path = prepare(tmp_path, segments, uneven, options), tmp_path / "tracks/run_7.npy"
    predictions, _, note = fit_run(run, tmp_path / "weights", tracks=path)
    assert note.precision == "bfloat16, float32", "those of all networks"
    means = predictions.query("fold == 0").groupby("role")["murmur"].unique()
    assert sorted(means["validation"]) == [4, 6] and list(means["test"]) == [5]
    tracks, tested = np.load(path), predictions.query("role == 'test'")
    assert tracks.dtype == np.float16 and tracks.shape == (len(tested), 3, 6)
    assert (tracks[tested["fold"] == 0, 0] == 5 / 8).all(), "the mean of both networks"
    numbers = tracks[:, 1] - tracks[:, 0]
    assert (run.units[numbers[:, 0].astype(int)] == tested["unit_id"]).all()


def patients(tmp_path, segments, folds, **changes):
    """Prepare a run of six patients with a recording at AV and one at PV; the last has other sites."""
    names = [f"p{k // 2}" for k in range(12)]
    sites = ["AV", "PV"] * 5 + ["Phc", "Phc"]
    labels = ["Present", "Present", "Absent", "Absent"] * 3
    options = OPTIONS.model_validate(OPTIONS.model_dump() | {"model": SITES} | changes)
    return prepare(tmp_path, segments, folds, options, patient_id=names, site=sites, patient_label=labels)


@pytest.fixture
def by_patient(example):
    """Folds that do not divide patients; p5 is not used in the first."""
    _, segments, _ = example
    roles = (
        ["train", "train", "validation", "test", "test"],
        ["test", "test", "train", "train", "validation"],
    )
    rows = [(7, fold, f"r{k}", role[k // 2]) for fold, role in enumerate(roles) for k in range(10)] + [
        (7, 1, "r10", "test"),
        (7, 1, "r11", "test"),
    ]
    return segments, pd.DataFrame(rows, columns=["run", "fold", "recording_id", "role"]).assign(
        segment_id=None, inner=None
    )


def test_a_model_with_sites_predicts_patients(by_patient, tmp_path, monkeypatch):
    segments, folds = by_patient
    augment = OPTIONS.augment.model_dump() | {"mixup": 0}
    run = patients(tmp_path, with_reversed_copies(segments), folds, augment=augment)
    assert run.level == "patient" and list(run.units) == [f"p{k}" for k in range(6)]
    assert run.labels.tolist() == [0, 1, 0, 1, 0, 1] and run.bags.shape == (6, 2, 2)
    assert run.bags[0].tolist() == [[0, 1], [2, 3]] and (run.bags[5] == -1).all() and run.bags.max() == 19
    assert list(run.roles[0][0]) == ["train", "train", "validation", "test", "test", ""]
    np.save(tmp_path / "mel.npy", np.random.default_rng(0).normal(size=(48, 1, 16, 16)).astype("float32"))
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    predictions, history, note = fit_run(run, tmp_path / "weights")
    parquet.write(predictions, tmp_path / "p.parquet", make_predictions_schema(CARD.classes), note)
    assert set(predictions["level"]) == {"patient"} and len(history) == 4
    assert predictions.query("role == 'test'")["unit_id"].tolist() == ["p3", "p4", "p0", "p1", "p5"]
    assert np.isfinite(predictions[["p_Present", "p_Absent"]]).all(axis=None)


def test_folds_that_divide_a_patient_and_missing_sites_are_refused(by_patient, tmp_path):
    segments, folds = by_patient
    divided = folds.assign(role=folds["role"].where(folds.index != 1, "test"))
    with pytest.raises(MurmurError, match="fold 0: patient p0 is in two parts"):
        patients(tmp_path, segments, divided)
    with pytest.raises(MurmurError, match=r"train\.model\.sites: no recording was made at TV"):
        patients(tmp_path, segments, folds, model=SITES | {"sites": ["AV", "TV"]})


def test_one_worker_starts_no_process(example, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", None)
    fits = []
    fit_with_a_substitute(fits, example[0], tmp_path, monkeypatch)
    assert len(fits) == 2


def test_a_network_that_does_not_label_frames_has_an_empty_file_of_tracks(example, tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    fit_run(example[0], tmp_path / "weights", tracks=tmp_path / "tracks.npy")
    assert np.load(tmp_path / "tracks.npy").shape == (0, 0, 6)


@pytest.mark.parametrize(("keep", "files"), [("best", 2), ("none", 0)])
def test_weights_are_written_only_with_keep_weights(example, tmp_path, monkeypatch, keep, files):
    _, segments, folds = example
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    options = OPTIONS.model_copy(update={"keep_weights": keep, "epochs": 1})
    fit_run(prepare(tmp_path, segments, folds, options), tmp_path / "weights")
    assert len(list((tmp_path / "weights").iterdir())) == files


@pytest.mark.parametrize(("weights", "times"), [("imagenet", 1), ("none", 0), ("some.pth", 0)])
def test_a_library_needs_download_once_before_the_fits(example, tmp_path, monkeypatch, weights, times):
    _, segments, folds = example
    fits, downloads = [], []
    monkeypatch.setattr(
        "murmur.training.network.build", lambda model, **shape: downloads.append((len(fits), model.name))
    )
    model = {"name": "vgg16", "weights": weights}
    options = OPTIONS.model_validate(OPTIONS.model_dump() | {"model": model})
    fit_with_a_substitute(fits, prepare(tmp_path, segments, folds, options), tmp_path, monkeypatch)
    assert downloads == [(0, "vgg16")] * times and len(fits) == 2


def test_the_bytes_do_not_depend_on_the_number_of_workers(example, tmp_path, monkeypatch):
    run, _, _ = example
    found = {}
    for n in (1, 2):
        monkeypatch.setenv("MURMUR_WORKERS", str(n))
        predictions, history, note = fit_run(run, tmp_path / f"weights{n}")
        parquet.write(predictions, tmp_path / f"{n}.parquet", make_predictions_schema(CARD.classes), note)
        weights = sorted((tmp_path / f"weights{n}").iterdir())
        found[n] = [
            (tmp_path / f"{n}.parquet").read_bytes(),
            history.to_csv(),
            *(w.read_bytes() for w in weights),
        ]
    assert found[1] == found[2]
    assert [w.name for w in weights] == ["fold_0.safetensors", "fold_1.safetensors"]
    assert "network.1.weight" in load_file(weights[0])
    assert predictions.groupby(["fold", "role"]).size().to_dict() == {
        (0, "test"): 10, (0, "validation"): 4, (1, "test"): 10, (1, "validation"): 4
    }  # fmt: skip
    assert (predictions["run"] == 7).all() and note.device == "cpu" and "torch" in note.versions
    assert list(history.groupby("fold").size()) == [2, 2]


@pytest.mark.parametrize("n", ["1", "2"])
def test_each_epoch_is_recorded_as_it_ends(example, tmp_path, monkeypatch, n):
    monkeypatch.setenv("MURMUR_WORKERS", n)
    _, history, _ = fit_run(example[0], tmp_path / "weights", tmp_path / "live")
    for fold, table in history.groupby("fold"):
        recorded = pd.read_csv(tmp_path / f"live/run_7/fold_{fold}.tsv", sep="\t")
        columns = list(live.COLUMNS[:-1])
        recorded["epoch"] -= 1
        pd.testing.assert_frame_equal(
            recorded[columns], table[columns].reset_index(drop=True), check_dtype=False, rtol=1e-5
        )
    state = live.read_run(tmp_path / "live/run_7")
    assert [(fold.epochs, fold.best, fold.is_finished) for fold in state.fits] == [
        (2, table["best"].argmax(), True) for _, table in history.groupby("fold")
    ]


@pytest.mark.parametrize("n", ["1", "2"])
def test_folds_are_counted_if_their_progress_cannot_be_recorded(example, tmp_path, monkeypatch, capsys, n):
    monkeypatch.setenv("MURMUR_WORKERS", n)
    (tmp_path / "live").touch()
    fit_run(example[0], tmp_path / "weights", tmp_path / "live")
    note, last = capsys.readouterr().out.splitlines()
    assert note.startswith("note: ") and "live/run_7 cannot be written (Not a directory)" in note
    assert last == "train run 7: 2 of 2 folds"


def test_a_disk_that_becomes_full_is_reported_with_the_number_of_folds(
    example, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    monkeypatch.setattr(live.Recorder, "_write_state", lambda self: None)
    fit_run(example[0], tmp_path / "weights", tmp_path / "live")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"train run 7: 2 of 2 folds ({tmp_path}/live/run_7 could not be written)"


def test_the_position_inside_an_epoch_is_recorded(example, tmp_path, monkeypatch):
    positions = []
    monkeypatch.setattr(live.Recorder, "record_position", lambda self, epochs: positions.append(epochs))
    fit_run(replace(example[0], roles={0: example[0].roles[0]}), tmp_path / "weights")
    assert positions == [0, 1, 1, 2], "eight training units are one batch"
    positions.clear()
    options = OPTIONS.model_copy(update={"batch_size": 4})
    fit_run(replace(example[0], roles={0: example[0].roles[0]}, options=options), tmp_path / "weights")
    assert positions == [0, 0.5, 1, 1, 1.5, 2]


@pytest.mark.parametrize(("folder", "method"), [("/tmp", "forkserver"), ("/tmp/" + "x" * 90, "spawn")])
@pytest.mark.skipif(sys.platform != "linux", reason="other systems always use spawn")
def test_a_long_tmpdir_changes_the_start_method(monkeypatch, folder, method):
    monkeypatch.setattr("tempfile.tempdir", folder)
    assert processes._start_method([]).get_start_method() == method


def test_features_with_another_number_of_segments_are_refused(example, tmp_path, monkeypatch):
    _, segments, folds = example
    np.save(tmp_path / "mel.npy", np.zeros((7, 1, 16, 16), "float16"))
    with pytest.raises(MurmurError, match=r"mel\.npy: is of 7 segments, data/segments\.parquet has 24"):
        fit_with_a_substitute([], prepare(tmp_path, segments, folds), tmp_path, monkeypatch)


def test_the_number_of_threads_is_restored_after_a_fit(example, tmp_path, monkeypatch):
    during = []

    def substitute(features, labels, fold, options, **_):
        during.append(torch.get_num_threads())
        raise MurmurError("failed")

    monkeypatch.setattr(fit, "fit_network", substitute)
    torch.set_num_threads(2)
    with pytest.raises(MurmurError, match="failed"):
        training_run.fit_one_network(example[0], training_run.Network(0, None), tmp_path)
    assert during == [1] and torch.get_num_threads() == 2


def test_the_parent_of_the_workers_does_not_import_torch():
    code = "import sys, murmur.training.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=False).returncode == 0


@pytest.mark.parametrize(("inner", "refit"), [(False, 0), (True, 0), (True, 2)])
def test_of_networks_that_are_not_trained_the_files_are_the_same(
    example, tmp_path, monkeypatch, inner, refit
):
    _, segments, folds = example
    trained = []

    def substitute(features, labels, fold, options, *, seed, **_):
        trained.append(seed)
        draw = np.random.default_rng(seed)
        history = pd.DataFrame({"epoch": [0], "train_loss": [draw.random()], "best": [1]})
        p, figures = (draw.random((len(fold.predict), n), "float32") for n in (2, 4))
        tracks = draw.random((len(fold.track), 3, 6), "float32") if len(fold.track) else None
        is_refit = not len(fold.validation)
        weights = {"w": torch.from_numpy(p)}
        return Fit(p, pd.DataFrame() if is_refit else history, weights, "cpu", "float32", figures, tracks)

    monkeypatch.setattr(fit, "fit_network", substitute)
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    options = OPTIONS.model_copy(update={"select_on": "last", "refit": refit})
    run = prepare(tmp_path, segments, with_inner_folds(folds) if inner else folds, options)

    def write(folder):
        """Write the files of the run as the stage train; return their bytes."""
        tracks = folder / "data/tracks/run_7.murmur_tracks.npy"
        predictions, history, note = fit_run(run, folder / "models/run_7.murmur_weights", tracks=tracks)
        path, schema = (
            "data/predictions/run_7.murmur_predictions.parquet",
            make_predictions_schema(run.classes),
        )
        parquet.write(predictions, folder / path, schema, note)
        write_csv(history, folder / "data/history/run_7.murmur_history.csv")
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    expected, n = write(tmp_path / "all"), len(trained)
    replaced = replace_training(training_run.fit_one_network, fold=0, project=str(tmp_path / "all"))
    monkeypatch.setattr(training_run, "fit_one_network", replaced)
    assert write(tmp_path / "one") == expected and len(expected) == 5
    assert len(trained) == n + n // 2, "only the networks of fold 0 of two"
