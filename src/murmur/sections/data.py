"""The keys of params.yaml that select data and classes: `dataset`, `task`, `class_map` and `positive`."""

from murmur.params.types import Name

Dataset = Name
Task = str
ClassMap = dict[str, str | None]  # label: its class, or None to leave it out
Positive = list[str] | None  # None: the positive classes of the data set
