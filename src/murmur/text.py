"""Figures, tables and what is wrong with them as text, for a terminal and in Markdown."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]
SHARED = {
    "shared_persons": "persons",
    "shared_patients": "patients",
    "shared_recordings": "recordings",
    "shared_audio": "pieces of audio",
    "shared_near": "near-duplicates",
}
GIVEN = (
    "The intervals take the trained models and what was chosen for them on other parts (epoch, temperature, "
    "class weights, threshold) as given: the variation of these choices is not in them."
)


def unknown_persons(n: int, recordings: int) -> str:
    """What a data set that does not name its persons cannot show."""
    return (
        f"the persons of {n} of {recordings} recordings are unknown: no split of these data can be shown to "
        "be free of leaks"
    )


def resampled(details: Mapping[str, Any]) -> str:
    """What the bootstrap resamples, with its number."""
    counts, at_most = details["resampled"], "at most " * bool(details["data"].get("unknown_persons"))
    if counts["groups"] == counts["persons"]:
        return f"{at_most}{counts['persons']} persons"
    return (
        f"{counts['groups']} groups of {at_most}{counts['persons']} persons (who share near-identical audio "
        "are one group)"
    )


def shared(protocol: Mapping[str, Any]) -> list[str]:
    """What the worst folds' test parts share with the training, each with its number."""
    return [f"{protocol[name]} {what}" for name, what in SHARED.items() if protocol.get(name)]


def flaws(details: Mapping[str, Any]) -> list[str]:
    """What makes the protocol leaky whatever the audit finds, a clause each; see `evaluate.protocol`."""
    protocol, data = details["protocol"], details.get("data", {})
    stops = protocol.get("stops", "none") != "none"
    clauses = {
        "validate_on": "the test part selects the epoch" + " and stops the training" * stops,
        "data set": "the data set does not name who was recorded",
        "first_of": "the label decides which segments are kept",
    }
    if n := data.get("unknown_persons"):
        clauses["data set"] = unknown_persons(n, data["recordings"])
    names = [name for name in protocol.get("flaws", "none").split(", ") if name != "none"]
    return [clauses.get(name, name) for name in names]


def leak(details: Mapping[str, Any]) -> str:
    """Why the figures of an experiment (metrics/details.json) are leaky; empty where they are not."""
    if not details["protocol"]["leaky"]:
        return ""
    found = shared(details["protocol"])
    clauses = [f"the worst fold shares {', '.join(found)}"] * bool(found) + flaws(details)
    return "; ".join(clauses) or "test and training parts share something, see metrics/audit.csv"


def leak_mark(details: Mapping[str, Any]) -> str:
    """The line that a table of leaky figures carries; empty where they are not leaky."""
    return f"LEAKY, the figures may flatter: {why}." if (why := leak(details)) else ""


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


def inert(text: str) -> str:
    """A text for Markdown in which names of the data are neither HTML nor links nor images."""
    return re.sub(r"\](?=\()", r"\\]", re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text))


def markdown(rows: Rows) -> str:
    """A table in Markdown, its head first."""
    cells = [[inert(" ".join(cell.split())).replace("|", "\\|") for cell in row] for row in rows]
    lines = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
