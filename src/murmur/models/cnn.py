"""The default network: a small residual network; fifty fits take minutes on a laptop."""

import torch
from torch import nn

from murmur.models import Rate, Size


def build(
    *, classes: int, channels: int, mels: int, frames: int, width: Size = 16, dropout: Rate = 0.3
) -> nn.Module:
    """Build a strided convolution, three residual blocks, pooling, dropout and a linear layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    width : int
        Channels of the first residual block; the next two have twice and four times as many.
    dropout : float
        Dropout rate before the linear layer.

    Returns
    -------
    nn.Sequential
        [batch, channels, mels, frames] -> logits [batch, classes].
    """
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
    """Two 3x3 convolutions and a shortcut connection with a 1x1 convolution.

    Attributes
    ----------
    body : nn.Sequential
        The two convolutions with batch normalisation.
    past : nn.Sequential
        The 1x1 convolution of the shortcut. The name is part of saved weights.
    stride : tuple of int
        Stride along frequency and along time.

    Notes ----- The shortcut takes its stride by slicing: the gradient of a strided 1x1 convolution with few
    channels writes outside its memory in PyTorch's CPU library (github.com/uxlfoundation/oneDNN/issues/6035).

    References
    ----------
    He et al. (2016), Deep Residual Learning for Image Recognition, CVPR
    """

    def __init__(self, channels_in: int, channels_out: int, stride: tuple[int, int]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.past = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
        )
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels_in, mels, frames] to [batch, channels_out, mels / stride, frames / stride]."""
        mels, frames = self.stride
        return torch.relu(self.body(x) + self.past(x[:, :, ::mels, ::frames]))


class Pool(nn.Module):
    """Pooling over frequency and time: mean over both, and maximum over time of the mean over frequency."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, mels, frames] to [batch, 2 · channels]."""
        over_time = x.mean(dim=2)
        return torch.cat([over_time.mean(dim=2), over_time.amax(dim=2)], dim=1)
