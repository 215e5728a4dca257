"""Reading the files of which the report is made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from murmur.experiments.current import EVALUATE, FOLDS_FILE, hash_experiment, read_json, read_text
from murmur.tables.csv_reader import TEXT_COLUMNS, parse_csv

COLUMNS = {  # of each table the columns that it must have
    "metrics/audit.csv": ("run", "fold", "n_train", "n_validation", "n_test", "test_sha256"),
    FOLDS_FILE: ("run", "fold", "level", "n_units", "n_persons", "n_no_answer"),
    "metrics/runs.csv": ("run", "level", "n_units", "n_persons", "n_no_answer"),
    "metrics/subgroups.csv": (
        *("group", "value", "level", "n_units", "n_persons", "metric", "mean", "low", "high"),
    ),
    "metrics/errors.csv": ("metric", "group", "value", "level", "n_units", "mean", "low", "high"),
    "metrics/missed.csv": (
        *("patient_id", "label", "predicted", "n_runs", "n_wrong", "probability", "site", "annotated"),
        *("murmur_grade", "murmur_timing", "murmur_pitch", "sex", "age_group"),
    ),
    "metrics/operating_points.csv": ("chosen_on", "figure", "mean", "sd", "low", "high"),
    "metrics/calibration.csv": ("run", "fold", "level", "temperature"),
    "metrics/segmentation.csv": ("run", "f1_S1", "f1_S2", "f1"),
    "metrics/murmur_location.csv": ("label", "timing", "n_recordings"),
    "metrics/left_out.csv": ("stage", "reason"),
    "plots/confusion.csv": ("actual", "predicted", "n"),
    "plots/roc.csv": ("fpr", "tpr", "low", "high", "chance"),
    "plots/precision_recall.csv": ("recall", "precision", "low", "high", "chance"),
    "plots/reliability.csv": ("kind", "confidence", "accuracy", "n"),
    "plots/learning_curves.csv": ("curve", "epoch", "mean", "low", "high", "n_fits"),
    "plots/score_per_fold.csv": ("run", "fold"),
}
IMAGES = ("plots/errors.png", "plots/gallery.png", "plots/cycles.png")
CARDS = {
    "Model card": "metrics/model_card.md",
    "Data card": "metrics/data_card.md",
    "Reporting items of TRIPOD+AI and STARD-AI": "metrics/reporting.md",
}
ROBUSTNESS = "plots/robustness.csv"
ROBUSTNESS_COLUMNS = ("disturbance", "value", "unit", "metric", "mean", "low", "high")


@dataclass(frozen=True)
class OtherResults:
    """Results that other commands than `dvc repro` wrote.

    Attributes
    ----------
    external : dict of str to dict
        metrics/elsewhere_DATASET.json of this experiment, by data set.
    robustness : DataFrame or None
        plots/robustness.csv, if it is of this experiment.
    outdated : dict of str to str
        For each file of another experiment the command that makes it again.
    """

    external: dict[str, dict[str, Any]]
    robustness: pd.DataFrame | None
    outdated: dict[str, str]


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read all tables of `COLUMNS`, by path.

    Raises
    ------
    MurmurError
        Naming the file that is missing, or the column or cell that is wrong.
    """
    return {path: _read_csv(folder / path, columns) for path, columns in COLUMNS.items()}


def read_other_results(folder: Path) -> OtherResults:
    """Read the results of `murmur evaluate-on` and `murmur robustness`, if there are any."""
    experiment = hash_experiment(folder)
    external, robustness, outdated = {}, None, {}
    for path in sorted(folder.glob("metrics/elsewhere_*.json")):
        result, dataset = read_json(path), path.stem.removeprefix("elsewhere_")
        if result.get("experiment") == experiment:
            external[dataset] = result
        else:
            outdated[path.relative_to(folder).as_posix()] = f"murmur evaluate-on {dataset}"
    if (folder / ROBUSTNESS).exists():
        text_columns = TEXT_COLUMNS - {"value"}
        table = _read_csv(folder / ROBUSTNESS, ROBUSTNESS_COLUMNS, text_columns, "murmur robustness")
        if "experiment" in table and (table["experiment"] == experiment).all():
            robustness = table
        else:
            outdated[ROBUSTNESS] = "murmur robustness"
    return OtherResults(external, robustness, outdated)


def _read_csv(
    path: Path,
    columns: Sequence[str],
    text_columns: Collection[str] = TEXT_COLUMNS,
    command: str = EVALUATE,
) -> pd.DataFrame:
    return parse_csv(read_text(path), path, columns, words=text_columns, again=command)
