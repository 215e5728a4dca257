"""Tables of the cards and of the report, with cells as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from murmur import formatting

UNDEFINED = "undefined"
WHY_UNDEFINED = (
    "undefined: the scored units lack a class that the metric needs, or a predicted class. An interval is "
    "also undefined if this holds for more than one bootstrap sample in ten, or if nothing was resampled; an "
    "SD, if there is only one run. An undefined value never counts as 0."
)
METRIC_NAMES = {
    "weighted_accuracy_official": "weighted accuracy (official mix)",
    "weighted_accuracy": "weighted accuracy",
    "macc": "modified accuracy (MAcc)",
    "uar": "unweighted average recall (UAR)",
    "f1_macro": "F1, macro",
    "roc_auc": "ROC-AUC",
    "pr_auc": "average precision",
    "brier": "Brier score",
    "brier_calibrated": "Brier score, calibrated",
    "ece": "calibration error (ECE)",
    "ece_calibrated": "ECE, calibrated",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "annotated": "annotated fraction",
    "shared_audio": "shared pieces of audio",
    "shared_near": "shared near-duplicates",
}
UNITS_OF_ATTRIBUTES = {
    "sites": "recordings",
    "source": "recordings",
    "sex": "patients",
    "age_group": "patients",
}
CALIBRATION_METRICS = ("brier", "brier_calibrated", "ece", "ece_calibrated")


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    header : sequence of str
        The names of the columns.
    rows : sequence of sequences of str
        The cells of each row; the first one names the row.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def note(self) -> str:
        """Why cells are undefined; empty if no cell is."""
        has_undefined = any(UNDEFINED in cell for row in self.rows for cell in row)
        return WHY_UNDEFINED if has_undefined else ""

    @property
    def text_columns(self) -> list[bool]:
        """For each column whether it holds text, not numbers."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        return [any(cell[:1].isalpha() and UNDEFINED not in cell for cell in column) for column in columns]


def name_column(column: str) -> str:
    """The name of a metric or another column in words, such as ``ROC-AUC`` for ``roc_auc``."""
    return METRIC_NAMES.get(column, column.removeprefix("n_").replace("_", " "))


def format_cell(value: Any) -> str:
    """Format a float with three digits, None as ``undefined``, and any other value as it is."""
    if value is None or isinstance(value, float):
        return formatting.format_figure(value, undefined=UNDEFINED)
    return str(value)


def format_interval(row: Mapping[str, Any]) -> str:
    """Format `low` to `high` of a row; ``undefined`` if it has no interval."""
    return formatting.format_interval(row, undefined=UNDEFINED)


def format_columns(table: pd.DataFrame) -> Table:
    """Format a data frame with all its rows and columns."""
    rows = [tuple(map(format_cell, row)) for row in table.itertuples(index=False)]
    return Table([name_column(str(column)) for column in table], rows)


def tabulate_headline(details: Mapping[str, Any]) -> Table:
    """The headline metrics beside those of the constant-class baseline.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json; likewise for the other functions.
    """
    constant = details["baseline"]
    rows = [
        (name_column(name), *_format_moments(row), format_cell(constant[name]))
        for name, row in details["headline"].items()
    ]
    header = ("metric", "mean", "SD over runs", "95 % interval", f"always {constant['answer']}")
    return Table(header, rows)


def _format_moments(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Mean, SD and interval of a metric."""
    return format_cell(row["mean"]), format_cell(row["sd"]), format_interval(row)


def tabulate_classes(details: Mapping[str, Any]) -> Table:
    """Numbers of recordings, patients and persons of each class."""
    units = ("recordings", "patients", "persons")
    header = ("class", *units[:2], "persons, at most" if details["data"]["unknown_persons"] else "persons")
    counts = details["data"]["counts"].items()
    return Table(header, [(c, *(format_cell(n[unit]) for unit in units)) for c, n in counts])


def tabulate_operating_points(points: pd.DataFrame) -> Table:
    """A row for each metric of metrics/operating_points.csv."""
    rows = []
    for row in points.to_dict("records"):
        mean, sd, interval = _format_moments(row)
        interval = "-" if row["chosen_on"] == "curve" else interval  # it has none by definition
        rows.append((row["chosen_on"], name_column(row["figure"]), mean, sd, interval))
    return Table(("chosen on", "metric", "mean", "SD over runs", "95 % interval"), rows)


def tabulate_calibration(runs: pd.DataFrame, level: str) -> Table:
    """Brier score and ECE before and after calibration, mean and SD over runs.

    Parameters
    ----------
    runs : DataFrame
        As metrics/runs.csv.
    level : str
        segment, recording or patient.
    """
    at_level = runs[runs["level"] == level]
    names = [name for name in CALIBRATION_METRICS if name in runs]
    moments = {name: (at_level[name].mean(skipna=False), at_level[name].std(skipna=False)) for name in names}
    rows = [(name_column(name), format_cell(mean), format_cell(sd)) for name, (mean, sd) in moments.items()]
    return Table(("metric", "mean", "SD over runs"), rows)


def tabulate_subgroups(subgroups: pd.DataFrame) -> dict[str, Table]:
    """A table for each grouping of metrics/subgroups.csv, by title.

    A row is a value of the group, such as a site; a column is a metric with its interval.
    """
    tables = {}
    for (group, level), part in subgroups.groupby(["group", "level"], sort=False):
        texts = {"undefined": UNDEFINED, "no_interval": f"(interval {UNDEFINED})"}
        figures = [formatting.format_with_interval(row, **texts) for row in part.to_dict("records")]
        cells = part.assign(cell=figures)
        wide = cells.pivot(index=["value", "n_units", "n_persons"], columns="metric", values="cell")
        metrics = list(dict.fromkeys(part["metric"]))
        rows = [tuple(map(format_cell, (*key, *wide.loc[key, metrics]))) for key in wide.index]
        header = (name_column(group), f"{level}s", "persons", *map(name_column, metrics))
        tables[f"By {name_column(group)}, {level} level"] = Table(header, rows)
    return tables


def tabulate_left_out(left_out: pd.DataFrame) -> Table:
    """The number of items that each stage left out, by reason.

    Parameters
    ----------
    left_out : DataFrame
        As metrics/left_out.csv: a row for each item, or counts (column n_items).
    """
    counts = left_out
    if "n_items" not in left_out:
        counts = left_out.groupby(["stage", "reason"]).size().reset_index(name="n_items")
    columns = counts[["stage", "reason", "n_items"]]
    rows = [tuple(map(format_cell, row)) for row in columns.itertuples(index=False)]
    return Table(("stage", "reason", "items"), rows)


def arrange_confusion(confusion: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The number of units of each actual class (rows) and predicted class (columns).

    Parameters
    ----------
    confusion : DataFrame
        As plots/confusion.csv: actual, predicted, n.
    classes : sequence of str
        The actual classes in order.
    """
    columns = list(confusion["predicted"].unique())
    counts = confusion.pivot(index="actual", columns="predicted", values="n")
    return counts.reindex(index=classes, columns=columns, fill_value=0)


def tabulate_sample_rates(details: Mapping[str, Any]) -> Table:
    """The number of recordings of each class at each sampling rate of the original files."""
    classes = details["data"]["classes"]
    rates = details["data"]["sample_rates"].items()
    rows = [(rate, *(format_cell(counts.get(c, 0)) for c in classes)) for rate, counts in rates]
    return Table(("sample rate (Hz)", *classes), rows)


def tabulate_attributes(details: Mapping[str, Any]) -> Iterable[Table]:
    """How often each site, source, sex and age group occurs; no table for what the data do not state."""
    for name, unit in UNITS_OF_ATTRIBUTES.items():
        if counts := details["data"][name]:
            yield Table((name_column(name), unit), [(value, format_cell(n)) for value, n in counts.items()])
