"""One file a model: `build(classes, channels, mels, frames, **options)` returns the module that turns
spectrograms [batch, channels, mels, frames] into logits [batch, classes].

A model with an option `sites` decides once a patient: it takes [batch, sites, n, channels, mels, frames] and
which of the n segments at each site are there, [batch, sites, n]. Logits may be [batch, heads, classes]."""

import importlib
import inspect
import socket
import zipfile
from collections.abc import Callable, Set
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from pydantic import ConfigDict, ValidationError, validate_call
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import nn

from murmur.errors import MurmurError
from murmur.params import Model

T = TypeVar("T")
WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def build(model: Model, *, classes: int, channels: int, mels: int, frames: int) -> nn.Module:
    """Build the model that `train.model` names, for spectrograms of this shape.

    Raises
    ------
    MurmurError
        If there is no such model, it takes no such option, or it cannot take spectrograms of this shape.
    """
    function = module(model.name).build
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
        raise MurmurError(f"train.model {model.name} {model.options}: {_reason(error)}") from error


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
            raise MurmurError(f"train.model {model.name} {model.options}: {_reason(error)}") from error
        raise MurmurError(
            f"train.model {model.name}: cannot take a spectrogram of {size[1]} x {size[2]} (mels x frames): "
            f"{_reason(error)}; give it a larger one (mel.image.size, mel.n_mels, segment.length)"
        ) from error


def fetched(what: str, get: Callable[[], T]) -> T:
    """What a library downloads at run time, or an error within seconds that says it could not."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        return get()
    except Exception as error:  # whatever a library's downloader raises
        raise MurmurError(
            f"train.model.weights imagenet: {what} cannot be fetched ({_reason(error)}); go online once, "
            "name a local weights file, or set it to none"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def module(name: str) -> ModuleType:
    """The file of a model: the module murmur.models.<name>."""
    known = sorted(p.stem for p in Path(__file__).parent.glob("[!_]*.py"))
    if name not in known:
        raise MurmurError(f"train.model.name: no model {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"murmur.models.{name}")


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


def load_weights(network: nn.Module, path: str, *, head: str) -> nn.Module:
    """Fill a network with the weights in a local file, .safetensors or torch's own.

    Raises
    ------
    MurmurError
        If the file cannot be read, or naming the first key that does not fit.
    """
    return fill(network, read_weights(path), path, head=head)


def fill(network: nn.Module, found: dict[str, torch.Tensor], path: str, *, head: str) -> nn.Module:
    """Fill a network with weights.

    A `head` (the name of the last layer) for other classes than ours is passed over. A first convolution of
    colours is fitted to the network's channels: for one, the mean over red, green and blue.
    """
    own = network.state_dict()
    first = next((key for key, tensor in own.items() if tensor.dim() == 4), "")
    if first in found and found[first].shape[1] == 3 != own[first].shape[1]:
        n = own[first].shape[1]
        found = found | {first: adapt_input_conv(n, found[first]) / (3 if n == 1 else 1)}
    other = {k for k in found if k.startswith(f"{head}.") and k in own and found[k].shape != own[k].shape}
    check_keys({k: v for k, v in found.items() if k not in other}, own, path, may_lack=other)
    network.load_state_dict({k: v for k, v in found.items() if k not in other}, strict=False)
    return network


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The tensors in a weights file; no code in it is run."""
    if not Path(path).is_file():
        raise MurmurError(f"train.model.weights: no file {path}; name a weights file, imagenet or none")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        check_stored(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise MurmurError(f"{path}: cannot be read as weights ({reason}); fetch the file again") from error
    if isinstance(found, dict) and all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items()
    ):
        return found
    raise MurmurError(f"{path}: expected a state dict, tensors by name; save that part of it alone")


def check_stored(path: str | Path) -> None:
    """Refuse an archive with packed parts, which torch never writes: unpacked they may fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its parts are packed, as of TorchScript and not of a state dict")


def check_keys(
    found: dict[str, torch.Tensor], own: dict[str, torch.Tensor], path: Any, may_lack: Set[str] = frozenset()
) -> None:
    """Refuse weights of another architecture, naming the first key that does not fit."""
    for key, tensor in own.items():
        if key not in found and key not in may_lack:
            raise MurmurError(f"{path}: weights of another architecture: {key} is not in it")
        if key not in found:
            continue
        if found[key].layout != torch.strided or found[key].is_meta or found[key].is_complex():
            raise MurmurError(
                f"{path}: {key} holds no plain numbers; save the state dict of a trained network"
            )
        if found[key].shape != tensor.shape:
            shapes = f"{tuple(found[key].shape)}, not {tuple(tensor.shape)}"
            raise MurmurError(f"{path}: weights of another architecture: {key} is {shapes}")
        if not torch.isfinite(found[key]).all():
            raise MurmurError(f"{path}: {key} holds a number that is not finite; replace the file")
    if extra := [key for key in found if key not in own]:
        raise MurmurError(f"{path}: weights of another architecture: {extra[0]} has no place in the network")
