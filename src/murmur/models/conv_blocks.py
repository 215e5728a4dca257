"""Convolutional networks without shortcuts: blocks with pooling, mean over the feature map, linear layers."""

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import torch
from torch import nn

from murmur.models import Rate, Size

SQUEEZE = 4  # channels of a gate divided by the width of its hidden layer


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    widths: Sequence[Size] = (32, 64, 128, 256),
    convolutions: Size = 1,
    block_dropout: Sequence[Rate] = (),
    gate_after: int | None = None,
    hidden: Sequence[Size] = (),
    dropout: Sequence[Rate] = (0.5,),
) -> nn.Module:
    """Build blocks of 3x3 convolutions, the mean over the feature map, and linear layers.

    A block is `convolutions` times a convolution, batch normalisation and ReLU, then 2x2 maximum pooling.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    widths : sequence of int
        Channels of each block.
    convolutions : int
        Convolutions of each block.
    block_dropout : sequence of float
        Rate of the dropout of channels (`Dropout2d`) after each block, from the first.
    gate_after : int or None
        Number of the block, from 1, after which a `Gate` weights the channels.
    hidden : sequence of int
        Sizes of the hidden linear layers.
    dropout : sequence of float
        Dropout rate before each linear layer, from the first.

    Returns
    -------
    nn.Sequential
        [batch, channels, mels, frames] -> logits [batch, classes].

    Raises
    ------
    ValueError
        If the options do not fit together.
    """
    if not widths or len(block_dropout) > len(widths) or len(dropout) > len(hidden) + 1:
        raise ValueError("widths, block_dropout and dropout: more dropouts than layers, or no block")
    if gate_after is not None and not (1 <= gate_after <= len(widths) and widths[gate_after - 1] >= SQUEEZE):
        raise ValueError(
            f"gate_after {gate_after}: there is no such block, or it has fewer than {SQUEEZE} channels"
        )
    layers: list[nn.Module] = []
    sizes = zip_longest((channels, *widths[:-1]), widths, block_dropout, fillvalue=0.0)
    for k, (size_in, size_out, rate) in enumerate(sizes, 1):
        layers += _block(int(size_in), int(size_out), convolutions, rate)
        layers += [Gate(int(size_out))] if k == gate_after else []
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *_linear_layers((widths[-1], *hidden, classes), dropout))


def _block(channels_in: int, channels_out: int, convolutions: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for k in range(convolutions):
        layers.append(nn.Conv2d(channels_out if k else channels_in, channels_out, 3, padding=1))
        layers += [nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(2))
    return [*layers, nn.Dropout2d(dropout)] if dropout else layers


def _linear_layers(sizes: Sequence[int], dropout: Sequence[float]) -> list[nn.Module]:
    """Linear layers with ReLU between them, and dropout before each that has a rate above 0."""
    layers: list[nn.Module] = []
    for k, (size_in, size_out) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU(inplace=True)] if k else []
        layers += [nn.Dropout(dropout[k])] if k < len(dropout) and dropout[k] else []
        layers.append(nn.Linear(size_in, size_out))
    return layers


class Gate(nn.Module):
    """Squeeze and excitation: a weight of 0 to 1 for each channel, computed from the means of all channels.

    References
    ----------
    Hu et al. (2018), Squeeze-and-Excitation Networks, CVPR
    """

    def __init__(self, width: int):
        super().__init__()
        self.squeeze = nn.Linear(width, width // SQUEEZE)
        self.excite = nn.Linear(width // SQUEEZE, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, mels, frames] to the same shape."""
        hidden = self.squeeze(x.mean((2, 3))).relu()
        return x * self.excite(hidden).sigmoid()[:, :, None, None]
