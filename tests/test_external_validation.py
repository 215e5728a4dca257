"""Trained models on their own test parts and on external data, without the persons they were trained on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation import scores
from murmur.evaluation.aggregation import compute_levels
from murmur.evaluation.levels import number_units
from murmur.features.chain import PreparedRecordings
from murmur.generalisation import external_validation, trained_models
from murmur.generalisation.trained_models import TrainedModels
from murmur.recordings import audio
from murmur.sections.download import Download
from murmur.sections.duplicates import Duplicates
from murmur.sections.evaluate import Evaluate
from murmur.sections.train import Augment
from murmur.tables.predictions import FIGURES
from murmur.tables.recordings import DatasetCard
from murmur.training.run import fit_run, prepare_run
from tests import made
from tests.experiment import without_regression
from tests.made import SITES
from tests.trained_model import make_frame_labels

CLASSES = ("Present", "Unknown", "Absent")
CARD = DatasetCard("made", "murmur", CLASSES, ("Present",), (5, 3, 1), "ids", "none")
TWO = DatasetCard("made", "murmur", ("Present", "Absent"), ("Present",), (5, 1), "ids", "none")
EVALUATE = made.changed({"evaluate.level": "recording", "evaluate.draws": 20})["evaluate"]
pytestmark = pytest.mark.usefixtures("threads_as_before")


def prepare(folder, n=12, seed=0, classes=CLASSES, sha="sha"):
    """N patients with recordings at AV and PV of two segments each, one class after the other."""
    ids = [f"{k}_{site}" for k in range(n) for site in ("AV", "PV")]
    patient = [i.split("_")[0] for i in ids]
    recordings = pd.DataFrame({"recording_id": ids, "patient_id": patient, "person_id": patient})
    recordings["label"] = [classes[int(i) % len(classes)] for i in patient]
    recordings["patient_label"] = recordings["label"]
    recordings["site"] = [i.split("_")[1] for i in ids]
    recordings["audio_sha256"] = [f"{sha}{k}" for k in range(len(ids))]
    recordings = recordings.assign(source="made", quality=None, sex=None, age_group=None)
    segments = pd.DataFrame({"segment_id": [f"{i}@{s}" for i in ids for s in (0, 9)]})
    segments["recording_id"] = segments["segment_id"].str.split("@").str[0]
    segments["reversed"] = False
    features = np.random.default_rng(seed).normal(size=(len(segments), 1, 16, 16)).astype("float16")
    folder.mkdir(exist_ok=True)
    np.save(folder / "mel.npy", features)
    return PreparedRecordings(recordings, segments, folder / "mel.npy")


def make_folds(prepared, run=7, inner=(None,)):
    """Two folds; patients are assigned to training, validation and test in turn."""
    parts = ["train"] * 6 + ["validation"] * 3
    rows = [
        (run, fold, i, [*np.roll(parts, 3 * (j or 0)), *["test"] * 3][(k // 2 + 6 * fold) % 12], None, j)
        for fold in (0, 1)
        for j in inner
        for k, i in enumerate(prepared.recordings["recording_id"])
    ]
    return pd.DataFrame(rows, columns=["run", "fold", "recording_id", "role", "segment_id", "inner"])


def no_change(level="segment", run=7):
    """metrics/calibration.csv with temperatures and weights of 1."""
    levels = [level] if level == "patient" else ["segment", "recording", "patient"]
    rows = [(run, fold, name, 1.0, 0.5, 1.0, 1.0, 1.0) for fold in (0, 1) for name in levels]
    weights = [f"weight_{c}" for c in CLASSES]
    return pd.DataFrame(rows, columns=["run", "fold", "level", "temperature", "threshold", *weights])


@pytest.fixture
def trained(tmp_path, request, monkeypatch):
    """A run of two folds with its weights, of a model of segments or, by parameter, of patients.

    With the parameter frames, the model labels frames, and each fold has three inner folds.
    """
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    inner = range(3) if getattr(request, "param", None) == "frames" else (None,)
    sites = getattr(request, "param", "segment") == "patient"
    changes = {"epochs": 2, "batch_size": 8, "keep_weights": "best"}
    if getattr(request, "param", None) == "frames":
        changes |= {"model": {"name": "frames", "width": 4}, "state_loss": 1.0, "murmur_loss": 1.0}
    if sites:
        augment = Augment(**made.changed({"train.augment.mixup": 0.0})["train"]["augment"])
        changes |= {"model": SITES, "augment": augment.model_dump()}
    options = made.train_options(**changes)
    prepared = prepare(tmp_path / "development")
    folds = make_folds(prepared, inner=inner)
    tables = (prepared.recordings, prepared.segments, folds)
    labels = make_frame_labels(prepared, tmp_path / "frame_labels.npy")
    run = prepare_run(*tables, CARD, prepared.features, options, 0, labels)
    predictions, _, _ = fit_run(run, tmp_path / "models/run_7.murmur_weights")
    fitted = no_change("patient" if sites else "segment")
    level = "patient" if sites else "recording"
    evaluate = Evaluate(**EVALUATE | {"level": level})
    weights = trained_models.find_weights(tmp_path / "models", fitted, [7])
    fitted = without_regression(fitted)
    return TrainedModels(weights, CLASSES, fitted, options, evaluate, 0), prepared, {7: folds}, predictions


def probabilities_of(table, classes=CLASSES):
    return table.set_index(["fold", "unit_id"])[[f"p_{c}" for c in classes]]


@pytest.mark.parametrize("trained", ["segment", "patient", "frames"], indirect=True)
def test_trained_models_repeat_the_predictions_of_the_training(trained, workers):
    models, prepared, folds, predictions = trained
    result = trained_models.predict(models, prepared, folds, CARD)[7]
    expected = probabilities_of(predictions.query("role == 'test'"))
    assert len(expected) == (6 if models.train.model.level == "patient" else 24)
    assert expected.to_numpy().std() > 0.01
    pd.testing.assert_frame_equal(probabilities_of(result), expected, atol=1e-6, rtol=0, check_dtype=False)
    figures = predictions.query("role == 'test'")[["fold", "unit_id", *FIGURES]]
    both = result.merge(figures, on=["fold", "unit_id"])
    for name in FIGURES:
        np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"].astype(float), atol=1e-6)
    assert figures["murmur"].notna().all() == (models.train.model.name == "frames")
    assert set(result["role"]) == {"test"} and list(result.columns[:5]) == [
        "run",
        "fold",
        "role",
        "level",
        "unit_id",
    ]


@pytest.mark.parametrize("trained", ["frames"], indirect=True)
def test_a_regression_on_figures_of_frames_is_applied_as_in_the_experiment(trained):
    models, prepared, folds, predictions = trained
    options = Evaluate(**EVALUATE | {"level": "patient", "rule": "regression"})
    units = number_units(prepared.recordings, prepared.segments, CLASSES)
    predictions = predictions.reset_index(drop=True)
    levels, fitted = compute_levels({7: predictions}, folds, units, CARD, options)
    assert fitted.regression["figure"].str.contains("murmur").any()
    result = trained_models.score_models(
        replace(models, fitted=fitted, evaluate=options), prepared, folds, CARD
    )
    expected = scores.score_units(levels["patient"], ["run"])
    for name, row in result["headline"].items():
        assert row["mean"] == pytest.approx(expected[name].iloc[0], nan_ok=True)


def test_predictions_do_not_depend_on_the_number_of_workers(trained, monkeypatch):
    models, prepared, folds, _ = trained
    torch.set_num_threads(2)
    threads, predict_outputs = [], trained_models.predict_outputs

    def record_threads(*inputs):
        threads.append(torch.get_num_threads())
        return predict_outputs(*inputs)

    monkeypatch.setattr(trained_models, "predict_outputs", record_threads)
    predictions = []
    for n in ("1", "3"):
        monkeypatch.setenv("MURMUR_WORKERS", n)
        predictions.append(trained_models.predict(models, prepared, folds, CARD)[7])
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    assert set(threads) == {1} and torch.get_num_threads() == 2


def test_probabilities_of_the_present_classes_are_scaled_to_one(trained):
    models, prepared, folds, _ = trained
    of_all_classes = probabilities_of(trained_models.predict(models, prepared, folds, CARD)[7])
    result = probabilities_of(trained_models.predict(models, prepared, folds, TWO)[7], TWO.classes)
    rest = of_all_classes[list(result.columns)]
    np.testing.assert_allclose(result, rest.div(rest.sum(axis=1), axis=0), atol=1e-6)


def test_every_model_predicts_all_external_recordings_and_scores_are_their_mean(trained, tmp_path):
    models, prepared, _, _ = trained
    external = prepare(tmp_path / "external", n=5, seed=1, classes=("Present", "Absent"), sha="other")
    result = external_validation.evaluate_external(models, prepared.recordings, external, TWO)
    folds = external_validation.make_test_folds(external.recordings, models.weights)
    predictions = trained_models.predict(models, external, folds, TWO)[7]
    assert len(predictions) == 2 * 20 and set(predictions["fold"]) == {0, 1}
    predictions["recording_id"] = predictions["unit_id"].str.split("@").str[0]
    p = predictions.groupby(["fold", "recording_id"])[["p_Present", "p_Absent"]].mean()
    truth = external.recordings.set_index("recording_id")["label"].loc[p.index.get_level_values(1)].to_numpy()
    right = np.where(p["p_Present"] >= p["p_Absent"], "Present", "Absent") == truth
    of_models = pd.Series(right, p.index).groupby("fold").mean()
    assert result["headline"]["accuracy"]["mean"] == pytest.approx(of_models.mean())
    assert result["data"] == {
        "recordings": 10,
        "patients": 5,
        "persons": 5,
        "units": 10,
        "no_answer": 0,
        "counts": {"Present": 6, "Absent": 4},
    }
    assert (result["left_unasked"], result["seen_in_training"], result["models"]) == (["Unknown"], 0, 2)
    assert result["baseline"]["answer"] == "Present" and result["baseline"]["accuracy"] == 0.6


def test_class_weights_are_those_of_the_experiment(trained):
    models, prepared, folds, _ = trained
    before = trained_models.score_models(models, prepared, folds, CARD)
    tilted = without_regression(models.fitted.decisions.assign(weight_Present=1e6))
    after = trained_models.score_models(
        TrainedModels(**{**vars(models), "fitted": tilted}), prepared, folds, CARD
    )
    assert before["headline"]["sensitivity"]["mean"] < 1
    assert after["headline"]["sensitivity"]["mean"] == 1 and after["headline"]["specificity"]["mean"] == 0


def test_internal_scores_leave_out_recordings_of_other_classes(trained):
    models, prepared, folds, _ = trained
    result = external_validation.evaluate_internal(models, prepared, folds, TWO)
    tested = folds[7].query("role == 'test'")["recording_id"]
    labels = prepared.recordings.set_index("recording_id")["label"].loc[tested].value_counts()
    assert result["counts"] == {"Present": labels["Present"], "Absent": labels["Absent"]}
    assert labels["Unknown"] > 0 and result["classes"] == ["Present", "Absent"]


@pytest.mark.parametrize(("card", "caught", "right"), [(CARD, 1.0, 1 / 3), (TWO, 0.0, 0.0)])
def test_without_any_segment_unknown_or_no_class_is_predicted(trained, card, caught, right):
    models, prepared, folds, _ = trained
    silent = PreparedRecordings(prepared.recordings, prepared.segments[:0], prepared.features)
    complete = {7: folds[7].query("role == 'test'")}
    if card is TWO:
        chosen = prepared.recordings["label"] != "Unknown"
        silent = PreparedRecordings(prepared.recordings[chosen], silent.segments, prepared.features)
        complete[7] = complete[7][complete[7]["recording_id"].isin(silent.recordings["recording_id"])]
    result = trained_models.score_models(models, silent, complete, card)
    assert result["no_answer"] == result["units"] == complete[7]["recording_id"].nunique()
    assert result["headline"]["sensitivity"]["mean"] == 0
    assert result["headline"]["specificity"]["mean"] == caught  # Unknown is not Present; no answer is wrong
    assert result["headline"]["uar"]["mean"] == pytest.approx(right)


def test_a_recording_without_a_segment_is_counted(trained):
    models, prepared, folds, _ = trained
    missing = folds[7].query("role == 'test'")["recording_id"].iloc[0]
    keep = (prepared.segments["recording_id"] != missing).to_numpy()
    features = prepared.features.with_name("fewer.npy")
    np.save(features, np.load(prepared.features)[keep])
    fewer = PreparedRecordings(prepared.recordings, prepared.segments[keep].reset_index(drop=True), features)
    result, complete = (trained_models.score_models(models, h, folds, CARD) for h in (fewer, prepared))
    assert (result["no_answer"], complete["no_answer"]) == (1, 0) and result["units"] == complete["units"]


def test_persons_with_audio_in_the_development_data_are_left_out(tmp_path):
    development, external = prepare(tmp_path / "a", n=2), prepare(tmp_path / "b", n=4, sha="other").recordings
    external.loc[external["recording_id"] == "1_PV", "audio_sha256"] = "sha0"
    external.loc[external["patient_id"] == "2", "person_id"] = "1"  # the same person under another number
    unknown, known = external_validation.exclude_known_persons(external, development.recordings)
    assert sorted(known["recording_id"]) == ["1_AV", "1_PV", "2_AV", "2_PV"]
    assert sorted(set(unknown["patient_id"])) == ["0", "3"]
    with pytest.raises(MurmurError, match="all persons of the external data are in the experiment itself"):
        external_validation.exclude_known_persons(development.recordings, development.recordings)


def test_persons_known_by_id_or_by_near_identical_audio_are_left_out(tmp_path):
    development, external = (
        prepare(tmp_path / "a", n=3).recordings,
        prepare(tmp_path / "b", n=5, sha="other").recordings,
    )
    development["patient_id"] = development["person_id"] = development["patient_id"].map(
        {"0": "P-00", "1": "q1", "2": "p3"}
    )
    external["patient_id"] = external["patient_id"].map("P{}".format)
    external["person_id"] = external["person_id"].map({"0": "A", "1": "B", "2": "Q01", "3": "C", "4": "C"})
    same = external_validation.find_same_ids(external, development)
    assert same == {"0_AV", "0_PV", "2_AV", "2_PV", "3_AV", "3_PV"}
    unknown, known = external_validation.exclude_known_persons(external, development, same)
    assert set(unknown["patient_id"]) == {"P1"} and len(known) == 8  # P4 is the person of P3

    sound = made.noise(20000)
    recordings = []
    for name, gain in (("development", 1.0), ("external", 0.3)):
        made.audio(tmp_path / name / "a.wav", sound * gain)
        made.audio(tmp_path / name / "b.wav", made.noise(20000, seed=len(name)))
        rows = [(k, f"{k}.wav", *audio.inspect_file(tmp_path / name / f"{k}.wav")) for k in "ab"]
        recordings.append(pd.DataFrame(rows, columns=["recording_id", "path", *audio.AudioFacts._fields]))
    options = Duplicates(**made.changed({})["duplicates"])
    raws = tmp_path / "external", tmp_path / "development"
    assert external_validation.find_same_audio(recordings[1], raws[0], recordings[0], raws[1], options) == {
        "a"
    }


def test_too_few_classes_without_the_known_persons_are_refused(trained, tmp_path):
    models, prepared, _, _ = trained
    external = prepare(tmp_path / "external", n=4, classes=("Present", "Absent"), sha="other")
    ill = external.recordings["label"] == "Present"
    external.recordings.loc[ill, "audio_sha256"] = (
        prepared.recordings["audio_sha256"].iloc[: ill.sum()].to_list()
    )
    with pytest.raises(MurmurError, match=r"too few classes.*the external data have Absent;"):
        external_validation.evaluate_external(models, prepared.recordings, external, TWO)


def test_a_label_maps_to_the_given_class_or_to_the_class_of_its_name():
    given = {"normal": "Absent", "extrahls": None}
    result = external_validation.map_labels(["Present", "normal", "extrahls"], CLASSES, given)
    assert result == {"Present": "Present", "normal": "Absent", "extrahls": None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"no class for the labels normal, murmur: add --map normal=CLASS --map murmur=CLASS"),
        ({"murmur": "Present"}, r"no class for the labels normal: .*external labels are normal, murmur"),
        ({"mumur": "Present"}, r"--map mumur: no such label; the external labels are normal, murmur"),
        ({"normal": "Ab"}, r"no class Ab; .*classes are Present, Unknown, Absent"),
    ],
)
def test_labels_without_a_class_are_refused_with_all_labels_and_classes(given, message):
    with pytest.raises(MurmurError, match=message):
        external_validation.map_labels(["normal", "murmur"], CLASSES, given)


def test_the_card_keeps_the_present_classes_in_their_order():
    result = external_validation.restrict_classes(CARD, ["Absent", None, "Present"])
    assert (result.classes, result.positive, result.weights) == (("Present", "Absent"), ("Present",), (5, 1))
    assert external_validation.restrict_classes(CARD, CLASSES) == CARD
    assert external_validation.restrict_classes(TWO, ["Absent", "Present"]).weights == (5, 1)


@pytest.mark.parametrize("present", [["Present"], ["Absent", "Unknown"], [None], []])
def test_a_positive_and_another_class_are_required(present):
    with pytest.raises(MurmurError, match=r"too few classes: .*see --map and --task"):
        external_validation.restrict_classes(CARD, present)


def test_labels_are_those_of_the_task_or_of_the_table_of_own_recordings(tmp_path):
    made.folder(tmp_path / "own")
    section = Download(
        limit=None,
        on_bad="error",
        remote=None,
        folder={"path": str(tmp_path / "own"), "csv": "recordings.csv"},
    )
    assert external_validation.list_labels("pascal", None, "murmur", section) == (
        "murmur",
        ("murmur", "normal"),
    )
    assert external_validation.list_labels("pascal", "sound", "murmur", section)[1][2:] == (
        "extrahls",
        "extrastole",
        "artifact",
    )
    assert external_validation.list_labels("cinc2016", None, "murmur", section)[0] == "abnormal"
    assert external_validation.list_labels("folder", None, "murmur", section) == ("murmur", ("ill", "well"))
    with pytest.raises(MurmurError, match="--task: pascal has no task 'sounds'; it has murmur, sound"):
        external_validation.list_labels("pascal", "sounds", "murmur", section)


def test_missing_weights_are_named(tmp_path):
    fitted = no_change()
    words = r"run_7.murmur_weights.fold_0.safetensors: .*\(2 of 2 missing\).*keep_weights: best"
    with pytest.raises(MurmurError, match=words):
        trained_models.find_weights(tmp_path, fitted, [7])
    with pytest.raises(MurmurError, match="has no run 8: `dvc repro` first"):
        trained_models.find_weights(tmp_path, fitted, [7, 8])


def test_weights_of_another_network_are_refused(trained):
    models, prepared, folds, _ = trained
    other = made.train_options(model={"name": "cnn", "width": 5, "dropout": 0.0})
    with pytest.raises(MurmurError, match=r"fold_0.safetensors: weights of another architecture.*dvc repro"):
        trained_models.predict(TrainedModels(**{**vars(models), "train": other}), prepared, folds, CARD)


def test_weights_that_give_no_finite_probabilities_are_refused(trained):
    models, prepared, folds, _ = trained
    path = models.weights[7, 1]
    broken = load_file(path)
    broken["spread"][:] = 0  # each number is finite, what they give is not
    save_file(broken, path)
    with pytest.raises(MurmurError, match=r"fold_1.safetensors: its probabilities are not finite"):
        trained_models.predict(models, prepared, folds, CARD)


def test_a_patient_model_needs_the_sites_of_its_training(trained, tmp_path):
    models, _, _, _ = trained
    sites = made.train_options(model=SITES)
    external = prepare(tmp_path / "external", sha="other")
    other_sites = PreparedRecordings(
        external.recordings.assign(site="unspecified"), external.segments, external.features
    )
    with pytest.raises(MurmurError, match="no recording was made at AV, PV"):
        folds = external_validation.make_test_folds(external.recordings, models.weights)
        trained_models.predict(TrainedModels(**{**vars(models), "train": sites}), other_sites, folds, CARD)


def test_the_table_has_development_and_external_data_side_by_side():
    row = {"mean": 0.8, "sd": None, "low": 0.7, "high": 0.9}
    result = {
        "level": "patient",
        "headline": {"uar": row, "f1": row | {"low": None, "high": None}},
        "here": {"uar": {"mean": 0.9}},
        "baseline": {"answer": "Absent", "uar": 0.5, "f1": np.nan},
        "left_unasked": ["Unknown"],
        "models": 5,
        "seen_in_training": 6,
        "seen": list("abcdef"),
        "data": {
            "units": 3,
            "persons": 2,
            "no_answer": 1,
            "counts": {"Present": 1, "Absent": 2},
            "left_out": {"has no label": 4},
        },
    }
    rows, remarks = external_validation.format_comparison(result)
    assert rows == [
        ("patient level", "development data", "external data", "SD", "95 % interval", "always Absent"),
        ("uar", "0.900", "0.800", "-", "0.700-0.900", "0.500"),
        ("f1", "-", "0.800", "-", "-", "-"),
    ]
    assert remarks[:-1] == [
        "3 units (1 Present, 2 Absent) of 2 persons, 5 models",
        "Unknown: not in the external data, so not predicted, and left out of both columns",
        "without a usable segment: 1 unit",
        "left out: 4 x has no label",
        "left out: 6 recordings of persons whose audio is in the experiment (a, b, c, d, e, …)",
    ]
    assert remarks[-1] == f"{external_validation.INTERVAL} {formatting.INTERVAL_NOTE}"
    result |= {"leak": "LEAKY: x.", "seen": []}
    result["data"] |= {"unknown_persons": 3}
    _, remarks = external_validation.format_comparison(result)
    assert remarks[:2] == ["LEAKY: x.", "3 units (1 Present, 2 Absent) of at most 2 persons, 5 models"]
    assert "the persons of 3 external recordings are unknown: some may be in the experiment too" in remarks
    assert (
        "left out: 6 recordings of persons whose audio is in the experiment (not named: private data)"
        in remarks
    )
