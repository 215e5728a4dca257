"""Random changes of training spectrograms, drawn from torch's random number generator."""

from typing import NamedTuple

import torch
from torch.nn import functional as F
from torchaudio.functional import mask_along_axis_iid

from murmur.sections.train import Augment

KNOTS = 6  # random numbers of a curve over the mel bands


def augment_spectrograms(
    x: torch.Tensor, options: Augment, labels: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Change each spectrogram of a batch at random.

    Parameters
    ----------
    x : torch.Tensor, shape [batch, channels, mels, frames]
        Standardised spectrograms.
    options : Augment
        The section ``train.augment`` of params.yaml. Each change has its own random decision for each
        spectrogram: ``flip`` is the probability of reversing time, ``chance`` that of a roll, of a new
        amplitude and of each mask. ``roll`` shifts in time by up to this share of the frames; what leaves at
        one end enters at the other. ``amplitude`` a multiplies by 1 - a to 1 + a. ``gain`` adds a normal
        random number of this standard deviation, ``band_gain`` a curve over the mel bands, linear between 6
        such numbers. A time mask covers up to ``time_mask`` of the frames, a frequency mask up to
        ``frequency_mask`` of the mel bands. All channels are changed in the same way.
    labels : torch.Tensor, shape [batch, frames], optional
        Labels of the frames. They are reversed and rolled with the spectrogram.

    Returns
    -------
    x : torch.Tensor, shape [batch, channels, mels, frames]
        A new tensor, or `x` itself if no change is requested.
    labels : torch.Tensor, shape [batch, frames], or None

    Notes
    -----
    Masked values become 0: the mean if mel bands are standardised, the minimum if values are scaled to 0..1.

    References
    ----------
    Park et al. (2019), SpecAugment, Interspeech
    """
    if options.flip or options.roll:
        source = _draw_frames(len(x), x.shape[3], options).to(x.device)
        x = x.gather(3, source[:, None, None].expand_as(x))
        labels = labels if labels is None else labels.gather(1, source)
    if options.amplitude:
        factor = 1 + options.amplitude * (2 * torch.rand(len(x), 1) - 1)
        x = x * torch.where(_choose(len(x), options.chance), factor, 1)[..., None, None].to(x.device)
    if options.gain:
        x = x + options.gain * torch.randn(len(x), 1, 1, 1).to(x.device)
    if options.band_gain:
        x = x + options.band_gain * _draw_curves(len(x), x.shape[2]).to(x.device)
    for _ in range(options.time_masks):
        x = x.masked_fill(_draw_mask(len(x), x.shape[3], options.time_mask, options).to(x.device), 0)
    for _ in range(options.frequency_masks):
        mask = _draw_mask(len(x), x.shape[2], options.frequency_mask, options)
        x = x.masked_fill(mask.transpose(2, 3).to(x.device), 0)
    return x, labels


def _choose(n: int, probability: float) -> torch.Tensor:
    """Choose each of `n` spectrograms with this probability: shape [n, 1], bool."""
    return torch.ones(n, 1, dtype=torch.bool) if probability == 1 else torch.rand(n, 1) < probability


def _draw_frames(n: int, frames: int, options: Augment) -> torch.Tensor:
    """Draw which frame becomes frame k, shape [n, frames], when time is reversed and rolled."""
    source = torch.arange(frames).expand(n, frames)
    if options.flip:
        source = torch.where(_choose(n, options.flip), source.flip(1), source)
    if options.roll:
        maximum = int(options.roll * frames)
        shift = torch.randint(-maximum, maximum + 1, (n, 1)) * _choose(n, options.chance)
        source = source.gather(1, (torch.arange(frames) - shift) % frames)
    return source


def _draw_curves(n: int, mels: int) -> torch.Tensor:
    """Draw curves over the mel bands, shape [n, 1, mels, 1], linear between normal random numbers."""
    curves = F.interpolate(torch.randn(n, 1, KNOTS), mels, mode="linear", align_corners=True)
    return curves[..., None]


def _draw_mask(n: int, size: int, share: float, options: Augment) -> torch.Tensor:
    """Draw an interval of up to `share` of `size` for each spectrogram: shape [n, 1, 1, size], bool."""
    mask = mask_along_axis_iid(torch.ones(n, 1, 1, size), int(share * size), 0.0, axis=3) == 0
    return mask & _choose(n, options.chance)[..., None, None]


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
