"""Why the figures of an experiment are leaky, in words."""

from collections.abc import Mapping
from typing import Any

SHARED = {
    "shared_persons": "persons",
    "shared_patients": "patients",
    "shared_recordings": "recordings",
    "shared_audio": "pieces of audio",
    "shared_near": "near-duplicates",
}


def describe_unknown_persons(n: int, recordings: int) -> str:
    """What a data set that does not name its persons cannot show."""
    return (
        f"the persons of {n} of {recordings} recordings are unknown: no split of these data can be shown to "
        "be free of leaks"
    )


def list_shared(protocol: Mapping[str, Any]) -> list[str]:
    """What the worst folds' test parts share with the training, each with its number."""
    return [f"{protocol[name]} {what}" for name, what in SHARED.items() if protocol.get(name)]


def list_flaws(details: Mapping[str, Any]) -> list[str]:
    """What makes the protocol leaky whatever the audit finds, a clause each; see `evaluate.protocol`."""
    protocol, data = details["protocol"], details.get("data", {})
    stops = protocol.get("stops", "none") != "none"
    clauses = {
        "validate_on": "the test part selects the epoch" + " and stops the training" * stops,
        "data set": "the data set does not name who was recorded",
        "first_of": "the label decides which segments are kept",
    }
    if n := data.get("unknown_persons"):
        clauses["data set"] = describe_unknown_persons(n, data["recordings"])
    names = [name for name in protocol.get("flaws", "none").split(", ") if name != "none"]
    return [clauses.get(name, name) for name in names]


def describe_leak(details: Mapping[str, Any]) -> str:
    """Why the figures of an experiment (metrics/details.json) are leaky; empty where they are not."""
    if not details["protocol"]["leaky"]:
        return ""
    found = list_shared(details["protocol"])
    clauses = [f"the worst fold shares {', '.join(found)}"] * bool(found) + list_flaws(details)
    return "; ".join(clauses) or "test and training parts share something, see metrics/audit.csv"


def mark_leak(details: Mapping[str, Any]) -> str:
    """The line that a table of leaky figures carries; empty where they are not leaky."""
    return f"LEAKY, the figures may flatter: {why}." if (why := describe_leak(details)) else ""
