"""The sections of params.yaml, one module each: an edit re-runs only the stages that read the section."""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import create_model

from murmur.code_changes import make_check
from murmur.errors import MurmurError, check_at_end
from murmur.params.types import Section
from murmur.params.validation import validate
from murmur.params.yaml_files import read_yaml

# The types of the keys that are single values; a section `name` has the type `name.Name`.
TYPES = {
    "dataset": "data.Dataset",
    "task": "data.Task",
    "class_map": "data.ClassMap",
    "positive": "data.Positive",
    "seed": "seed.Seed",
}


def load(*keys: str, path: str | Path = "params.yaml") -> SimpleNamespace:
    """Read the values of params.yaml that a stage uses.

    The complete file is validated if murmur.sections.experiment exists. No stage depends on it in dvc.yaml:
    it can refuse a value, but it cannot change what the stage writes. When a stage ends, its values are read
    again: DVC records those that the file has then, so a stage fails if they, or its code, have changed.

    Parameters
    ----------
    *keys : str
        Names of sections and values: the result of ``load("mel", "clean.sample_rate")`` has the attributes
        `mel` and `sample_rate`.
    path : path-like
        The file.

    Returns
    -------
    SimpleNamespace
        With an attribute for each key, named by its last part.

    Raises
    ------
    MurmurError
        Naming the file, the key and what is wrong with it.
    """
    content = read_yaml(path)
    if find_spec("murmur.sections.experiment"):
        import_module("murmur.sections.experiment").validate_params(content, path)
    values = _select(content, keys, path)
    if stage := os.environ.get("DVC_STAGE"):
        check_at_end(partial(_check_unchanged, values, path))
        check_at_end(make_check(stage))
    return SimpleNamespace(**{key.split(".")[-1]: value for key, value in values.items()})


def _select(content: Mapping[str, Any], keys: Iterable[str], path: str | Path) -> dict[str, Any]:
    """Validate the sections of some keys; return the values of the keys."""
    names = dict.fromkeys(key.partition(".")[0] for key in keys)
    fields: Any = {name: (_find_type(name), ...) for name in names}
    model = create_model("Keys", __base__=Section, **fields)
    params = validate(model, {name: content[name] for name in names if name in content}, where=str(path))
    return {key: attrgetter(key)(params) for key in keys}


def _check_unchanged(values: Mapping[str, Any], path: str | Path) -> None:
    """Check that params.yaml still has the values that a stage has used."""
    now = _select(read_yaml(path), values, path)
    if changed := [key for key, value in values.items() if now[key] != value]:
        raise MurmurError(
            f"{path}: {', '.join(changed)} changed while this stage ran, and DVC would record the new value "
            "for this result: run it again, and change parameters only when no stage runs"
        )


def _find_type(name: str) -> Any:
    """Import the type of a top-level key of params.yaml."""
    module, _, kind = TYPES.get(name, f"{name}.{name.capitalize()}").partition(".")
    return getattr(import_module(f"murmur.sections.{module}"), kind)
