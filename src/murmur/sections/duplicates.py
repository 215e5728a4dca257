"""Section `duplicates` of params.yaml."""

from murmur.params.types import Seconds, Section, Share


class Duplicates(Section):
    correlation: Share
    overlap: Seconds
