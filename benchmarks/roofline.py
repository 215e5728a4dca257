"""What bounds a training on one CPU thread: the operations of a step against two limits of the processor.

    PYTHONPATH=src python benchmarks/roofline.py [--network NAME]... [--precision float32|bfloat16]

Measured first are the limits (the "roof"): the peak, which is the higher of the rates of a matrix product and
of a 3x3 convolution of 256 channels, and the bandwidth of a copy of 256 MiB. An operation that does I
floating-point operations for each byte of its inputs, weights and outputs can reach min(peak, I x bandwidth);
more only if its data are in the cache. A step is that of `fit_network`: batch, augmentation, mixup, forward,
loss, backward, optimizer; its time is the shortest of several. Then each operation within a step is timed;
convolutions and matrix products of the same shapes, forward and backward, are one row. Random data in memory
have the shape of the recipe. Times are processor times: other programs disturb them less.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from networks import CASES, Case, make_data, read_options
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from murmur.devices import single_thread
from murmur.training import fit
from murmur.training.live import Recorder

COPY, SECONDS = 2**28, 3.0  # bytes that are copied; for how long each step is repeated
KINDS = {  # parts of the names of operations
    "normalisation": ("batch_norm", "layer_norm"),
    "activation": ("relu", "threshold_backward", "sigmoid", "softmax"),
    "pooling": ("pool", "mean", "amax"),
    "random numbers": ("random_", "bernoulli"),
    "conversion and copies": ("_to_copy", "copy_", "clone"),
}


class Roof(NamedTuple):
    """The limits of one thread: floating-point operations per second, and bytes per second."""

    peak: float
    bandwidth: float


@dataclass
class Row:
    """Time, floating-point operations and bytes of some operations of a step; number of convolutions."""

    seconds: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    calls: int = 0


class OperationTimer(TorchDispatchMode):
    """Sum the times of the operations of a training step in `rows`, one for each layer or kind."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = defaultdict(Row)
        self.phase = "batch and augmentation"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.process_time()
        out = func(*args, **(kwargs or {}))
        seconds = time.process_time() - start
        count = flop_registry.get(func.overloadpacket)
        self.phase = "" if count else self.phase
        row = self.rows[describe_layer(func, args) if count else self.phase or find_kind(str(func))]
        row.seconds += seconds
        if count:
            row.flop += count(*args, **(kwargs or {}), out_val=out)
            row.bytes += sum(t.nbytes for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor))
            row.calls += str(func) == "aten.convolution.default"
        return out

    def enter_optimizer(self, *_: Any) -> None:
        self.phase = "optimizer"


def describe_layer(func: Any, args: Any) -> str:
    """Return the shapes of a convolution or matrix product, the same for forward and backward."""
    if "convolution" in str(func):
        x, weight, *rest = args[1:] if "backward" in str(func) else args
        size_out, size_in, *kernel = weight.shape
        _, stride, _, dilation = rest[:4]
        text = f"conv {'x'.join(map(str, kernel))} {size_in}-{size_out} on {'x'.join(map(str, x.shape[2:]))}"
        text += f" /{'x'.join(map(str, stride))}" if max(stride) > 1 else ""
        return text + (f" dilated {max(dilation)}" if max(dilation) > 1 else "")
    a, b = args[-2:] if "addmm" in str(func) else args[:2]
    return f"matrix product {' x '.join(map(str, sorted((*a.shape[-2:], b.shape[-1]))))}"


def find_kind(name: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other")


def shortest(function: Callable[[], Any], seconds: float = SECONDS) -> float:
    """Return the shortest time of a function that is called for some seconds, after one call more."""
    function()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measure_roof(precision: str) -> Roof:
    """Measure the limits of one thread, and print them."""
    dtype = getattr(torch, precision)
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    product = 2 * 2048**3 / shortest(partial(torch.mm, a, b), 1.0)
    shapes = (4, 256, 34, 34), (256, 256, 3, 3)
    x, weight = (torch.randn(shape).to(dtype, memory_format=torch.channels_last) for shape in shapes)
    convolution = 2 * 4 * 32**2 * weight.numel() / shortest(partial(F.conv2d, x, weight), 1.0)
    source = torch.ones(COPY // 4)
    bandwidth = 2 * COPY / shortest(partial(torch.empty_like(source).copy_, source), 1.0)
    roof = Roof(max(product, convolution), bandwidth)
    print(f"{precision}: matrix product {product / 1e9:.0f} GFLOP/s, ", end="")
    print(f"convolution {convolution / 1e9:.0f} GFLOP/s, ", end="")
    print(f"memory {bandwidth / 1e9:.1f} GB/s; equal at {roof.peak / bandwidth:.1f} FLOP/byte\n", flush=True)
    return roof


def prepare_step(case: Case, precision: str | None) -> tuple[fit.Loop, Callable[[], Any]]:
    """Return the training of a network, and a function that takes one step."""
    options = read_options(case, precision).model_copy(update={"epochs": 100_000})
    x, y, frames = make_data(case, options, options.batch_size)
    weights, units = torch.ones(case.classes), torch.arange(len(x))
    loop = fit._prepare_loop(x, y, None, frames, None, units.numpy(), options, weights, 0, Recorder(), None)
    loop.model.train()
    return loop, lambda: fit._train_batch(loop, units[torch.randperm(len(units))])


def time_operations(loop: fit.Loop, step: Callable[[], Any]) -> dict[str, Row]:
    """Return the rows of the fastest of several steps."""
    results, start = [], time.process_time()
    while len(results) < 2 or time.process_time() - start < SECONDS:
        timer = OperationTimer()
        hook = loop.optimizer.register_step_pre_hook(timer.enter_optimizer)
        with timer:
            step()
        hook.remove()
        results.append(timer.rows)
    return min(results, key=lambda rows: sum(row.seconds for row in rows.values()))


def print_table(rows: dict[str, Row], step: float, n: int, roof: Roof) -> None:
    """Print one row for each layer, and the sums of the other operations."""
    head = "ms", "share", "MFLOP", "of peak", "FLOP/byte", "of roof"
    print(
        f"{'of a step, forward and backward':44}{'{:>8}{:>7}{:>10}{:>9}{:>11}{:>9}'.format(*head)}  bound by"
    )
    rest = Row(step - sum(row.seconds for row in rows.values()))
    layers_first = sorted(rows.items(), key=lambda item: (0, 0) if item[1].flop else (1, -item[1].seconds))
    for name, row in [*layers_first, ("between the operations (Python, autograd)", rest)]:
        text = f"{name}, {row.calls} times" if row.calls > 1 else name
        text = f"{text:44}{1e3 * row.seconds:8.2f}{row.seconds / step:7.1%}"
        if row.flop:
            rate, intensity = row.flop / row.seconds, row.flop / row.bytes
            limit = min(roof.peak, intensity * roof.bandwidth)
            text += f"{row.flop / n / 1e6:10.2f}{rate / roof.peak:9.1%}{intensity:11.1f}{rate / limit:9.0%}"
            text += "  compute" if limit == roof.peak else "  memory"
        print(text)
    print(flush=True)


def analyse(name: str, precision: str | None, roofs: dict[str, Roof]) -> None:
    """Print the table of one network."""
    loop, step = prepare_step(CASES[name], precision)
    precision, n = loop.options.precision, loop.options.batch_size
    if precision not in roofs:
        roofs[precision] = measure_roof(precision)
    seconds, rows = shortest(step), time_operations(loop, step)
    flop, parameters = sum(row.flop for row in rows.values()), sum(p.numel() for p in loop.model.parameters())
    print(f"{name}: {parameters:,} parameters, batches of {n}, {precision}")
    print(f"{n / seconds:,.1f} samples/s, {flop / n / 1e6:,.1f} MFLOP per sample, ", end="")
    print(f"{flop / seconds / 1e9:.1f} GFLOP/s, {flop / seconds / roofs[precision].peak:.1%} of the peak")
    print_table(rows, seconds, n, roofs[precision])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", action="append", choices=CASES, help="default: all")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: that of the recipe")
    arguments = parser.parse_args()
    roofs: dict[str, Roof] = {}
    with single_thread():
        for name in arguments.network or CASES:
            analyse(name, arguments.precision, roofs)


if __name__ == "__main__":
    main()
