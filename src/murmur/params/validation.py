"""Validation of values from a YAML file, with error messages that name the key."""

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from murmur.errors import MurmurError
from murmur.params.types import MAX_NUMBER
from murmur.params.yaml_files import MAX_TEXT

MIN_NUMBER = 1e-30  # float32 rounds smaller numbers to 0
MANY = 10  # missing keys: the file is not a params.yaml
MAX_VALUES = 10_000  # in the complete file
RESTORE = "Remove it from the file, or restore all: `git checkout HEAD . && dvc checkout`"
KINDS = {  # by pydantic's type of the error
    **dict.fromkeys(("list_type", "tuple_type"), "list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "mapping"),
}
Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """Validate `content` and convert it to `model`.

    Parameters
    ----------
    model : type
        A pydantic model.
    content : dict
        The content of a YAML file.
    where : str
        The name of the file, for error messages.

    Raises
    ------
    MurmurError
        With all errors in one line: ``where: key: reason; key: reason``.
    """
    _check_values(content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        missing = [detail for detail in error.errors() if detail["type"] == "missing"]
        if len(missing) > MANY:
            raise MurmurError(
                f"{where}: {len(missing)} keys are missing, such as {missing[0]['loc'][-1]}; a recipe holds "
                "only its differences from the default: `murmur use NAME` writes the complete params.yaml"
            ) from None
        reasons = [_explain(detail, model) for detail in error.errors()]
        text = f"{where}: " + "; ".join(reasons)
        if where == "params.yaml" and any(detail["type"] == "extra_forbidden" for detail in error.errors()):
            text += f"{'' if text.endswith('?') else '.'} {RESTORE}"
        raise MurmurError(text) from None


def suggest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return what to use instead of an unknown name: the most similar known name, or all known names."""
    names = sorted(known)
    if similar := get_close_matches(name, names, 1):
        return f"did you mean {prefix}{similar[0]}?"
    return f"known here: {', '.join(names)}"


def _check_values(content: dict[str, Any], where: str) -> None:
    """Refuse values that no parameter may have, also in mappings in which any key is allowed."""
    for key, value in _walk(content, where):
        error = _find_error(key, value)
        if error:
            raise MurmurError(f"{where}: {_shorten(key)}: {error}")


def _walk(content: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted key, at most `MAX_VALUES`; YAML can refer to itself without end."""
    remaining: list[tuple[str, Any]] = [("", content)]
    n = 0
    while remaining:
        key, value = remaining.pop()
        n += 1
        items: Any = ()
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        remaining += [(f"{key}.{name}".lstrip("."), item) for name, item in items]
        if n + len(remaining) > MAX_VALUES:
            raise MurmurError(
                f"{where}: {_shorten(key)}: holds more than {MAX_VALUES} values; leave some out"
            )
        yield key, value


def _find_error(key: str, value: Any) -> str:
    """Return what is wrong with a value of any type, or an empty text."""
    if len(key) > MAX_TEXT or (isinstance(value, str) and len(value) > MAX_TEXT):
        return f"longer than {MAX_TEXT} characters; shorten it"
    if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        return f"not a finite number up to {MAX_NUMBER:g} (it is {_shorten(repr(value))})"
    if isinstance(value, float) and 0 < abs(value) < MIN_NUMBER:
        return f"a number closer to 0 than {MIN_NUMBER:g} (it is {value!r})"
    return ""


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


_ONE_OF = re.compile(
    r"literal\[|constrained-|list\["
)  # pydantic's names for alternatives, which are not keys


def _explain(error: Any, model: type[BaseModel]) -> str:
    """Describe one error of pydantic: the key, the reason and the value."""
    key = ".".join(str(part) for part in error["loc"] if not _ONE_OF.match(str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; {_suggest_key(model, key, error['loc'][:-1])}"
    if error["type"] == "missing":
        return f"key {key} is missing"
    reason = explain_reason(error)
    if key and error["type"] != "value_error":
        return f"{key}: {reason} (it is {format_input(error['input'])})"
    return reason


def explain_reason(error: Any) -> str:
    """Return the reason of one error of pydantic in the words of YAML: mapping, not dictionary."""
    if error["type"] in KINDS:
        return f"Input should be a {KINDS[error['type']]}"
    reason = error["msg"].removeprefix("Value error, ")
    return reason.replace("Dictionary", "Mapping").replace(" after validation", "")


def format_input(value: Any) -> str:
    """Format a wrong value as in YAML, shortened to 100 characters."""
    if value is None:
        return "empty"
    is_yaml = isinstance(value, bool | dict | list)
    text = json.dumps(value, ensure_ascii=False, skipkeys=True, default=str) if is_yaml else repr(value)
    return _shorten(text)


def _suggest_key(model: type[BaseModel], key: str, location: tuple[Any, ...]) -> str:
    """Suggest a key of any section with the same last part, else a similar key of its own section."""
    sections = dict(_walk_sections(model))
    last = key.rpartition(".")[2]
    same = [
        f"{name}.{last}".lstrip(".") for name, section in sections.items() if last in section.model_fields
    ]
    if same:
        return f"did you mean {' or '.join(same)}?"
    prefix = ".".join(str(part) for part in location)
    if prefix not in sections:
        return "see params.yaml"
    return suggest(last, sections[prefix].model_fields, f"{prefix}.".lstrip("."))


def _walk_sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the dotted name and the model of each section, first of the complete file (no name)."""
    yield prefix, model
    for name, field in model.model_fields.items():
        for kind in getattr(field.annotation, "__args__", (field.annotation,)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _walk_sections(kind, f"{prefix}.{name}".lstrip("."))
