"""A dilated convolution network that labels every frame: the state of the heart cycle, and murmurs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from murmur.models import Rate, Size
from murmur.models._time_convolutions import convolve_time, merge_bands, split_steps

STEP = 2  # frames of the spectrogram for each output of the network
# Numbers of logits of a frame: of the states, of a murmur, of being annotated, and its weight in the segment.
FRAME_LOGITS = (4, 1, 1, 1)
SYSTOLE = 1  # index in murmur.tables.annotations.STATES


class FrameOutput(NamedTuple):
    """What the network computes.

    Attributes
    ----------
    logits : torch.Tensor, shape [batch, classes]
        Of the classes of the segment.
    states : torch.Tensor, shape [batch, 4, steps]
        Logits of S1, systole, S2 and diastole at every second frame.
    murmur : torch.Tensor, shape [batch, steps]
        Logit of a murmur.
    annotated : torch.Tensor, shape [batch, steps]
        Logit of being annotated: annotators leave out what is too noisy.
    """

    logits: torch.Tensor
    states: torch.Tensor
    murmur: torch.Tensor
    annotated: torch.Tensor

    def probabilities(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the probabilities of the states, shape [batch, steps, 4], of a murmur and of annotated."""
        return self.states.softmax(dim=1).transpose(1, 2), self.murmur.sigmoid(), self.annotated.sigmoid()

    def figures(self) -> torch.Tensor:
        """Compute `murmur.tables.predictions.FIGURES`, shape [batch, 4], from all frames."""
        states, murmur = self.states.softmax(dim=1), self.murmur.sigmoid()
        systole = states[:, SYSTOLE]
        frames = torch.stack([systole * murmur, systole, self.annotated.sigmoid(), states.amax(dim=1)], dim=1)
        return frames.mean(dim=2)


class Frames(nn.Module):
    """Convolutions over time with the mel bands as channels, and outputs for frames and for the segment.

    Parameters
    ----------
    classes, channels, mels : int
        Number of classes, and channels and mel bands of a spectrogram.
    width : int
        Channels of the convolutions.
    dilations : sequence of int
        Dilation of each residual block; they decide how much time around a frame the network uses.
    block_dropout, dropout : float
        Dropout rate of whole channels in the residual blocks, and of values before the layer of the classes.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        mels: int,
        width: int,
        dilations: Sequence[int],
        block_dropout: float,
        dropout: float,
    ):
        super().__init__()
        self.stem = nn.Sequential(*convolve_time(channels * mels, width, 5, STEP), nn.ReLU(inplace=True))
        self.body = nn.Sequential(*(Residual(width, dilation, block_dropout) for dilation in dilations))
        self.frames = nn.Linear(width, sum(FRAME_LOGITS))
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(2 * width + 4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, mels, frames] to logits [batch, classes]."""
        return self.label_frames(x).logits

    def label_frames(self, x: torch.Tensor) -> FrameOutput:
        """Map [batch, channels, mels, frames] to the output for every second frame and for the segment."""
        h = split_steps(self.body(self.stem(merge_bands(x))))
        states, murmur, annotated, attention = self.frames(h).split(FRAME_LOGITS, dim=2)
        frames = FrameOutput(states.new_empty(0), states.transpose(1, 2), murmur[..., 0], annotated[..., 0])
        pooled = [(h * attention.softmax(dim=1)).sum(dim=1), h.amax(dim=1), frames.figures()]
        return frames._replace(logits=self.classes(self.dropout(torch.cat(pooled, dim=1))))


class Residual(nn.Module):
    """A dilated convolution over time, whose output is added to its input."""

    def __init__(self, width: int, dilation: int, dropout: float):
        super().__init__()
        self.body = nn.Sequential(
            *convolve_time(width, width, 3, dilation=dilation),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, width, 1, steps] to the same shape."""
        return x + self.body(x)


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    width: Size = 48,
    dilations: Sequence[Size] = (1, 2, 4, 8, 16, 1),
    block_dropout: Rate = 0.15,
    dropout: Rate = 0.2,
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    width : int
        Channels of the dilated convolutions.
    dilations : sequence of int
        Dilation of each residual block: with the default the network uses 1.6 s on both sides of a frame, at
        40 frames per second.
    block_dropout, dropout : float
        Dropout rate of whole channels in the residual blocks, and of values before the layer of the classes.

    Returns
    -------
    Frames
        [batch, channels, mels, frames] -> logits [batch, classes].
    """
    return Frames(classes, channels, mels, width, dilations, block_dropout, dropout)
