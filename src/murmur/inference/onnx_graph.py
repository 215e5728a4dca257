"""The ONNX graph from the waveform of a recording to probabilities."""

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import compose, helper, numpy_helper, parser
from PIL.Image import Resampling, fromarray
from scipy.signal import sosfilt
from torch import nn
from torch.nn import functional as F

from murmur.errors import MurmurError
from murmur.evaluation.calibration import SMALLEST
from murmur.features.bandpass import design_bandpass
from murmur.features.images import make_colours
from murmur.features.log_mel import AMIN, EPSILON, LogMel
from murmur.sections.clean import Bandpass, Clean
from murmur.sections.mel import Image, Mel
from murmur.sections.segment import Segment

OPSET = 20
BLOCK = 64  # samples of the output of the filter that are computed by one row of a matrix product
REST = 1e-9  # sum of the absolute values of the impulse response after the last tap
MAX_TAPS = 2**16

Arrays = dict[str, np.ndarray]


def build_graph(
    clean: Clean, segment: Segment, mel: Mel, rule: str, classifiers: Sequence[nn.Module]
) -> onnx.ModelProto:
    """Build the graph from the waveform of a recording to the probabilities of its segments.

    Parameters
    ----------
    clean, segment, mel
        Sections of params.yaml. `clean.denoise` is ignored.
    rule : str
        `evaluate.rule`, by which the probabilities of the segments are pooled.
    classifiers : sequence of nn.Module
        The networks, each from features to logits.

    Returns
    -------
    onnx.ModelProto
        Input `waveform`, float32 [samples], at `clean.sample_rate`. Outputs `probabilities`, float32
        [segments, classes], `starts`, float64 [segments], s, and `recording`, float64 [classes], the pooled
        probabilities (NaN without a segment).

    Raises
    ------
    MurmurError
        If the impulse response of the filter is longer than `MAX_TAPS`.

    Notes
    -----
    The forward-backward filter is computed as two convolutions with the impulse response of the filter, which
    is cut off where the sum of the rest is below `REST`. The initial states of `apply_bandpass` are those of
    a signal that is constant before its first sample (backward: after its last sample), so the convolutions
    extend the signal by a constant, and the result is the same up to the end of the recording.

    The segments are computed one after the other (operator Loop), so that the memory in use does not grow
    with the length of the recording.
    """
    rate = clean.sample_rate
    lines, arrays = _filter_lines(rate, clean.bandpass)
    text = [
        *lines,
        *_gain_lines(clean.normalise),
        *_segment_lines(segment, rate, arrays),
        *_pooling_lines(rule),
    ]
    signal = "signal" if clean.bandpass or clean.normalise != "none" else "waveform"
    body = _segment_graph(segment, rate, mel, classifiers, signal)
    graph = parser.parse_graph(
        "murmur (float[samples] waveform) => (float[segments, classes] probabilities, double[segments] starts, "
        "double[classes] recording) {\n" + "\n".join(text) + "\n}"
    )
    classes = body.output[1].type.tensor_type.shape.dim[0].dim_value
    arrays |= {name: np.array([value]) for name, value in NUMBERS.items()}
    arrays |= {"no_row": np.zeros((1, classes)), "rate": np.array(float(rate)), "i1": np.array(1)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in arrays.items())
    for output, axis in ((graph.output[0], 1), (graph.output[2], 0)):
        output.type.tensor_type.shape.dim[axis].dim_value = classes
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    loop.attribute.append(helper.make_attribute("body", body))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


NUMBERS = {"zero": 0, "one": 1, "minus_one": -1, "two_d": 2.0, "lowest": -(2**63), "highest": 2**63 - 1}


def _filter_lines(rate: int, band: Bandpass | None) -> tuple[list[str], Arrays]:
    """Return the operations of `apply_bandpass`, from `waveform` to `filtered`, and their constants."""
    if band is None:
        return ["filtered = Cast <to = 11> (waveform)", "n = Shape (waveform)"], {}
    sections, _ = design_bandpass(rate, band)
    response = _impulse_response(sections, band)
    n_blocks = -(-(len(response) - 1) // BLOCK)
    lag = (n_blocks - np.arange(n_blocks + 1))[:, None, None] * BLOCK
    lag = lag + np.arange(BLOCK) - np.arange(BLOCK)[:, None]
    matrices = np.where((lag >= 0) & (lag < len(response)), response[lag % len(response)], 0)
    arrays = {f"filter_{k}": matrix for k, matrix in enumerate(matrices)}
    arrays |= {"n_pad": np.array([3 * (2 * len(sections) + 1)]), "block": np.array([BLOCK])}
    arrays |= {"n_before": np.array([n_blocks * BLOCK]), "rest": np.zeros(BLOCK)}
    arrays |= {"rows": np.array([-1, BLOCK]), "n_blocks": np.array([n_blocks])}
    arrays |= {f"block_{k}": np.array([k]) for k in range(n_blocks + 1)}
    return [
        "n = Shape (waveform)",
        "x = Cast <to = 11> (waveform)",
        "n_but_one = Sub (n, one)",
        "pad = Min (n_pad, n_but_one)",
        *_flip("x", "backwards"),
        "left_start = Sub (n_but_one, pad)",
        "left = Slice (backwards, left_start, n_but_one)",
        "right_end = Add (pad, one)",
        "right = Slice (backwards, one, right_end)",
        "first = Slice (x, zero, one)",
        "last = Slice (backwards, zero, one)",
        "two_first = Mul (first, two_d)",
        "two_last = Mul (last, two_d)",
        "odd_left = Sub (two_first, left)",
        "odd_right = Sub (two_last, right)",
        "extended = Concat <axis = 0> (odd_left, x, odd_right)",
        *_convolution("extended", "forward", n_blocks),
        *_flip("forward", "forward_flipped"),
        *_convolution("forward_flipped", "backward_flipped", n_blocks),
        *_flip("backward_flipped", "both"),
        "pad_and_n = Add (pad, n)",
        "filtered = Slice (both, pad, pad_and_n)",
    ], arrays


def _impulse_response(sections: np.ndarray, band: Bandpass) -> np.ndarray:
    """Compute the impulse response until the sum of the rest is below `REST`."""
    impulse = np.zeros(2 * MAX_TAPS)
    impulse[0] = 1
    response = sosfilt(sections, impulse)
    rest = np.abs(response)[::-1].cumsum()[::-1]
    n_taps = int((rest >= REST).sum())
    if n_taps > MAX_TAPS:
        raise MurmurError(
            f"clean.bandpass: the impulse response of order {band.order}, {band.low:g}-{band.high:g} Hz, is longer "
            f"than {MAX_TAPS} samples, too long for ONNX; lower order, or move low and high apart"
        )
    return response[:n_taps]


def _flip(source: str, target: str) -> list[str]:
    return [f"{target} = Slice ({source}, minus_one, lowest, zero, minus_one)"]


def _convolution(source: str, target: str, n_blocks: int) -> list[str]:
    """Return the causal convolution of a signal that is constant before its first sample, in blocks."""
    s = f"{target}_"
    lines = [
        f"{s}size = Shape ({source})",
        f"{s}first = Slice ({source}, zero, one)",
        f"{s}before = Expand ({s}first, n_before)",
        f"{s}long = Concat <axis = 0> ({s}before, {source}, rest)",
        f"{s}full = Div ({s}size, block)",
        f"{s}count = Add ({s}full, one)",
        f"{s}all = Add ({s}count, n_blocks)",
        f"{s}stop = Mul ({s}all, block)",
        f"{s}cut = Slice ({s}long, zero, {s}stop)",
        f"{s}rows = Reshape ({s}cut, rows)",
    ]
    total = ""
    for k in range(n_blocks + 1):
        lines += [
            f"{s}end_{k} = Add ({s}count, block_{k})",
            f"{s}part_{k} = Slice ({s}rows, block_{k}, {s}end_{k})",
            f"{s}product_{k} = MatMul ({s}part_{k}, filter_{k})",
        ]
        lines += [f"{s}sum_{k} = Add ({total}, {s}product_{k})"] if total else []
        total = f"{s}sum_{k}" if total else f"{s}product_{k}"
    return [
        *lines,
        f"{s}flat = Reshape ({total}, minus_one)",
        f"{target} = Slice ({s}flat, zero, {s}size)",
    ]


def _gain_lines(normalise: str) -> list[str]:
    """Return the operations of the normalisation, from `filtered` to `signal`."""
    level = {
        "none": [],
        "peak": ["sizes = Abs (filtered)", "level = ReduceMax (sizes)"],
        "rms": ["squares = Mul (filtered, filtered)", "power = ReduceMean (squares)", "level = Sqrt (power)"],
    }[normalise]
    if not level:
        return ["signal = Cast <to = 1> (filtered)"]
    return [
        *level,
        "nothing = Constant <value = double[1] {0.0}> ()",
        "unit = Constant <value = double[1] {1.0}> ()",
        "has_level = Greater (level, nothing)",
        "divisor = Where (has_level, level, unit)",
        "normalised = Div (filtered, divisor)",
        "signal = Cast <to = 1> (normalised)",
    ]


def _segment_lines(options: Segment, rate: int, arrays: Arrays) -> list[str]:
    """Return the operations of `cut_segments` and of the networks, from `signal` to `probabilities`."""
    length = round(options.length * rate)
    minimum = length if options.short == "drop" else min(length, max(1, round(options.min_length * rate)))
    arrays |= {
        "length": np.array([length]),
        "step": np.array(max(1, round(length * (1 - options.overlap)))),
        "minimum": np.array([minimum]),
        "i0": np.array(0),
        "always": np.array(True),
    }
    lines = [
        "n_whole = Sub (n, length)",
        "n_next = Add (n_whole, step)",
        "stops = Max (n_next, one)",
        "stop = Squeeze (stops)",
        "all_starts = Range (i0, stop, step)",
        "remaining = Sub (n, all_starts)",
        "cut_sizes = Min (remaining, length)",
        "is_long = GreaterOrEqual (cut_sizes, minimum)",
        "long_starts = Compress <axis = 0> (all_starts, is_long)",
    ]
    if options.first is None or options.first_of:
        lines += ["first_samples = Identity (long_starts)"]
    else:
        arrays["n_first"] = np.array([options.first])
        lines += ["first_samples = Slice (long_starts, zero, n_first)"]
    return [
        *lines,
        "start_numbers = Cast <to = 11> (first_samples)",
        "starts = Div (start_numbers, rate)",
        "n_segments = Size (first_samples)",
        "probabilities = Loop (n_segments, always)",
    ]


def _pooling_lines(rule: str) -> list[str]:
    """Return the operations of `pool_probabilities`, from `probabilities` to `recording`."""
    lines = ["values = Cast <to = 11> (probabilities)"]
    if rule == "maximum":
        return [
            *lines,
            "with_zeros = Concat <axis = 0> (no_row, values)",
            "maximum = ReduceMax <keepdims = 0> (with_zeros, zero)",
            "total = ReduceSum (maximum)",
            "recording = Div (maximum, total)",
        ]
    source, target = ("logits", "mean") if rule == "mean_logit" else ("values", "recording")
    return [
        *lines,
        *([f"tiny = Constant <value = double[1] {{{SMALLEST}}}> ()"] if rule == "mean_logit" else []),
        *(["limited = Max (values, tiny)", "logits = Log (limited)"] if rule == "mean_logit" else []),
        f"sums = ReduceSum <keepdims = 0> ({source}, zero)",
        "count = Cast <to = 11> (n_segments)",
        f"{target} = Div (sums, count)",
        *(["recording = Softmax <axis = 0> (mean)"] if rule == "mean_logit" else []),
    ]


def _segment_graph(
    options: Segment, rate: int, mel: Mel, classifiers: Sequence[nn.Module], signal: str
) -> onnx.GraphProto:
    """Return the graph from the first sample of a segment, int64, to its probabilities [classes]."""
    length = round(options.length * rate)
    network = _export(SegmentClassifier(rate, mel, length, classifiers).eval(), length)
    network = compose.add_prefix_graph(network, "segment_")
    index = {
        "wrap": ["place = Mod (offset, size)", "sample = Add (first_sample, place)"],
        "pad": [
            "all_samples = Add (first_sample, offset)",
            "end = Sub (n, one)",
            "sample = Min (all_samples, end)",
        ],
    }["wrap" if options.short == "wrap" else "pad"]
    lines = [
        "go_on_again = Identity (go_on)",
        "first_sample = Gather (first_samples, k)",
        "remaining_samples = Sub (n, first_sample)",
        "size = Min (remaining_samples, length)",
        "length_number = Squeeze (length)",
        "offset = Range (i0, length_number, i1)",
        *index,
        f"samples_there = Gather ({signal}, sample)",
        "is_recorded = Less (offset, size)" if options.short != "wrap" else "",
        "silence = Constant <value = float[1] {0.0}> ()",
        "segment = Where (is_recorded, samples_there, silence)"
        if options.short != "wrap"
        else "segment = Identity (samples_there)",
        f"{network.input[0].name} = Unsqueeze (segment, zero)",
    ]
    graph = parser.parse_graph(
        "segment (int64 k, bool go_on) => (bool go_on_again) {\n" + "\n".join(filter(None, lines)) + "\n}"
    )
    graph.node.extend(network.node)
    graph.initializer.extend(network.initializer)
    graph.output.extend(network.output)
    return graph


def _export(module: nn.Module, length: int) -> onnx.GraphProto:
    """Export a module whose input is one segment."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(1, length),),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    assert not model.functions and all(o.domain == "" for o in model.opset_import if o.domain)
    return model.graph


class SegmentClassifier(nn.Module):
    """From the samples of a segment to the mean of the probabilities of all networks.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    options : Mel
        Section `mel` of params.yaml.
    length : int
        Samples of a segment.
    classifiers : sequence of nn.Module
        The networks, each from features to logits.
    """

    def __init__(self, rate: int, options: Mel, length: int, classifiers: Sequence[nn.Module]):
        super().__init__()
        self.features = Features(rate, options, length)
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [1, length] to probabilities [classes]."""
        features = self.features(x)
        p = [classifier(features).softmax(dim=1) for classifier in self.classifiers]
        return torch.stack(p).mean(dim=0)[0]


class Features(nn.Module):
    """The features of a segment, as `murmur.features.mel.make_transform`, rounded as they are stored."""

    def __init__(self, rate: int, options: Mel, length: int):
        super().__init__()
        self.options = options
        self.log_mels = nn.ModuleList(
            LogMelLayer(LogMel(rate, options, *window)) for window in options.windows
        )
        frames = 1 + (length + 2 * (options.n_fft // 2) - options.n_fft) // min(h for _, h in options.windows)
        self.n_frames = frames
        self.image = ImageLayer(options.image, options.n_mels, frames) if options.image else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [1, length] to features [1, channels, n_mels, frames]."""
        log = torch.cat([self._pad(log_mel(x)) for log_mel in self.log_mels])
        if self.options.normalise == "minmax":
            log = _minmax(log)
        if self.image is not None:
            return self.image(log)[None]
        return (log.half().float() if self.options.dtype == "float16" else log)[None]

    def _pad(self, log: torch.Tensor) -> torch.Tensor:
        """Append frames to a spectrogram [1, n_mels, frames], as `murmur.features.mel`."""
        n_more = self.n_frames - log.shape[2]
        if not n_more:
            return log
        value = log.max()
        if self.options.fill == "floor":
            low = log.min()
            top_db = self.options.top_db if self.options.scale == "db" else None
            value = low if top_db is None else torch.where(low < value, value - top_db, low)
        return torch.cat([log, value.expand(1, log.shape[1], n_more)], dim=2)


class LogMelLayer(nn.Module):
    """The log-mel spectrogram of `LogMel`; the Fourier transform is a convolution."""

    window: torch.Tensor
    bank: torch.Tensor

    def __init__(self, transform: LogMel):
        super().__init__()
        self.options, self.hop = transform.options, transform.hop_length
        self.silence = transform.silence()
        n_fft = self.options.n_fft
        used = np.flatnonzero(transform.window)
        self.first, stop = int(used[0]), int(used[-1]) + 1
        angles = -2 * np.pi * np.outer(np.arange(n_fft)[transform.bins], np.arange(self.first, stop)) / n_fft
        waves = np.concatenate([np.cos(angles), np.sin(angles)]) * transform.window[self.first : stop]
        self.last = n_fft - stop
        self.register_buffer("waves", torch.from_numpy(waves[:, None]).float())
        self.register_buffer("bank", torch.from_numpy(transform.bank.T.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [1, length] to a spectrogram [1, n_mels, frames]."""
        half, n = self.options.n_fft // 2, x.shape[1]
        padded = F.pad(x[None], (half, half), "reflect" if self.options.edges == "reflect" else "constant")
        padded = padded[:, :, self.first : n + 2 * half - self.last]
        real, imaginary = F.conv1d(padded, self.waves, stride=self.hop).chunk(2, dim=1)
        power = self.bank @ (real.square() + imaginary.square())
        return self._to_log(torch.where(x.max() > x.min(), power, torch.zeros(())))

    def _to_log(self, power: torch.Tensor) -> torch.Tensor:
        """Take the logarithm of the power, relative to the reference."""
        o = self.options
        if o.scale == "ln_plus":
            return torch.log(power + float(EPSILON))
        reference = power.max() if o.reference == "max" else torch.tensor(float(o.reference))
        log = torch.log(power.clamp(min=AMIN)) - torch.log(reference.clamp(min=AMIN))
        if o.scale == "db":
            log = log * (10 / np.log(10))
            if o.top_db is not None:
                log = torch.maximum(log, log.max() - o.top_db)
        return log if o.reference != "max" else torch.where(reference > AMIN, log, self.silence)


class ImageLayer(nn.Module):
    """Colour images, as `murmur.features.images.render_images`; pillow's resizing is two matrix products."""

    colours: torch.Tensor
    wide: torch.Tensor
    high: torch.Tensor

    def __init__(self, options: Image, mels: int, frames: int):
        super().__init__()
        self.register_buffer("colours", torch.from_numpy(make_colours(options.colours).astype(np.float32)))
        for name, n in (("wide", frames), ("high", mels)):
            identity = fromarray(np.eye(n, dtype=np.float32))
            weights = np.asarray(identity.resize((options.size, n), Resampling.BILINEAR)).copy()
            self.register_buffer(name, torch.from_numpy(weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a spectrogram [1, n_mels, frames] to an image [3, size, size] of values 0 to 255."""
        image = self.colours[(_minmax(x)[0] * 255).round().long()].permute(2, 0, 1)
        image = (image @ self.wide + 0.5).floor()
        return (self.high.T @ image + 0.5).floor()


def _minmax(x: torch.Tensor) -> torch.Tensor:
    low, high = x.min(), x.max()
    return (x - low) / torch.where(high > low, high - low, torch.ones(()))
