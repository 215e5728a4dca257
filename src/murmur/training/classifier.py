"""The input of a network, its standardisation, and predictions in batches."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from murmur.errors import MurmurError
from murmur.sections.train import NetworkOptions
from murmur.training.losses import average_heads
from murmur.training.network import freeze

MAX_UNITS, MAX_UNITS_CPU = 512, 64  # of a batch without gradients; few stay in the cache of a processor
MAX_VALUES = 2**22  # of such a batch; more need much memory
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of red, green and blue


class Inputs(NamedTuple):
    """The features of all units. A unit is a segment or a patient.

    Attributes
    ----------
    x : torch.Tensor, shape [segments, channels, mels, frames]
        The features of all segments.
    bags : torch.Tensor of int, shape [patients, sites, n], or None
        Rows of `x` of each patient, -1 for padding. If None, a unit is a row of `x`. On the device of `x`.
    device : torch.device, optional
        The device of the network, to which selected features are moved; by default that of `x`.
    """

    x: torch.Tensor
    bags: torch.Tensor | None
    device: torch.device | None = None

    def take(self, units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Select the features of units.

        Parameters
        ----------
        units : torch.Tensor of int, shape [batch]
            Indices of the units.

        Returns
        -------
        x : torch.Tensor
            Shape [batch, channels, mels, frames] or, of patients, [batch, sites, n, channels, mels, frames].
        present : torch.Tensor of bool, shape [batch, sites, n], or None
            False for padding; None for segments.
        """
        if self.bags is None:
            return self.take_rows(units), None
        bags = self.bags[units]
        return self.take_rows(bags.clamp(min=0)), (bags >= 0).to(self.device or self.x.device)

    def take_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Select rows of `x`, on the device of the network."""
        return self.x[rows].to(self.device or self.x.device)

    def rows(self, units: np.ndarray) -> torch.Tensor:
        """Return the rows of `x` that belong to units, each once.

        Parameters
        ----------
        units : np.ndarray of int
            Indices of the units.
        """
        indices = torch.from_numpy(units)
        if self.bags is None:
            return indices
        bags = self.bags[indices]
        return bags[bags >= 0].unique().cpu()


class Predictions(NamedTuple):
    """The output of a network for units, all of float32.

    Attributes
    ----------
    logits : torch.Tensor, shape [units, classes]
        As from `predict_logits`.
    figures : torch.Tensor, shape [units, 4], or None
        `murmur.tables.predictions.FIGURES` over all frames. This and the next are None if the network labels
        no frames.
    tracks : torch.Tensor, shape [units, steps, 6], or None
        For each step, that is ``STEP`` frames of the spectrogram (`murmur.models.frames`): the probability of
        each of `murmur.tables.annotations.STATES`, of a murmur, and of being annotated.
    """

    logits: torch.Tensor
    figures: torch.Tensor | None = None
    tracks: torch.Tensor | None = None


class Classifier(nn.Module):
    """A network and the standardisation of its input.

    Parameters
    ----------
    network : nn.Module
        The network.
    inputs : Inputs
        The features of all units.
    train : np.ndarray of int
        The units whose features are standardised to mean 0 and standard deviation 1.
    options : NetworkOptions
        Of the section ``train`` of params.yaml.

    Attributes
    ----------
    mean, spread : torch.Tensor, shape [channels, mels or 1, 1]
        What is subtracted from the input, and by what the result is divided. The names are part of saved
        weights.
    network : nn.Module
    frames_learned : torch.Tensor of bool, shape []
        Whether the training had labels of frames; only of a network that can label them.
    frozen : list of nn.Module
        Modules that are not trained.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    frames_learned: torch.Tensor

    def __init__(self, network: nn.Module, inputs: Inputs, train: np.ndarray, options: NetworkOptions):
        super().__init__()
        mean, spread = _input_statistics(inputs, train, options)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.network = network
        if hasattr(network, "label_frames"):
            self.register_buffer("frames_learned", torch.tensor(False))
        if not any(map(_breaks_channels_last, network.modules())):
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # 25 % faster
        self.frozen = freeze(network, options.freeze)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the training mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise features of any number of leading dimensions, as float32."""
        return (x.float() - self.mean) / self.spread

    def logits(self, x: torch.Tensor, present: torch.Tensor | None) -> torch.Tensor:
        """Return the logits [batch, classes] or [batch, heads, classes] of standardised features."""
        return self.network(x) if present is None else self.network(x, present)

    @property
    def labels_frames(self) -> bool:
        """Whether the network labels frames, and learned it from annotations."""
        return hasattr(self.network, "label_frames") and bool(self.frames_learned)

    def label_frames(self, x: torch.Tensor) -> Any:
        """Return the `murmur.models.frames.FrameOutput` of standardised features, as float32."""
        output: Any = self.network.label_frames(x)  # type: ignore[operator]
        return output._make(part.float() for part in output)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits [batch, classes], averaged over heads, of features from `Inputs.take`."""
        return average_heads(self.logits(self.standardise(x), present))


def _breaks_channels_last(layer: nn.Module) -> bool:
    """Return whether the gradient of a layer in channels-last format writes outside its memory.

    See github.com/uxlfoundation/oneDNN/issues/6035.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels < 16
    )


def _input_statistics(
    inputs: Inputs, train: np.ndarray, options: NetworkOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is subtracted from the input, and the divisor: [channels, mels or 1, 1]."""
    channels, integers = inputs.x.shape[1], not inputs.x.is_floating_point()
    if options.standardise == "band":
        return _band_statistics(inputs, train)
    maximum = 255.0 if integers else 1.0  # pixels of images are integers from 0 to 255
    if options.standardise == "none":
        return torch.zeros(channels, 1, 1), torch.full((channels, 1, 1), maximum)
    if channels != 3:
        raise MurmurError(f"train.standardise imagenet: needs mel.image (channels: {channels}, not 3)")
    mean, spread = maximum * torch.tensor(IMAGENET)[..., None, None]
    return mean, spread


def _band_statistics(inputs: Inputs, train: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation [channels, mels, 1] over the training part.

    Computed in batches in float64. The standard deviation is at least 0.001.
    """
    x, rows = inputs.x, inputs.rows(train)
    first = inputs.take_rows(torch.zeros(1, dtype=torch.long))
    total = squares = torch.zeros(x.shape[1:3], dtype=torch.float64, device=first.device)
    for batch in rows.split(_batch_size(first)):
        values = inputs.take_rows(batch).double()
        total, squares = total + values.sum((0, 3)), squares + values.square().sum((0, 3))
    n = len(rows) * x.shape[3]
    mean = total / n
    deviation = (squares / n - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float()[..., None], deviation.float()[..., None]


def _batch_size(unit: torch.Tensor) -> int:
    """Return how many units of this size are computed at once without gradients."""
    units = MAX_UNITS_CPU if unit.device.type == "cpu" else MAX_UNITS
    return max(1, min(units, MAX_VALUES // unit.numel()))


@torch.no_grad()
def take_batches(
    model: nn.Module, inputs: Inputs, units: np.ndarray
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Set a model to evaluation mode, and yield the features of units in batches, as `Inputs.take`.

    Parameters
    ----------
    model : nn.Module
        A `Classifier`.
    inputs : Inputs
        The features of all units.
    units : np.ndarray of int
        Indices of the units.
    """
    model.eval()
    first_unit, _ = inputs.take(torch.zeros(1, dtype=torch.long))
    yield from map(inputs.take, torch.from_numpy(units).split(_batch_size(first_unit)))


@torch.no_grad()
def predict_logits(model: nn.Module, inputs: Inputs, units: np.ndarray) -> torch.Tensor:
    """Predict units in batches, in float32 even if the training uses bfloat16.

    Parameters
    ----------
    model, inputs, units
        As for `take_batches`.

    Returns
    -------
    torch.Tensor of float32, shape [units, classes]
        The logits.
    """
    return torch.cat([model(*batch) for batch in take_batches(model, inputs, units)])


@torch.no_grad()
def predict_outputs(model: Classifier, inputs: Inputs, units: np.ndarray) -> Predictions:
    """Predict units, and their frames if the network labels frames.

    Parameters
    ----------
    model, inputs, units
        As for `take_batches`.

    Returns
    -------
    Predictions
    """
    if not model.labels_frames:
        return Predictions(predict_logits(model, inputs, units))
    batches = take_batches(model, inputs, units)
    parts = [_predict_frames(model.label_frames(model.standardise(x))) for x, _ in batches]
    return Predictions(*map(torch.cat, zip(*parts, strict=True)))


def _predict_frames(output: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the fields of `Predictions` from a `murmur.models.frames.FrameOutput`."""
    states, murmur, annotated = output.probabilities()
    return output.logits, output.figures(), torch.cat([states, torch.stack([murmur, annotated], 2)], 2)
