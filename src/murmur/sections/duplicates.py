"""Section `duplicates` of params.yaml."""

from murmur.params.types import Fraction, Seconds, Section


class Duplicates(Section):
    """Section `duplicates`."""

    correlation: Fraction
    overlap: Seconds
