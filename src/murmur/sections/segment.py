"""Section `segment` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Boolean, Seconds, Section, real, whole


class Segment(Section):
    """Section `segment`."""

    length: Seconds
    overlap: Annotated[float, real(ge=0, lt=1)]
    short: Literal["drop", "pad", "wrap"]
    min_length: Annotated[float, real(ge=0, le=3600)]
    first: Annotated[int, whole(1, 10**6)] | None
    first_of: list[str]
    mirror: Boolean
