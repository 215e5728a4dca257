"""Plain convolutional networks, as published: blocks that halve the picture, its mean, linear layers."""

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import torch
from torch import nn

SQUEEZE = 4  # the gate's middle layer has so many times fewer channels


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    widths: Sequence[int] = (32, 64, 128, 256),
    convolutions: int = 1,
    block_dropout: Sequence[float] = (),
    gate_after: int | None = None,
    hidden: Sequence[int] = (),
    dropout: Sequence[float] = (0.5,),
) -> nn.Module:
    """A block a width: `convolutions` of 3x3 with batch norm and ReLU, maximum of 2x2, dropout of channels.

    gate_after: the block, from 1, whose channels are then weighed by a gate.
    hidden: sizes of the linear layers between the mean over the picture and the classes.
    dropout: before each linear layer.
    """
    if not widths or len(block_dropout) > len(widths) or len(dropout) > len(hidden) + 1:
        raise ValueError("widths, block_dropout and dropout: more dropouts than layers, or no block")
    if gate_after is not None and not (1 <= gate_after <= len(widths) and widths[gate_after - 1] >= SQUEEZE):
        raise ValueError(
            f"gate_after {gate_after}: there is no such block, or it has fewer than {SQUEEZE} channels"
        )
    layers: list[nn.Module] = []
    ins = (channels, *widths)
    for k, (i, o, drop) in enumerate(zip_longest(ins[:-1], widths, block_dropout, fillvalue=0.0), 1):
        layers += _block(int(i), int(o), convolutions, drop)
        layers += [Gate(int(o))] if k == gate_after else []
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    sizes = (widths[-1], *hidden, classes)
    for k, (i, o) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU(inplace=True)] if k else []
        layers += [nn.Dropout(dropout[k])] if k < len(dropout) and dropout[k] else []
        layers.append(nn.Linear(i, o))
    return nn.Sequential(*layers)


def _block(inside: int, outside: int, convolutions: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for k in range(convolutions):
        layers += [nn.Conv2d(outside if k else inside, outside, 3, padding=1), nn.BatchNorm2d(outside)]
        layers.append(nn.ReLU(inplace=True))
    return [*layers, nn.MaxPool2d(2), *([nn.Dropout2d(dropout)] if dropout else [])]


class Gate(nn.Module):
    """Channels weighed by what their means say together (squeeze and excitation, Hu et al. 2018)."""

    def __init__(self, width: int):
        super().__init__()
        self.squeeze = nn.Linear(width, width // SQUEEZE)
        self.excite = nn.Linear(width // SQUEEZE, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = self.squeeze(x.mean((2, 3))).relu()
        return x * self.excite(middle).sigmoid()[:, :, None, None]
