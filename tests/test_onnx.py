"""The ONNX file of a model gives torch's probabilities without torch; what cannot be exported is refused."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, parser

import murmur
from murmur.commands import export
from murmur.errors import MurmurError
from murmur.features.bandpass import apply_bandpass
from murmur.features.mel import make_transform, stored_dtype
from murmur.inference import onnx_export, onnx_graph
from murmur.inference.loading import load_model
from murmur.inference.onnx_export import export_model
from murmur.inference.onnx_model import INFO, SHA256, hash_graph
from murmur.inference.segment_layers import Features
from murmur.sections.clean import Bandpass
from murmur.sections.experiment import validate_params
from tests import made
from tests.trained_model import FRAMES, draw_samples, make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")
CIRCOR = Path(os.environ.get("MURMUR_DATA", "")) / "circor/training_data"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return load_model(make_trained_model(tmp_path_factory.mktemp("trained"), ensemble=2).folder)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_model(trained, out)
    return out


def run_filter(x, rate, band):
    """Apply the filter of the graph to the samples x."""
    parts = [onnx_graph._numbers(), onnx_graph._filter(rate, band)]
    text = "\n".join(part[0] for part in parts)
    graph = parser.parse_graph(f"f (float[n] waveform) => (double[m] filtered) {{ {text} }}")
    for name, value in (item for part in parts for item in part[1].items()):
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [session.run(None, {"waveform": part})[0] for part in x]


@pytest.mark.parametrize(("rate", "order", "low", "high"), [(2000, 4, 25, 800), (4000, 2, 20, 1800)])
def test_the_filter_is_that_of_the_pipeline_up_to_both_ends(rate, order, low, high):
    band = Bandpass(order=order, low=low, high=high)
    x = [0.5 + made.noise(n).astype(np.float32) for n in (1, 2, 3, 27, 28, 64, 1000, 9001)]
    for found, signal in zip(run_filter(x, rate, band), x, strict=True):
        np.testing.assert_allclose(found, apply_bandpass(signal, rate, band), atol=1e-8)


def test_a_filter_with_a_long_impulse_response_is_refused():
    with pytest.raises(MurmurError, match=r"^clean\.bandpass: the impulse response of order 2, 25-25\.1 Hz"):
        onnx_graph._filter(4000, Bandpass(order=2, low=25, high=25.1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale": "ln", "top_db": None, "edges": "reflect", "reference": 1.0, "dtype": "float32"},
        {"scale": "ln", "top_db": None, "n_fft": 255},
        {"scale": "ln_plus", "dtype": "float32"},
        {"top_db": None, "reference": 2.5},
        {"win_length": [50, 100, 256], "hop_length": [32, 64, 100], "normalise": "minmax"},
        {"win_length": [50, 100], "hop_length": [50, 64], "fill": "max"},
        {"win_length": [50, 100], "hop_length": [50, 64], "scale": "ln", "top_db": None},
        {"image": {"size": 40, "colours": "viridis"}},
        {"image": {"size": 100, "colours": "grey"}, "normalise": "minmax"},
        {"win_length": [50, 100], "hop_length": [50, 64], "normalise": "bands"},
    ],
    ids=str,
)
def test_features_are_those_of_the_pipeline(changes):
    options = validate_params(made.changed({f"mel.{k}": v for k, v in changes.items()}), "made").mel
    x = np.stack([draw_samples(1), draw_samples(1) * np.linspace(0, 1e-3, 4000), *np.zeros((2, 4000))])
    x[3] += 0.25  # a constant
    x[0, 2000:] = 0
    layers = Features(4000, options, 4000)
    x = x.astype(np.float32)
    found = np.concatenate([layers(torch.from_numpy(row[None])).numpy() for row in x])
    expected = make_transform(4000, options)(x).astype(stored_dtype(options)).astype(np.float32)
    assert found.shape == expected.shape
    one_step = 1 if options.image else 1e-3 if options.normalise == "minmax" else 0.07
    np.testing.assert_allclose(found, expected, atol=one_step if options.dtype == "float16" else 2e-3)
    assert options.dtype == "float32" or (found != expected).mean() < 0.01


def assert_equal(model, found, sources, rate=None):
    for source in sources:
        expected, prediction = (m.predict(source, rate, check=False) for m in (model, found))
        (p,), (q,) = expected.recordings, prediction.recordings
        np.testing.assert_allclose(p.starts, q.starts)
        np.testing.assert_allclose(p.segments, q.segments, atol=1e-4)
        if p.heart_sounds:
            np.testing.assert_allclose(p.murmur_track, q.murmur_track, atol=1e-4)
            assert p.figures == pytest.approx(q.figures, abs=1e-4)
        assert expected.answer == prediction.answer and p.reasons == q.reasons


def test_an_exported_ensemble_gives_the_same_predictions_for_all_lengths(trained, exported):
    model = load_model(exported)
    assert model.info == trained.info
    assert_equal(trained, model, [draw_samples(s, 4000) for s in (0.001, 0.5, 1, 4, 5.9, 6.1, 60)], 4000)


FAMILIES = {  # of recipes, with small networks
    "bilstm": {
        "segment.short": "wrap",
        "segment.min_length": 0.0,
        "segment.first": 2,
        "clean.normalise": "rms",
        "mel.win_length": [50, 100],
        "mel.hop_length": [32, 64],
        "train.model": {"name": "bilstm", "width": 8, "layers": 2, "dropout": 0.0},
        "evaluate.rule": "maximum",
    },
    "frames": FRAMES,
    "frames, not learned": {"train.model": FRAMES["train.model"]},
    "attention": {
        "clean.bandpass": None,
        "clean.normalise": "none",
        "mel.image": {"size": 32, "colours": "magma"},
        "train.standardise": "imagenet",
        "evaluate.rule": "mean_logit",
        "segment.short": "drop",
        "segment.length": 1.5,
        "segment.overlap": 0.3333,
        "train.model": {"name": "attention", "trunk": "test_resnet", "heads": 1, "dropout": 0.0},
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_model_gives_the_same_predictions(tmp_path, family):
    made_model = make_trained_model(tmp_path, FAMILIES[family])
    model = load_model(made_model.folder)
    export_model(model, tmp_path / "model.onnx")
    found = load_model(tmp_path / "model.onnx")
    assert_equal(model, found, sorted(made_model.raw.glob("*.wav")))  # of three sample rates
    samples = draw_samples(9, model.info.params.clean.sample_rate)
    pooled = found.network.session.run(["recording"], {"waveform": samples})[0]
    expected = model.predict(samples, model.info.params.clean.sample_rate, check=False).recordings[0]
    np.testing.assert_allclose(pooled, list(expected.uncalibrated.values()), atol=1e-4)


@pytest.mark.skipif(not CIRCOR.is_dir(), reason="needs CirCor in MURMUR_DATA")
def test_the_predictions_for_real_recordings_are_the_same(trained, exported):
    assert_equal(trained, load_model(exported), sorted(CIRCOR.glob("*.wav"))[:20])


def test_an_onnx_file_is_used_without_torch(exported, tmp_path):
    made.audio(tmp_path / "a.wav", draw_samples(5))
    code = (
        f"import sys, murmur; p = murmur.load_model({str(exported)!r}).predict('a.wav', check=False); "
        "print(p.answer); assert 'torch' not in sys.modules and len(p.recordings[0].segments)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (
            "clean",
            {"denoise": {"n_fft": 256, "time_smooth_ms": 128, "frequency_smooth_hz": 500}},
            r"clean\.denoise: ",
        ),
        ("train", {"features": "embedding"}, r"train\.features: "),
        (None, {"level": "patient"}, r"train\.model\.sites: "),
    ],
)
def test_what_cannot_be_exported_is_refused(trained, tmp_path, section, changes, message):
    info = trained.info
    if section:
        part = getattr(info.params, section)
        part = type(part).model_validate(part.model_dump() | changes)
        changes = {"params": info.params.model_copy(update={section: part})}
    model = dataclasses.replace(trained, info=info.model_copy(update=changes))
    with pytest.raises(MurmurError, match=f"^{message}"):
        export_model(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_too_large_are_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(MurmurError, match=r"^train\.model cnn: its weights have .* lower final\.ensemble"):
        export_model(trained, tmp_path / "model.onnx")


def test_an_onnx_file_is_not_exported_again(exported, tmp_path):
    with pytest.raises(MurmurError, match=r"^--model: is already an ONNX file"):
        export_model(load_model(exported), tmp_path / "model.onnx")


def test_a_file_that_differs_from_torch_is_not_written(trained, exported, tmp_path, monkeypatch):
    model = onnx.load(exported)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    bias = next(w for w in loop.attribute[0].g.initializer if w.name.endswith("0.network.10.bias"))
    bias.raw_data = np.array([1, 0, 0], np.float32).tobytes()
    monkeypatch.setattr(onnx_export, "_make_file", lambda *_: model)
    with pytest.raises(MurmurError, match=r"not written: its probabilities differ from torch's by 0\.[0-9]"):
        export_model(trained, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def change(model, how):
    """Change a model in a way that must be noticed."""
    if how == "foreign":
        del model.metadata_props[:]
    elif how == "weights":
        weights = next(w for w in model.graph.initializer if w.name == "filter_0")
        weights.raw_data = bytes(len(weights.raw_data))
    elif how == "schema":
        info = next(e for e in model.metadata_props if e.key == INFO)
        info.value = info.value.replace('"schema_version": 2', '"schema_version": 99')
    elif how == "external":
        weights = next(w for w in model.graph.initializer if w.name == "filter_0")
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value="/etc/passwd")
        next(e for e in model.metadata_props if e.key == SHA256).value = hash_graph(model)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("foreign", "not a model of murmur"),
        ("weights", "has changed since it was written"),
        ("schema", "schema 99; this version of murmur reads 2"),
        ("external", "weights in other files, which are not used"),
    ],
)
def test_a_changed_file_is_refused(exported, tmp_path, how, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(change(onnx.load(exported), how))
    with pytest.raises(MurmurError, match=rf"model\.onnx: .*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `murmur export model.onnx` makes one"),
        (b"", "not a model of murmur"),
        (b"some text\n" * 9, "not an ONNX file, or damaged"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(MurmurError, match=message):
        murmur.load_model(tmp_path / "model.onnx")


def test_a_file_that_is_cut_short_is_refused(exported, tmp_path):
    (tmp_path / "model.onnx").write_bytes(exported.read_bytes()[:-1000])
    with pytest.raises(MurmurError, match=r"not an ONNX file, or damaged|not a model of murmur"):
        load_model(tmp_path / "model.onnx")


def test_the_command_reports_what_it_wrote(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("murmur.inference.loading.load_model", lambda _: trained)
    monkeypatch.setattr(onnx_export, "export_model", lambda _, out: out.write_bytes(b"x" * 200_000) * 1e-10)
    export.export_onnx(tmp_path / "m.onnx")
    assert "m.onnx: 0.2 MB" in (text := capsys.readouterr().out) and "2e-05 (allowed: 0.0001)" in text
    with pytest.raises(MurmurError, match=r"m\.pt: name a file with the ending \.onnx"):
        export.export_onnx(tmp_path / "m.pt")


def test_onnxruntime_sends_no_usage_data(tmp_path):
    """It would write its queue below the home folder as soon as it is imported."""
    code = "import murmur.inference.onnx_model, os, pathlib; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    keys = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    keys = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | keys
    done = subprocess.run([sys.executable, "-c", code], env=keys, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1" and not list(tmp_path.iterdir())
