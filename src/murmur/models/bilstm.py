"""A bidirectional LSTM over the frames of a spectrogram."""

import torch
from torch import nn

from murmur.models import Rate, Size


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    width: Size = 256,
    layers: Size = 2,
    dropout: Rate = 0.5,
) -> nn.Module:
    """Build a bidirectional LSTM, layer normalisation of its output at the last frame, dropout, linear layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    width : int
        Hidden units of each direction.
    layers : int
        Number of LSTM layers.
    dropout : float
        Dropout rate between LSTM layers and before the linear layer.

    Returns
    -------
    BiLSTM
    """
    return BiLSTM(classes, channels * mels, width, layers, dropout)


class BiLSTM(nn.Module):
    """Bidirectional LSTM that maps spectrograms [batch, channels, mels, frames] to logits [batch, classes].

    Attributes
    ----------
    lstm : nn.LSTM
    head : nn.Sequential
        Layer normalisation, dropout and linear layer.
    """

    def __init__(self, classes: int, inputs: int, width: int, layers: int, dropout: float):
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(inputs, width, layers, batch_first=True, bidirectional=True, dropout=between)
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Dropout(dropout), nn.Linear(2 * width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map spectrograms [batch, channels, mels, frames] to logits [batch, classes]."""
        outputs, _ = self.lstm(x.flatten(1, 2).transpose(1, 2))
        return self.head(outputs[:, -1])
