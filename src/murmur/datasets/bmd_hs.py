"""BMD-HS, the BUET multi-disease heart sounds (Ali et al. 2024): eight recordings of 20 s per patient."""

import re
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import Reading, Task, _locations

PAGE = "https://github.com/sani002/BMD-HS-Dataset"
LAYOUT = "train/ with the WAV files; train.csv and additional_metadata.csv next to train/"
DISEASES = ("AS", "AR", "MR", "MS")
TASKS = {"disease": Task(("N", "AS", "AR", "MS", "MR", "MD"), ("AS", "AR", "MS", "MR", "MD"))}
SITES = {"Aor": "AV", "Pul": "PV", "Tri": "TV", "Mit": "MV"}
SEXES = {"M": "Male", "F": "Female"}
PERSONS = "each patient_id of train.csv is a person"
LICENCE = "CC BY-NC-ND 4.0"
MAY_BE_PASSED_ON = False
RECORDING_NAME = r"[A-Z]+_\d+_(?:sup|sit)_(Aor|Pul|Tri|Mit)"


class Options(BaseModel, extra="forbid"):
    """No options."""


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return the folder `$MURMUR_DATA/bmd_hs`.

    Raises
    ------
    MurmurError
        If it does not exist: where to get the files and where to put them.
    """
    return _locations.require_local("bmd_hs", PAGE, LAYOUT, "train.csv")


def read(root: Path, options: Options, task: str) -> Reading:
    """Read train.csv and, if it exists, additional_metadata.csv (sex and age in decades).

    A patient with two or more of the four diseases is of class MD.

    Parameters
    ----------
    root : Path
        The folder of the data set.
    options : Options
        The options in params.yaml.
    task : str
        A name in `TASKS`.

    Returns
    -------
    Reading
        The recordings.

    Raises
    ------
    MurmurError
        Naming the file and the row: a missing column, a patient or a recording in two rows, a flag that is
        not 0 or 1, no flag, N together with a disease, no recording, a recording with an invalid name or the
        name of another patient, an unknown sex or age.
    """
    path = root / "train.csv"
    columns = [f"recording_{k}" for k in range(1, 9)]
    patients = input_csv.read_table(path, ["patient_id", *DISEASES, "N", *columns])
    input_csv.check_rows(path, patients["patient_id"].duplicated(), "the patient is in two rows; keep one")
    input_csv.check_ids(path, patients["patient_id"])
    patients["label"] = _compute_labels(patients, path)
    table = patients.melt(["patient_id", "label"], columns, value_name="recording_id", ignore_index=False)
    table = table.dropna(subset="recording_id").sort_index(kind="stable")
    _check_names(table["recording_id"], patients, path)
    table["path"] = [_find_file(root, name) for name in table["recording_id"]]
    table["site"] = table["recording_id"].str.extract(RECORDING_NAME, expand=False).map(SITES)
    metadata = _read_metadata(root / "additional_metadata.csv", patients["patient_id"])
    table = table.merge(metadata, how="left", on="patient_id")
    table = table.astype(object).where(table.notna(), None)
    table = table.assign(person_id=table["patient_id"], patient_label=table["label"], role=None)
    return Reading(table.drop(columns="variable"), in_parts=True)


def _compute_labels(patients: pd.DataFrame, path: Path) -> pd.Series:
    flags = patients[[*DISEASES, "N"]]
    invalid = ~flags.isin(["0", "1"]).all(axis=1)
    remedy = "correct or remove the row"
    input_csv.check_rows(path, invalid, f"one of {', '.join(flags)} is not 0 or 1; {remedy}")
    n_diseases, is_normal = flags[[*DISEASES]].eq("1").sum(axis=1), flags["N"] == "1"
    input_csv.check_rows(path, (n_diseases == 0) & ~is_normal, f"neither N nor a disease is 1; {remedy}")
    input_csv.check_rows(path, (n_diseases > 0) & is_normal, f"both N and a disease are 1; {remedy}")
    return flags.eq("1").idxmax(axis=1).where(n_diseases < 2, "MD")


def _check_names(names: pd.Series, patients: pd.DataFrame, path: Path) -> None:
    """Check the names of recordings; both tables have the row numbers of the CSV as their index."""
    empty = ~patients.index.to_series().isin(names.index)
    input_csv.check_rows(path, empty, "names no recording; add one or remove the row")
    invalid = ~names.str.fullmatch(RECORDING_NAME)
    input_csv.check_rows(path, invalid, "a recording is not named like XX_NNN_sup_Mit; correct the name")
    input_csv.check_rows(path, names.duplicated(), "a recording is named a second time; remove one")
    number = patients["patient_id"].str.extract(r"(\d+)$", expand=False).loc[names.index]
    wrong = number.notna() & (names.str.split("_").str[1].str.lstrip("0") != number.str.lstrip("0"))
    input_csv.check_rows(
        path, wrong, f"{next(iter(names[wrong]), '')} is of another patient; correct the row"
    )


def _find_file(root: Path, name: str) -> str:
    """Return the file of a recording; the file of MD_085_sit_Tri is called MD_085_sit_Tri6_06.wav."""
    longer = [p for p in (root / "train").glob(f"{name}*.wav") if re.fullmatch(rf"{name}[\d_]+", p.stem)]
    if len(longer) == 1 and not (root / f"train/{name}.wav").is_file():
        return f"train/{longer[0].name}"
    return f"train/{name}.wav"


def _read_metadata(path: Path, patients: pd.Series) -> pd.DataFrame:
    """Read patient_id, sex and age_group of those `patients` for whom they are known."""
    if not path.is_file():
        return pd.DataFrame(columns=["patient_id", "sex", "age_group"], dtype=object)
    table = input_csv.read_table(path, ["patient_id", "Age", "Gender"])
    input_csv.check_rows(path, table["patient_id"].duplicated(), "the patient is in two rows; keep one")
    input_csv.check_known(path, table["patient_id"], patients)
    known = table["Gender"].isna() | table["Gender"].isin(SEXES)
    input_csv.check_rows(path, ~known, "Gender is not M or F; correct it or leave it empty")
    age = pd.to_numeric(table["Age"], errors="coerce")
    invalid = table["Age"].notna() & ~(age >= 0)
    input_csv.check_rows(path, invalid, "Age is not a number of years; correct it or leave it empty")
    decade = (age // 10 * 10).astype("Int64")
    table["age_group"] = [None if pd.isna(d) else f"{d}-{d + 9}" for d in decade]
    return table.assign(sex=table["Gender"].map(SEXES))[["patient_id", "sex", "age_group"]]
