"""Lists of the training, validation and test part, in the formats in which authors publish them.

murmur's own format is read by `murmur.splits.published`.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

import pandas as pd

from murmur import input_csv
from murmur.errors import MurmurError
from murmur.tables.csv_writer import format_csv
from murmur.tables.folds import ROLES

logger = logging.getLogger(__name__)

COLUMN = "dest_file"
FOLDERS = {"train_data": "train", "vali_data": "validation", "test_data": "test"} | {r: r for r in ROLES}
SUFFIXES = {".wav", ".hea", ".tsv", ".txt"}
HEADERS = {"id", "patient", "patient id", "patient_id", "recording", "recording_id", COLUMN}
STRIDE = 1000  # the run of seed s of list k is k * STRIDE + s, also with more seeds or more lists
REMEDY = (
    "a list is a CSV file with the column dest_file, or a folder with the files train.txt, test.txt and "
    "perhaps validation.txt, with one id in each line"
)


def read_list(path: Path) -> pd.DataFrame:
    """Read a list: a CSV file of paths, or a folder with a file of ids for each part.

    Parameters
    ----------
    path : Path
        A CSV file with the column dest_file, with paths such as
        ``data/stratified_data1/train_data/50639_TV.wav``: the folders train_data, vali_data and test_data
        give the part, the name of the file the recording, without its ending. Where there are WAV files,
        other files (.hea, .tsv, .txt) are left out. Or a folder with the files train, validation and test
        (.txt or .csv) for `read_parts`.

    Returns
    -------
    DataFrame
        Columns file, row, id, role.

    Raises
    ------
    MurmurError
        With the file and, where there is one, the row: it cannot be read, a path has none of these folders, a
        part is missing.
    """
    if path.is_dir():
        return read_parts(_find_parts(path))
    table = input_csv.read_table(path, [COLUMN], only=True, remedy=REMEDY)
    files = table[COLUMN].map(PureWindowsPath)  # its paths have / or \
    roles = files.map(_find_role)
    input_csv.check_rows(path, roles.isna(), f"{COLUMN} has no folder {', '.join(FOLDERS)}; correct it")
    table = pd.DataFrame(
        {"file": str(path), "row": table.index, "id": files.map(_remove_suffix), "role": roles}
    )
    is_audio = files.map(lambda file: file.suffix.lower() == ".wav")
    return table[is_audio] if is_audio.any() else table


def _find_parts(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".txt"))
    files = {role: path for role in ROLES for path in paths if path.stem == role}
    if missing := [role for role in ("train", "test") if role not in files]:
        raise MurmurError(f"{folder}: no {missing[0]}.txt; {REMEDY}")
    return files


def read_parts(files: Mapping[str, Path]) -> pd.DataFrame:
    """Read files of ids, one for each part, with one id of a patient or recording in each line.

    Parameters
    ----------
    files : dict of str to Path
        By role: train, test and perhaps validation. Other columns of a CSV file are ignored, and so is a
        first line such as ``patient_id``.

    Returns
    -------
    DataFrame
        As `read_list`.
    """
    return pd.concat([_read_part(path, role) for role, path in files.items()], ignore_index=True)


def _read_part(path: Path, role: str) -> pd.DataFrame:
    table = input_csv.read_table(path, ["id"], header=False, only=True, remedy=REMEDY)
    if table["id"].iloc[0].lower() in HEADERS:
        table = table.iloc[1:]
    if table.empty:
        raise MurmurError(f"{path}: has no ids below its first line; {REMEDY}")
    ids = table["id"].map(lambda text: _remove_suffix(PureWindowsPath(text)))
    return pd.DataFrame({"file": str(path), "row": table.index, "id": ids, "role": role})


def _find_role(file: PureWindowsPath) -> str | None:
    """Return the part that the nearest folder of a file names; None without such a folder."""
    return next((FOLDERS[name] for name in reversed(file.parts[:-1]) if name in FOLDERS), None)


def _remove_suffix(file: PureWindowsPath) -> str:
    return file.stem if file.suffix.lower() in SUFFIXES else file.name


def assign_recordings(
    table: pd.DataFrame, recordings: pd.DataFrame, left_out: Sequence[str], *, allow_missing: bool
) -> pd.DataFrame:
    """Find the recordings of a list in the data set.

    Parameters
    ----------
    table : DataFrame
        From `read_list`. An id is that of a recording or that of a patient, who stands for all recordings.
    recordings : DataFrame
        As `murmur.tables.recordings.RECORDINGS`.
    left_out : sequence of str
        The ids of the recordings that the stage download has left out, which a list may contain.
    allow_missing : bool
        Whether other ids may be missing from the data set; a log message counts them.

    Returns
    -------
    DataFrame
        Columns recording_id, role.

    Raises
    ------
    MurmurError
        With the file, the row and the id: the data set has no such id; a recording is in two parts; no
        recording is in the training or in the test part.
    """
    ids = recordings[["recording_id", "patient_id"]]
    is_recording = table["id"].isin(ids["recording_id"])
    is_known = is_recording | table["id"].isin(ids["patient_id"])
    _check_missing(table, is_known, left_out, allow_missing=allow_missing)
    by_recording = table.merge(ids, left_on="id", right_on="recording_id")
    by_patient = table[~is_recording].merge(ids, left_on="id", right_on="patient_id")
    roles = pd.concat([by_recording, by_patient])
    roles = roles.drop_duplicates(["recording_id", "role"], ignore_index=True)
    repeated = roles[roles["recording_id"].duplicated()]
    if len(repeated):
        row = repeated.iloc[0]
        first = roles[roles["recording_id"] == row["recording_id"]].iloc[0]
        raise MurmurError(
            f"{row['file']}: row {row['row']}: {row['id']} is in the {row['role']} part, but row "
            f"{first['row']} of {first['file']} has it in the {first['role']} part; keep one"
        )
    for role in ("train", "test"):
        if role not in set(roles["role"]):
            file = next(iter(table["file"][table["role"] == role]), table["file"].iloc[0])
            raise MurmurError(f"{file}: no recording of the data set is in its {role} part")
    return roles[["recording_id", "role"]]


def _check_missing(
    table: pd.DataFrame, is_known: pd.Series, left_out: Sequence[str], *, allow_missing: bool
) -> None:
    """Refuse ids that are not in the data set, unless they may be missing."""
    missing = table[~is_known]
    unknown = missing[~missing["id"].isin(left_out)]
    if len(unknown) and not allow_missing:
        row = unknown.iloc[0]
        raise MurmurError(
            f"{row['file']}: row {row['row']}: the data set has no recording or patient {row['id']} "
            f"(such rows: {len(unknown)}); correct them or, for a part of the data set: --allow-missing"
        )
    if len(missing):
        row = missing.iloc[0]
        logger.warning(
            "%s: %d of %d recordings or patients are not in the data, such as %s (row %d); left out",
            *(row["file"], len(missing), len(table), row["id"], row["row"]),
        )


def number_runs(n_lists: int, seeds: int) -> dict[int, tuple[int, int]]:
    """Return the list and the seed of each run; trainings of a run draw other random numbers than others."""
    return {k * STRIDE + seed: (k, seed) for k in range(n_lists) for seed in range(seeds)}


def format_split(roles: Sequence[pd.DataFrame], seeds: int) -> str:
    """Format lists as a file for `split.method: file`, the runs as in `number_runs`.

    Parameters
    ----------
    roles : sequence of DataFrame
        Each from `assign_recordings`.
    seeds : int
        The number of runs of each list.
    """
    runs = number_runs(len(roles), seeds)
    return format_csv(pd.concat([roles[k].assign(run=run) for run, (k, _) in runs.items()]))
