"""The tables that the stage evaluate reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from murmur.evaluation.run_files import find_run_files, remove_other_runs
from murmur.tables import parquet
from murmur.tables.annotations import ANNOTATIONS, STATES
from murmur.tables.csv_reader import read_csv
from murmur.tables.cycles import CYCLES
from murmur.tables.folds import FOLDS
from murmur.tables.groups import GROUPS
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.predictions import TrainingInfo, make_predictions_schema, read_training_info
from murmur.tables.recordings import RECORDINGS, DatasetCard, read_dataset_card
from murmur.tables.segments import SEGMENTS

AUDIT = (
    *("run", "fold", "n_train", "n_validation", "n_test"),
    *("shared_persons", "shared_recordings", "shared_near"),
)
HISTORY = ("fold", "epoch", "train_loss")


@dataclass(frozen=True)
class EvaluationTables:
    """The tables of all stages before evaluate.

    Attributes
    ----------
    recordings : DataFrame
        The table of recordings, with the group that the bootstrap resamples, and the annotated fraction.
    card : DatasetCard
        The description of the data set.
    segments : DataFrame
        The table of segments.
    folds, predictions, histories : dict of int to DataFrame
        The tables of each run.
    notes : list of TrainingInfo
        How each run was trained.
    audit : DataFrame
        What training and test parts of each fold share.
    left_out : DataFrame
        The items that download and segment left out.
    """

    recordings: pd.DataFrame
    card: DatasetCard
    segments: pd.DataFrame
    folds: dict[int, pd.DataFrame]
    predictions: dict[int, pd.DataFrame]
    histories: dict[int, pd.DataFrame]
    notes: list[TrainingInfo]
    audit: pd.DataFrame
    left_out: pd.DataFrame


def read_inputs(data: Path, metrics: Path, runs: Sequence[int]) -> EvaluationTables:
    """Read the tables that the stage evaluate needs, and delete predictions and histories of other runs.

    Parameters
    ----------
    data, metrics : Path
        The folders with the outputs of the stages.
    runs : sequence of int
        The runs to evaluate.

    Raises
    ------
    MurmurError
        Naming a file that is missing or not as its stage writes it.
    """
    card = read_dataset_card(data / "recordings.parquet")
    recordings = parquet.read(data / "recordings.parquet", RECORDINGS)
    annotations = parquet.read(data / "annotations.parquet", ANNOTATIONS)
    recordings["annotated"] = compute_annotated_fraction(recordings, annotations)
    groups = parquet.read(data / "groups.parquet", GROUPS)
    predictions = find_run_files(data / "predictions", runs, ".murmur_predictions.parquet")
    histories = find_run_files(data / "history", runs, ".murmur_history.csv")
    remove_other_runs(data / "predictions", predictions.values())
    remove_other_runs(data / "history", histories.values())
    schema = make_predictions_schema(card.classes)
    left_out = [
        parquet.read(data / f"left_out/{stage}.parquet", LEFT_OUT) for stage in ("download", "segment")
    ]
    return EvaluationTables(
        recordings=recordings.merge(groups, on="recording_id", validate="1:1"),
        card=card,
        segments=parquet.read(data / "segments.parquet", SEGMENTS),
        folds={run: parquet.read(data / f"folds/run_{run}.parquet", FOLDS) for run in runs},
        predictions={run: parquet.read(path, schema) for run, path in predictions.items()},
        histories={run: read_csv(path, HISTORY, may_be_empty=False) for run, path in histories.items()},
        notes=[read_training_info(path) for path in predictions.values()],
        audit=read_csv(metrics / "audit.csv", AUDIT, may_be_empty=False),
        left_out=pd.concat(left_out),
    )


def read_heart_cycles(data: Path, runs: Sequence[int]) -> tuple[dict[int, pd.DataFrame], pd.DataFrame]:
    """Read the heart cycles that networks found, by run, and the annotated ones.

    Parameters
    ----------
    data, runs
        As for `read_inputs`.
    """
    cycles = find_run_files(data / "cycles", runs)
    annotations = parquet.read(data / "annotations.parquet", ANNOTATIONS)
    return {run: parquet.read(path, CYCLES) for run, path in cycles.items()}, annotations


def compute_annotated_fraction(recordings: pd.DataFrame, annotations: pd.DataFrame) -> pd.Series:
    """Compute which fraction of each recording is annotated with heart sounds and intervals, 0 to 1.

    Annotators leave out what is too noisy. NaN if no recording of the data set is annotated.

    Parameters
    ----------
    recordings, annotations : DataFrame
        As in `murmur.tables`.
    """
    states = annotations[annotations["event"].isin(STATES)]
    seconds = (states["end"] - states["start"]).groupby(states["recording_id"]).sum()
    length = recordings["n_samples"] / recordings["sample_rate"]
    fraction = (recordings["recording_id"].map(seconds).fillna(0.0) / length).clip(0, 1)
    return fraction if len(states) else fraction * np.nan
