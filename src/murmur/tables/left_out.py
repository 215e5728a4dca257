"""What was left out, and why."""

from collections.abc import Iterable

import pandas as pd

from murmur.tables.parquet import schema, text

LEFT_OUT = schema({"stage": text, "item": text, "reason": text})

REASONS = (  # kinds of reasons for which items are left out; none holds a name
    "too short for a segment",
    "segments after the first",
    "beyond download.limit",
    "left out by class_map",
    "no table names this file",
    "the file is missing",
)


def count_by_reason(left_out: pd.DataFrame) -> pd.DataFrame:
    """stage, reason, n_items: how many items were left out for each kind of reason, without a name or a path.

    For data that may not be passed on, since git passes metrics/ on.
    """
    return (
        left_out.assign(reason=classify_reasons(left_out["reason"]))
        .groupby(["stage", "reason"])
        .size()
        .reset_index(name="n_items")
    )


def classify_reasons(reasons: Iterable[str]) -> list[str]:
    """The kind of each reason, without what is particular to an item."""
    return [next((kind for kind in REASONS if kind in why), "another reason") for why in reasons]
