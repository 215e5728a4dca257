"""Section `segment` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Boolean, Seconds, Section, real_number, whole_number


class Segment(Section):
    """Section `segment`."""

    length: Seconds
    overlap: Annotated[float, real_number(ge=0, lt=1)]
    short: Literal["drop", "pad", "wrap"]
    min_length: Annotated[float, real_number(ge=0, le=3600)]
    first: Annotated[int, whole_number(1, 10**6)] | None
    first_of: list[str]
    mirror: Boolean
