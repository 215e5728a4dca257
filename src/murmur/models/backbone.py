"""Any network of timm by its name.

References
----------
Wightman (2019), PyTorch Image Models, https://github.com/huggingface/pytorch-image-models
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from torch import nn

from murmur.errors import MurmurError
from murmur.models import Rate
from murmur.models._weights import download_weights, fill_network, load_weights, verify_blobs


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    arch: str,
    weights: str = "none",
    dropout: Rate = 0.0,
) -> nn.Module:
    """Build a network of timm with a new last layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram.
    arch : str
        Name of the network in timm.
    weights : str
        ``none`` for random weights, ``imagenet`` for those that timm downloads when they are first needed, or
        the path of a local file. For one channel the first convolution is the mean over red, green and blue.
    dropout : float
        Dropout rate, as timm applies it in this network.

    Returns
    -------
    nn.Module
        [batch, channels, mels, frames] -> logits [batch, classes].

    Raises
    ------
    MurmurError
        If timm has no such network, or its weights are not available.
    """
    if not timm.is_model(arch):
        close = ", ".join(difflib.get_close_matches(arch, timm.list_models(), 3)) or "see timm.list_models()"
        raise MurmurError(f"train.model.arch: timm has no network {arch!r}; similar names: {close}")
    fixed = timm.get_pretrained_cfg_value(arch, "fixed_input_size")
    size: dict[str, Any] = {"img_size": (mels, frames)} if fixed else {}
    network: Any = timm.create_model(arch, in_chans=channels, num_classes=classes, drop_rate=dropout, **size)
    head = str(network.default_cfg["classifier"])
    if weights == "imagenet":
        source = f"{arch}'s ImageNet weights"
        state = download_weights(source, lambda: _pretrained_state(arch, size))
        return fill_network(network, state, source, head=head)
    return network if weights == "none" else load_weights(network, weights, head=head)


def _pretrained_state(arch: str, size: dict[str, Any]) -> dict[str, torch.Tensor]:
    timm.models.set_pretrained_check_hash(True)  # for the few networks that are not on the hub
    repository = timm.get_pretrained_cfg_value(arch, "hf_hub_id")
    try:
        with _offline_if_unreachable():
            return timm.create_model(arch, pretrained=True, **size).state_dict()
    finally:  # also after an error: a damaged file would remain in the cache
        if repository:
            folder = repo_folder_name(repo_id=repository, repo_type="model")
            verify_blobs(Path(constants.HF_HUB_CACHE) / folder / "blobs")


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Let huggingface_hub read only its cache if its server cannot be reached: else it retries for a minute.

    timm does not pass on `local_files_only`, and huggingface_hub reads the environment variable only when it
    is imported. The setting is restored at the end, also after an error.
    """
    before = constants.HF_HUB_OFFLINE
    try:
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
