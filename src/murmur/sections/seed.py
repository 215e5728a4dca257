"""Key `seed` of params.yaml."""

from typing import Annotated

from murmur.params.types import whole_number

Seed = Annotated[int, whole_number(0, 2**32 - 1)]
