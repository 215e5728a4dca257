"""Section `embed` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from murmur.params.types import FilePath, Name, Section


class Embed(Section):
    """Section `embed`."""

    models: Annotated[list[Name], Field(max_length=1)]
    weights: FilePath
    pool: Literal["mean", "none"]
    device: Literal["auto", "cpu", "cuda", "mps"]
