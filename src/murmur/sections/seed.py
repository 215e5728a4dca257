"""Key `seed` of params.yaml."""

from typing import Annotated

from murmur.params.types import whole

Seed = Annotated[int, whole(0, 2**32 - 1)]
