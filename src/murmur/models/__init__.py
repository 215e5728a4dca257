"""The networks, one module for each, and how to import them by name.

Each module has a function ``build(*, classes, channels, mels, frames, **options)``. The network that it
returns maps spectrograms [batch, channels, mels, frames] to logits [batch, classes].

A network with an option ``sites`` makes one prediction for each patient. It takes the segments of the patient
at each auscultation site [batch, sites, n, channels, mels, frames] and a Boolean mask [batch, sites, n],
False for padding. Logits of a network with several output heads are [batch, heads, classes].

A network that labels frames also has a method ``label_frames(x)``, which returns a
`murmur.models.frames.FrameOutput`, and its module a number ``STEP``: frame k · STEP of the spectrogram has
output k.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field

from murmur.errors import MurmurError

Size = Annotated[int, Field(ge=1, le=4096)]  # types of options, whose ranges the stage `check` checks
Rate = Annotated[float, Field(ge=0, lt=1)]


def list_names() -> list[str]:
    """Return the names of the networks: the modules of this package without a leading underscore."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load_module(name: str) -> ModuleType:
    """Import the module of a network, ``murmur.models.<name>``.

    Parameters
    ----------
    name : str
        The value of ``train.model.name``.

    Returns
    -------
    module

    Raises
    ------
    MurmurError
        If there is no network of this name.
    """
    if name not in list_names():
        raise MurmurError(f"train.model.name: no model {name!r}; there are {', '.join(list_names())}")
    return importlib.import_module(f"murmur.models.{name}")


def needs_download(options: dict[str, Any]) -> bool:
    """Return whether a library downloads the pretrained weights when the network is built.

    Parameters
    ----------
    options : dict
        The options of the network: the keys of ``train.model`` without the name.
    """
    return options.get("weights") == "imagenet"
