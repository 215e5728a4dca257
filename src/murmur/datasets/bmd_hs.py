"""BMD-HS, the BUET multi-disease heart sounds (Ali et al. 2024): eight recordings of 20 s a patient."""

import re
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import Reading, Task, _fetch

PAGE = "https://github.com/sani002/BMD-HS-Dataset"
LAYOUT = "train/ with the WAV files, train.csv and additional_metadata.csv beside it"
DISEASES = ("AS", "AR", "MR", "MS")
TASKS = {"disease": Task(("N", "AS", "AR", "MS", "MR", "MD"), ("AS", "AR", "MS", "MR", "MD"))}
SITES = {"Aor": "AV", "Pul": "PV", "Tri": "TV", "Mit": "MV"}
SEXES = {"M": "Male", "F": "Female"}
PERSONS = "each patient_id of train.csv is a person"
LICENCE = "CC BY-NC-ND 4.0"
MAY_BE_PASSED_ON = False
NAME = r"[A-Z]+_\d+_(?:sup|sit)_(Aor|Pul|Tri|Mit)"


class Options(BaseModel, extra="forbid"):
    """None."""


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The folder `$MURMUR_DATA/bmd_hs`: a MurmurError says where to get the files if it is not there."""
    return _fetch.by_hand("bmd_hs", PAGE, LAYOUT, "train.csv")


def read(root: Path, options: Options, task: str) -> Reading:
    """Read train.csv and, where it is there, additional_metadata.csv (sex, decade of age).

    A patient with two or more of the four diseases is of class MD.

    Raises
    ------
    MurmurError
        Naming the file and the row: a column missing, a patient or a recording twice, a flag that is not 0
        or 1, no flag, N beside a disease, no recording, a name that is none or of another patient, an unknown
        sex or age.
    """
    where = root / "train.csv"
    names = [f"recording_{k}" for k in range(1, 9)]
    patients = input_csv.read(where, ["patient_id", *DISEASES, "N", *names])
    input_csv.check_rows(
        where, patients["patient_id"].duplicated(), "the patient stands in two rows; keep one"
    )
    input_csv.check_ids(where, patients["patient_id"])
    patients["label"] = _labels(patients, where)
    table = patients.melt(["patient_id", "label"], names, value_name="recording_id", ignore_index=False)
    table = table.dropna(subset="recording_id").sort_index(kind="stable")
    _check_names(table["recording_id"], patients, where)
    table["path"] = [_path(root, name) for name in table["recording_id"]]
    table["site"] = table["recording_id"].str.extract(NAME, expand=False).map(SITES)
    metadata = _metadata(root / "additional_metadata.csv", patients["patient_id"])
    table = table.merge(metadata, how="left", on="patient_id")
    table = table.astype(object).where(table.notna(), None)
    table = table.assign(person_id=table["patient_id"], patient_label=table["label"], role=None)
    return Reading(table.drop(columns="variable"), in_parts=True)


def _labels(patients: pd.DataFrame, where: Path) -> pd.Series:
    flags = patients[[*DISEASES, "N"]]
    wrong = ~flags.isin(["0", "1"]).all(axis=1)
    input_csv.check_rows(
        where, wrong, f"one of {', '.join(flags)} is not 0 or 1; mend the row or take it out"
    )
    ill, well = flags[[*DISEASES]].eq("1").sum(axis=1), flags["N"] == "1"
    input_csv.check_rows(where, (ill == 0) & ~well, "no disease and no N is 1; mend the row or take it out")
    input_csv.check_rows(where, (ill > 0) & well, "N is 1 beside a disease; mend the row or take it out")
    return flags.eq("1").idxmax(axis=1).where(ill < 2, "MD")


def _check_names(names: pd.Series, patients: pd.DataFrame, where: Path) -> None:
    none = ~patients.index.to_series().isin(names.index)
    input_csv.check_rows(where, none, "names no recording; name one or take the row out")
    odd = ~names.str.fullmatch(NAME)
    input_csv.check_rows(where, odd, "a recording is not named XX_NNN_sup_Mit or the like; mend the name")
    input_csv.check_rows(where, names.duplicated(), "a recording is named a second time; take one out")
    number = patients["patient_id"].str.extract(r"(\d+)$", expand=False).loc[names.index]
    wrong = number.notna() & (names.str.split("_").str[1].str.lstrip("0") != number.str.lstrip("0"))
    input_csv.check_rows(
        where, wrong, f"{next(iter(names[wrong]), '')} is of another patient; correct the row"
    )


def _path(root: Path, name: str) -> str:
    """The file of a recording; MD_085_sit_Tri lies on disk as MD_085_sit_Tri6_06.wav."""
    longer = [p for p in (root / "train").glob(f"{name}*.wav") if re.fullmatch(rf"{name}[\d_]+", p.stem)]
    if len(longer) == 1 and not (root / f"train/{name}.wav").is_file():
        return f"train/{longer[0].name}"
    return f"train/{name}.wav"


def _metadata(where: Path, patients: pd.Series) -> pd.DataFrame:
    """patient_id, sex and age_group of the `patients`, as far as they are known."""
    if not where.is_file():
        return pd.DataFrame(columns=["patient_id", "sex", "age_group"], dtype=object)
    table = input_csv.read(where, ["patient_id", "Age", "Gender"])
    input_csv.check_rows(where, table["patient_id"].duplicated(), "the patient stands in two rows; keep one")
    input_csv.check_known(where, table["patient_id"], patients)
    known = table["Gender"].isna() | table["Gender"].isin(SEXES)
    input_csv.check_rows(where, ~known, "Gender is not M or F; mend it or leave it empty")
    age = pd.to_numeric(table["Age"], errors="coerce")
    input_csv.check_rows(
        where, table["Age"].notna() & ~(age >= 0), "Age is no number of years; mend it or leave it empty"
    )
    decade = (age // 10 * 10).astype("Int64")
    table["age_group"] = [None if pd.isna(d) else f"{d}-{d + 9}" for d in decade]
    return table.assign(sex=table["Gender"].map(SEXES))[["patient_id", "sex", "age_group"]]
