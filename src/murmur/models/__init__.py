"""One file a model: `build(classes, channels, mels, frames, **options)` returns the module that turns
spectrograms [batch, channels, mels, frames] into logits [batch, classes].

A model with an option `sites` decides once a patient: it takes [batch, sites, n, channels, mels, frames] and
which of the n segments at each site are there, [batch, sites, n]. Logits may be [batch, heads, classes].
"""

import importlib
from pathlib import Path
from types import ModuleType

from murmur.errors import MurmurError


def names() -> list[str]:
    """The names of the models, a module each."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load_module(name: str) -> ModuleType:
    """Import a model, the module `murmur.models.<name>`.

    Raises
    ------
    MurmurError
        If there is no such model.
    """
    if name not in names():
        raise MurmurError(f"train.model.name: no model {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"murmur.models.{name}")
