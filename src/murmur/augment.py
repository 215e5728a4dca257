"""Random changes to training spectrograms. Every draw comes from torch's own seeded generator."""

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
