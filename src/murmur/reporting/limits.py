"""Sentences about what the figures of an experiment do not show."""

from collections.abc import Iterable, Mapping
from typing import Any

from murmur import formatting, leaks
from murmur.reporting.descriptions import NOT_FOR_DIAGNOSIS, capitalise, describe_audit, describe_empty_unit
from murmur.reporting.result_tables import UNDEFINED, format_interval, name_column

FEW = 30  # persons in a class; with fewer, its figures are uncertain
WIDE = 0.1  # width of an interval
COLLECTION = (
    "One collection of recordings: other places, devices, ages and diseases may give other figures.",
    "The labels are those of the collection: their errors count as errors of the model.",
)


def describe_limits(details: Mapping[str, Any]) -> list[str]:
    """What the figures do not show: general limits, then those of this protocol and of these data.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    """
    return [
        NOT_FOR_DIAGNOSIS,
        *COLLECTION,
        *_list_leaks_and_intervals(details),
        *_list_runs_and_units(details),
        *list_limits_of_data(details["data"]),
    ]


def _list_leaks_and_intervals(details: Mapping[str, Any]) -> Iterable[str]:
    name, row = next(iter(details["headline"].items()))
    if details["protocol"]["leaky"]:
        yield f"The protocol is leaky, the figures may be too optimistic. {describe_audit(details)}"
    if format_interval(row) == UNDEFINED:
        yield f"{capitalise(name_column(name))} has no interval: its uncertainty is unknown."
    elif row["high"] - row["low"] > WIDE:
        yield f"Wide interval: {name_column(name)} may be anywhere in {format_interval(row)}."


def _list_runs_and_units(details: Mapping[str, Any]) -> Iterable[str]:
    level, scored = details["level"], details["scored"]
    if details["protocol"]["runs"] == 1:
        yield "One run: how much the figures depend on the random split is unknown."
    elif details["parts"]["test_parts"] < details["parts"]["folds"]:
        yield "Runs share their test parts: the SD over runs shows the effect of seeds, not of other persons."
    if n := scored["of"] - scored["units"]:
        yield f"{n} of {scored['of']} {level}s are in no test part: the figures do not include them."
    for unit, n in details["no_answer"].items():
        if n:
            units = formatting.format_count(n, unit)
            yield f"Without a usable segment: {units}; such a unit {describe_empty_unit(details)}."
    for name, n in details.get("absent", {}).items():
        folds = formatting.format_count(n, "fold")
        yield f"Class {name} is absent from the test part of {folds}: metrics that need it are undefined."


def list_limits_of_data(data: Mapping[str, Any]) -> Iterable[str]:
    """The limits that the data set gives.

    Parameters
    ----------
    data : mapping
        `data` of metrics/details.json.
    """
    if simulation := describe_simulation(data):
        yield simulation
    yield from list_limits_of_persons(data)
    yield from _list_sample_rates(data["sample_rates"])
    for key, name in (("sites", "auscultation site"), ("source", "source")):
        if len(values := _list_stated(data[key])) == 1:
            stated = f" with a stated {name}" * (len(data[key]) > 1)
            yield f"All recordings{stated} come from one {name} ({values[0]})."
    for key, name in (("sites", "auscultation sites"), ("sex", "sex"), ("age_group", "age groups")):
        if not _list_stated(data[key]):
            yield f"Not stated: {name}; whether the figures are equal for all groups is unknown."


def describe_simulation(data: Mapping[str, Any]) -> str:
    """The limit of simulated data; an empty text if the data are recordings."""
    if data["dataset"] != "synthetic":
        return ""
    return "The data are simulated: the figures show that the pipeline works, with no clinical meaning."


def list_limits_of_persons(data: Mapping[str, Any]) -> Iterable[str]:
    """The limits that unknown persons and small classes give."""
    if n := data["unknown_persons"]:
        unknown = capitalise(leaks.describe_unknown_persons(n, data["recordings"]))
        yield f"{unknown}. The interval counts each of these as a different person: it may be too narrow."
    for name, n in data["counts"].items():
        if n["persons"] < FEW:
            persons = formatting.format_persons(n["persons"], data["unknown_persons"])
            yield f"Small class: {name} has {persons}; its figures are uncertain."


def _list_sample_rates(rates: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """Sampling rates at which only one class was recorded."""
    for rate, counts in rates.items():
        classes = [name for name, n in counts.items() if n]
        if len(classes) == 1 and len(rates) > 1 and len(counts) > 1:
            recordings = formatting.format_count(counts[classes[0]], "recording")
            yield (
                f"Only class {classes[0]} was recorded at {rate} Hz ({recordings}): a "
                "model may recognise the device, not the sound."
            )


def _list_stated(counts: Mapping[str, int]) -> list[str]:
    return [value for value in counts if value != "not stated"]
