"""Any network of timm (Wightman, PyTorch Image Models) by its name there, from nothing or with weights."""

import difflib
from typing import Any

import requests
import timm
import torch
from huggingface_hub import constants
from torch import nn

from murmur.errors import MurmurError
from murmur.models._weights import fetched, fill, load_weights


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    arch: str,
    weights: str = "none",
    dropout: float = 0.0,
) -> nn.Module:
    """The network `arch`, its last layer new.

    weights: none; imagenet, which timm fetches when it is first needed; or a local file. For one channel
    their first convolution is the mean over red, green and blue.

    Raises
    ------
    MurmurError
        If timm has no such network, or its weights cannot be had.
    """
    if not timm.is_model(arch):
        close = ", ".join(difflib.get_close_matches(arch, timm.list_models(), 3)) or "see timm.list_models()"
        raise MurmurError(f"train.model.arch: timm has no network {arch!r}; near it: {close}")
    fixed = timm.get_pretrained_cfg_value(arch, "fixed_input_size")
    size: dict[str, Any] = {"img_size": (mels, frames)} if fixed else {}
    network: Any = timm.create_model(arch, in_chans=channels, num_classes=classes, drop_rate=dropout, **size)
    head = str(network.default_cfg["classifier"])
    if weights == "imagenet":
        what = f"{arch}'s ImageNet weights"
        return fill(network, fetched(what, lambda: _pretrained(arch, size)), what, head=head)
    return network if weights == "none" else load_weights(network, weights, head=head)


def _pretrained(arch: str, size: dict[str, Any]) -> dict[str, torch.Tensor]:
    """From the hub, or, where it cannot be reached, from its cache: else it would try for a minute."""
    try:
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        constants.HF_HUB_OFFLINE = True
    return timm.create_model(arch, pretrained=True, **size).state_dict()
