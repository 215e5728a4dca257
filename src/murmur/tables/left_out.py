"""The files, recordings and segments that were left out, and why."""

from collections.abc import Iterable

import pandas as pd

from murmur.tables.parquet import declare_schema, text

LEFT_OUT = declare_schema({"stage": text, "item": text, "reason": text})
REASONS = (  # kinds of reasons, without the name of an item
    "too short for a segment",
    "segments after the first",
    "beyond download.limit",
    "left out by class_map",
    "no table names this file",
    "the file is missing",
)


def count_by_reason(left_out: pd.DataFrame) -> pd.DataFrame:
    """Count the items that were left out for each kind of reason, without any name or path.

    It replaces the table of items for data that may not be shared, because metrics/ is committed to git.

    Parameters
    ----------
    left_out : DataFrame
        With the columns of `LEFT_OUT`.

    Returns
    -------
    DataFrame
        With the columns stage, reason and n_items.
    """
    return (
        left_out.assign(reason=classify_reasons(left_out["reason"]))
        .groupby(["stage", "reason"])
        .size()
        .reset_index(name="n_items")
    )


def classify_reasons(reasons: Iterable[str]) -> list[str]:
    """Return the kind of each reason, without what is particular to an item."""
    return [next((kind for kind in REASONS if kind in reason), "another reason") for reason in reasons]
