"""Published splits: a CSV says who is trained on, who stops the training and who is tested."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from murmur import input_csv
from murmur.errors import MurmurError
from murmur.tables.folds import ROLES

logger = logging.getLogger(__name__)

REMEDY = "it needs the columns patient_id or recording_id, run, role, and fold where a run has several"


def read_published_split(path: str | Path, recordings: pd.DataFrame, runs: Iterable[int]) -> pd.DataFrame:
    """The roles that a CSV of published splits gives: run, fold, recording_id, role, of the runs asked for.

    Columns: patient_id or recording_id, run, role (train, validation, test) and, if there are several, fold.
    A recording that a fold does not name takes no part in it; a note counts them.

    Raises
    ------
    MurmurError
        Naming the file and the row: no such column, a cell that is empty or no number or no role, an id that
        the data set has not, a recording of another patient, an id given twice, a run that is asked for but
        not there.
    """
    path = Path(path)
    header = input_csv.read(path, ["run", "role"], remedy=REMEDY)
    ids = [column for column in ("recording_id", "patient_id") if column in header]
    if not ids:
        raise MurmurError(f"{path}: no column patient_id or recording_id; {REMEDY}")
    table = _checked(path, header, ids[0], recordings)
    listed = sorted(runs)
    if unknown := sorted(set(listed) - set(table["run"])):
        there = ", ".join(map(str, sorted(set(table["run"]))))
        raise MurmurError(f"{path}: has no run {unknown[0]}; it has {there}: name those in split.runs")
    named = table[table["run"].isin(listed)][["run", "fold", ids[0], "role"]]
    found = named.merge(recordings[list(dict.fromkeys([ids[0], "recording_id"]))], on=ids[0])
    for (run, fold), part in found.groupby(["run", "fold"]):
        if missing := {"train", "test"} - set(part["role"]):
            raise MurmurError(f"{path}: run {run}, fold {fold} has no {min(missing)} part; add its rows")
    _note_unnamed(path, found, len(recordings))
    return found[["run", "fold", "recording_id", "role"]]


def _checked(path: Path, table: pd.DataFrame, key: str, recordings: pd.DataFrame) -> pd.DataFrame:
    table = table if "fold" in table else table.assign(fold="0")
    input_csv.check_filled(path, table, key)
    input_csv.check_known(path, table[key], recordings[key])
    for column in ("run", "fold"):
        odd = ~table[column].astype(str).str.fullmatch(r"\d{1,9}")
        input_csv.check_rows(path, odd, f"{column} is not a number from 0; mend it")
    odd = ~table["role"].isin(ROLES)
    input_csv.check_rows(path, odd, f"role is not {', '.join(ROLES[:-1])} or {ROLES[-1]}; fill it in")
    unknown = ~table[key].isin(recordings[key])
    input_csv.check_rows(
        path, unknown, f"the data set has no such {key} ({unknown.sum()} such rows); take them out"
    )
    table = table.astype({"run": int, "fold": int})
    if key == "recording_id" and "patient_id" in table:
        theirs = table[key].map(recordings.set_index(key)["patient_id"])
        other = table["patient_id"].notna() & (table["patient_id"] != theirs)
        name = next(iter(theirs[other]), "")
        input_csv.check_rows(
            path, other, f"the recording is of patient {name} in the data set; correct the row"
        )
    twice = table.duplicated(["run", "fold", key])
    input_csv.check_rows(path, twice, f"{key} has a role in this run and fold already; keep one row")
    return table


def _note_unnamed(path: Path, found: pd.DataFrame, n_recordings: int) -> None:
    unnamed = n_recordings - found.groupby(["run", "fold"])["recording_id"].size()
    if unnamed.any():
        run, fold = unnamed.idxmax()
        logger.info(
            f"{path} names no role for {unnamed.max()} of {n_recordings} recordings in run {run}, "
            f"fold {fold}; they take no part in it"
        )
