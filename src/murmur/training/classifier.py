"""What is classified, and the network behind the standardisation of its input."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from murmur.errors import MurmurError
from murmur.models._construction import freeze
from murmur.sections.train import Train
from murmur.training.losses import average_heads

AT_ONCE, VALUES = 512, 2**22  # units, and values of input, predicted at a time: large images take much memory
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and spread of red, green and blue


class Inputs(NamedTuple):
    """What a network may see. Unit k is row k of `x`, or, with `bags` [units, sites, n], the rows of its
    bag: those of a patient's n segments at each site, -1 for none."""

    x: torch.Tensor
    bags: torch.Tensor | None

    def take(self, units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[batch, channels, mels, frames] and None, or [batch, sites, n, …] and which rows are there."""
        if self.bags is None:
            return self.x[units], None
        bags = self.bags[units]
        return self.x[bags.clamp(min=0)], bags >= 0

    def rows(self, units: np.ndarray) -> torch.Tensor:
        """The rows of `x` that these units are made of."""
        chosen = torch.from_numpy(units)
        if self.bags is None:
            return chosen
        bags = self.bags[chosen]
        return bags[bags >= 0].unique().cpu()


class Classifier(nn.Module):
    """A network behind the standardisation of its input; its first layers may be frozen."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, network: nn.Module, inputs: Inputs, train: np.ndarray, options: Train):
        super().__init__()
        mean, spread = _standard(inputs, train, options)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.network = network
        if not any(map(_breaks_channels_last, network.modules())):
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a quarter faster
        self.frozen = freeze(network, options.freeze)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.spread

    def logits(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        """Of a standardised input: [batch, classes], or [batch, heads, classes]."""
        return self.network(x) if there is None else self.network(x, there)

    def forward(self, x: torch.Tensor, there: torch.Tensor | None = None) -> torch.Tensor:
        return average_heads(self.logits(self.standardise(x), there))


def _breaks_channels_last(layer: nn.Module) -> bool:
    """Whether its training would write past its memory (github.com/uxlfoundation/oneDNN/issues/6035)."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels < 16
    )


def _standard(inputs: Inputs, train: np.ndarray, options: Train) -> tuple[torch.Tensor, torch.Tensor]:
    """What is subtracted from the input, and what it is then divided by: [channels, mels or 1, 1]."""
    x = inputs.x
    if options.standardise == "band":
        return _band_statistics(inputs, train)
    whole = 1.0 if x.is_floating_point() else 255.0  # images are 0..255
    if options.standardise == "none":
        return torch.zeros(x.shape[1], 1, 1), torch.full((x.shape[1], 1, 1), whole)
    if x.shape[1] != 3:
        raise MurmurError(f"train.standardise imagenet: needs mel.image, there are {x.shape[1]} channels")
    mean, spread = whole * torch.tensor(IMAGENET)[..., None, None]
    return mean, spread


def _band_statistics(inputs: Inputs, train: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [channels, mels, 1] over the train part, batch by batch in float64."""
    x, rows = inputs.x, inputs.rows(train)
    total = squares = torch.zeros(x.shape[1:3], dtype=torch.float64, device=x.device)
    for batch in rows.split(_at_once(x[:1])):
        part = x[batch].double()
        total, squares = total + part.sum((0, 3)), squares + part.square().sum((0, 3))
    n = len(rows) * x.shape[3]
    mean = total / n
    spread = (squares / n - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float()[..., None], spread.float()[..., None]


def _at_once(one: torch.Tensor) -> int:
    """How many inputs like this one are held at a time."""
    return max(1, min(AT_ONCE, VALUES // one.numel()))


@torch.no_grad()
def predict_logits(model: nn.Module, inputs: Inputs, units: np.ndarray) -> torch.Tensor:
    """Logits [units, classes] float32; always in float32, whatever the training's precision."""
    model.eval()
    one, _ = inputs.take(torch.zeros(1, dtype=torch.long))
    return torch.cat([model(*inputs.take(part)) for part in torch.from_numpy(units).split(_at_once(one))])
