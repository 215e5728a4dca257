"""Weights of a network from a file or a library."""

import socket
import zipfile
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import nn

from murmur.errors import MurmurError, first_line

T = TypeVar("T")


def fetched(what: str, get: Callable[[], T]) -> T:
    """What a library downloads at run time, or an error within seconds that says it could not."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        return get()
    except Exception as error:  # whatever a library's downloader raises
        raise MurmurError(
            f"train.model.weights imagenet: {what} cannot be fetched ({first_line(error)}); go online once, "
            "name a local weights file, or set it to none"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


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
