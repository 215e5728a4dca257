"""Validation of values from a YAML file, with messages that name the key."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from murmur.errors import MurmurError
from murmur.params.types import MAX_NUMBER
from murmur.params.yaml_files import MAX_TEXT

MIN_NUMBER = 1e-30  # what is smaller is 0 to float32
MAX_VALUES = 10_000  # in the whole file
M = TypeVar("M", bound=BaseModel)


def check(model: type[M], content: dict[str, Any], where: str) -> M:
    """Build `model` from `content`; what does not fit is told as `where: key: reason`."""
    _check_values(content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(one, model) for one in error.errors()]
        raise MurmurError(f"{where}: " + "; ".join(lines)) from None


def _check_values(content: dict[str, Any], where: str) -> None:
    """Refuse what no parameter is, wherever it stands, also where any key is allowed."""
    waiting, n = [("", content)], 0
    while waiting:
        key, value = waiting.pop()
        n += 1
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        waiting += [(f"{key}.{name}".lstrip("."), item) for name, item in items]
        if n + len(waiting) > MAX_VALUES:
            raise MurmurError(f"{where}: {_short(key)}: holds more than {MAX_VALUES} values; leave some out")
        if len(key) > MAX_TEXT or (isinstance(value, str) and len(value) > MAX_TEXT):
            raise MurmurError(f"{where}: {_short(key)}: longer than {MAX_TEXT} characters; shorten it")
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise MurmurError(
                f"{where}: {_short(key)}: not a finite number up to {MAX_NUMBER:g} (it is {_short(value)})"
            )
        if isinstance(value, float) and 0 < abs(value) < MIN_NUMBER:
            raise MurmurError(
                f"{where}: {_short(key)}: a number nearer to 0 than {MIN_NUMBER:g} (it is {value!r})"
            )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


_ONE_OF = re.compile(r"literal\[|constrained-|list\[")  # pydantic's words for what a value may be, not keys


def _explain(error: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"] if not _ONE_OF.match(str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; known here: {', '.join(_known(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"key {key} is missing"
    reason = error["msg"].removeprefix("Value error, ")
    return (
        f"{key}: {reason} (it is {_short(repr(error['input']))})"
        if key and error["type"] != "value_error"
        else reason
    )


def _known(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return ["see params.yaml"]
        model = inner[0]
    return sorted(model.model_fields)
