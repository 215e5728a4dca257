"""Pretrained weights of a network, from a file or downloaded by a library."""

import hashlib
import re
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from murmur.errors import MurmurError, first_line
from murmur.workers import limit_time

MAX_SECONDS = 3600  # of a download
T = TypeVar("T")


def download_weights(description: str, download: Callable[[], T]) -> T:
    """Call a library's download function; an unreachable network is an error within seconds.

    A server that sends without an end is an error after `MAX_SECONDS`.

    Parameters
    ----------
    description : str
        What is downloaded, for the error message.
    download : callable
        Downloads the weights and returns them.

    Returns
    -------
    object
        What `download` returns.

    Raises
    ------
    MurmurError
        If `download` raises an exception.
    """
    try:
        with _socket_timeout(10):
            return limit_time(MAX_SECONDS, download)
    except Exception as error:  # each library raises other exceptions
        raise MurmurError(
            f"train.model.weights imagenet: {description} cannot be fetched ({first_line(error)}); go online "
            "once, name a local weights file, or set it to none"
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of new sockets, and restore the former one at the end, also after an error.

    torch.hub, which torchvision uses, opens a URL without a timeout: the default of the process is the only
    way to set one.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def verify_blobs(folder: Path) -> None:
    """Compare the files in huggingface_hub's cache with the hub's checksums, which are their names.

    The names are SHA-256 hashes of large files and git's SHA-1 hashes of small ones. huggingface_hub itself
    compares only the sizes.

    Parameters
    ----------
    folder : Path
        The folder `blobs` of the repository.

    Raises
    ------
    ValueError
        If a file differs; it is deleted.
    """
    for path in folder.glob("*"):
        if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", path.name):  # received in part
            continue
        hashed = hashlib.sha256()
        if len(path.name) == 40:
            hashed = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, hashed.copy).hexdigest()
        if digest != path.name:
            path.unlink(missing_ok=True)  # another process may have found it too
            raise ValueError(f"the file received has the {hashed.name} {digest}, not {path.name}")


def load_weights(network: nn.Module, path: str, *, head: str) -> nn.Module:
    """Fill a network with the weights in a local file.

    Parameters
    ----------
    network : nn.Module
        The network, changed in place.
    path : str
        A state dict, saved as .safetensors or by `torch.save`.
    head : str
        Name of the last layer; see `fill_network`.

    Returns
    -------
    nn.Module
        The same network.

    Raises
    ------
    MurmurError
        If the file cannot be read, or its weights do not fit the network.
    """
    return fill_network(network, read_weights(path), path, head=head)


def fill_network(
    network: nn.Module, weights: Mapping[str, torch.Tensor], source: str, *, head: str
) -> nn.Module:
    """Fill a network with weights.

    A first convolution for RGB images is adapted to the channels of the network. For one channel it is the
    mean over red, green and blue. A last layer for another number of classes is not loaded.

    Parameters
    ----------
    network : nn.Module
        The network, changed in place.
    weights : mapping of str to torch.Tensor
        The state dict.
    source : str
        Origin of the weights, for the error message.
    head : str
        Name of the last layer.

    Returns
    -------
    nn.Module
        The same network.

    Raises
    ------
    MurmurError
        Naming the first key that does not fit.
    """
    expected = network.state_dict()
    weights = _adapt_first_convolution(weights, expected)
    skipped = {
        key
        for key, tensor in expected.items()
        if key.startswith(f"{head}.") and key in weights and weights[key].shape != tensor.shape
    }
    weights = {key: tensor for key, tensor in weights.items() if key not in skipped}
    check_keys(weights, expected, source, may_lack=skipped)
    network.load_state_dict(weights, strict=False)
    return network


def _adapt_first_convolution(
    weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Return the weights with a first convolution for the number of input channels of the network."""
    first = next((key for key, tensor in expected.items() if tensor.dim() == 4), "")
    if first not in weights or not weights[first].shape[1] == 3 != expected[first].shape[1]:
        return weights
    from timm.models import adapt_input_conv  # timm takes a second to import

    channels = expected[first].shape[1]
    adapted = adapt_input_conv(channels, weights[first])
    return {**weights, first: adapted / (3 if channels == 1 else 1)}  # timm's is the sum over the colours


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file; code in the file is not executed.

    Parameters
    ----------
    path : str
        A state dict, saved as .safetensors or by `torch.save`.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    MurmurError
        If the file is missing, damaged, or holds something else.
    """
    if not Path(path).is_file():
        raise MurmurError(f"train.model.weights: no file {path}; name a weights file, imagenet or none")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        check_stored(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost any exception
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise MurmurError(f"{path}: cannot be read as weights ({reason}); fetch the file again") from error
    if isinstance(content, dict) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        return content
    raise MurmurError(f"{path}: expected a state dict, tensors by name; save only that part of it")


def check_stored(path: str | Path) -> None:
    """Refuse a ZIP archive with compressed members: decompressed they could fill the memory.

    `torch.save` writes uncompressed members only.

    Parameters
    ----------
    path : path-like
        The weights file.

    Raises
    ------
    ValueError
        If a member is compressed.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its parts are compressed, which torch.save does not do")


def check_keys(
    weights: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    path: Any,
    may_lack: AbstractSet[str] = frozenset(),
) -> None:
    """Check that weights have the names, shapes and number types that a network expects.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        The state dict that was read.
    expected : mapping of str to torch.Tensor
        The state dict of the network.
    path : object
        Origin of the weights, for the error message.
    may_lack : set of str
        Keys that the weights may lack.

    Raises
    ------
    MurmurError
        Naming the first key that does not fit.
    """
    for key, tensor in expected.items():
        if key in weights:
            _check_tensor(weights[key], tensor.shape, f"{path}: ", key)
        elif key not in may_lack:
            raise MurmurError(f"{path}: weights of another architecture: {key} is missing")
    if extra := [key for key in weights if key not in expected]:
        raise MurmurError(f"{path}: weights of another architecture: the network has no {extra[0]}")


def _check_tensor(tensor: torch.Tensor, shape: torch.Size, where: str, key: str) -> None:
    """Refuse a tensor of another shape, or one that is not an array of finite real numbers."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_complex():
        raise MurmurError(
            f"{where}{key} is not a plain array of real numbers; save the state dict of a trained network"
        )
    if tensor.shape != shape:
        raise MurmurError(
            f"{where}weights of another architecture: {key} is {tuple(tensor.shape)}, not {tuple(shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise MurmurError(f"{where}{key} contains a number that is not finite; replace the file")
