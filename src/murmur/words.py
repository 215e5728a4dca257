"""Figures and tables as text, for a terminal and in Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]


def shown(value: float | None, sign: str = "") -> str:
    """A figure with three digits after the point, a dash where it is undefined."""
    return f"{value:{sign}.3f}" if value is not None and math.isfinite(value) else "-"


def interval(row: Mapping[str, float | None]) -> str:
    """`low` to `high` of a figure, a dash where there is no interval."""
    return "-" if shown(row["low"]) == "-" else f"{shown(row['low'])}-{shown(row['high'])}"


def listed(items: Iterable[Any]) -> str:
    """The items, sorted, with commas between them."""
    return ", ".join(str(item) for item in sorted(items))


def aligned(rows: Rows) -> str:
    """A table for a terminal, its head first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Rows) -> str:
    """A table in Markdown, its head first."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
