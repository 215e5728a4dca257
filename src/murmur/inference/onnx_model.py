"""A trained model in an ONNX file, computed by onnxruntime without torch."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: onnxruntime would send usage data to Microsoft
import onnxruntime

from murmur.errors import MurmurError, first_line
from murmur.features.cleaning import clean_signal
from murmur.inference.model_info import ModelInfo, parse_model_info
from murmur.inference.recording import Recording, SegmentOutput

INFO, SHA256 = "murmur", "graph_sha256"  # keys of the metadata
MAKE = "make it again: murmur export"


class OnnxNetwork:
    """The networks of an ONNX file, a `Network`.

    Parameters
    ----------
    info : ModelInfo
        The description of the model.
    content : bytes
        Content of the file.
    path : path-like
        The file, for error messages.

    Raises
    ------
    MurmurError
        If onnxruntime cannot read the file.

    Notes
    -----
    A recording is computed by one thread, so that the result does not depend on the number of cores. Several
    threads may call one object at the same time.
    """

    def __init__(self, info: ModelInfo, content: bytes, path: str | Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # The default order computes all parts of the filter before it adds them, in three times the memory.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.log_severity_level = 3  # errors
        self.clean = info.params.clean.model_copy(
            update={"denoise": None, "bandpass": None, "normalise": "none"}
        )
        try:
            self.session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of onnxruntime have no common class
            raise MurmurError(f"{path}: onnxruntime cannot read it ({first_line(error)}); {MAKE}") from error
        names = {output.name for output in self.session.get_outputs()}
        self.outputs = [name for name in SegmentOutput._fields if name in names]

    def predict_segments(self, recording: Recording) -> SegmentOutput:
        """Compute the output for each segment."""
        rate = self.clean.sample_rate
        n_samples = -(-len(recording.samples) * rate // recording.rate)
        waveform = clean_signal(recording.samples, recording.rate, self.clean, n_samples)  # only resampled
        outputs: Any = self.session.run(self.outputs, {"waveform": waveform})
        return SegmentOutput(**dict(zip(self.outputs, (x.astype(float) for x in outputs), strict=True)))

    def predict_patient(self, recordings: Sequence[Recording]) -> NoReturn:
        """Raise an error: networks that predict patients are not exported."""
        raise NotImplementedError


def load_onnx(path: str | Path) -> tuple[ModelInfo, OnnxNetwork]:
    """Load a file from `murmur export`.

    Nothing in the file is executed except the operators of ONNX, and no other file is read.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    info : ModelInfo
        The description of the model.
    network : OnnxNetwork

    Raises
    ------
    MurmurError
        If the file is missing or damaged, was written by another program or a newer version of murmur, or
        refers to other files.
    """
    path = Path(path)
    if not path.is_file():
        raise MurmurError(f"{path}: no such file; `murmur export {path.name}` makes one of a model folder")
    content = path.read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # DecodeError of protobuf
        raise MurmurError(f"{path}: not an ONNX file, or damaged; copy it again, or {MAKE}") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if not {INFO, SHA256} <= set(metadata):
        raise MurmurError(f"{path}: not a model of murmur: it has no description; {MAKE}")
    info = parse_model_info(metadata[INFO], path)
    if model.functions or any(tensor.external_data for tensor in _list_tensors(model.graph)):
        raise MurmurError(f"{path}: has functions, or weights in other files, which are not used; {MAKE}")
    if hash_graph(model) != metadata[SHA256]:
        raise MurmurError(f"{path}: has changed since it was written; copy it again, or {MAKE}")
    return info, OnnxNetwork(info, content, path)


def hash_graph(model: onnx.ModelProto) -> str:
    """Compute the SHA-256 of the graph with its weights."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def _list_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """List all constants of a graph and of the graphs in it."""
    yield from graph.initializer
    yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        if attribute.HasField("g"):
            yield from _list_tensors(attribute.g)
        for inner in attribute.graphs:
            yield from _list_tensors(inner)
