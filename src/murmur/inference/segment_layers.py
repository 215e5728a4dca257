"""The computation of a segment as one torch module: log-mel spectrogram, image, networks, their output."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Resampling, fromarray
from torch import nn
from torch.nn import functional as F

from murmur.features.images import make_colours
from murmur.features.log_mel import AMIN, EPSILON, LogMel
from murmur.features.mel import MIN_DEVIATION
from murmur.inference.networks import can_label_frames, label_frames
from murmur.sections.mel import Image, Mel

PRECISION = 2**22  # of the weights of pillow's resizing


class SegmentClassifier(nn.Module):
    """From the samples of a segment to the mean of the output of all networks.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    options : Mel
        Section `mel` of params.yaml.
    length : int
        Samples of a segment.
    classifiers : sequence of nn.Module
        The networks, each from features to logits.
    """

    def __init__(self, rate: int, options: Mel, length: int, classifiers: Sequence[nn.Module]):
        super().__init__()
        self.features = Features(rate, options, length)
        self.classifiers = nn.ModuleList(classifiers)
        self.labels_frames = can_label_frames(classifiers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map samples [1, length] to probabilities [classes], and the other outputs of `label_frames`."""
        features = self.features(x)
        if self.labels_frames:
            return tuple(output[0] for output in label_frames(self.classifiers, features))
        p = [classifier(features).softmax(dim=1) for classifier in self.classifiers]
        return (torch.stack(p).mean(dim=0)[0],)


class Features(nn.Module):
    """The features of a segment, as `murmur.features.mel.make_transform`, rounded as they are stored.

    Parameters
    ----------
    rate, options, length
        As in `SegmentClassifier`.
    """

    def __init__(self, rate: int, options: Mel, length: int):
        super().__init__()
        self.options = options
        transforms = [LogMel(rate, options, *window) for window in options.windows]
        self.log_mels = nn.ModuleList(LogMelLayer(transform) for transform in transforms)
        hop = min(transform.hop_length for transform in transforms)
        self.n_frames = 1 + (length - options.n_fft % 2) // hop
        self.image = ImageLayer(options.image, options.n_mels, self.n_frames) if options.image else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [1, length] to features [1, channels, n_mels, frames]."""
        channels = [self._pad(log_mel(x)) for log_mel in self.log_mels]
        if self.options.normalise == "minmax":
            channels = [_minmax(channel) for channel in channels]
        elif self.options.normalise == "bands":
            channels = [_standardise_bands(channel) for channel in channels]
        log = torch.cat(channels)
        if self.image is not None:
            return self.image(log)[None]
        return (log.half().float() if self.options.dtype == "float16" else log)[None]

    def _pad(self, log: torch.Tensor) -> torch.Tensor:
        """Append frames to a spectrogram [1, n_mels, frames], as `murmur.features.mel`."""
        n_more = self.n_frames - log.shape[2]
        if not n_more:
            return log
        value = log.max()
        if self.options.fill == "floor":
            low = log.min()
            top_db = self.options.top_db if self.options.scale == "db" else None
            value = low if top_db is None else torch.where(low < value, value - top_db, low)
        return torch.cat([log, value.expand(1, log.shape[1], n_more)], dim=2)


class LogMelLayer(nn.Module):
    """The log-mel spectrogram of `LogMel`, with the Fourier transform as a convolution.

    Parameters
    ----------
    transform : LogMel
        With its window, mel filters and options.
    """

    waves: torch.Tensor
    bank: torch.Tensor

    def __init__(self, transform: LogMel):
        super().__init__()
        self.options, self.hop = transform.options, transform.hop_length
        self.silence = transform.silence()
        n_fft = self.options.n_fft
        used = np.flatnonzero(transform.window)
        self.first, stop = int(used[0]), int(used[-1]) + 1
        angles = -2 * np.pi * np.outer(np.arange(n_fft)[transform.bins], np.arange(self.first, stop)) / n_fft
        waves = np.concatenate([np.cos(angles), np.sin(angles)]) * transform.window[self.first : stop]
        self.last = n_fft - stop
        self.register_buffer("waves", torch.from_numpy(waves[:, None]).float())
        self.register_buffer("bank", torch.from_numpy(transform.bank.T.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map samples [1, length] to a spectrogram [1, n_mels, frames]."""
        half, n = self.options.n_fft // 2, x.shape[1]
        padded = F.pad(x[None], (half, half), "reflect" if self.options.edges == "reflect" else "constant")
        padded = padded[:, :, self.first : n + 2 * half - self.last]
        real, imaginary = F.conv1d(padded, self.waves, stride=self.hop).chunk(2, dim=1)
        power = self.bank @ (real.square() + imaginary.square())
        return self._to_log(torch.where(x.max() > x.min(), power, torch.zeros(())))

    def _to_log(self, power: torch.Tensor) -> torch.Tensor:
        """Take the logarithm of the power, relative to the reference."""
        o = self.options
        if o.scale == "ln_plus":
            return torch.log(power + float(EPSILON))
        reference = power.max() if o.reference == "max" else torch.tensor(float(o.reference))
        log = torch.log(power.clamp(min=AMIN)) - torch.log(reference.clamp(min=AMIN))
        if o.scale == "db":
            log = log * (10 / np.log(10))
            if o.top_db is not None:
                log = torch.maximum(log, log.max() - o.top_db)
        return log if o.reference != "max" else torch.where(reference > AMIN, log, self.silence)


class ImageLayer(nn.Module):
    """Colour images, as `murmur.features.images.render_images`, with the resizing as two matrix products.

    Parameters
    ----------
    options : Image
        `mel.image` of params.yaml.
    mels, frames : int
        Shape of a spectrogram.

    Notes
    -----
    The weights are those that pillow applies to an identity matrix, rounded to 22 bits as pillow does for
    colours. Like pillow, the horizontal pass comes first, and both passes round to integers.
    """

    colours: torch.Tensor
    wide: torch.Tensor
    high: torch.Tensor

    def __init__(self, options: Image, mels: int, frames: int):
        super().__init__()
        self.register_buffer("colours", torch.from_numpy(make_colours(options.colours).astype(np.float32)))
        for name, n in (("wide", frames), ("high", mels)):
            identity = fromarray(np.eye(n, dtype=np.int32) << 30)
            weights = np.asarray(identity.resize((options.size, n), Resampling.BILINEAR)) / 2**30
            self.register_buffer(name, torch.from_numpy(np.round(weights * PRECISION) / PRECISION))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a spectrogram [1, n_mels, frames] to an image [3, size, size] of values 0 to 255."""
        image = self.colours[(_minmax(x)[0] * 255).round().long()].permute(2, 0, 1).double()
        image = (image @ self.wide + 0.5).floor()
        return (self.high.T @ image + 0.5).floor().float()


def _standardise_bands(x: torch.Tensor) -> torch.Tensor:
    """Standardise each band of a spectrogram, as `murmur.features.mel.standardise_bands`."""
    x = x - x.mean(dim=-1, keepdim=True)
    return x / x.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=MIN_DEVIATION)


def _minmax(x: torch.Tensor) -> torch.Tensor:
    """Scale one spectrogram to the range 0 to 1; if it is constant, it becomes 0."""
    low, high = x.min(), x.max()
    return (x - low) / torch.where(high > low, high - low, torch.ones(()))
