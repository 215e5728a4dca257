"""Export of a model to one ONNX file."""

from pathlib import Path

import numpy as np
import onnx
from onnx import checker, helper

from murmur.errors import MurmurError
from murmur.features.one_recording import clean_recording
from murmur.files import atomic_write
from murmur.inference.model_info import ModelInfo
from murmur.inference.networks import TorchNetworks
from murmur.inference.onnx_graph import build_graph
from murmur.inference.onnx_model import INFO, SHA256, OnnxNetwork, hash_graph
from murmur.inference.prediction import Model
from murmur.inference.recording import Recording

TOLERANCE = 1e-4  # largest difference of a probability from torch's
LENGTHS = (0.4, 1.0, 1.7, 4.3)  # of the recordings of the comparison, in segments
MAX_BYTES = 2**31 - 2**27  # of weights; protobuf limits a file to 2 GiB


def export_model(model: Model, out: str | Path) -> float:
    """Write a model as one ONNX file, after a comparison of its probabilities with torch's.

    The graph contains the whole computation from the waveform of a recording, at the model's sample rate, to
    the probabilities of its segments. The content of model.json is in the metadata of the file.

    Parameters
    ----------
    model : Model
        From `load_model`, of a model folder.
    out : path-like
        The file to write.

    Returns
    -------
    float
        The largest difference from torch's probabilities for simulated recordings of several lengths.

    Raises
    ------
    MurmurError
        If the model has something that cannot be exported; the message names the parameter. If a difference
        is above `TOLERANCE`. Nothing is written then.

    Examples
    --------
    >>> export_model(murmur.load_model("models/murmur"), "murmur.onnx")
    """
    networks = check_exportable(model)
    proto = _make_file(model.info, networks)
    content = proto.SerializeToString(deterministic=True)
    checker.check_model(content, full_check=True)
    difference = _compare(networks, OnnxNetwork(model.info, content, out), model.info)
    if not difference <= TOLERANCE:
        raise MurmurError(
            f"{out}: not written: its probabilities differ from torch's by {difference:.1g}, more than "
            f"{TOLERANCE:g}; if the network is very sensitive to the rounding of its input, train with "
            "mel.dtype: float32"
        )
    with atomic_write(out) as part:
        part.write_bytes(content)
    return difference


def check_exportable(model: Model) -> TorchNetworks:
    """Return the networks of a model, or raise an error that names what cannot be exported.

    Parameters
    ----------
    model : Model
        The model.

    Raises
    ------
    MurmurError
        If the model cannot be exported.
    """
    params = model.info.params
    if not isinstance(model.network, TorchNetworks):
        raise MurmurError("--model: is already an ONNX file; name a model folder")
    if params.clean.denoise:
        raise MurmurError("clean.denoise: noise reduction cannot be exported; train with clean.denoise: null")
    if params.train.features != "mel":
        raise MurmurError(
            "train.features: embeddings of a pretrained encoder cannot be exported; train with "
            "train.features: mel"
        )
    if model.info.level == "patient":
        raise MurmurError(
            "train.model.sites: a network that predicts patients from several recordings cannot be exported; "
            "train one that predicts segments"
        )
    weights = (w for classifier in model.network.classifiers for w in classifier.state_dict().values())
    if (size := sum(w.nbytes for w in weights)) > MAX_BYTES:
        raise MurmurError(
            f"train.model {params.train.model.name}: its weights have {size / 2**30:.1f} GiB, more than an "
            f"ONNX file can hold ({MAX_BYTES / 2**30:.1f} GiB); lower final.ensemble, or choose a smaller "
            "network"
        )
    return model.network


def _make_file(info: ModelInfo, networks: TorchNetworks) -> onnx.ModelProto:
    """Build the graph, with the description of the model in the metadata."""
    p = info.params
    proto = build_graph(p.clean, p.segment, p.mel, p.evaluate.rule, networks.classifiers)
    proto.producer_name, proto.producer_version = "murmur", info.murmur
    proto.doc_string = (
        f"Classes: {', '.join(info.classes)}. Input: waveform at {p.clean.sample_rate} Hz, in [-1, 1]. "
        f"Outputs: uncalibrated probabilities of each segment of {p.segment.length:g} s, the start of each "
        f"segment in s, uncalibrated probabilities of the recording. {info.intended_use}"
    )
    helper.set_model_props(proto, {INFO: info.to_json(), SHA256: hash_graph(proto)})
    return proto


def _compare(networks: TorchNetworks, network: OnnxNetwork, info: ModelInfo) -> float:
    """Return the largest difference of an output; infinity if the segments are not the same."""
    rate, length = info.params.clean.sample_rate, info.params.segment.length
    differences = [0.0]
    for segments in LENGTHS:
        samples = _simulate(round(segments * length * rate), rate)
        recording = Recording(samples, rate, clean_recording(samples, rate, info.params), None)
        expected, found = (n.predict_segments(recording) for n in (networks, network))
        if len(expected.starts) != len(found.starts) or not np.allclose(expected.starts, found.starts):
            return np.inf
        pairs = [(a, b) for a, b in zip(expected, found, strict=True) if a is not None and b is not None]
        differences += [np.abs(a - b).max(initial=0) for a, b in pairs]
    return float(np.max(differences))


def _simulate(n: int, rate: int) -> np.ndarray:
    """Simulate a recording, shape (n,): two heart sounds of 50 Hz in each second, and noise."""
    time = np.arange(n) / rate
    beats = np.exp(-(((time % 1 - 0.1) / 0.03) ** 2)) + 0.7 * np.exp(-(((time % 1 - 0.4) / 0.02) ** 2))
    noise = np.random.default_rng(0).normal(size=n)
    return (0.5 * beats * np.sin(2 * np.pi * 50 * time) + 0.02 * noise).astype(np.float32)
