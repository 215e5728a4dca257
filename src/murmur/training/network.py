"""Construction of the network that `train.model` names."""

import inspect
import traceback
from collections.abc import Callable
from types import ModuleType

import torch
from pydantic import ConfigDict, ValidationError, validate_call
from torch import nn

from murmur.errors import MurmurError, first_line
from murmur.models import load_module
from murmur.sections.train import Model

WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d)  # the layers that `freeze` counts
SHAPE = ("classes", "channels", "mels", "frames")  # the arguments of `build` that are not options


def build(model: Model, *, classes: int, channels: int, mels: int, frames: int) -> nn.Module:
    """Build the network that `train.model` names, and check that it accepts its input.

    Parameters
    ----------
    model : Model
        The section ``train.model``: name and options.
    classes : int
        Number of logits.
    channels, mels, frames : int
        Shape of a spectrogram.

    Returns
    -------
    nn.Module
        The network, in evaluation mode.

    Raises
    ------
    MurmurError
        If there is no such model, it has no such option, or it does not accept spectrograms of this shape.
    """
    module = load_module(model.name)
    shape = {"classes": classes, "channels": channels, "mels": mels, "frames": frames}
    _check_option_names(module.build, model)
    network = _construct(module.build, model, shape)
    _check_input_shape(network, module, model, (channels, mels, frames))
    return network


def _check_option_names(function: Callable[..., nn.Module], model: Model) -> None:
    """Check that `build` has each option, and that each option without a default is given."""
    parameters = inspect.signature(function).parameters
    options = {name: parameters[name] for name in parameters if name not in SHAPE}
    if unknown := sorted(set(model.options) - set(options)):
        raise MurmurError(
            f"train.model.{unknown[0]}: {model.name} has no such option; its options are {sorted(options)}"
        )
    required = {name for name, option in options.items() if option.default is inspect.Parameter.empty}
    if missing := sorted(required - set(model.options)):
        raise MurmurError(
            f"train.model.{missing[0]}: {model.name} needs this option; its options are {sorted(options)}"
        )


def _construct(function: Callable[..., nn.Module], model: Model, shape: dict[str, int]) -> nn.Module:
    """Call `build`; the types of the options are checked against its annotations."""
    try:
        return validate_call(config=ConfigDict(strict=True))(function)(**shape, **model.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MurmurError(f"train.model.{key}: {first['msg']} (it is {first['input']!r})") from None
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        raise MurmurError(f"train.model {model.name} {model.options}: {first_line(error)}") from error


def _check_input_shape(
    network: nn.Module, module: ModuleType, model: Model, size: tuple[int, int, int]
) -> None:
    """Pass one spectrogram of zeros through the network: some networks need a larger input."""
    inputs: tuple[torch.Tensor, ...] = (torch.zeros(1, *size),)
    if model.level == "patient":
        sites = len(model.options.get("sites", []))
        inputs = torch.zeros(1, sites, 1, *size), torch.ones(1, sites, 1, dtype=torch.bool)
    try:
        with torch.no_grad():
            network.eval()(*inputs)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if model.level == "patient":
            raise MurmurError(f"train.model {model.name} {model.options}: {first_line(error)}") from error
        raise MurmurError(
            f"train.model {model.name}: cannot take a spectrogram of {size[1]} x {size[2]} (mels x frames): "
            f"{first_line(error)}; if the network needs a larger input, change mel.image.size, mel.n_mels or "
            f"segment.length; if not, correct its options or src/murmur/models/{model.name}.py"
            f"{find_line(error, module.__file__)}"
        ) from error


def find_line(error: Exception, path: str | None) -> str:
    """Return the innermost line of a file that an error came from, as " (line 12)"; "" if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f" (line {lines[-1]})" if lines else ""


def freeze(network: nn.Module, layers: int) -> list[nn.Module]:
    """Freeze the first layers of a network.

    Counted are convolutional and linear layers. All modules before the first layer that is trained are
    frozen, batch normalisation too.

    Parameters
    ----------
    network : nn.Module
        The network, changed in place.
    layers : int
        Number of layers to freeze.

    Returns
    -------
    list of nn.Module
        The frozen modules, which must stay in evaluation mode during training.

    Raises
    ------
    MurmurError
        If no layer would be left to train.
    """
    if not layers:
        return []
    count = 0
    frozen: list[nn.Module] = []
    for module in network.modules():
        count += isinstance(module, WITH_WEIGHTS)
        if count <= layers:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            frozen += [] if any(module.children()) else [module]
    if count <= layers:
        raise MurmurError(
            f"train.freeze {layers}: the network has {count} layer{'s' * (count != 1)}; leave some to train"
        )
    return frozen
