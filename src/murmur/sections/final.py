"""Section `final` of params.yaml."""

from typing import Annotated

from murmur.params.types import Section, whole_number


class Final(Section):
    """Section `final`."""

    ensemble: Annotated[int, whole_number(1, 100)]
