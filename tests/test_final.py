"""The final networks, and the decisions that are fitted to all validation parts."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from murmur.errors import MurmurError
from murmur.evaluation import calibration, rules
from murmur.evaluation.aggregation import fit_decisions
from murmur.evaluation.levels import number_units
from murmur.inference import packaging
from murmur.inference.final_fit import choose_epochs, fit_networks, prepare_final
from murmur.training.fit import Fold, fit_epochs, fit_network
from tests import made
from tests.experiment import CARD, COLUMNS, experiment, options
from tests.trained_model import CARD as MADE
from tests.trained_model import CLASSES, make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.mark.parametrize(("best", "epochs"), [([0], 1), ([3, 9, 4], 5), ([2, 3], 4), ([1, 2, 3, 7], 4)])
def test_the_number_of_epochs_is_the_median_of_the_best_ones(best, epochs):
    rows = [(fold, k, int(k == b)) for fold, b in enumerate(best) for k in range(10)]
    table = pd.DataFrame(rows, columns=["fold", "epoch", "best"])
    assert choose_epochs([table[table["fold"] < 1], table[table["fold"] >= 1]]) == epochs


def test_training_without_a_validation_part_is_the_same_training():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(12, 1, 16, 16)).astype("float16"), np.arange(12) % 3
    keys = {"classes": CLASSES, "weights": (1, 1, 1), "seed": 3}
    train = made.train_options(epochs=1, batch_size=4)
    fit = fit_network(features, labels, Fold(np.arange(9), np.arange(9, 12), np.arange(9, 12)), train, **keys)
    weights = fit_epochs(features, labels, np.arange(9), train, epochs=range(1), **keys)
    assert weights.keys() == fit.weights.keys()
    assert all(torch.equal(weights[name], fit.weights[name]) for name in weights)


@pytest.mark.parametrize("schedule", ["none", "cosine", "step", "plateau", "onecycle"])
def test_every_schedule_can_train_without_a_validation_part(schedule):
    features = np.random.default_rng(0).normal(size=(6, 1, 16, 16)).astype("float16")
    train = made.train_options(epochs=3, schedule=schedule, schedule_epochs=1)
    keys = {"classes": CLASSES, "weights": (1, 1, 1), "seed": 3}
    weights = fit_epochs(features, np.arange(6) % 3, np.arange(6), train, epochs=range(2), **keys)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_networks_do_not_depend_on_the_number_of_workers_or_of_networks(tmp_path, monkeypatch):
    trained = make_trained_model(tmp_path)
    p, prepared = trained.params, trained.prepared
    run = prepare_final(prepared.recordings, prepared.segments, MADE, prepared.features, p.train, 0)
    files = {}
    for n_workers, n_networks in ((1, 2), (2, 2)):
        monkeypatch.setenv("MURMUR_WORKERS", str(n_workers))
        files[n_workers] = tmp_path / f"{n_workers}.safetensors"
        fit_networks(run, 1, n_networks, files[n_workers])
    assert files[1].read_bytes() == files[2].read_bytes()
    single, both = load_file(tmp_path / "final.safetensors"), load_file(files[1])
    assert all(torch.equal(both[name], tensor) for name, tensor in single.items())
    assert not all(torch.equal(both[name], both[f"1.{name.removeprefix('0.')}"]) for name in single)


def test_the_seed_of_the_experiment_changes_the_networks(tmp_path):
    trained = make_trained_model(tmp_path)
    tables = (trained.prepared.recordings, trained.prepared.segments, MADE, trained.prepared.features)
    fit_networks(prepare_final(*tables, trained.params.train, 1), 1, 1, tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() != (tmp_path / "final.safetensors").read_bytes()


def test_all_recordings_are_trained_on_and_a_missing_class_is_refused(tmp_path):
    trained = make_trained_model(tmp_path, {"segment.mirror": True})
    prepared = trained.prepared
    keys = (prepared.features, trained.params.train, 0)
    run = prepare_final(prepared.recordings, prepared.segments, MADE, *keys)
    assert (run.roles[0] == "train").all() and len(run.units) == len(prepared.segments)
    recordings = prepared.recordings.replace({"label": {"Absent": "Present"}})
    run = prepare_final(recordings, prepared.segments, MADE, *keys)
    with pytest.raises(MurmurError, match="class Absent has no unit in the training part"):
        fit_networks(run, 1, 1, tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


def fit(made_experiment, **changes):
    e = made_experiment
    units = number_units(e["recordings"], e["segments"], CARD.classes)
    return units, fit_decisions(e["predictions"], units, CARD, options(**changes)).decisions.set_index(
        "level"
    )


def test_decisions_are_fitted_to_the_validation_parts_of_all_folds_together():
    e = experiment()
    units, fitted = fit(e, thresholds="uar")
    table = pd.concat(e["predictions"].values())
    table = table[table["role"] == "validation"]
    truth = units["segment"].truth[units["segment"].names.get_indexer(table["unit_id"])]
    p = table[COLUMNS].to_numpy(float)
    assert fitted.loc["segment", "temperature"] == pytest.approx(calibration.fit_temperature(truth, p))
    weights = rules.fit_class_weights(truth, p, rules.value_per_class(truth, "uar", CARD.classes)[truth])
    found = fitted.loc["segment", [f"weight_{c}" for c in CARD.classes]]
    assert found.to_numpy(float) == pytest.approx(weights)
    assert list(fitted.index) == ["segment", "recording", "patient"]


def test_the_decisions_of_a_model_are_the_fitted_ones():
    e = experiment()
    _, fitted = fit(e, thresholds="uar")
    tables = (e["recordings"], CARD, e["segments"], e["predictions"])
    decisions = packaging.describe_decisions(*tables, options(thresholds="uar"))
    assert fitted.loc["segment", "temperature"] != 1
    for level, row in fitted.iterrows():
        assert decisions[level].temperature == row["temperature"]
        assert list(decisions[level].weights.values()) == [row[f"weight_{c}"] for c in CARD.classes]


def test_without_validation_parts_the_decision_is_neutral():
    e = experiment()
    predictions = {run: t[t["role"] == "test"] for run, t in e["predictions"].items()}
    decisions = packaging.describe_decisions(e["recordings"], CARD, e["segments"], predictions, options())
    for level in ("segment", "recording", "patient"):
        assert decisions[level].temperature == 1 and set(decisions[level].weights.values()) == {1.0}


@pytest.mark.parametrize(
    ("protocol", "n"),
    [({}, 1), ({"inner": 5}, 5), ({"inner": 5, "refit": 3}, 3), ({"inner": None, "refit": 2}, 2)],
)
def test_a_note_states_that_the_cross_validation_has_more_networks(protocol, n, caplog):
    caplog.set_level(logging.INFO)
    packaging.log_smaller_ensemble(n, {"protocol": protocol})
    assert not caplog.messages
    packaging.log_smaller_ensemble(n - 1, {"protocol": protocol})
    assert f"the mean of {n} networks" in caplog.text


def test_the_hash_of_code_depends_on_names_and_contents_of_python_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.py").write_text("1")
    before = packaging.hash_files([tmp_path / "a"])
    (tmp_path / "a/notes.txt").write_text("1")
    assert packaging.hash_files([tmp_path / "a"]) == before
    (tmp_path / "a/x.py").rename(tmp_path / "a/y.py")
    renamed = packaging.hash_files([tmp_path / "a"])
    (tmp_path / "a/y.py").write_text("2")
    assert len({before, renamed, packaging.hash_files([tmp_path / "a"])}) == 3
