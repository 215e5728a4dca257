"""CirCor DigiScope phonocardiograms (Oliveira et al. 2022), PhysioNet circor-heart-sound 1.0.3."""

from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import MURMUR, Reading, Task, _fetch
from murmur.errors import MurmurError

ADDRESS = "https://physionet.org/files/circor-heart-sound/1.0.3/"
TASKS = {
    "murmur": MURMUR,
    "outcome": Task(("Abnormal", "Normal"), ("Abnormal",)),
}
COLUMNS = {"murmur": "Murmur", "outcome": "Outcome"}
SITE = "(AV|PV|TV|MV|Phc)"
PERSONS = "patients linked by Additional ID are one person, recorded in two campaigns"
LICENCE = "ODC-By 1.0"


class Options(BaseModel, extra="forbid"):
    """`recording_label: site` calls a Present patient's recording Absent at a site without a murmur."""

    recording_label: Literal["patient", "site"] = "patient"


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """The data set's root: `$MURMUR_DATA/circor`, else the files of the first `limit` patients, fetched."""
    if root := _fetch.local("circor", "training_data.csv", "training_data"):
        return root
    root = _fetch.kept("circor")
    _fetch.fetch(ADDRESS, {"SHA256SUMS.txt": None}, root)
    checksums = _fetch.read_checksums(root / "SHA256SUMS.txt")
    _fetch.fetch(ADDRESS, {"training_data.csv": checksums.get("training_data.csv")}, root)
    patients = _read_patients(root)[:limit]
    names = [path for patient in patients.to_dict("records") for path in _expected(patient)]
    _fetch.fetch(ADDRESS, {name: checksums.get(name) for name in names}, root)
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read training_data.csv: one row a recording, named by the table's recording locations.

    Raises
    ------
    MurmurError
        Naming the row, if an id stands twice, a label is not the data set's, or the copy has no such task.
    """
    checksums = _fetch.read_checksums(root / "SHA256SUMS.txt")
    _fetch.verify(root, ["training_data.csv"], checksums)
    patients = _read_patients(root)
    _check_labels(patients, root, task)
    persons = _persons(patients)
    rows = [
        {
            "recording_id": Path(path).stem,
            "path": path,
            "patient_id": patient["Patient ID"],
            "person_id": persons[patient["Patient ID"]],
            "site": Path(path).stem.split("_")[1],
            "label": _recording_label(patient, Path(path).stem.split("_")[1], task, options),
            "patient_label": patient[COLUMNS[task]],
            "role": None,
            "sex": patient["Sex"],
            "age_group": patient["Age"],
        }
        for patient in patients.to_dict("records")
        for path in _expected(patient)
    ]
    return Reading(pd.DataFrame(rows), checksums=checksums, in_parts=root == _fetch.named("circor"))


def _read_patients(root: Path) -> pd.DataFrame:
    path = root / "training_data.csv"
    table = input_csv.read(path, ["Patient ID"]).rename(columns={"Recording locations:": "Locations"})
    needed = ["Locations", "Age", "Sex", "Murmur", "Murmur locations", "Additional ID"]
    if missing := [column for column in needed if column not in table]:
        raise MurmurError(f"{path}: no column {', '.join(missing)}; fetch the data set's own table")
    input_csv.check_filled(path, table, "Locations")
    for column in ("Locations", "Murmur locations"):
        odd = table[column].notna() & ~table[column].str.fullmatch(rf"{SITE}(\+{SITE})*").eq(True)
        input_csv.check_rows(
            path, odd, f"{column} is not AV, PV, TV, MV or Phc, joined by +; fetch the data set's own"
        )
    for column in ("Patient ID", "Additional ID"):
        odd = table[column].notna() & ~table[column].str.fullmatch(r"\d+(\.0)?").eq(True)
        input_csv.check_rows(path, odd, f"{column} is not a whole number; fetch the data set's own table")
        table[column] = table[column].str.removesuffix(".0")  # a column with gaps, once saved as floats
    input_csv.check_rows(path, table["Patient ID"].duplicated(), "the patient stands in two rows; keep one")
    input_csv.check_spelling(path, table["Patient ID"], table["Additional ID"])
    return table


def _expected(patient: dict[str, str]) -> list[str]:
    """The WAV files of a patient: a site heard n > 1 times has files numbered from 1 to n."""
    sites = Counter(patient["Locations"].split("+"))
    ids = [
        f"{patient['Patient ID']}_{site}" + (f"_{k}" if n > 1 else "")
        for site, n in sites.items()
        for k in range(1, n + 1)
    ]
    return [f"training_data/{name}.wav" for name in ids]


def _check_labels(patients: pd.DataFrame, root: Path, task: str) -> None:
    column, path = COLUMNS[task], root / "training_data.csv"
    if column not in patients:
        raise MurmurError(f"{path}: no column {column}, which task {task} needs; fetch version 1.0.3")
    wrong = ~patients[column].isin(TASKS[task].classes)
    if wrong.any():
        patient = patients[wrong].iloc[0]
        raise MurmurError(
            f"{path}: patient {patient['Patient ID']}: {column} is {patient[column]!r}, "
            f"expected one of {', '.join(TASKS[task].classes)}; mend the row or take it out"
        )


def _persons(patients: pd.DataFrame) -> dict[str, str]:
    """Patient id -> person id: the smallest of the ids that Additional ID links, in either direction."""
    person = {i: i for i in patients["Patient ID"]}
    for one, other in zip(patients["Patient ID"], patients["Additional ID"], strict=True):
        if other is not None:
            linked = {person[one], person.setdefault(other, other)}
            smallest = min(linked, key=lambda i: (len(i), i))
            person = {i: smallest if p in linked else p for i, p in person.items()}
    return person


def _recording_label(patient: dict[str, str], site: str, task: str, options: Options) -> str:
    label, heard = patient[COLUMNS[task]], patient["Murmur locations"]
    if options.recording_label == "site" and label == "Present" and heard:
        return "Present" if site in heard.split("+") else "Absent"
    return label
