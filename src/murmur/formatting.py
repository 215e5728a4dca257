"""Numbers and tables as text, for a terminal and in Markdown."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]
DASHED, BRACKETED = "{}-{}", "[{}, {}]"  # patterns of an interval
INTERVAL_NOTE = (
    "The intervals take the trained models as fixed, and also what was chosen for them on other parts of the "
    "data (epoch, temperature, class weights, threshold): the variation of these choices is not included."
)


def format_figure(value: float | None, sign: str = "", *, undefined: str = "-") -> str:
    """Format a number with three digits after the point.

    Parameters
    ----------
    value : float or None
        The number; None, nan and infinity are undefined.
    sign : str
        ``"+"`` writes the sign of positive numbers too.
    undefined : str
        The text for an undefined number.
    """
    return f"{value:{sign}.3f}" if value is not None and math.isfinite(value) else undefined


def format_interval(
    row: Mapping[str, Any], pattern: str = DASHED, sign: str = "", *, undefined: str = "-"
) -> str:
    """Format the confidence interval of a figure.

    Parameters
    ----------
    row : mapping
        With the keys `low` and `high`.
    pattern : str
        `DASHED`, ``low-high``, or `BRACKETED`, ``[low, high]``.
    sign : str
        As for `format_figure`.
    undefined : str
        The text where one of them is undefined.
    """
    low, high = (format_figure(row[key], sign, undefined="") for key in ("low", "high"))
    return pattern.format(low, high) if low and high else undefined


def format_with_interval(
    row: Mapping[str, Any], pattern: str = f"({DASHED})", *, undefined: str = "-", no_interval: str = ""
) -> str:
    """Format a figure with its confidence interval, such as ``0.651 (0.551-0.751)``.

    Parameters
    ----------
    row : mapping
        With the keys `mean`, `low` and `high`.
    pattern : str
        As for `format_interval`.
    undefined, no_interval : str
        The text for an undefined figure, and that after a figure whose interval is undefined.
    """
    mean = format_figure(row["mean"], undefined="")
    return f"{mean} {format_interval(row, pattern, undefined=no_interval)}".rstrip() if mean else undefined


def format_quantity(value: float, unit: str) -> str:
    """Format a value with its unit, such as ``20 dB``; ``none`` where the value is NaN."""
    return "none" if math.isnan(value) else f"{value:g} {unit}"


def format_count(n: int, noun: str) -> str:
    """Format a number of things, such as ``1 patient`` or ``2 patients``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def join_sorted(items: Iterable[Any]) -> str:
    """Join the sorted items with commas."""
    return ", ".join(str(item) for item in sorted(items))


def format_table(rows: Rows) -> str:
    """Format rows of text as a table for a terminal; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def escape_markdown(text: str) -> str:
    """Escape a text for Markdown, so that names in the data become neither HTML nor links nor images."""
    return re.sub(r"\](?=\()", r"\\]", re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text))


def format_markdown_table(rows: Rows) -> str:
    """Format rows of text as a Markdown table; the first row is the header."""
    cells = [[escape_markdown(" ".join(cell.split())).replace("|", "\\|") for cell in row] for row in rows]
    lines = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def format_persons(n: int, unknown: int | None) -> str:
    """Format a number of persons: ``at most 12 persons`` if the persons of some recordings are unknown.

    Parameters
    ----------
    n : int
        The number of persons, each recording of an unknown person counted as another one.
    unknown : int or None
        The number of recordings whose person is unknown.
    """
    persons = format_count(n, "person")
    return f"at most {persons}" if unknown else persons


def describe_validation(validation: Mapping[str, Any], name: str) -> str:
    """Describe the score of the validation parts in a sentence, or why there is none.

    One run has no SD.

    Parameters
    ----------
    validation : mapping
        The entry `validation` of metrics/details.json.
    name : str
        The name of its metric in the text.
    """
    if validation["undefined_because"]:
        return f"Validation parts: {name} undefined, {validation['undefined_because']}."
    mean, sd = (format_figure(validation[key], undefined="") for key in ("mean", "sd"))
    spread = f", SD over runs {sd}" if sd else ""
    return f"Validation parts (to choose between experiments): {name} {mean}{spread}."


def describe_resampling(details: Mapping[str, Any]) -> str:
    """Describe what the bootstrap resamples, with the number of units.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    """
    counts = details["resampled"]
    persons = format_persons(counts["persons"], details["data"].get("unknown_persons"))
    if counts["groups"] == counts["persons"]:
        return persons
    return f"{counts['groups']} groups of {persons} (persons with near-identical audio are one group)"
