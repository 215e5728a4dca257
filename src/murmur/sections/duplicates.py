"""Section `duplicates` of params.yaml."""

from murmur.params.types import Seconds, Section, Share


class Duplicates(Section):
    """Section `duplicates`."""

    correlation: Share
    overlap: Seconds
