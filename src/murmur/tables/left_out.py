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
UNUSABLE = "cannot be used"  # the kind of an error message about a broken file, such as ``PATH: is damaged``


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
    kinds = map(shorten_reason, reasons)
    return [kind if kind in {*REASONS, UNUSABLE} else "another reason" for kind in kinds]


def shorten_reason(reason: str) -> str:
    """Return the kind of a reason; a reason of no known kind, which names no file, is returned as it is."""
    other = UNUSABLE if ": " in reason else reason
    return next((kind for kind in REASONS if kind in reason), other)
