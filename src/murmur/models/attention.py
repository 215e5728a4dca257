"""A residual network of timm followed by self-attention over the positions of its feature map."""

from typing import Any

import timm
import torch
from torch import nn

from murmur.models import Rate, Size


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    trunk: str = "resnet34",
    heads: Size = 1,
    dropout: Rate = 0.3,
) -> nn.Module:
    """Build a network of timm, self-attention over its feature map, and a linear layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    trunk : str
        Name of the convolutional network in timm.
    heads : int
        Number of attention heads.
    dropout : float
        Dropout rate before the linear layer.

    Returns
    -------
    Attention
    """
    return Attention(timm.create_model(trunk, in_chans=channels, num_classes=0), classes, heads, dropout)


class Attention(nn.Module):
    """Self-attention over the positions of a feature map.

    Maps spectrograms [batch, channels, mels, frames] to logits [batch, classes].

    Attributes
    ----------
    trunk : nn.Module
        The convolutional network; its feature map is a sequence of tokens.
    attention : nn.MultiheadAttention
    head : nn.Sequential
        Dropout and linear layer.
    """

    def __init__(self, trunk: Any, classes: int, heads: int, dropout: float):
        super().__init__()
        self.trunk: Any = trunk
        width = trunk.num_features
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map spectrograms [batch, channels, mels, frames] to logits [batch, classes]."""
        tokens = self.trunk.forward_features(x).flatten(2).transpose(1, 2)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head(attended.mean(dim=1) + tokens.mean(dim=1))
