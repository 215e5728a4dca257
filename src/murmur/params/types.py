"""Types of the values in params.yaml, with their limits."""

import os
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_NUMBER = 10**12


def real_number(
    *, gt: float | None = None, ge: float | None = None, lt: float | None = None, le: float | None = None
) -> Any:
    """Return the pydantic field of a number within limits; text and booleans are refused.

    Parameters
    ----------
    gt, ge, lt, le : float, optional
        The number must be greater than, greater than or equal to, less than, less than or equal to these.
    """
    return Field(strict=True, gt=gt, ge=ge, lt=lt, le=le)


def whole_number(low: int, high: int) -> Any:
    """Return the pydantic field of an integer from `low` to `high`."""
    return Field(strict=True, ge=low, le=high)


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        raise PydanticCustomError("name", "not a name: use only letters, digits, - and _, at most 100")
    return name


def _check_path(path: str) -> str:
    if not path.isprintable() or any(len(os.fsencode(part)) > 255 for part in path.split("/")):
        raise PydanticCustomError("path", "no file can have this name")
    return path


def _check_dependency(path: str) -> str:
    """Refuse an empty path and an address, such as s3://…, which DVC would accept as a dependency."""
    if not path or re.match(r"[\w+.-]*:", path):
        raise PydanticCustomError("path", "name a path on this computer, not an address")
    return _check_path(path)


def _check_split_file(path: str) -> str:
    if ".." in path.split("/") or not path.endswith(".csv"):
        raise PydanticCustomError("path", "name a CSV file (.csv), without '..' in its path")
    return _check_dependency(path)


Positive = Annotated[float, real_number(gt=0, le=MAX_NUMBER)]
Fraction = Annotated[float, real_number(gt=0, lt=1)]
Probability = Annotated[float, real_number(ge=0, le=1)]
Seconds = Annotated[float, real_number(gt=0, le=3600)]
Hertz = Annotated[float, real_number(gt=0, le=1_000_000)]
Samples = Annotated[int, whole_number(1, 2**20)]
Run = Annotated[int, whole_number(0, 2**31 - 1)]
Boolean = Annotated[bool, Field(strict=True)]
Name = Annotated[str, AfterValidator(_check_name)]
FilePath = Annotated[str, AfterValidator(_check_path)]
SplitFile = Annotated[str, AfterValidator(_check_split_file)]
Folder = Annotated[str, AfterValidator(_check_dependency)]


class Section(BaseModel):
    """Base class of the sections of params.yaml: unknown keys, infinity and nan are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
