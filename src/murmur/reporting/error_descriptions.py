"""What the errors are, in sentences and tables: what is recognised, what is missed, and false alarms."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from murmur import formatting
from murmur.reporting.descriptions import capitalise
from murmur.reporting.result_tables import Table, format_cell, format_interval, name_column

NOTE = (
    "Recognised: predicted as a positive class. False alarm: a positive class is predicted for another one. "
    "Shares are means over runs, intervals are 95 % intervals over persons. Small groups have wide intervals."
)
ANNOTATED_NOTE = (
    "Annotated fraction: the part of the recordings in which heart sounds are marked; annotators leave out "
    "noise."
)


def describe_errors(errors: pd.DataFrame, details: Mapping[str, Any]) -> list[str]:
    """Describe how many units of each group are recognised or give a false alarm.

    Parameters
    ----------
    errors : DataFrame
        As metrics/errors.csv.
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    list of str
        A sentence for each grouping, in the order of the table.
    """
    positive = " or ".join(details["data"]["positive"])
    names = {"sensitivity": f"recognised as {positive}", "specificity": f"with a false alarm ({positive})"}
    sentences = []
    for (metric, group), part in errors.groupby(["metric", "group"], sort=False):
        rows, name = part.to_dict("records"), names[str(metric)]
        if group == "all":
            text = f"Patients {name}: {_describe_value(rows[0])}."
            if metric == "sensitivity":
                where = "metrics/missed.csv" if details["data"]["shareable"] else "not listed here"
                text += f" {details['missed']} are missed in more than half of the runs ({where})."
        else:
            values = "; ".join(f"{row['value']}: {_describe_value(row)}" for row in rows)
            text = f"{capitalise(rows[0]['level'])}s {name}, by {name_column(str(group))}: {values}."
        sentences.append(text)
    return sentences


def explain_errors(errors: pd.DataFrame) -> list[str]:
    """Explain the terms of `describe_errors` and `tabulate_errors`."""
    if errors.empty:
        return []
    return [ANNOTATED_NOTE, NOTE] if (errors["group"] == "annotated").any() else [NOTE]


def _describe_value(row: Mapping[str, Any]) -> str:
    """The share, the number of units and the interval, such as ``62 % of 40 (52-72 %)``."""
    mean, low, high = (100 * share for share in _get_shares(row))
    interval = f"{low:.0f}-{high:.0f} %" if math.isfinite(low + high) else "interval undefined"
    return f"{mean:.0f} % of {row['n_units']} ({interval})"


def _get_shares(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Mean, low and high share of units that are recognised, or that give a false alarm."""
    if row["metric"] == "sensitivity":
        return row["mean"], row["low"], row["high"]
    return 1 - row["mean"], 1 - row["high"], 1 - row["low"]


def tabulate_errors(errors: pd.DataFrame) -> dict[str, Table]:
    """A table of the positive units and one of the others, by title."""
    titles = {"sensitivity": "Recognised", "specificity": "False alarms"}
    tables = {}
    for metric, part in errors.groupby("metric", sort=False):
        rows = []
        for row in part.to_dict("records"):
            mean, low, high = _get_shares(row)
            interval = format_interval({"low": low, "high": high})
            units = formatting.format_count(row["n_units"], row["level"])
            rows.append((name_column(row["group"]), row["value"], units, format_cell(mean), interval))
        title = titles[str(metric)]
        tables[title] = Table(("group", "value", "number", "share", "95 % interval"), rows)
    return tables


def tabulate_missed(missed: pd.DataFrame) -> Table:
    """A row for each patient of metrics/missed.csv."""
    facts = ("site", "murmur_grade", "murmur_timing", "murmur_pitch", "annotated", "sex", "age_group")
    shown = [name for name in facts if missed[name].notna().any()]
    columns = ["patient_id", "label", "predicted", "n_wrong", "n_runs", "probability", *shown]
    table = missed[columns].astype(object).where(missed[columns].notna(), "-")
    return Table(
        [name_column(name) for name in columns],
        [tuple(map(format_cell, row)) for row in table.itertuples(index=False)],
    )
