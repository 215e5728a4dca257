"""The files of an evaluation: CSV tables and JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from murmur.evaluation.results import Results
from murmur.files import write_text
from murmur.tables.csv_writer import format_csv


def write_results(results: Results, metrics_dir: str | Path, plots_dir: str | Path) -> None:
    """Write all tables as CSV, and folds, runs, summary and details as JSON.

    Figures have six digits after the point. An undefined figure is empty in CSV and null in JSON, which DVC
    leaves out.

    Parameters
    ----------
    results : Results
        From `evaluate_predictions`.
    metrics_dir, plots_dir : path
        Folders for the tables and for the data of the plots. A file is written completely or not at all.
    """
    texts = {Path(metrics_dir, f"{name}.csv"): format_csv(table) for name, table in results.tables.items()}
    content = {name: _nest(results.tables[name]) for name in ("folds", "runs")}
    content |= {"summary": results.summary, "details": results.details}
    texts |= {Path(metrics_dir, f"{name}.json"): format_json(value) for name, value in content.items()}
    texts |= {Path(plots_dir, f"{name}.csv"): format_csv(table) for name, table in results.plots.items()}
    for path, text in texts.items():
        write_text(path, text)


def _nest(table: pd.DataFrame) -> dict[str, Any]:
    """Nest the rows by run, fold (if there is one) and level, as nested dicts, since DVC drops lists."""
    tree: dict[str, Any] = {}
    for row in table.to_dict("records"):
        branch = tree.setdefault(f"run_{row.pop('run')}", {})
        if "fold" in row:
            branch = branch.setdefault(f"fold_{row.pop('fold')}", {})
        branch[row.pop("level")] = row
    return tree


def format_json(value: Any) -> str:
    """Format results as JSON: floats with six digits after the point, null where undefined."""
    return json.dumps(_to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_plain(value: Any) -> Any:
    """Without numpy's types, with rounded floats."""
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
