"""A residual trunk whose picture is read as a row of tokens that look at each other."""

from typing import Any

import timm
import torch
from torch import nn


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    trunk: str = "resnet34",
    heads: int = 1,
    dropout: float = 0.3,
) -> nn.Module:
    """A timm trunk, self-attention over its tokens, mean, projection, residual, dropout, linear."""
    return Attention(timm.create_model(trunk, in_chans=channels, num_classes=0), classes, heads, dropout)


class Attention(nn.Module):
    """[batch, channels, mels, frames] -> logits [batch, classes]."""

    def __init__(self, trunk: Any, classes: int, heads: int, dropout: float):
        super().__init__()
        self.trunk: Any = trunk
        width = trunk.num_features
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.trunk.forward_features(x).flatten(2).transpose(1, 2)
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head(seen.mean(dim=1) + tokens.mean(dim=1))
