"""The files of an evaluation: CSV tables and their JSON."""

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
    """Write every table as CSV, folds and runs as JSON too, summary and details, each whole or not at all.

    Six digits after the point; an undefined figure is empty in CSV and null in JSON, which DVC leaves out.
    """
    texts = {Path(metrics_dir, f"{name}.csv"): format_csv(table) for name, table in results.tables.items()}
    twins = {name: _nested(results.tables[name]) for name in ("folds", "runs")}
    files = twins | {"summary": results.summary, "details": results.details}
    texts |= {Path(metrics_dir, f"{name}.json"): format_json(content) for name, content in files.items()}
    texts |= {Path(plots_dir, f"{name}.csv"): format_csv(table) for name, table in results.plots.items()}
    for path, text in texts.items():
        write_text(path, text)


def _nested(table: pd.DataFrame) -> dict[str, Any]:
    """run_R -> fold_F, where there is one -> level -> figures: dicts only, since DVC drops lists."""
    tree: dict[str, Any] = {}
    for row in table.to_dict("records"):
        place = tree.setdefault(f"run_{row.pop('run')}", {})
        if "fold" in row:
            place = place.setdefault(f"fold_{row.pop('fold')}", {})
        place[row.pop("level")] = row
    return tree


def format_json(value: Any) -> str:
    """JSON of tables' figures: six digits after the point, null for what is undefined."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
