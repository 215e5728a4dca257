"""Construction of the network that `train.model` names."""

import inspect
from collections.abc import Callable

import torch
from pydantic import ConfigDict, ValidationError, validate_call
from torch import nn

from murmur.errors import MurmurError, first_line
from murmur.models import load_module
from murmur.sections.train import Model

WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def build(model: Model, *, classes: int, channels: int, mels: int, frames: int) -> nn.Module:
    """Build the model that `train.model` names, for spectrograms of this shape.

    Raises
    ------
    MurmurError
        If there is no such model, it takes no such option, or it cannot take spectrograms of this shape.
    """
    function = load_module(model.name).build
    shape = {"classes": classes, "channels": channels, "mels": mels, "frames": frames}
    parameters = inspect.signature(function).parameters
    taken = set(parameters) - set(shape)
    if unknown := sorted(set(model.options) - taken):
        raise MurmurError(
            f"train.model.{unknown[0]}: {model.name} takes no such option; it takes {sorted(taken)}"
        )
    needed = {name for name in taken if parameters[name].default is inspect.Parameter.empty}
    if missing := sorted(needed - set(model.options)):
        raise MurmurError(
            f"train.model.{missing[0]}: {model.name} needs this option; it takes {sorted(taken)}"
        )
    network = _construct(function, model, shape)
    _try(network, model, shape)
    return network


def _construct(function: Callable[..., nn.Module], model: Model, shape: dict[str, int]) -> nn.Module:
    """Call `build`, its options checked against its annotations."""
    try:
        return validate_call(config=ConfigDict(strict=True))(function)(**shape, **model.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MurmurError(f"train.model.{key}: {first['msg']} (it is {first['input']!r})") from None
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        raise MurmurError(f"train.model {model.name} {model.options}: {first_line(error)}") from error


def _try(network: nn.Module, model: Model, shape: dict[str, int]) -> None:
    """Let the network see one spectrogram, of each site: some need a larger one than they are given."""
    size = [shape[key] for key in ("channels", "mels", "frames")]
    bag = (1, len(model.options.get("sites", [])), 1)
    try:
        with torch.no_grad():
            if model.level == "patient":
                network.eval()(torch.zeros(*bag, *size), torch.ones(bag, dtype=torch.bool))
            else:
                network.eval()(torch.zeros(1, *size))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if model.level == "patient":
            raise MurmurError(f"train.model {model.name} {model.options}: {first_line(error)}") from error
        raise MurmurError(
            f"train.model {model.name}: cannot take a spectrogram of {size[1]} x {size[2]} (mels x frames): "
            f"{first_line(error)}; give it a larger one (mel.image.size, mel.n_mels, segment.length)"
        ) from error


def freeze(network: nn.Module, layers: int) -> list[nn.Module]:
    """Keep the first layers with weights (convolution, linear) as they are, and the norms among them.

    Returns what must stay in evaluation mode while the rest trains.

    Raises
    ------
    MurmurError
        If the network has no layer left to train.
    """
    if not layers:
        return []
    seen, frozen = 0, []
    for layer in network.modules():
        seen += isinstance(layer, WITH_WEIGHTS)
        if seen <= layers:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
            frozen += [] if any(layer.children()) else [layer]
    if seen <= layers:
        raise MurmurError(f"train.freeze {layers}: the network has {seen} layers; leave some to train")
    return frozen
