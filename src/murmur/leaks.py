"""Sentences that explain why the figures of an experiment are leaky."""

from collections.abc import Mapping
from typing import Any

SHARED = {  # number in the protocol: what is counted, for one and for several
    "shared_persons": ("person", "persons"),
    "shared_patients": ("patient", "patients"),
    "shared_recordings": ("recording", "recordings"),
    "shared_audio": ("piece of audio", "pieces of audio"),
    "shared_near": ("near-duplicate", "near-duplicates"),
}


def describe_unknown_persons(n: int, recordings: int) -> str:
    """Explain what cannot be shown about `recordings` recordings if the persons of `n` are unknown."""
    return (
        f"the persons of {n} of {recordings} recordings are unknown: no split of these data can be shown to "
        "be free of leaks"
    )


def list_shared(protocol: Mapping[str, Any]) -> list[str]:
    """List what the worst fold's test part shares with its training part, each with its number.

    Parameters
    ----------
    protocol : mapping
        The entry `protocol` of metrics/details.json.
    """
    numbers = {units: protocol.get(name) for name, units in SHARED.items()}
    return [f"{n} {one if n == 1 else several}" for (one, several), n in numbers.items() if n]


def describe_inner_leak(protocol: Mapping[str, Any]) -> list[str]:
    """Describe what the inner folds of the worst fold share, in a clause; an empty list if nothing.

    Parameters
    ----------
    protocol : mapping
        The entry `protocol` of metrics/details.json.
    """
    n = protocol.get("shared_inner")
    return [f"{describe_sharing(n)} with another inner fold of the worst fold"] if n else []


def describe_sharing(n: int) -> str:
    """Describe a number of recordings that share something with others, in the beginning of a clause."""
    return f"{'1 recording shares' if n == 1 else f'{n} recordings share'} a person or audio"


def list_flaws(details: Mapping[str, Any]) -> list[str]:
    """List the flaws that make the protocol leaky, even if the audit of the folds finds none; a clause each.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.

    See Also
    --------
    murmur.evaluation.protocol.describe_protocol : finds the flaws.
    """
    protocol, data = details["protocol"], details.get("data", {})
    selection = "the test part selects the epoch"
    if protocol.get("stops", "none") != "none":
        selection += " and stops the training"
    unknown = data.get("unknown_persons")
    clauses = {
        "validate_on": selection,
        "data set": (
            describe_unknown_persons(unknown, data["recordings"])
            if unknown
            else "the data set does not name the recorded persons"
        ),
        "first_of": "the label decides which segments are kept",
    }
    return [clause for name, clause in clauses.items() if name in protocol.get("flaws", "none")]


def describe_leak(details: Mapping[str, Any]) -> str:
    """Explain why the figures of an experiment are leaky; an empty text if they are not.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    """
    if not details["protocol"]["leaky"]:
        return ""
    shared = list_shared(details["protocol"])
    clauses = [f"the worst fold shares {', '.join(shared)}"] if shared else []
    clauses += [*describe_inner_leak(details["protocol"]), *list_flaws(details)]
    return "; ".join(clauses) or "test and training parts share something, see metrics/audit.csv"


def mark_leak(details: Mapping[str, Any]) -> str:
    """Return the warning for a table of leaky figures; an empty text if they are not leaky."""
    reason = describe_leak(details)
    return f"LEAKY, the figures may be too optimistic: {reason}." if reason else ""
