"""One file a model: `build(classes, channels, mels, frames, **options)` returns the module that turns
spectrograms [batch, channels, mels, frames] into logits [batch, classes]."""

import importlib
import inspect
from pathlib import Path

from torch import nn

from murmur.errors import MurmurError
from murmur.params import Model


def build(model: Model, *, classes: int, channels: int, mels: int, frames: int) -> nn.Module:
    """Build the model that `train.model` names, for spectrograms of this shape.

    Raises
    ------
    MurmurError
        If there is no such model, or it takes no such option.
    """
    known = sorted(p.stem for p in Path(__file__).parent.glob("[!_]*.py"))
    if model.name not in known:
        raise MurmurError(f"train.model.name: no model {model.name!r}; there are {', '.join(known)}")
    function = importlib.import_module(f"murmur.models.{model.name}").build
    shape = {"classes": classes, "channels": channels, "mels": mels, "frames": frames}
    taken = set(inspect.signature(function).parameters) - set(shape)
    if unknown := sorted(set(model.options) - taken):
        raise MurmurError(
            f"train.model.{unknown[0]}: {model.name} takes no such option; it takes {sorted(taken)}"
        )
    return function(**shape, **model.options)
