"""Recipes: published systems, each a file with the parameters in which it differs from the default."""

import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import Comment, CommentedMap
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node
from ruamel.yaml.representer import RoundTripRepresenter, SafeRepresenter

from murmur.errors import MurmurError
from murmur.files import atomic_write
from murmur.models import needs_download
from murmur.models._requirements import REQUIREMENTS
from murmur.params.validation import validate
from murmur.params.yaml_files import MAX_TEXT, format_yaml, parse_yaml, read_yaml
from murmur.sections.experiment import Params

FOLDER = Path("recipes")
FROM_FILE = "# From the file "  # a comment in the params.yaml of a recipe that is not in `FOLDER`
DEFAULT = "default"  # complete, with comments; the same bytes as the params.yaml of the project


def list_names(folder: Path = FOLDER) -> list[str]:
    """List the names of all recipes, `default` first.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the recipes, as for all functions of this module.
    """
    names = (path.stem for path in folder.glob("*.yaml") if path.is_file())
    return sorted(names, key=lambda name: (name != DEFAULT, name))


def read_head(name: str, folder: Path = FOLDER) -> str:
    """Read the comment lines at the top of a recipe, with their `#`.

    Raises
    ------
    MurmurError
        If there is no recipe of this name.
    """
    text = _path(name, folder).read_text(encoding="utf-8-sig", errors="replace")
    return "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))


def read_title(name: str, folder: Path = FOLDER) -> str:
    """Read the title of a recipe: the first comment line."""
    if name == DEFAULT:
        return "the parameters from which the recipes differ"
    return read_head(name, folder).partition("\n")[0].removeprefix("# ")


def complete_params(name: str, folder: Path = FOLDER) -> str:
    """Make the complete params.yaml of a recipe.

    It has the first comment of the recipe, which names the file of a recipe that is not in `folder`, then the
    default with its comments and the values of the recipe.

    An indented section of the default is merged key by key. Any other value is replaced as a whole; this
    includes mappings in braces such as `train.model`. Comments beside the keys of a recipe are not copied.

    Parameters
    ----------
    name : str
        A recipe, `default`, or the path of a file (.yaml) with the content of a recipe.

    Returns
    -------
    str
        The text; for `default` that of its file, unchanged.

    Raises
    ------
    MurmurError
        If there is no such recipe, or naming its file and the key that is unknown or has a wrong value.
    """
    path = _path(name, folder)
    if name == DEFAULT:
        text = path.read_text(encoding="utf-8")
    else:
        default = _path(DEFAULT, folder)
        content = _load(default)
        _check(content, str(default))
        _merge(content, _load(path))
        source = f"{FROM_FILE}{name}\n" if name.endswith(".yaml") else ""
        text = f"{read_head(name, folder)}{source}\n{_dump(content)}"
    _check(parse_yaml(text, str(path)), str(path))
    return text


def read_recipe(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Read all parameters of a recipe: the default values, changed by the recipe.

    Raises
    ------
    MurmurError
        As for `complete_params`.
    """
    return parse_yaml(complete_params(name, folder), str(_path(name, folder)))


def is_recipe(path: Path, folder: Path = FOLDER) -> bool:
    """Whether a file is, byte for byte, the complete params.yaml of any recipe or of a file like one."""
    content = path.read_bytes()
    files = re.findall(f"^{FROM_FILE}(.+)$", content.decode(errors="replace"), re.MULTILINE)
    for name in [*list_names(folder), *files]:
        with suppress(MurmurError):  # a wrong recipe has no params.yaml
            if (
                content.startswith(read_head(name, folder).encode())
                and content == complete_params(name, folder).encode()
            ):
                return True
    return False


def list_needs(name: str, folder: Path = FOLDER) -> list[str]:
    """List what a recipe needs beside the recordings: time, from its head, and pretrained weights.

    Returns
    -------
    list of str
        A sentence each.

    Raises
    ------
    MurmurError
        As for `complete_params`.
    """
    params = read_recipe(name, folder)
    needs = [
        line.removeprefix("# ") for line in read_head(name, folder).splitlines() if line.startswith("# Time:")
    ]
    weights = {params["embed"]["weights"]} if params["embed"]["models"] else set()
    model = params["train"]["model"]
    if required := REQUIREMENTS.get(model["name"]):
        weights.add(model.get("weights", required.weights))
    needs += [
        f"Weights: data/weights/README.md describes where to get {path}."
        for path in weights
        if not Path(path).is_file()
    ]
    if needs_download(model):
        needs.append(
            "Weights: the first training downloads them; without a network: -S train.model.weights=none."
        )
    return needs


def is_same_content(text: str, other: str) -> bool:
    """Whether two texts of params.yaml have the same values and comments; ``dvc exp run -S`` reformats it."""
    try:
        return _read_content(text) == _read_content(other)
    except MurmurError:
        return text == other


def _read_content(text: str) -> tuple[Any, list[str]]:
    return parse_yaml(text, "params.yaml"), list_comments(text)


def list_differences(name: str, folder: Path = FOLDER) -> list[tuple[str, Any, Any]]:
    """List the parameters in which a recipe differs from the default, in the order of the default.

    Returns
    -------
    list of (str, object, object)
        The dotted key, the default value and the value of the recipe.

    Raises
    ------
    MurmurError
        As for `complete_params`.
    """
    return list(_compare(_load(_path(DEFAULT, folder)), read_recipe(name, folder)))


def format_recipe(params: Mapping[str, Any], head: str, folder: Path = FOLDER) -> str:
    """Format all parameters as a recipe, with the values in which they differ from the default.

    Parameters
    ----------
    params : mapping
        All parameters.
    head : str
        The comment lines at its top.
    """
    content: dict[str, Any] = {}
    for key, _, value in _compare(_load(_path(DEFAULT, folder)), params):
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return f"{head}\n{format_yaml(content)}"


def format_value(value: Any) -> str:
    """Format a value as one line of YAML, such as `{order: 4, low: 25, high: 400}`."""
    yaml, stream = _yaml(), StringIO()
    yaml.default_flow_style = True
    yaml.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").strip()


def list_comments(text: str) -> list[str]:
    """List the comments of a YAML text, sorted."""
    return sorted(re.findall(r"(?:^|\s)#(.*?)\r?$", text, re.MULTILINE))


def write_params(path: Path, text: str) -> None:
    """Write params.yaml with its present permissions.

    Raises
    ------
    MurmurError
        If it is a link or read-only.
    """
    if path.is_symlink():
        raise MurmurError(f"{path}: is a link; put a copy of {path.resolve()} in its place, then try again")
    if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
        raise MurmurError(f"{path}: is read-only; chmod u+w {path}, then try again")
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
        if path.exists():
            shutil.copymode(path, part)


def replace_value(path: Path, key: str, value: Any) -> str:
    """Replace the value of a key in the text of a YAML file; all other text stays as it is.

    Parameters
    ----------
    path : pathlib.Path
        The file, such as params.yaml.
    key : str
        A dotted key, such as `train.model`.
    value : object
        Its new value, which is written in one line.

    Returns
    -------
    str
        The new text.

    Raises
    ------
    MurmurError
        If the file is not YAML or has no such key.
    """
    read_yaml(path)  # raises an error with the file and the line if it is not YAML
    text = path.read_bytes().decode("utf-8")  # with its line ends
    node = _yaml().compose(text)
    for part in key.split("."):
        pairs = node.value if isinstance(node, MappingNode) else []
        found = [(name, child) for name, child in pairs if name.value == part]
        if not found:
            raise MurmurError(f"{path}: key {key} is missing")
        name, node = found[0]
    start = name.end_mark.index
    colon_and_comment = text[start : node.start_mark.index].partition("\n")[0].rstrip()
    new = f"{colon_and_comment[0]} {format_value(value)}{colon_and_comment[1:]}"
    return text[:start] + new + text[_find_end(node) :]


def _find_end(node: Node) -> int:
    """Return the position after a node; that of an indented mapping does not include comments after it."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def set_value(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set the value of a key in place. Only `class_map` may get new keys.

    Parameters
    ----------
    content : dict
        All parameters.
    key : str
        A dotted key, such as `train.lr`.
    value : object
        Its new value.
    where : str
        The beginning of the error message.

    Raises
    ------
    MurmurError
        If there is no such key.
    """
    *sections, last = key.split(".")
    section: Any = content
    for name in sections:
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict) or (last not in section and sections != ["class_map"]):
        raise MurmurError(f"{where}: the recipe has no such key")
    section[last] = value


def apply_setting(content: dict[str, Any], setting: str) -> None:
    """Set a parameter in place as the option ``-S key=value`` requests.

    Parameters
    ----------
    content : dict
        All parameters.
    setting : str
        ``key=value``, with the value as YAML.

    Raises
    ------
    MurmurError
        If there is no such key, or if the value is not YAML.
    """
    key, _, value = setting.partition("=")
    set_value(content, key, parse_yaml(value, f"-S {key}"), f"-S {key}")


def apply_published(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Copy all parameters and apply the changes that the section `published` lists.

    Raises
    ------
    MurmurError
        Beginning with `where`, if `published` has an unknown key.
    """
    published = deepcopy(dict(content))
    for key, value in content["published"].items():
        set_value(published, key, value, f"{where}: published: {key}")
    return published


def _path(name: str, folder: Path) -> Path:
    if name.endswith(".yaml"):
        if not Path(name).is_file():
            raise MurmurError(f"{name}: no such file")
        return Path(name)
    if name not in (known := list_names(folder)):
        raise MurmurError(f"{folder}: no recipe {name!r}; there are {', '.join(known)}")
    return folder / f"{name}.yaml"


class _Representer(RoundTripRepresenter):
    """Writes None as `null`; the default of ruamel.yaml is an empty value."""


_Representer.add_representer(type(None), SafeRepresenter.represent_none)


def _yaml() -> YAML:
    """A YAML reader and writer that keeps comments, alignment and the style of each value."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = MAX_TEXT
    return yaml


def _load(path: Path) -> CommentedMap:
    read_yaml(path)  # raises an error with the file and the line if it is not YAML
    return _yaml().load(path.read_text(encoding="utf-8"))


def _dump(content: CommentedMap) -> str:
    stream = StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def _is_section(value: Any) -> bool:
    """Whether a value is an indented mapping, not one in braces (for empty braces flow_style is None)."""
    return isinstance(value, CommentedMap) and value.fa.flow_style() is False


def _merge(default: CommentedMap, changes: Mapping[str, Any]) -> None:
    """Change values of the default in place."""
    for key, value in changes.items():
        if _is_section(default.get(key)) and isinstance(value, Mapping):
            _merge(default[key], value)
        else:
            default[key] = _without_comments(value)


def _without_comments(value: Any) -> Any:
    """Remove in place the comments and blank lines that ruamel.yaml keeps with a value."""
    if hasattr(value, Comment.attrib):
        delattr(value, Comment.attrib)
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _without_comments(part)
    return value


def _check(content: dict[str, Any], where: str) -> None:
    """Check the values of both protocols."""
    validate(Params, content, where)
    validate(Params, apply_published(content, where), f"{where}: published")


def _compare(
    default: CommentedMap, values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Each dotted key whose values differ, with both values."""
    for key, value in default.items():
        if _is_section(value):
            yield from _compare(value, values[key], f"{prefix}{key}.")
        elif values[key] != value:
            yield prefix + key, _without_comments(value), values[key]
