"""The file of a search: which parameters are tried, and with which values."""

import shlex
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.models._signatures import check_options
from murmur.params.types import Boolean, real_number, whole_number
from murmur.params.validation import validate
from murmur.params.yaml_files import read_yaml
from murmur.sections.experiment import Params
from murmur.sections.train import Model

TEXT = Annotated[str, Field(min_length=1)]
NUMBER = Annotated[float, real_number()]
DIGITS = 4  # significant digits of a real number that is tried
OF_THE_DATA = (
    *("dataset", "task", "class_map", "positive", "download", "duplicates", "split", "seed"),
    "segment.first_of",  # leaks the label
)
OF_THE_SCORE = ("evaluate.level", "evaluate.thresholds", "evaluate.uar_share")
WITHOUT_EFFECT = (
    *("evaluate.sensitivity", "evaluate.prevalence", "evaluate.draws", "final", "published", "mel.format"),
    *("train.device", "train.keep_weights", "embed.device"),
)


class Plan(BaseModel, extra="forbid"):
    """The content of the file.

    Attributes
    ----------
    recipe : str or None
        The base; None is params.yaml.
    runs : list of int or None
        `split.runs` of all trials; None are those of the base.
    metric : str
        The metric of the validation parts.
    trials : int
        The number of trials, with those of earlier calls.
    space : dict
        For each dotted key of params.yaml a range, `{low, high, log, step}`, or a list of values.
    """

    recipe: TEXT | None = None
    runs: list[int] | None = None
    metric: TEXT
    trials: Annotated[int, whole_number(1, 100_000)]
    space: Annotated[dict[str, Any], Field(min_length=1)]


class Range(BaseModel):
    """Numbers from `low` to `high`, both included.

    Attributes
    ----------
    low, high : float
        The limits; of type int for a parameter that is an integer.
    log : bool
        Whether the logarithm is uniformly distributed.
    step : float or None
        The distance of the numbers that are tried; None: all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    low: NUMBER
    high: NUMBER
    log: Boolean = False
    step: NUMBER | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: with log: true it must be greater than 0")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ValueError(f"step {self.step:g}: must be from 0 to high - low, and not with log: true")
        return self


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes
    ----------
    path : Path
        Its file.
    plan : Plan
        The content of the file.
    base : dict
        All parameters of the base.
    domains : dict
        By dotted key a `Range`, or a dict of values by their text.
    """

    path: Path
    plan: Plan
    base: dict[str, Any]
    domains: dict[str, Range | dict[str, Any]]

    @property
    def runs(self) -> list[int]:
        """The runs of each trial."""
        return list(self.plan.runs or self.base["split"]["runs"])


def read_search(path: Path) -> Search:
    """Read the file of a search.

    Raises
    ------
    MurmurError
        Naming the file and the key: if it is unknown, has an impossible value, or would make the scores of
        the trials incomparable.
    """
    plan = validate(Plan, read_yaml(path), str(path))
    base = recipes.read_recipe(plan.recipe) if plan.recipe else read_yaml("params.yaml")
    validate(Params, base, plan.recipe or "params.yaml")
    if plan.runs is not None:
        validate(Params, set_values(base, {"split.runs": plan.runs}), f"{path}: runs")
    for key in plan.space:
        if reason := _explain_refusal(base, key):
            raise MurmurError(f"{path}: {key}: {reason}")
        if inner := next((other for other in plan.space if other.startswith(f"{key}.")), None):
            raise MurmurError(f"{path}: {inner}: is a part of {key}, which is tried too; remove one")
    domains = {key: _read_domain(base, key, value, str(path)) for key, value in plan.space.items()}
    return Search(path, plan, base, domains)


def _explain_refusal(base: Mapping[str, Any], key: str) -> str:
    """Return why a key cannot be searched; empty if it can."""

    def is_in(names: tuple[str, ...]) -> bool:
        return any(f"{key}.".startswith(f"{name}.") for name in names)

    if is_in(OF_THE_DATA):
        return "changes the data or the folds, and scores of different folds are not comparable; remove it"
    if is_in(OF_THE_SCORE):
        return "changes how the validation parts are scored, so scores are not comparable; remove it"
    units = base["evaluate"]["level"], base["split"]["group_by"]
    if is_in(("segment",)) and "segment" in units:
        return "changes the segments, which are divided into folds or scored here; remove it"
    if is_in(WITHOUT_EFFECT):
        return "has no effect on the validation score; remove it"
    known = [name for name in _list_keys(base) if "." in name]
    if key in known:
        return ""
    similar = get_close_matches(key, known, 1)
    return f"unknown key; {f'did you mean {similar[0]}?' if similar else 'see params.yaml'}"


def _list_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values, also of those that hold others."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _list_keys(value, f"{prefix}{key}.")


def _read_domain(base: dict[str, Any], key: str, value: Any, where: str) -> Range | dict[str, Any]:
    """Check the range or the list of a key."""
    if isinstance(value, list):
        values = {recipes.format_value(choice): choice for choice in value}
        if len(values) < max(2, len(value)):
            raise MurmurError(f"{where}: {key}: give at least two different values")
        for choice in value:
            _check_value(base, key, choice, where)
        return values
    if not isinstance(value, dict):
        raise MurmurError(f"{where}: {key}: give a range, {{low: 1, high: 8}}, or a list of values")
    limits = validate(Range, value, f"{where}: {key}")
    numbers = {name: number for name, number in limits if name != "log" and number is not None}
    if _needs_integer(base, key):
        if not all(number.is_integer() for number in numbers.values()):
            raise MurmurError(f"{where}: {key}: the parameter is an integer; give integers")
        limits = limits.model_copy(update={name: int(number) for name, number in numbers.items()})
    for number in (limits.low, limits.high):
        _check_value(base, key, number, where)
    return limits


def _check_value(base: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Check a value alone. Whether values fit together is checked for each trial."""
    params = set_values(base, {key: value})
    if _find_errors(params):
        validate(Params, params, where)
    if f"{key}.".startswith("train.model."):
        model = Model.model_validate(params["train"]["model"])
        try:
            check_options(model.name, model.options)
        except MurmurError as error:
            raise MurmurError(f"{where}: {error}") from None


def _find_errors(params: dict[str, Any]) -> list[str]:
    """Return the types of the errors of single values, not of the rules between them."""
    try:
        Params.model_validate(params)
    except ValidationError as error:
        return [detail["type"] for detail in error.errors() if detail["type"] != "value_error"]
    return []


def _needs_integer(base: dict[str, Any], key: str) -> bool:
    """Whether a parameter is an integer. That of a model is one if its present value is one."""
    if key.startswith("train.model."):
        return isinstance(get_value(base, key), int)
    return any(kind.startswith("int") for kind in _find_errors(set_values(base, {key: 0.5})))


def set_values(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy all parameters and change values.

    Parameters
    ----------
    base : mapping
        All parameters.
    values : mapping
        By dotted key.
    """
    params = deepcopy(dict(base))
    for key, value in values.items():
        recipes.set_value(params, key, value, key)
    return params


def get_value(params: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key."""
    value: Any = params
    for name in key.split("."):
        value = value[name]
    return value


def convert_value(domain: Range | Mapping[str, Any], value: Any) -> Any:
    """Return the value of a parameter from that of Optuna: a number, or the text of a choice."""
    if not isinstance(domain, Range):
        return domain[value]
    if isinstance(domain.low, int):
        return int(value)
    return min(max(float(f"{value:.{DIGITS}g}"), domain.low), domain.high)


def format_command(search: Search, values: Mapping[str, Any]) -> str:
    """Format the command that runs the base with these values.

    Parameters
    ----------
    search : Search
        The search.
    values : mapping
        By dotted key.
    """
    words = ["dvc", "exp", "run"]
    for key, value in values.items():
        new = f"{key}={recipes.format_value(value)}"
        if isinstance(value, dict) and isinstance(get_value(search.base, key), dict):  # -S alone merges them
            words += ["-S", f"~{key}", "-S", f"+{new}"]
        else:
            words += ["-S", new]
    first = ["murmur", "use", search.plan.recipe] if search.plan.recipe else []
    return " && ".join(shlex.join(command) for command in (first, words) if command)
