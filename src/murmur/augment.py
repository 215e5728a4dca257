"""Random changes to training spectrograms. Every draw comes from torch's own seeded generator."""

from typing import NamedTuple

import torch
from torchaudio.functional import mask_along_axis_iid

from murmur.params import Augment


def augment(x: torch.Tensor, options: Augment) -> torch.Tensor:
    """SpecAugment (Park et al. 2019): x [batch, channels, mels, frames], masked anew for each example.

    A mask covers up to its share of the frames or bands. Masked cells become 0, the mean of a
    standardised band.
    """
    for _ in range(options.time_masks):
        x = mask_along_axis_iid(x, int(options.time_mask * x.shape[3]), 0.0, axis=3)
    for _ in range(options.frequency_masks):
        x = mask_along_axis_iid(x, int(options.frequency_mask * x.shape[2]), 0.0, axis=2)
    return x


class Blend(NamedTuple):
    """Example k of a batch is share·k + (1 - share)·partner[k]; so is its loss."""

    share: float
    partner: torch.Tensor


def mixup(batch: int, alpha: float) -> Blend:
    """Draw how a batch is blended with itself: share ~ Beta(alpha, alpha) (mixup, Zhang et al. 2018)."""
    share = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0
    return Blend(share, torch.randperm(batch))
