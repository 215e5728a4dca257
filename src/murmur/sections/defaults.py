"""Parameters for programs and notebooks: the defaults or those of a params.yaml, with changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from murmur.errors import MurmurError
from murmur.params.yaml_files import read_yaml
from murmur.sections.experiment import Params, validate_params

DEFAULT = Path(__file__).with_name("default_params.yaml")  # a link to recipes/default.yaml


def load_params(path: str | Path | None = None, changes: Mapping[str, Any] | None = None) -> Params:
    """Load all parameters of the pipeline.

    Parameters
    ----------
    path : path-like, optional
        The params.yaml of a project; by default the default parameters, whatever the working folder is.
    changes : mapping, optional
        Other values by key, as with ``dvc exp run -S key=value``.

    Returns
    -------
    Params
        The sections of params.yaml as attributes. They cannot be changed afterwards.

    Raises
    ------
    MurmurError
        Naming the file, the key and what is wrong with it.

    Examples
    --------
    >>> import murmur
    >>> murmur.load_params().mel.n_mels
    32
    >>> murmur.load_params(changes={"mel.n_mels": 64, "clean.bandpass": None}).mel.n_mels
    64
    """
    content = read_yaml(DEFAULT if path is None else path)
    for key, value in (changes or {}).items():
        _change(content, key, value)
    return validate_params(content, path or "default parameters")


def _change(content: Any, key: str, value: Any) -> None:
    """Change the value of a dotted key that exists."""
    *sections, last = key.split(".")
    for section in sections:
        content = content.get(section) if isinstance(content, dict) else None
    if not isinstance(content, dict) or last not in content:
        raise MurmurError(f"{key}: there is no such parameter; all parameters are in params.yaml")
    content[last] = value
