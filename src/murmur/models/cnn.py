"""The default: a compact residual network, small enough for fifty fits on a laptop."""

import torch
from torch import nn


def build(
    *, classes: int, channels: int, mels: int, frames: int, width: int = 16, dropout: float = 0.3
) -> nn.Module:
    """Strided stem, three stages of width, 2·width, 4·width channels, mean and maximum over time, linear."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        Residual(width, width, stride=(1, 2)),
        Residual(width, 2 * width, stride=(2, 2)),
        Residual(2 * width, 4 * width, stride=(2, 2)),
        Pool(),
        nn.Dropout(dropout),
        nn.Linear(8 * width, classes),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions and a way past them (He et al. 2016).

    The way past skips by slicing: torch's own strided 1x1 convolution of few channels writes past its memory
    (github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def __init__(self, inside: int, outside: int, stride: tuple[int, int]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.past = nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, along = self.stride
        return torch.relu(self.body(x) + self.past(x[:, :, ::down, ::along]))


class Pool(nn.Module):
    """[batch, channels, mels, frames] -> [batch, 2·channels]: mean over mels, mean and maximum over time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over_time = x.mean(dim=2)
        return torch.cat([over_time.mean(dim=2), over_time.amax(dim=2)], dim=1)
