"""Random changes of training spectrograms, drawn from torch's random number generator."""

from typing import NamedTuple

import torch
from torchaudio.functional import mask_along_axis_iid

from murmur.sections.train import Augment


def augment_spectrograms(x: torch.Tensor, options: Augment) -> torch.Tensor:
    """Change each spectrogram of a batch at random.

    Parameters
    ----------
    x : torch.Tensor, shape [batch, channels, mels, frames]
        Standardised spectrograms.
    options : Augment
        The section ``train.augment`` of params.yaml. Each change has its own random decision for each
        spectrogram: ``flip`` is the probability of reversing time, ``chance`` that of each of the others.
        ``roll`` shifts in time by up to this share of the frames; what leaves at one end enters at the other.
        ``amplitude`` a multiplies by 1 - a to 1 + a. A time mask covers up to ``time_mask`` of the frames, a
        frequency mask up to ``frequency_mask`` of the mel bands, the same in all channels.

    Returns
    -------
    torch.Tensor, shape [batch, channels, mels, frames]
        A new tensor, or `x` itself if no change is requested.

    Notes
    -----
    Masked values become 0: the mean if mel bands are standardised, the minimum if values are scaled to 0..1.

    References
    ----------
    Park et al. (2019), SpecAugment, Interspeech
    """
    if options.flip:
        x = _choose(options.flip, x.flip(3), x)
    if options.roll:
        x = _choose(options.chance, _roll(x, options.roll), x)
    if options.amplitude:
        factor = 1 + options.amplitude * (2 * torch.rand(len(x), 1, 1, 1) - 1)
        x = _choose(options.chance, x * factor.to(x.device), x)
    for _ in range(options.time_masks):
        x = _choose(options.chance, _mask(x, options.time_mask, axis=3), x)
    for _ in range(options.frequency_masks):
        x = _choose(options.chance, _mask(x, options.frequency_mask, axis=2), x)
    return x


def _choose(probability: float, changed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Take each spectrogram from `changed` with this probability, else from `x`."""
    if probability == 1:
        return changed
    chosen = torch.rand(len(x), 1, 1, 1) < probability
    return torch.where(chosen.to(x.device), changed, x)


def _roll(x: torch.Tensor, share: float) -> torch.Tensor:
    """Shift each spectrogram in time by up to `share` of its frames in either direction, circularly."""
    maximum = int(share * x.shape[3])
    shift = torch.randint(-maximum, maximum + 1, (len(x), 1))
    source = (torch.arange(x.shape[3]) - shift) % x.shape[3]
    return x.gather(3, source.to(x.device)[:, None, None].expand_as(x))


def _mask(x: torch.Tensor, share: float, axis: int) -> torch.Tensor:
    """Set a random interval of up to `share` of the frames or mel bands to 0 in each spectrogram."""
    ones = torch.ones(len(x), 1, *x.shape[2:], device=x.device)
    mask = mask_along_axis_iid(ones, int(share * x.shape[axis]), 0.0, axis=axis)
    return x.masked_fill(mask == 0, 0.0)


class Mixup(NamedTuple):
    """A random blend of a batch with itself.

    Unit k becomes share · unit k + (1 - share) · unit partner[k]; the loss is blended in the same way.

    Attributes
    ----------
    share : float
        From 0 to 1.
    partner : torch.Tensor of int, shape [batch]
        A permutation.
    """

    share: float
    partner: torch.Tensor


def draw_mixup(batch: int, alpha: float) -> Mixup:
    """Draw a mixup: the share from Beta(alpha, alpha), and a permutation.

    Parameters
    ----------
    batch : int
        Units of the batch.
    alpha : float
        Parameter of the beta distribution, above 0.

    Returns
    -------
    Mixup

    References
    ----------
    Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization, ICLR
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mixup(share, torch.randperm(batch))
