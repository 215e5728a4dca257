"""The keys of params.yaml that select the data: `dataset`, `task`, `class_map` and `positive`."""

from murmur.params.types import Name

Dataset = Name
Task = str
ClassMap = dict[str, str | None]
Positive = list[str] | None
