"""Published splits: a CSV file that assigns patients or recordings to training, validation and test part."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from murmur import input_csv
from murmur.errors import MurmurError
from murmur.tables.folds import ROLES

logger = logging.getLogger(__name__)

COLUMNS = "it needs the columns patient_id or recording_id, run, role, and fold where a run has several"


def read_published_split(path: str | Path, recordings: pd.DataFrame, runs: Iterable[int]) -> pd.DataFrame:
    """Read the roles that a published split assigns in some runs.

    Recordings that are not in the file are in no part of the fold; a log message counts them.

    Parameters
    ----------
    path : str or Path
        A CSV file with the columns patient_id or recording_id (or both: then each row is for a recording),
        run, role (train, validation, test) and, if a run has several, fold.
    recordings : DataFrame
        As `RECORDINGS`.
    runs : iterable of int
        The runs to read.

    Returns
    -------
    DataFrame
        Columns run, fold, recording_id, role.

    Raises
    ------
    MurmurError
        With the file and, where there is one, the row: a column is missing; a cell is empty, or is not a
        number or a role; the data set does not contain the id; the recording belongs to another patient; an
        id has two roles in a fold; a run is missing; a fold has no training or no test part.
    """
    path = Path(path)
    table = input_csv.read_table(path, ["run", "role"], remedy=COLUMNS)
    keys = [column for column in ("recording_id", "patient_id") if column in table]
    if not keys:
        raise MurmurError(f"{path}: no column patient_id or recording_id; {COLUMNS}")
    key = keys[0]
    table = _check_table(path, table, key, recordings)
    table = _select_runs(path, table, sorted(runs))[["run", "fold", key, "role"]]
    roles = table.merge(recordings[list(dict.fromkeys([key, "recording_id"]))], on=key)
    _check_parts(path, roles)
    _log_missing(path, roles, len(recordings))
    return roles[["run", "fold", "recording_id", "role"]]


def _check_table(path: Path, table: pd.DataFrame, key: str, recordings: pd.DataFrame) -> pd.DataFrame:
    """Check every row; return the table with the column fold and with numbers of runs and folds."""
    table = table if "fold" in table else table.assign(fold="0")
    input_csv.check_not_empty(path, table, key)
    input_csv.check_known(path, table[key], recordings[key])
    for column in ("run", "fold"):
        is_wrong = ~table[column].astype(str).str.fullmatch(r"\d{1,9}")
        input_csv.check_rows(path, is_wrong, f"{column} is not a number from 0; correct it")
    is_wrong = ~table["role"].isin(ROLES)
    input_csv.check_rows(path, is_wrong, f"role is not {', '.join(ROLES[:-1])} or {ROLES[-1]}; fill it in")
    is_unknown = ~table[key].isin(recordings[key])
    message = f"the data set has no such {key} (such rows: {is_unknown.sum()}); take them out"
    input_csv.check_rows(path, is_unknown, message)
    if key == "recording_id" and "patient_id" in table:
        _check_patients(path, table, recordings)
    table = table.astype({"run": int, "fold": int})
    is_repeated = table.duplicated(["run", "fold", key])
    input_csv.check_rows(path, is_repeated, f"{key} has a role in this run and fold already; keep one row")
    return table


def _check_patients(path: Path, table: pd.DataFrame, recordings: pd.DataFrame) -> None:
    """Refuse a row whose patient is not the patient of its recording."""
    patients = table["recording_id"].map(recordings.set_index("recording_id")["patient_id"])
    is_wrong = table["patient_id"].notna() & (table["patient_id"] != patients)
    patient = next(iter(patients[is_wrong]), "")
    input_csv.check_rows(
        path, is_wrong, f"the recording is of patient {patient} in the data set; correct the row"
    )


def _select_runs(path: Path, table: pd.DataFrame, runs: list[int]) -> pd.DataFrame:
    available = sorted(set(table["run"]))
    if missing := sorted(set(runs) - set(available)):
        names = ", ".join(map(str, available))
        raise MurmurError(f"{path}: has no run {missing[0]}; it has {names}: name those in split.runs")
    return table[table["run"].isin(runs)]


def _check_parts(path: Path, roles: pd.DataFrame) -> None:
    """Refuse a fold without a training part or without a test part."""
    for (run, fold), table in roles.groupby(["run", "fold"]):
        if missing := {"train", "test"} - set(table["role"]):
            raise MurmurError(f"{path}: run {run}, fold {fold} has no {min(missing)} part; add its rows")


def _log_missing(path: Path, roles: pd.DataFrame, n_recordings: int) -> None:
    n_missing = n_recordings - roles.groupby(["run", "fold"])["recording_id"].size()
    if n_missing.any():
        run, fold = n_missing.idxmax()
        logger.info(
            f"{path} names no role for {n_missing.max()} of {n_recordings} recordings in run {run}, "
            f"fold {fold}; they take no part in it"
        )
