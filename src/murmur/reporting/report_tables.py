"""The tables of the report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from murmur import formatting
from murmur.experiments.current import FOLDS_FILE
from murmur.reporting import error_descriptions, result_tables
from murmur.reporting.result_tables import Table, format_cell, format_columns, format_interval, name_column

BLUE = (0, 114, 178)  # of Okabe and Ito: the background of a share of 1


def make_tables(tables: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> dict[str, Any]:
    """All tables of the report, by name.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As `report_files.read_tables` reads them.
    details : mapping
        The content of metrics/details.json.
    """
    level, metrics, runs = details["level"], list(details["headline"]), tables["metrics/runs.csv"]
    left_out = tables["metrics/left_out.csv"]
    return {
        "headline": result_tables.tabulate_headline(details),
        "classes": result_tables.tabulate_classes(details),
        "audit": format_columns(tables["metrics/audit.csv"]),
        "runs": format_columns(_select_metrics(runs, ["run"], level, metrics)),
        "folds": format_columns(_select_metrics(tables[FOLDS_FILE], ["run", "fold"], level, metrics)),
        "levels": _average_levels(runs, metrics),
        "by_class": _tabulate_by_class(runs[runs["level"] == level], details["data"]["classes"]),
        "operating_points": result_tables.tabulate_operating_points(tables["metrics/operating_points.csv"]),
        "errors": error_descriptions.tabulate_errors(tables["metrics/errors.csv"]),
        "missed": error_descriptions.tabulate_missed(tables["metrics/missed.csv"]),
        "subgroups": result_tables.tabulate_subgroups(tables["metrics/subgroups.csv"]),
        "calibration": result_tables.tabulate_calibration(runs, level),
        "temperatures": format_columns(tables["metrics/calibration.csv"].query("level == @level")),
        "left_out": result_tables.tabulate_left_out(left_out),
        "items_left_out": format_columns(left_out if "item" in left_out else left_out[:0]),
        "segmentation": format_columns(tables["metrics/segmentation.csv"]),
        "murmur_location": format_columns(tables["metrics/murmur_location.csv"]),
        "sample_rates": result_tables.tabulate_sample_rates(details),
    }


def _select_metrics(table: pd.DataFrame, keys: list[str], level: str, metrics: Iterable[str]) -> pd.DataFrame:
    """The rows of a level, with the columns of folds.csv or runs.csv that fit on a page."""
    shown = dict.fromkeys((*metrics, "accuracy"))
    return table.loc[table["level"] == level, [*keys, "n_units", "n_persons", "n_no_answer", *shown]]


def _average_levels(runs: pd.DataFrame, metrics: list[str]) -> Table:
    """The mean over runs of each metric, at each level."""
    by_level = runs.groupby("level", sort=False)
    means = by_level[metrics].agg(lambda values: values.mean(skipna=False))
    return format_columns(by_level[["n_units"]].first().join(means).reset_index())


def _tabulate_by_class(runs: pd.DataFrame, classes: Sequence[str]) -> Table:
    """Mean and SD over runs of precision, recall and F1 of each class."""
    rows = []
    for name in classes:
        columns = (runs[f"{metric}_{name}"] for metric in ("precision", "recall", "f1"))
        moments = ((values.mean(skipna=False), values.std(skipna=False)) for values in columns)
        rows.append((name, *(f"{format_cell(mean)} (SD {format_cell(sd)})" for mean, sd in moments)))
    return Table(("class", "precision", "recall", "F1"), rows)


def tabulate_confusion(confusion: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix of all runs, for the template.

    Parameters
    ----------
    confusion : DataFrame
        As plots/confusion.csv: the number of units of each actual and predicted class.
    classes : sequence of str
        The actual classes in order.

    Returns
    -------
    dict
        `columns`, the predicted classes, and `rows`: for each actual class its cells with the number `n`, the
        `share` of the actual class, and the colours `back` and `ink`.
    """
    counts = result_tables.arrange_confusion(confusion, classes)
    rows = {}
    for actual, row in counts.iterrows():
        shares = row / row.sum() if row.sum() else row * np.nan
        rows[actual] = [
            {"n": str(n), "share": format_cell(float(share)), **_choose_colours(float(share))}
            for n, share in zip(row, shares, strict=True)
        ]
    return {"columns": list(counts), "rows": rows}


def _choose_colours(share: float) -> dict[str, str]:
    """The background, white for a share of 0 (or NaN) to blue for 1, and the colour of the text on it."""
    share = float(np.nan_to_num(share))
    red, green, blue = (round(255 + share * (full - 255)) for full in BLUE)
    return {"back": f"#{red:02x}{green:02x}{blue:02x}", "ink": "#fff" if share > 0.9 else "#000"}


def describe_external(result: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """The figures on an external data set beside those on the experiment's own data, for the template.

    Parameters
    ----------
    result : mapping
        The content of metrics/elsewhere_DATASET.json.
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    dict
        `table`; `size` of the external data; `classes`, the labels that were mapped to another class;
        `missing_classes`; and `n_excluded`, the recordings of persons who are in the experiment.
    """
    internal, data, constant = result.get("here", details["headline"]), result["data"], result["baseline"]
    rows = [
        (
            name_column(name),
            format_cell(internal.get(name, {}).get("mean")),
            format_cell(row["mean"]),
            format_interval(row),
            format_cell(constant[name]),
        )
        for name, row in result["headline"].items()
    ]
    counts = ", ".join(f"{n} {name}" for name, n in data["counts"].items())
    persons = formatting.format_persons(data["persons"], data.get("unknown_persons"))
    mapped = [f"{label}: {c or 'left out'}" for label, c in result["class_map"].items() if label != c]
    header = ("metric", "own data", "external data", "95 % interval", f"always {constant['answer']}")
    return {
        "table": Table(header, rows),
        "size": f"{data['units']} {result['level']}s ({counts}) of {persons}.",
        "classes": "; ".join(mapped),
        "missing_classes": ", ".join(result["left_unasked"]),
        "n_excluded": result["seen_in_training"],
    }


def tabulate_robustness(robustness: pd.DataFrame) -> Table:
    """A row for each metric and value of a disturbance of plots/robustness.csv."""
    rows = [
        (
            row["disturbance"],
            formatting.format_quantity(row["value"], row["unit"]),
            name_column(row["metric"]),
            format_cell(row["mean"]),
            format_interval(row),
        )
        for row in robustness.to_dict("records")
    ]
    return Table(("disturbance", "value", "metric", "mean", "95 % interval"), rows)
