"""The ONNX graph from the waveform of a recording to probabilities.

The parts that do not depend on the weights are written in the text format of ONNX; torch exports the
computation of one segment.
"""

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnxscript  # noqa: F401 (torch.onnx.export needs it)
import torch
from onnx import compose, helper, numpy_helper, parser
from scipy.signal import sosfilt
from torch import nn

from murmur.errors import MurmurError
from murmur.evaluation.temperature import SMALLEST
from murmur.features.bandpass import design_bandpass
from murmur.features.segmentation import compute_sizes
from murmur.inference.recording import SegmentOutput
from murmur.inference.segment_layers import SegmentClassifier
from murmur.sections.clean import Bandpass, Clean
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment

OPSET, IR_VERSION = 20, 10
BLOCK = 64  # samples that one row of a matrix product filters
REST = 1e-9  # sum of the absolute values of the impulse response after the last tap
MAX_TAPS = 2**16
OUTPUTS = [name for name in SegmentOutput._fields if name != "starts"]  # of the networks

Part = tuple[str, dict[str, np.ndarray]]  # operations, a line each, and the constants in them


def build_graph(
    clean: Clean, segment: Segment, mel: Mel, rule: str, classifiers: Sequence[nn.Module]
) -> onnx.ModelProto:
    """Build the graph from the waveform of a recording to the probabilities of its segments.

    Parameters
    ----------
    clean, segment, mel
        Sections of params.yaml; `clean.denoise` is not computed.
    rule : str
        `evaluate.rule`, by which the probabilities of the segments are pooled.
    classifiers : sequence of nn.Module
        The networks, each from features to logits; their probabilities are averaged.

    Returns
    -------
    onnx.ModelProto
        Input `waveform`, float32 [samples], at `clean.sample_rate`. Outputs `probabilities`, float32
        [segments, classes], `starts`, float64 [segments], s, and `recording`, float64 [classes], the pooled
        probabilities (NaN without a segment). If the networks label frames, also the other outputs of
        `murmur.inference.recording.SegmentOutput`, float32.

    Raises
    ------
    MurmurError
        If the impulse response of the filter is longer than `MAX_TAPS`.

    Notes
    -----
    The forward-backward filter is computed as two convolutions with the impulse response of the filter, which
    is cut off where the sum of the rest is below `REST`. The initial states of `apply_bandpass` are those of
    a signal that is constant before its first sample (backward: after its last), so each convolution extends
    the signal by this constant, and the result is the same up to both ends of the recording.

    The segments are computed one after the other (operator Loop), so that only the signal itself needs more
    memory in longer recordings.
    """
    rate = clean.sample_rate
    is_changed = clean.bandpass is not None or clean.normalise != "none"
    body = _one_segment(segment, rate, mel, classifiers, "signal" if is_changed else "waveform")
    names = OUTPUTS[: len(body.output) - 1]
    parts = [_numbers(), _filter(rate, clean.bandpass), _normalisation(clean.normalise)]
    parts += [_segments(segment, rate, names), _pooling(rule)]
    lines, arrays = "\n".join(part[0] for part in parts), {k: v for part in parts for k, v in part[1].items()}
    graph = parser.parse_graph(
        "murmur (float[samples] waveform) => (float[segments, classes] probabilities, "
        f"double[segments] starts, double[classes] recording) {{ {lines} }}"
    )
    next(node for node in graph.node if node.op_type == "Loop").attribute.append(
        helper.make_attribute("body", body)
    )
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in arrays.items())
    sizes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in body.output[1:]]
    for axis, output in ((1, graph.output[0]), (0, graph.output[2])):
        output.type.tensor_type.shape.dim[axis].dim_value = sizes[0][0]
    for name, size in zip(names[1:], sizes[1:], strict=True):
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["segments", *size]))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _numbers() -> Part:
    """Return the number of samples, and constants of all parts."""
    values = {"minus_one": -1, "zero": 0, "one": 1, "lowest": -(2**63)}
    scalars = {"zero_scalar": np.array(0), "one_scalar": np.array(1), "nothing": np.array([0.0])}
    return "n = Shape (waveform)", {k: np.array([v]) for k, v in values.items()} | scalars


def _filter(rate: int, band: Bandpass | None) -> Part:
    """Compute `filtered` from `waveform`, as `apply_bandpass`."""
    if band is None:
        return "filtered = Cast <to = 11> (waveform)", {}
    sections, _ = design_bandpass(rate, band)
    matrices = _convolution_matrices(_impulse_response(sections, band))
    n_before = len(matrices) - 1
    arrays = {f"filter_{k}": matrix for k, matrix in enumerate(matrices)}
    arrays |= {f"block_{k}": np.array([k]) for k in range(len(matrices))}
    arrays |= {
        "two": np.array([2.0]),
        "n_pad": np.array([3 * (2 * len(sections) + 1)]),
        "block_size": np.array([BLOCK]),
        "rows": np.array([-1, BLOCK]),
        "n_before": np.array([n_before * BLOCK]),
        "zeros_after": np.zeros(BLOCK),
    }
    text = f"""
        x = Cast <to = 11> (waveform)
        n_but_one = Sub (n, one)
        pad = Min (n_pad, n_but_one)
        {_flip("x", "x_flipped")}
        left_start = Sub (n_but_one, pad)
        left = Slice (x_flipped, left_start, n_but_one)
        right_end = Add (pad, one)
        right = Slice (x_flipped, one, right_end)
        first = Slice (x, zero, one)
        twice_first = Mul (first, two)
        odd_left = Sub (twice_first, left)
        last = Slice (x_flipped, zero, one)
        twice_last = Mul (last, two)
        odd_right = Sub (twice_last, right)
        extended = Concat <axis = 0> (odd_left, x, odd_right)
        {_convolution("extended", "forward", n_before)}
        {_flip("forward", "forward_flipped")}
        {_convolution("forward_flipped", "backward", n_before)}
        {_flip("backward", "both")}
        pad_and_n = Add (pad, n)
        filtered = Slice (both, pad, pad_and_n)"""
    return text, arrays


def _impulse_response(sections: np.ndarray, band: Bandpass) -> np.ndarray:
    """Compute the impulse response until the sum of the rest is below `REST`."""
    impulse = np.zeros(2 * MAX_TAPS)
    impulse[0] = 1
    response = sosfilt(sections, impulse)
    rest = np.abs(response)[::-1].cumsum()[::-1]
    n_taps = int((rest >= REST).sum())
    if n_taps > MAX_TAPS:
        raise MurmurError(
            f"clean.bandpass: the impulse response of order {band.order}, {band.low:g}-{band.high:g} Hz, is "
            f"longer than {MAX_TAPS} samples, too long for ONNX; lower order, or move low and high apart"
        )
    return response[:n_taps]


def _convolution_matrices(response: np.ndarray) -> np.ndarray:
    """Return the matrices, shape (n, BLOCK, BLOCK), by which the last n blocks give a block of the output.

    Element [k, r, i] is the weight of sample r of block k in sample i of the output.
    """
    n_before = -(-(len(response) - 1) // BLOCK)
    place = np.arange(BLOCK)
    lag = (n_before - np.arange(n_before + 1))[:, None, None] * BLOCK + place - place[:, None]
    return np.where((lag >= 0) & (lag < len(response)), response[lag % len(response)], 0)


def _flip(x: str, y: str) -> str:
    return f"{y} = Slice ({x}, minus_one, lowest, zero, minus_one)"


def _convolution(x: str, y: str, n_before: int) -> str:
    """Compute `y`, the convolution of `x` with the impulse response; before its start `x` is constant."""
    text = f"""
        {y}_size = Shape ({x})
        {y}_first = Slice ({x}, zero, one)
        {y}_before = Expand ({y}_first, n_before)
        {y}_long = Concat <axis = 0> ({y}_before, {x}, zeros_after)
        {y}_full_blocks = Div ({y}_size, block_size)
        {y}_blocks = Add ({y}_full_blocks, one)
        {y}_all_blocks = Add ({y}_blocks, block_{n_before})
        {y}_stop = Mul ({y}_all_blocks, block_size)
        {y}_whole = Slice ({y}_long, zero, {y}_stop)
        {y}_rows = Reshape ({y}_whole, rows)
        {y}_sum_0 = Identity (nothing)"""
    for k in range(n_before + 1):
        text += f"""
        {y}_end_{k} = Add ({y}_blocks, block_{k})
        {y}_part_{k} = Slice ({y}_rows, block_{k}, {y}_end_{k})
        {y}_product_{k} = MatMul ({y}_part_{k}, filter_{k})
        {y}_sum_{k + 1} = Add ({y}_sum_{k}, {y}_product_{k})"""
    return f"""{text}
        {y}_flat = Reshape ({y}_sum_{n_before + 1}, minus_one)
        {y} = Slice ({y}_flat, zero, {y}_size)"""


def _normalisation(normalise: str) -> Part:
    """Compute `signal` from `filtered`: `clean.normalise`."""
    if normalise == "none":
        return "signal = Cast <to = 1> (filtered)", {}
    level = {
        "peak": "sizes = Abs (filtered) level = ReduceMax (sizes)",
        "rms": "squares = Mul (filtered, filtered) power = ReduceMean (squares) level = Sqrt (power)",
    }
    text = f"""
        {level[normalise]}
        has_level = Greater (level, nothing)
        divisor = Where (has_level, level, unit)
        normalised = Div (filtered, divisor)
        signal = Cast <to = 1> (normalised)"""
    return text, {"unit": np.array([1.0])}


def _segments(options: Segment, rate: int, outputs: Sequence[str]) -> Part:
    """Compute `starts` and the outputs of the segments, with the segments of `cut_segments`."""
    length, step, minimum = compute_sizes(options, rate)
    limit = 2**62 if options.first is None or options.first_of else options.first
    text = f"""
        after_last = Sub (n, length)
        after_last_start = Add (after_last, step)
        stop = Max (after_last_start, one)
        stop_scalar = Squeeze (stop)
        all_starts = Range (zero_scalar, stop_scalar, step)
        remaining = Sub (n, all_starts)
        lengths = Min (remaining, length)
        is_long = GreaterOrEqual (lengths, minimum)
        long_starts = Compress <axis = 0> (all_starts, is_long)
        first_samples = Slice (long_starts, zero, limit)
        first_numbers = Cast <to = 11> (first_samples)
        starts = Div (first_numbers, rate)
        n_segments = Size (first_samples)
        {", ".join(outputs)} = Loop (n_segments, always)"""
    return text, {
        "length": np.array([length]),
        "step": np.array(step),
        "minimum": np.array([minimum]),
        "limit": np.array([limit]),
        "rate": np.array(float(rate)),
        "always": np.array(True),
    }


def _pooling(rule: str) -> Part:
    """Compute `recording` from `probabilities`, as `pool_probabilities`."""
    if rule == "maximum":
        text = """
        p = Cast <to = 11> (probabilities)
        highest = ReduceMax <keepdims = 0> (p, zero)
        total = ReduceSum (highest)
        recording = Div (highest, total)"""
        return text, {}
    text = """
        p = Cast <to = 11> (probabilities)
        count = Cast <to = 11> (n_segments)
        """
    if rule != "mean_logit":
        return f"{text} sum = ReduceSum <keepdims = 0> (p, zero) recording = Div (sum, count)", {}
    return (
        f"""{text}
        limited = Max (p, smallest)
        logarithms = Log (limited)
        sum = ReduceSum <keepdims = 0> (logarithms, zero)
        mean = Div (sum, count)
        recording = Softmax <axis = 0> (mean)""",
        {"smallest": np.array([SMALLEST])},
    )


def _one_segment(
    options: Segment, rate: int, mel: Mel, classifiers: Sequence[nn.Module], signal: str
) -> onnx.GraphProto:
    """Return the body of the loop: from the number of a segment to the output of the networks.

    `signal` is named as the waveform if that is not changed: onnxruntime would remove the operations that
    change nothing, and not find their output here.
    """
    length = compute_sizes(options, rate).length
    module = SegmentClassifier(rate, mel, length, classifiers).eval()
    network = compose.add_prefix_graph(_export(module, length), "segment_")
    if options.short == "wrap":
        values = f"""
        place = Mod (offset, size)
        sample = Add (first_sample, place)
        segment = Gather ({signal}, sample)"""
    else:
        values = f"""
        any_sample = Add (first_sample, offset)
        last_sample = Sub (n, one)
        sample = Min (any_sample, last_sample)
        value = Gather ({signal}, sample)
        is_recorded = Less (offset, size)
        silence = Constant <value = float[1] {{0.0}}> ()
        segment = Where (is_recorded, value, silence)"""
    graph = parser.parse_graph(
        f"""segment (int64 k, bool go_on) => (bool goes_on) {{
        goes_on = Identity (go_on)
        first_sample = Gather (first_samples, k)
        rest = Sub (n, first_sample)
        size = Min (rest, length)
        length_scalar = Squeeze (length)
        offset = Range (zero_scalar, length_scalar, one_scalar)
        {values}
        {network.input[0].name} = Unsqueeze (segment, zero)
        }}"""
    )
    graph.node.extend(network.node)
    graph.initializer.extend(network.initializer)
    graph.output.extend(network.output)
    return graph


def _export(module: nn.Module, length: int) -> onnx.GraphProto:
    """Export a module from samples [1, length] to its outputs."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the inside of torch.export
        program = torch.onnx.export(
            module, (torch.zeros(1, length),), dynamo=True, opset_version=OPSET, verbose=False
        )
    if program is None or program.model_proto.functions:
        raise RuntimeError("torch.onnx.export: expected a graph without functions")
    return program.model_proto.graph
