"""Convolutions over time, with the mel bands as channels."""

import torch
from torch import nn


def merge_bands(x: torch.Tensor) -> torch.Tensor:
    """Make the mel bands channels: [batch, channels, mels, frames] -> [batch, channels · mels, 1, frames].

    The dimension of size 1 is kept because two-dimensional layers in channels-last format are faster on a CPU
    than one-dimensional layers, which have no such format.
    """
    return x.flatten(1, 2).unsqueeze(2)


def split_steps(x: torch.Tensor) -> torch.Tensor:
    """Return the channels of each step: [batch, channels, 1, steps] -> [batch, steps, channels].

    In channels-last format this is the order in memory; operations on it keep the gradient in this order.
    """
    return x.squeeze(2).transpose(1, 2)


def convolve_time(
    channels_in: int, channels_out: int, size: int, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """Return a convolution over time, with zeros as padding, and batch normalisation.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of the input and of the output.
    size : int
        Odd number of frames of the kernel.
    stride, dilation : int
        Frames between outputs, and between the elements of the kernel.
    """
    convolution = nn.Conv2d(
        channels_in,
        channels_out,
        (1, size),
        stride=(1, stride),
        padding=(0, dilation * (size // 2)),
        dilation=(1, dilation),
        bias=False,
    )
    return [convolution, nn.BatchNorm2d(channels_out)]
