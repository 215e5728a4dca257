"""What the results of an experiment mean, in five sentences or short paragraphs."""

from collections.abc import Mapping
from typing import Any

from murmur import formatting
from murmur.reporting.descriptions import (
    NOT_FOR_DIAGNOSIS,
    describe_audit,
    describe_headline,
    describe_size,
    describe_split,
)
from murmur.reporting.limits import COLLECTION, describe_simulation, list_limits_of_persons


def interpret_results(details: Mapping[str, Any]) -> dict[str, str]:
    """Describe the data, the headline figure, its baseline, the protocol and the limits, by topic.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    """
    data = details["data"]
    simulation = describe_simulation(data)
    smallest = dict([min(data["counts"].items(), key=lambda item: item[1]["persons"])])
    limits = simulation or " ".join(list_limits_of_persons(data | {"counts": smallest})) or COLLECTION[0]
    name = f"{data['dataset']} (simulated)" if simulation else data["dataset"]
    return {
        "Data": f"{name}, task {data['task']}: {describe_size(details)}.",
        "Result": describe_headline(details),
        "Baseline": _compare_with_baseline(details),
        "Protocol": f"{describe_split(details)} {describe_audit(details)}",
        "Limits": f"{limits} {NOT_FOR_DIAGNOSIS}",
    }


def _compare_with_baseline(details: Mapping[str, Any]) -> str:
    """Whether the interval of the first headline metric is above the best constant-class baseline."""
    metric, row = next(iter(details["headline"].items()))
    baseline = details["baseline"][metric]
    constant = f"always predicting {details['baseline']['answer']}"
    if formatting.format_interval(row, undefined="") == "" or formatting.format_figure(baseline) == "-":
        return f"Whether this is better than {constant} is unknown: there is no interval, or no baseline."
    if row["low"] > baseline:
        return f"The interval is above the baseline: the models are better than {constant}."
    if row["high"] < baseline:
        return f"The interval is below the baseline: the models are worse than {constant}."
    return f"The interval contains the baseline: nothing shows that the models are better than {constant}."
