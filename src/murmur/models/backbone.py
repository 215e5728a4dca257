"""Any network of timm (Wightman, PyTorch Image Models) by its name there, from nothing or with weights."""

import difflib
from typing import Any

import requests
import timm
from huggingface_hub import constants
from torch import nn

from murmur.errors import MurmurError
from murmur.models import fetched, load_weights


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

    weights: none; imagenet, which timm fetches when it is first needed; or a local file. Where they
    expect colours, the first convolution takes the sum over red, green and blue for one channel (what follows
    it, batch norm, makes sum and mean the same).

    Raises
    ------
    MurmurError
        If timm has no such network, or its weights cannot be had.
    """
    if not timm.is_model(arch):
        close = ", ".join(difflib.get_close_matches(arch, timm.list_models(), 3)) or "see timm.list_models()"
        raise MurmurError(f"train.model.arch: timm has no network {arch!r}; near it: {close}")
    options: dict[str, Any] = {"in_chans": channels, "num_classes": classes, "drop_rate": dropout}
    if timm.get_pretrained_cfg_value(arch, "fixed_input_size"):
        options["img_size"] = (mels, frames)
    if weights == "imagenet":
        return fetched(f"{arch}'s ImageNet weights", lambda: _pretrained(arch, options))
    network: Any = timm.create_model(arch, **options)
    if weights == "none":
        return network
    return load_weights(network, weights, head=str(network.default_cfg["classifier"]))


def _pretrained(arch: str, options: dict[str, Any]) -> nn.Module:
    """From the hub, or, where it cannot be reached, from its cache: else it would try for a minute."""
    try:
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        constants.HF_HUB_OFFLINE = True
    return timm.create_model(arch, pretrained=True, **options)
