"""Random changes to training spectrograms. Every draw comes from torch's own seeded generator."""

from typing import NamedTuple

import torch
from torchaudio.functional import mask_along_axis_iid

from murmur.sections.train import Augment


def augment_spectrograms(x: torch.Tensor, options: Augment) -> torch.Tensor:
    """Change x [batch, channels, mels, frames], each example anew and by a chance of its own.

    flip: time runs backwards. roll: shifted in time by up to this share of the frames, round the end.
    amplitude: multiplied by 1 ± up to this much. Masks: SpecAugment (Park et al. 2019), each up to its share
    of the frames or bands, the same in all channels; masked cells become 0: the mean where bands are
    standardised, the floor of what was brought to 0..1.
    `chance` is that of each of roll, amplitude and masks; `flip` is its own.
    """
    if options.flip:
        x = _where(options.flip, x.flip(3), x)
    if options.roll:
        x = _where(options.chance, _rolled(x, options.roll), x)
    if options.amplitude:
        factor = 1 + options.amplitude * (2 * torch.rand(len(x), 1, 1, 1) - 1)
        x = _where(options.chance, x * factor.to(x.device), x)
    for _ in range(options.time_masks):
        x = _where(options.chance, _masked(x, options.time_mask, axis=3), x)
    for _ in range(options.frequency_masks):
        x = _where(options.chance, _masked(x, options.frequency_mask, axis=2), x)
    return x


def _where(chance: float, changed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if chance == 1:
        return changed
    drawn = torch.rand(len(x), 1, 1, 1) < chance
    return torch.where(drawn.to(x.device), changed, x)


def _rolled(x: torch.Tensor, share: float) -> torch.Tensor:
    most = int(share * x.shape[3])
    shift = torch.randint(-most, most + 1, (len(x), 1))
    source = (torch.arange(x.shape[3]) - shift) % x.shape[3]
    return x.gather(3, source.to(x.device)[:, None, None].expand_as(x))


def _masked(x: torch.Tensor, share: float, axis: int) -> torch.Tensor:
    cells = torch.ones(len(x), 1, *x.shape[2:], device=x.device)
    kept = mask_along_axis_iid(cells, int(share * x.shape[axis]), 0.0, axis=axis)
    return x.masked_fill(kept == 0, 0.0)


class Mixup(NamedTuple):
    """Example k of a batch is share·k + (1 - share)·partner[k]; so is its loss."""

    share: float
    partner: torch.Tensor


def draw_mixup(batch: int, alpha: float) -> Mixup:
    """Draw how a batch is blended with itself: share ~ Beta(alpha, alpha) (mixup, Zhang et al. 2018)."""
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mixup(share, torch.randperm(batch))
