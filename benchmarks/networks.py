"""The networks that the benchmarks of the training time, with random data of the shape of their recipes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from murmur.devices import choose_precision
from murmur.experiments import recipes
from murmur.models.frames import FrameOutput
from murmur.sections.train import Train


class Case(NamedTuple):
    """A recipe, the shape and type of its features, its number of classes, and segments of a timed epoch."""

    recipe: str
    shape: tuple[int, int, int]
    dtype: type
    classes: int
    segments: int
    earlier: Callable[[], nn.Module] | None = None
    earlier_batch: int = 0


class Data(NamedTuple):
    """Random features, labels of the segments, and labels of the frames (of a network that labels frames)."""

    x: np.ndarray
    y: np.ndarray
    frames: np.ndarray | None


def read_options(case: Case, precision: str | None) -> Train:
    """Return the recipe's parameters of the training, with random weights and without what ends it early."""
    section = recipes.read_recipe(case.recipe)["train"]
    if "weights" in section["model"]:
        section["model"]["weights"] = "none"
    changes = {"device": "cpu", "per_recording": None, "patience": None, "stop_accuracy": None}
    changes |= {
        "stop_one_class": False,
        "precision": precision or choose_precision(section["precision"], torch.device("cpu")),
    }
    return Train(**section | changes)


def make_data(case: Case, options: Train, n: int) -> Data:
    """Make random data of `n` segments."""
    rng = np.random.default_rng(0)
    if case.dtype is np.uint8:
        x = rng.integers(0, 256, (n, *case.shape), np.uint8)
    else:
        x = rng.standard_normal((n, *case.shape), np.float32).astype(case.dtype)
    frames = rng.integers(-1, 8, (n, case.shape[2]), np.int8) if options.frame_losses else None
    return Data(x, np.arange(n) % case.classes, frames)


# The default network and the network that labels frames as they were in November 2026, to compare with.


def convolve(size_in: int, size_out: int, stride: tuple[int, int], kernel: int = 3) -> list[nn.Module]:
    """A convolution over frequency and time, and batch normalisation."""
    convolution = nn.Conv2d(size_in, size_out, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(size_out)]


class EarlierResidual(nn.Module):
    """Two 3x3 convolutions and a shortcut with a 1x1 convolution."""

    def __init__(self, size_in: int, size_out: int, stride: tuple[int, int]):
        super().__init__()
        first, second = convolve(size_in, size_out, stride), convolve(size_out, size_out, (1, 1))
        self.body = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        self.shortcut, self.stride = nn.Sequential(*convolve(size_in, size_out, (1, 1), 1)), stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x[:, :, :: self.stride[0], :: self.stride[1]]))


class EarlierPool(nn.Module):
    """Mean over frequency and time, and maximum over time of the mean over frequency."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over_time = x.mean(dim=2)
        return torch.cat([over_time.mean(dim=2), over_time.amax(dim=2)], dim=1)


def build_earlier_cnn() -> nn.Module:
    """Build the default network of 19,883 parameters."""
    blocks = [EarlierResidual(8, 8, (1, 2)), EarlierResidual(8, 16, (2, 2)), EarlierResidual(16, 32, (2, 2))]
    stem = [*convolve(1, 8, (2, 2), 5), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *blocks, EarlierPool(), nn.Dropout(0.2), nn.Linear(64, 3))


class EarlierDilated(nn.Module):
    """A dilated convolution over time with dropout by random bytes in training, added to its input."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, dropped = F.relu(self.norm(self.convolution(x))), 38  # of 256 values of a byte
        words = torch.empty(-(-h.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        is_kept = words.view(torch.uint8)[: h.numel()].view(h.shape) >= dropped
        return x + h * (is_kept.to(h.dtype) * (256 / (256 - dropped)))


class EarlierFrames(nn.Module):
    """The network that labels frames, of 84,422 parameters."""

    def __init__(self) -> None:
        super().__init__()
        sizes: list[tuple[int, int, tuple[int, int]]] = [(1, 16, (2, 2)), (16, 16, (2, 1)), (16, 16, (2, 1))]
        stem = [layer for size in sizes for layer in (*convolve(*size), nn.ReLU(inplace=True))]
        self.stem = nn.Sequential(*stem, nn.Flatten(1, 2))
        self.project = nn.Sequential(
            nn.Conv1d(64, 64, 1, bias=False), nn.BatchNorm1d(64), nn.ReLU(inplace=True)
        )
        self.body = nn.Sequential(*(EarlierDilated(64, dilation) for dilation in (1, 2, 4, 8, 16, 1)))
        self.heads = nn.ModuleList(nn.Conv1d(64, size, 1) for size in (4, 1, 1, 1))
        self.classes = nn.Sequential(nn.Dropout(0.2), nn.Linear(132, 3))

    def label_frames(self, x: torch.Tensor) -> FrameOutput:
        h = self.body(self.project(self.stem(x)))
        states, murmur, annotated, attention = (head(h) for head in self.heads)
        frames = FrameOutput(h, states, murmur[:, 0], annotated[:, 0])
        pooled = [(h * attention.softmax(dim=2)).sum(dim=2), h.amax(dim=2), frames.figures()]
        return frames._replace(logits=self.classes(torch.cat(pooled, dim=1)))


CASES = {
    "default": Case("default", (1, 32, 126), np.float16, 3, 4096, build_earlier_cnn, 64),
    "frames": Case("circor_frames", (1, 32, 201), np.float16, 3, 1024, EarlierFrames, 32),
    "bmd_hs_cnn": Case("bmd_hs_cnn", (3, 224, 224), np.uint8, 5, 64),
    "resnet18": Case("cinc2016_resnet18", (1, 128, 79), np.float16, 2, 256),
    "vgg16": Case("pascal_vgg16", (3, 224, 224), np.uint8, 2, 16),
}
