"""Recipes: published systems, each a file with the parameters in which it differs from the default."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import Comment, CommentedMap
from ruamel.yaml.representer import RoundTripRepresenter, SafeRepresenter

from murmur.errors import MurmurError
from murmur.params.validation import check
from murmur.params.yaml_files import MAX_TEXT, parse_yaml, read_yaml
from murmur.sections.experiment import Params

FOLDER = Path("recipes")
DEFAULT = "default"  # complete and with comments; the same bytes as the project's own params.yaml


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all recipes in a folder, `default` first.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the recipes; likewise for the other functions.

    Returns
    -------
    list of str
    """
    return sorted((path.stem for path in folder.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def head(name: str, folder: Path = FOLDER) -> str:
    """The comment lines at the top of a recipe, each with its `#`.

    Raises
    ------
    MurmurError
        If there is no recipe of this name.
    """
    text = _path(name, folder).read_text(encoding="utf-8", errors="replace")
    return "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))


def title(name: str, folder: Path = FOLDER) -> str:
    """The first line of the head of a recipe."""
    if name == DEFAULT:
        return "the parameters from which the recipes differ"
    return head(name, folder).partition("\n")[0].removeprefix("# ")


def complete(name: str, folder: Path = FOLDER) -> str:
    """The params.yaml of a recipe: the default with its comments, and the head and the values of the recipe.

    An indented section of the default is merged key by key. Any other value is replaced as a whole, also a
    mapping in braces such as `train.model`. Comments beside the keys of a recipe are not copied.

    Parameters
    ----------
    name : str
        A recipe, or `default`.

    Returns
    -------
    str
        For `default` the text of its file, unchanged.

    Raises
    ------
    MurmurError
        Naming the file of the recipe, and the key that is unknown or has a wrong value.
    """
    path = _path(name, folder)
    if name == DEFAULT:
        text = path.read_text(encoding="utf-8")
    else:
        content = _load(_path(DEFAULT, folder))
        _merge(content, _load(path))
        text = f"{head(name, folder)}\n{_dump(content)}"
    _check(parse_yaml(text, str(path)), str(path))
    return text


def read(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """All parameters of a recipe, as `read_yaml` reads them from its complete params.yaml.

    Raises
    ------
    MurmurError
        As for `complete`.
    """
    return parse_yaml(complete(name, folder), f"{folder / name}.yaml")


def is_recipe(path: Path, folder: Path = FOLDER) -> bool:
    """Whether a file is, byte for byte, the complete params.yaml of some recipe."""
    content = path.read_bytes()
    for name in names(folder):
        with suppress(MurmurError):  # a recipe with an error has no params.yaml
            if content.startswith(head(name, folder).encode()) and content == complete(name, folder).encode():
                return True
    return False


def differences(name: str, folder: Path = FOLDER) -> list[tuple[str, Any, Any]]:
    """The parameters in which a recipe differs from the default, in the order of the default.

    Returns
    -------
    list of (str, object, object)
        The dotted key, the default value and the value of the recipe.

    Raises
    ------
    MurmurError
        As for `complete`.
    """
    return list(_compare(_load(_path(DEFAULT, folder)), read(name, folder)))


def as_line(value: Any) -> str:
    """A value as one line of YAML, such as `{order: 4, low: 25, high: 400}`."""
    yaml, stream = _yaml(), StringIO()
    yaml.default_flow_style = True
    yaml.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").strip()


def put(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Change the value of a key in place; only in `class_map` may the key be new.

    Parameters
    ----------
    content : dict
        All parameters.
    key : str
        With dots, such as `train.lr`.
    value : object
    where : str
        The start of the error message.

    Raises
    ------
    MurmurError
        If there is no such key.
    """
    *sections, last = key.split(".")
    place: Any = content
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or (last not in place and sections != ["class_map"]):
        raise MurmurError(f"{where}: the recipe has no such key")
    place[last] = value


def as_published(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A copy of all parameters, changed as the section `published` lists.

    Raises
    ------
    MurmurError
        Starting with `where`, if `published` has an unknown key.
    """
    flawed = deepcopy(dict(content))
    for key, value in content["published"].items():
        put(flawed, key, value, f"{where}: published: {key}")
    return flawed


def _path(name: str, folder: Path) -> Path:
    if name not in (known := names(folder)):
        raise MurmurError(f"no recipe {name!r}; there are {', '.join(known)}")
    return folder / f"{name}.yaml"


class _Representer(RoundTripRepresenter):
    """Writes None as `null`, where ruamel.yaml's own writes nothing."""


_Representer.add_representer(type(None), SafeRepresenter.represent_none)


def _yaml() -> YAML:
    """A reader and writer that keeps comments, alignment and the style of each value."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True  # type: ignore[assignment]
    yaml.width = MAX_TEXT
    return yaml


def _load(path: Path) -> CommentedMap:
    read_yaml(path)  # names the file and the line of what is not YAML
    return _yaml().load(path.read_text(encoding="utf-8"))


def _dump(content: CommentedMap) -> str:
    stream = StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def _is_section(value: Any) -> bool:
    return isinstance(value, CommentedMap) and value.fa.flow_style() is False  # None: empty braces


def _merge(default: CommentedMap, own: Mapping[str, Any]) -> None:
    for key, value in own.items():
        if _is_section(default.get(key)) and isinstance(value, Mapping):
            _merge(default[key], value)
        else:
            default[key] = _without_comments(value)


def _without_comments(value: Any) -> Any:
    """The value itself, without the comments and blank lines that ruamel.yaml keeps with it."""
    if hasattr(value, Comment.attrib):
        delattr(value, Comment.attrib)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _without_comments(part)
    return value


def _check(content: dict[str, Any], where: str) -> None:
    check(Params, content, where)
    check(Params, as_published(content, where), f"{where}: published")


def _compare(
    default: CommentedMap, own: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key, value in default.items():
        if _is_section(value):
            yield from _compare(value, own[key], f"{prefix}{key}.")
        elif own[key] != value:
            yield prefix + key, _without_comments(value), own[key]
