"""Speed of a training, one thread: `fit_network` compared with plain PyTorch loops, in samples per second.

    PYTHONPATH=src python benchmarks/train.py [--network NAME]... [--precision float32|bfloat16]

murmur trains with all that the recipe has: augmentation, mixup, clipping, its precision. The plain loop has
none of them: a DataLoader without worker processes shuffles and stacks the standardised segments in memory
(TensorDataset of float32, NCHW); Adam trains the same network with its cross entropy (and, if the recipe has
them, with murmur's losses of the frames) in float32. PRECISION changes both. A second plain loop reads one
.npy file per segment; its files are in the memory of the operating system. For the default network and the
one that labels frames, the loops are repeated with the network and the batches of November 2026 ("earlier").
No loop scores a validation part.

Times are processor times of an epoch of random data, the shortest of several; the first epoch of each
training does not count. The trainings to compare alternate, and other programs disturb little.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import CASES, Case, Data, make_data, read_options
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models import vgg16

from murmur.devices import single_thread
from murmur.sections.train import Train
from murmur.training.classifier import IMAGENET
from murmur.training.fit import Fold, fit_network
from murmur.training.frame_losses import compute_frame_loss
from murmur.training.live import Recorder
from murmur.training.network import build, freeze

EPOCHS, REPEATS = 2, 2


class EpochTimer(Recorder):
    """Record the processor time at which each epoch begins, and that at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[float, float] = {}

    def record_position(self, epochs: float) -> None:
        if epochs == int(epochs):
            self.times[epochs] = time.process_time()


class SegmentFiles(Dataset):
    """One .npy file for each segment."""

    def __init__(self, folder: Path, *targets: torch.Tensor):
        self.folder, self.targets = folder, targets

    def __len__(self) -> int:
        return len(self.targets[0])

    def __getitem__(self, k: int) -> tuple[torch.Tensor, ...]:
        return torch.from_numpy(np.load(self.folder / f"{k}.npy")), *(target[k] for target in self.targets)


def train_murmur(data: Data, n_classes: int, options: Train) -> list[float]:
    """Train with murmur; return the times at which epochs begin and end."""
    timer, n = EpochTimer(), len(data.x)
    fold = Fold(np.arange(n), np.empty(0, int), np.arange(2))
    classes, weights = [str(k) for k in range(n_classes)], [1.0] * n_classes
    arrays = data.x, data.y, fold, options.model_copy(update={"epochs": EPOCHS})
    names = {"classes": classes, "weights": weights, "frame_labels": data.frames}
    fit_network(*arrays, **names, seed=0, recorder=timer)
    return list(timer.times.values())


def train_plain(model: Callable[[], nn.Module], dataset: Dataset, size: int, options: Train) -> list[float]:
    """Train with a plain loop; return the times at which epochs begin and end."""
    torch.manual_seed(0)
    network = model().train()
    freeze(network, options.freeze)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=options.lr)
    loader = DataLoader(dataset, size, shuffle=True, num_workers=0)
    times = [time.process_time()]
    for _ in range(EPOCHS):
        for batch in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
                loss = compute_loss(network, options, *batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append(time.process_time())
    return times


def compute_loss(
    network: Any, options: Train, x: torch.Tensor, y: torch.Tensor, *frames: Any
) -> torch.Tensor:
    """Compute the cross entropy and, given labels of frames, the losses of the frames."""
    if not frames:
        return cross_entropy(network(x).float(), y)
    output = network.label_frames(x)
    output = output._make(part.float() for part in output)
    step = -(-x.shape[3] // output.murmur.shape[1])
    return cross_entropy(output.logits, y) + compute_frame_loss(output, frames[0][:, ::step], options)


def standardise(x: np.ndarray) -> np.ndarray:
    """Convert features to float32; those of images to mean 0 and standard deviation 1."""
    if x.dtype != np.uint8:
        return x.astype(np.float32)
    mean, spread = 255 * np.array(IMAGENET, np.float32)[..., None, None]
    return (x - mean) / spread


def build_torchvision() -> nn.Module:
    return vgg16(num_classes=2).to(memory_format=torch.channels_last)


def make_loops(
    name: str, case: Case, precision: str | None, folder: Path
) -> Iterator[tuple[str, Callable[[], list[float]]]]:
    """Yield the name of each training to time, and its function."""
    options = read_options(case, precision)
    data = make_data(case, options, case.segments)
    yield f"murmur, {options.precision}", partial(train_murmur, data, case.classes, options)
    channels, mels, frames = case.shape
    shape = {"classes": case.classes, "channels": channels, "mels": mels, "frames": frames}
    models = {"same network": (partial(build, options.model, **shape), options.batch_size)}
    if case.earlier:
        models["earlier network"] = case.earlier, case.earlier_batch
    x = standardise(data.x)
    targets = [torch.from_numpy(array) for array in (data.y, data.frames) if array is not None]
    for k, segment in enumerate(x):
        np.save(folder / f"{k}.npy", segment)
    datasets = {"plain loop": TensorDataset(torch.from_numpy(x), *targets)}
    datasets["one file per segment"] = SegmentFiles(folder, *targets)
    plain = options.model_copy(update={"precision": precision or "float32"})
    for (source, dataset), (kind, (model, size)) in itertools.product(datasets.items(), models.items()):
        yield f"{source}, {kind}", partial(train_plain, model, dataset, size, plain)
    if name == "vgg16":
        loop = partial(train_plain, build_torchvision, datasets["plain loop"], options.batch_size, plain)
        yield "torchvision, channels last", loop


def compare(name: str, precision: str | None) -> None:
    """Print the samples per second of each training of one network, and murmur's in relation to it."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        loops = list(make_loops(name, case, precision, Path(folder)))
        epochs: list[list[float]] = [[] for _ in loops]
        for _ in range(REPEATS):
            for times, (_, train) in zip(epochs, loops, strict=True):
                times.extend(np.diff(train())[1:])
    print(f"{name:44}{'samples/s':>12}{'murmur is':>12}")
    for times, (label, _) in zip(epochs, loops, strict=True):
        ratio = min(times) / min(epochs[0])
        faster = f"{ratio:10.2f} x" if times is not epochs[0] else ""
        print(f"  {label:42}{case.segments / min(times):12,.1f}{faster}")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", action="append", choices=CASES, help="default: all")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: recipe, float32")
    arguments = parser.parse_args()
    with single_thread():
        for name in arguments.network or CASES:
            compare(name, arguments.precision)


if __name__ == "__main__":
    main()
