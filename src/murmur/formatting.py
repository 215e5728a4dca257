"""Figures and tables as text, for a terminal and in Markdown."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]
INTERVAL_NOTE = (
    "The intervals take the trained models and what was chosen for them on other parts (epoch, temperature, "
    "class weights, threshold) as given: the variation of these choices is not in them."
)


def format_figure(value: float | None, sign: str = "", *, undefined: str = "-") -> str:
    """A figure with three digits after the point; `undefined` where it has no value."""
    return f"{value:{sign}.3f}" if value is not None and math.isfinite(value) else undefined


def format_interval(row: Mapping[str, float | None], *, undefined: str = "-") -> str:
    """`low` to `high` of a figure; `undefined` where it has no interval."""
    low = format_figure(row["low"], undefined="")
    return f"{low}-{format_figure(row['high'])}" if low else undefined


def format_quantity(value: float, unit: str) -> str:
    """Format a value with its unit, such as ``20 dB``; ``none`` where the value is NaN."""
    return "none" if math.isnan(value) else f"{value:g} {unit}"


def join_sorted(items: Iterable[Any]) -> str:
    """The items, sorted, with commas between them."""
    return ", ".join(str(item) for item in sorted(items))


def format_table(rows: Rows) -> str:
    """A table for a terminal, its head first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def escape_markdown(text: str) -> str:
    """A text for Markdown in which names of the data are neither HTML nor links nor images."""
    return re.sub(r"\](?=\()", r"\\]", re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text))


def format_markdown(rows: Rows) -> str:
    """A table in Markdown, its head first."""
    cells = [[escape_markdown(" ".join(cell.split())).replace("|", "\\|") for cell in row] for row in rows]
    lines = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def describe_resampling(details: Mapping[str, Any]) -> str:
    """What the bootstrap resamples, with its number."""
    counts, at_most = details["resampled"], "at most " * bool(details["data"].get("unknown_persons"))
    if counts["groups"] == counts["persons"]:
        return f"{at_most}{counts['persons']} persons"
    return (
        f"{counts['groups']} groups of {at_most}{counts['persons']} persons (who share near-identical audio "
        "are one group)"
    )
