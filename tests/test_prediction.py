"""Predictions of a trained model: they equal those of the pipeline, and bad input is refused."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save, save_file

import murmur
from murmur.errors import MurmurError
from murmur.evaluation import regression
from murmur.evaluation.aggregation import Fitted, compute_levels
from murmur.evaluation.levels import number_units
from murmur.generalisation import trained_models
from murmur.generalisation.trained_models import TrainedModels
from murmur.inference.model_folder import read_model, write_model
from murmur.inference.model_info import Decision, _hash_content
from murmur.inference.prediction import Model
from murmur.inference.quality import Quality
from murmur.inference.recording import SegmentOutput
from murmur.inference.results import Prediction, RecordingPrediction
from tests import made
from tests.trained_model import CARD, CLASSES, FRAMES, draw_samples, make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")
DECISIONS = {
    "segment": Decision(temperature=1.5, weights={"Present": 1.1, "Unknown": 1.0, "Absent": 0.9}),
    "recording": Decision(temperature=0.5, weights={"Present": 0.9, "Unknown": 1.1, "Absent": 1.0}),
    "patient": Decision(temperature=0.8, weights={"Present": 1.0, "Unknown": 1.05, "Absent": 1.0}),
}
BILSTM = {"name": "bilstm", "width": 8, "layers": 1, "dropout": 0.0}
DENOISE = {"n_fft": 256, "time_smooth_ms": 128, "frequency_smooth_hz": 500}
FAMILIES = {  # of recipes, with small networks
    "default": {},
    "denoise": {"clean.denoise": DENOISE},
    "images": {
        "mel.image": {"size": 32, "colours": "magma"},
        "train.model": {"name": "backbone", "arch": "test_resnet", "weights": "none", "dropout": 0.0},
        "train.standardise": "imagenet",
    },
    "windows": {
        "mel.win_length": [50, 100, 200],
        "mel.hop_length": [32, 64, 128],
        "mel.fill": "max",
        "train.model": {"name": "backbone", "arch": "test_resnet", "weights": "none", "dropout": 0.0},
    },
    "bilstm": {
        "segment.short": "wrap",
        "train.model": BILSTM,
    },
    "attention": {
        "segment.short": "drop",
        "segment.length": 1.5,
        "evaluate.rule": "mean_logit",
        "train.model": {"name": "attention", "trunk": "test_resnet", "heads": 1, "dropout": 0.0},
    },
    "mirror": {
        "segment.mirror": True,
        "segment.first": 2,
        "clean.normalise": "rms",
        "evaluate.rule": "maximum",
    },
    "frames": FRAMES,
    "patients": {"train.model": made.SITES, "train.augment.mixup": 0.0},
    "regression": {"evaluate.rule": "regression"},
    "any_present": {"evaluate.rule": "any_present", "mel.dtype": "float32", "mel.normalise": "minmax"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained_model(tmp_path_factory.mktemp("trained"), decisions=DECISIONS)


def with_regression():
    """The same decisions, with coefficients of the figures of a network that labels no frames."""
    rng = np.random.default_rng(0)
    odds = (f"{how}_log_odds_{c}" for c in CLASSES for how in ("max", "top2", "mean"))
    figures = [*odds, "recordings", "intercept"]
    rows = {figure: dict(zip(CLASSES, rng.normal(size=3).tolist(), strict=True)) for figure in figures}
    return DECISIONS | {"patient": DECISIONS["patient"].model_copy(update={"regression": rows})}


def regression_table(coefficients):
    """metrics/regression.csv with the coefficients of a decision."""
    rows = [
        (0, 0, c, figure, value)
        for c in CLASSES
        for figure, row in (coefficients or {}).items()
        for value in [row[c]]
    ]
    return pd.DataFrame(rows, columns=regression.COLUMNS)


def predict_with_the_pipeline(trained, root):
    """The levels that the pipeline computes with the same weights for the same recordings, as test parts."""
    weights = load_file(trained.folder / "model.safetensors")
    save_file({k.removeprefix("0."): v for k, v in weights.items()}, root / "fold_0.safetensors")
    keys = {"threshold": 0.5, "run": 0, "fold": 0}
    rows = [
        {"level": level, "temperature": d.temperature, **keys}
        | {f"weight_{c}": w for c, w in d.weights.items()}
        for level, d in trained.info.decisions.items()
    ]
    table = regression_table(trained.info.decisions["patient"].regression)
    fitted, p = Fitted(pd.DataFrame(rows), table), trained.params
    models = TrainedModels(
        {(0, 0): root / "fold_0.safetensors"}, CLASSES, fitted, p.train, p.evaluate, seed=0
    )
    keys = {"run": 0, "fold": 0, "role": "test", "segment_id": None, "inner": None}
    folds = {0: trained.prepared.recordings[["recording_id"]].assign(**keys)}
    predictions = trained_models.predict(models, trained.prepared, folds, CARD)
    units = number_units(trained.prepared.recordings, trained.prepared.segments, CLASSES)
    levels, _ = compute_levels(predictions, folds, units, CARD, p.evaluate, fitted)
    return levels


def assert_equal(level, unit, prediction):
    (row,) = np.flatnonzero(level.units.names[level.unit] == unit)
    if np.isnan(level.probabilities[row]).any():  # the pipeline predicts Unknown without a usable segment
        assert prediction.answer is None and prediction.probabilities is None and prediction.reasons
        return
    assert list(prediction.uncalibrated.values()) == pytest.approx(level.probabilities[row], abs=1e-5)
    assert list(prediction.probabilities.values()) == pytest.approx(level.calibrated[row], abs=1e-5)
    assert prediction.answer == CLASSES[level.predicted[row]]


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_equal_those_of_the_pipeline(tmp_path, family):
    decisions = with_regression() if family == "regression" else DECISIONS
    trained = make_trained_model(tmp_path, FAMILIES[family], decisions=decisions)
    levels, model = predict_with_the_pipeline(trained, tmp_path), murmur.load_model(trained.folder)
    for patient, rows in trained.prepared.recordings.groupby("patient_id"):
        paths = [trained.raw / name for name in rows["path"]]
        prediction = model.predict(paths, sites=rows["site"].tolist(), patient_id=patient, check=False)
        assert_equal(levels["patient"], patient, prediction)
        if "recording" in levels:
            for name, recording in zip(rows["recording_id"], prediction.recordings, strict=True):
                assert_equal(levels["recording"], name, recording)
                of_recording = levels["segment"].units.parent[levels["segment"].unit]
                expected = levels["segment"].calibrated[levels["recording"].units.names[of_recording] == name]
                np.testing.assert_allclose(recording.segments, expected, atol=1e-5)


def test_predictions_from_embeddings_equal_those_of_the_pipeline(tmp_path):
    weights = made.m2d_checkpoint(tmp_path / "weights")
    changes = {
        "mel.n_mels": 80,
        "mel.n_fft": 1024,
        "mel.scale": "ln_plus",
        "mel.edges": "reflect",
        "embed.models": ["m2d"],
        "embed.weights": str(weights),
        "segment.length": 2.0,
        "train.features": "embedding",
        "train.model": made.SITES | {"trunk": "none"},
        "train.augment.mixup": 0.0,
    }
    trained = make_trained_model(tmp_path, changes, decisions=DECISIONS)
    levels, model = predict_with_the_pipeline(trained, tmp_path), murmur.load_model(trained.folder)
    prediction = model.predict({site: trained.raw / f"3_{site}.wav" for site in ("AV", "PV")}, check=False)
    assert_equal(levels["patient"], "3", prediction)
    weights.unlink()
    with pytest.raises(MurmurError, match=r"embed\.weights: no file"):
        murmur.load_model(trained.folder)


def test_the_probabilities_of_an_ensemble_are_the_mean_of_its_networks(tmp_path):
    trained = make_trained_model(tmp_path, ensemble=2)
    weights = load_file(trained.folder / "model.safetensors")
    samples = draw_samples(5)
    both = murmur.load_model(trained.folder).predict(samples, 4000, check=False).probabilities
    single = []
    for k in range(2):
        own = {f"0.{n.removeprefix(f'{k}.')}": v for n, v in weights.items() if n.startswith(f"{k}.")}
        content, info = save(own), trained.info
        info = info.model_copy(update={"ensemble": 1, "weights_sha256": hashlib.sha256(content).hexdigest()})
        write_model(tmp_path / f"model_{k}", info, content)
        member = murmur.load_model(tmp_path / f"model_{k}")
        single.append(member.predict(samples, 4000, check=False).probabilities)
    assert single[0] != single[1]
    for name in CLASSES:
        assert both[name] == pytest.approx((single[0][name] + single[1][name]) / 2, abs=1e-6)


def test_a_path_and_its_samples_have_the_same_prediction(trained):
    model, path = murmur.load_model(trained.folder), trained.raw / "2_AV.wav"
    of_path = model.predict(path)
    of_samples = model.predict(*murmur.read_recording(path))
    assert of_path.probabilities == of_samples.probabilities
    assert of_path.recordings[0].path == str(path) and of_samples.recordings[0].path is None


def test_a_prediction_is_a_json_document(trained):
    model = murmur.load_model(trained.folder)
    content = json.loads(json.dumps(model.predict(trained.raw / "5_AV.wav").to_dict(), allow_nan=False))
    assert sum(content["probabilities"].values()) == pytest.approx(1)
    (recording,) = content["recordings"]
    assert [segment["start"] for segment in recording["segments"]] == [0.0, 2.0, 4.0]
    assert [segment["end"] for segment in recording["segments"]] == [4.0, 6.0, pytest.approx(6.6)]


def make_result(**changes):
    p = {"Present": 0.7, "Unknown": 0.2, "Absent": 0.1}
    facts = {"path": None, "site": "AV", "seconds": 5.0, "rate": 4000, "quality": Quality(0.684, 71.6, 0.0)}
    segments = {"starts": np.array([0.0, 2.0]), "segment_seconds": 4.0, "segments": np.full((2, 3), 1 / 3)}
    result = {"name": "a.wav", **facts, "answer": "Present", "reasons": (), "probabilities": p}
    return RecordingPrediction(**result | {"uncalibrated": p} | segments | changes)


def test_segments_without_probabilities_of_the_recording_are_a_json_document():
    content = make_result(answer=None, probabilities=None, uncalibrated=None).to_dict(CLASSES)
    assert content["segments"][1] == {
        "start": 2.0,
        "end": 5.0,
        "probabilities": dict.fromkeys(CLASSES, 1 / 3),
    }


def test_the_repr_of_a_prediction_has_the_answer_the_probabilities_and_the_reasons():
    good, noise = make_result(), Quality(0.08, None, 0.0)
    reasons = ("clipped: 20 % of the samples", "unlike the training data: the distance is 8.0")
    bad = make_result(name="b.wav", site=None, quality=noise, answer=None, reasons=reasons)
    assert repr(good) == (
        "Prediction for a.wav (AV): Present\n"
        "  Present 0.700, Unknown 0.200, Absent 0.100\n"
        "  5.0 s at 4000 Hz, quality 0.68, heart rate 72/min"
    )
    p = good.probabilities
    assert repr(Prediction("P1", CLASSES, "Present", (), p, p, (good, bad))) == (
        "Prediction for P1: Present\n"
        "  Present 0.700, Unknown 0.200, Absent 0.100\n"
        "  a.wav (AV)  5.0 s  quality 0.68  heart rate 72/min     Present\n"
        "  b.wav       5.0 s  quality 0.08  heart rate not found  "
        "cannot tell (clipped, unlike the training data)"
    )
    assert repr(Prediction("P1", CLASSES, None, reasons, None, None, ())).splitlines() == [
        "Prediction for P1: cannot tell",
        *(f"  {reason}" for reason in reasons),
    ]


def test_the_repr_of_a_model_has_its_data_classes_network_and_expected_performance(trained):
    model = murmur.load_model(trained.folder)
    assert repr(model) == (
        "Model trained on made (6 patients, 0.01 h)\n"
        "  classes: Present, Unknown, Absent\n"
        "  network: cnn\n"
        "  expected unweighted average recall: 0.700 (0.600-0.800), patient level"
    )
    leaky = model.info.performance.model_copy(update={"leaky": True, "flaws": "no persons known"})
    model = Model(model.info.model_copy(update={"performance": leaky, "ensemble": 3}), model.network)
    assert "network: 3 x cnn\n" in repr(model)
    assert repr(model).endswith("patient level; may be too optimistic: no persons known")


def test_several_arrays_have_numbers_as_names(trained):
    model, samples = murmur.load_model(trained.folder), draw_samples(3)
    prediction = model.predict([samples, trained.raw / "2_AV.wav", samples], 4000)
    assert [r.name for r in prediction.recordings] == ["recording 1", "2_AV.wav", "recording 3"]


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros(8000, np.float32), "silent: all samples are 0"), (draw_samples(0.5), "too short: 0.50 s")],
)
def test_no_class_is_predicted_for_silence_and_short_recordings(trained, samples, reason):
    prediction = murmur.load_model(trained.folder).predict(samples, 4000)
    assert prediction.answer is None and prediction.probabilities is None
    assert prediction.reasons[0].startswith(reason)


def test_a_recording_without_an_answer_is_left_out_of_the_patient(trained):
    model = murmur.load_model(trained.folder)
    good, silent = trained.raw / "2_AV.wav", np.zeros(8000, np.float32)
    both = model.predict({"AV": good, "PV": silent}, 4000, check=False)
    assert both.probabilities == model.predict(good, check=False).probabilities
    assert both.answer and both.recordings[1].answer is None
    neither = model.predict({"AV": silent, "PV": draw_samples(0.2)}, 4000)
    assert neither.answer is None
    assert [reason.split(":")[0] for reason in neither.reasons] == ["AV", "PV"]


def test_wrong_arguments_are_refused(trained):
    model = murmur.load_model(trained.folder)
    for rate in (None, 0, 44.1):
        with pytest.raises(ValueError, match="an array needs its sample rate"):
            model.predict(draw_samples(3), rate)
    with pytest.raises(ValueError, match="found none"):
        model.predict([])
    with pytest.raises(ValueError, match="expected 1, one for each recording, found 2"):
        model.predict(draw_samples(3), 4000, sites=["AV", "PV"])
    with pytest.raises(ValueError, match="expected finite numbers"):
        model.predict(np.array([0.1, np.nan], np.float32), 4000)


def test_a_folder_of_a_model_is_read_as_it_was_written(trained):
    info, weights = read_model(trained.folder)
    assert info == trained.info and weights == (trained.folder / "model.safetensors").read_bytes()
    assert json.loads((trained.folder / "model.json").read_text())["epochs"] == 1


def change_json(folder, **changes):
    path = folder / "model.json"
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": _hash_content(content)}))


def test_a_changed_or_incomplete_model_folder_is_refused(trained, tmp_path):
    def copy(name):
        return shutil.copytree(trained.folder, tmp_path / name)

    def refused(folder, match):
        with pytest.raises(MurmurError, match=match):
            murmur.load_model(folder)

    refused(tmp_path / "none", "none: no folder of a model")
    (folder := copy("no_json") / "model.json").unlink()
    refused(folder.parent, "model.json is missing")
    (copy("no_weights") / "model.safetensors").unlink()
    refused(tmp_path / "no_weights", "model.safetensors is missing")
    content = bytearray((folder := copy("changed") / "model.safetensors").read_bytes())
    content[-1] ^= 1
    folder.write_bytes(content)
    refused(tmp_path / "changed", "not the weights that model.json describes")
    edited = copy("edited") / "model.json"
    edited.write_text(edited.read_text().replace('"epochs": 1,', '"epochs": 2,', 1))
    refused(edited.parent, "model.json: changed since it was written")
    change_json(copy("newer"), schema_version=3)
    refused(tmp_path / "newer", r"schema 3; this version of murmur reads 2: update murmur")
    change_json(copy("older"), schema_version=1)
    refused(
        tmp_path / "older", r"schema 1, made by an older version .* make the model again: dvc repro package"
    )
    change_json(copy("classes"), classes=["ill", "well"])
    refused(tmp_path / "classes", r"decisions\.segment is of the classes Present, Unknown, Absent, the")
    change_json(copy("unknown_key"), colour="red")
    refused(tmp_path / "unknown_key", "unknown key colour")
    (copy("not_json") / "model.json").write_text("{")
    refused(tmp_path / "not_json", "not JSON")


def test_weights_of_another_network_are_refused(trained, tmp_path):
    info, weights = read_model(trained.folder)
    train = info.params.train
    wider = train.model_copy(update={"model": train.model.model_copy(update={"width": 5})})
    info = info.model_copy(update={"params": info.params.model_copy(update={"train": wider})})
    write_model(tmp_path / "model", info, weights)
    with pytest.raises(MurmurError, match="weights of another architecture"):
        murmur.load_model(tmp_path / "model")


def test_load_model_is_imported_without_slow_packages():
    slow = "{'torch', 'dvc', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'onnxruntime'}"
    code = f"import sys; from murmur import load_model; print(sorted({slow} & {{*sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


class Fixed:
    """A network whose probabilities are those of the site."""

    def __init__(self, by_site):
        self.by_site = by_site

    def predict_segments(self, recording):
        return SegmentOutput(np.zeros(1), np.array([self.by_site[recording.site]]))


def test_any_present_chooses_the_positive_class_of_any_recording(trained):
    evaluate = trained.info.params.evaluate.model_copy(update={"rule": "any_present"})
    params = trained.info.params.model_copy(update={"evaluate": evaluate})
    info = trained.info.model_copy(update={"params": params})
    network = Fixed({"AV": [0.6, 0.2, 0.2], "PV": [0.0, 0.1, 0.9], "MV": [0.1, 0.6, 0.3]})
    model, samples = Model(info, network), draw_samples(3)

    def predict(*sites):
        return model.predict(dict.fromkeys(sites, samples), 4000, check=False).answer

    assert predict("AV", "PV") == predict("PV", "AV") == "Present"
    assert predict("PV", "MV") == "Unknown" and predict("PV") == "Absent"


def test_samples_that_are_integers_are_refused(trained):
    with pytest.raises(ValueError, match="expected floats in the range -1 to 1, found int16"):
        murmur.load_model(trained.folder).predict(np.ones(9000, np.int16), 4000)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ensemble": 0}, "ensemble: Input should be greater than or equal to 1"),
        ({"level": "patient"}, "level does not fit the rest"),
        ({"positive": []}, "positive does not fit the rest"),
        ({"schema_version": 0}, "it has no schema_version"),
        ({"decisions": {"segment": {"temperature": 0.0, "weights": {}}}}, "Input should be greater than 0"),
    ],
)
def test_a_description_with_impossible_values_is_refused(trained, tmp_path, changes, match):
    change_json(shutil.copytree(trained.folder, tmp_path / "model"), **changes)
    with pytest.raises(MurmurError, match=match):
        murmur.load_model(tmp_path / "model")


def test_a_description_that_is_nested_without_end_is_refused(trained, tmp_path):
    (shutil.copytree(trained.folder, tmp_path / "model") / "model.json").write_text("[" * 10**5 + "]" * 10**5)
    with pytest.raises(MurmurError, match="not JSON"):
        murmur.load_model(tmp_path / "model")
