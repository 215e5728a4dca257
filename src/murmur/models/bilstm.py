"""A recurrent network that reads a spectrogram frame by frame, forwards and backwards."""

import torch
from torch import nn


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    width: int = 256,
    layers: int = 2,
    dropout: float = 0.5,
) -> nn.Module:
    """Two-way LSTM over the frames, its last step, LayerNorm, dropout, linear."""
    return BiLSTM(classes, channels * mels, width, layers, dropout)


class BiLSTM(nn.Module):
    """[batch, channels, mels, frames] -> logits [batch, classes]."""

    def __init__(self, classes: int, inputs: int, width: int, layers: int, dropout: float):
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(inputs, width, layers, batch_first=True, bidirectional=True, dropout=between)
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Dropout(dropout), nn.Linear(2 * width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(x.flatten(1, 2).transpose(1, 2))
        return self.head(steps[:, -1])
