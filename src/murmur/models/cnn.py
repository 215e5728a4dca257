"""The default network: a small residual network over time; fifty fits take minutes on a laptop."""

import torch
from torch import nn

from murmur.models import Rate, Size
from murmur.models._time_convolutions import convolve_time, merge_bands, split_steps


def build(
    *, classes: int, channels: int, mels: int, frames: int, width: Size = 32, dropout: Rate = 0.3
) -> nn.Module:
    """Build a strided convolution over time, four residual blocks, pooling, dropout and a linear layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram. The mel bands are channels of the convolutions.
    width : int
        Channels of the convolutions.
    dropout : float
        Dropout rate before the linear layer.

    Returns
    -------
    nn.Sequential
        [batch, channels, mels, frames] -> logits [batch, classes].
    """
    return nn.Sequential(
        Bands(),
        *convolve_time(channels * mels, width, 5, stride=2),
        nn.ReLU(inplace=True),
        *(Residual(width, stride) for stride in (1, 2, 1, 1)),
        Pool(),
        nn.Dropout(dropout),
        nn.Linear(2 * width, classes),
    )


class Bands(nn.Module):
    """The mel bands as channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, mels, frames] to [batch, channels · mels, 1, frames]."""
        return merge_bands(x)


class Residual(nn.Module):
    """A convolution over time, whose output is added to its input.

    References
    ----------
    He et al. (2016), Deep Residual Learning for Image Recognition, CVPR
    """

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(*convolve_time(width, width, 3, stride), nn.ReLU(inplace=True))
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, width, 1, steps] to [batch, width, 1, steps / stride]."""
        return x[:, :, :, :: self.stride] + self.body(x)


class Pool(nn.Module):
    """Mean and maximum over time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, 1, steps] to [batch, 2 · channels]."""
        steps = split_steps(x)
        return torch.cat([steps.mean(dim=1), steps.amax(dim=1)], dim=1)
