"""CirCor DigiScope phonocardiograms (Oliveira et al. 2022), PhysioNet circor-heart-sound 1.0.3."""

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv
from murmur.datasets import MURMUR_TASK, Reading, Task, _checksums, _fetch, _locations, _states
from murmur.errors import MurmurError
from murmur.tables.annotations import ANNOTATIONS

logger = logging.getLogger(__name__)

ADDRESS = "https://physionet.org/files/circor-heart-sound/1.0.3/"
TASKS = {
    "murmur": MURMUR_TASK,
    "outcome": Task(("Abnormal", "Normal"), ("Abnormal",)),
}
COLUMNS = {"murmur": "Murmur", "outcome": "Outcome"}
TIMINGS = ("Systolic murmur timing", "Diastolic murmur timing")  # older copies have no such columns
SITE = "(AV|PV|TV|MV|Phc)"
PERSONS = "patients linked by Additional ID are one person, recorded in two campaigns"
LICENCE = "ODC-By 1.0"


class Options(BaseModel, extra="forbid"):
    """The options of this data set.

    Attributes
    ----------
    recording_label : {"patient", "site"}
        patient: a recording has its patient's label. site: a recording of a Present patient is labelled
        Absent if no murmur is audible at its site.
    """

    recording_label: Literal["patient", "site"] = "patient"


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return `$MURMUR_DATA/circor`, or a cache folder into which the first `limit` patients are fetched."""
    if root := _locations.find_local("circor", "training_data.csv", "training_data"):
        return root
    root = _locations.cache_folder("circor")
    checksums = _fetch.fetch_checksums(ADDRESS, root)
    _fetch.fetch_files(ADDRESS, {"training_data.csv": checksums.get("training_data.csv")}, root)
    patients = _read_patients(root)[:limit]
    names = [path for patient in patients.to_dict("records") for path in _list_files(patient)]
    names += [name for path in names if (name := _name_states(path)) in checksums]
    _fetch.fetch_files(ADDRESS, {name: checksums.get(name) for name in names}, root)
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read training_data.csv, which lists the sites of each patient, and the files of heart cycles.

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
        The recordings and their annotations.

    Raises
    ------
    MurmurError
        Naming the row, if a patient is in two rows, a label is unknown, this version of the data set has no
        labels for the task, or a file of heart cycles is damaged.
    """
    checksums = _checksums.read_checksums(root / "SHA256SUMS.txt")
    _checksums.verify(root, ["training_data.csv"], checksums)
    patients = _read_patients(root)
    _check_labels(patients, root, task)
    persons = _link_persons(patients)
    rows = [
        {
            "recording_id": Path(path).stem,
            "path": path,
            "patient_id": patient["Patient ID"],
            "person_id": persons[patient["Patient ID"]],
            "site": (site := Path(path).stem.split("_")[1]),
            "label": _label_recording(patient, site, task, options),
            "patient_label": patient[COLUMNS[task]],
            "role": None,
            "sex": patient["Sex"],
            "age_group": patient["Age"],
            "murmur_timing": _describe_murmur(patient, "timing"),
            "murmur_grade": _describe_murmur(patient, "grading"),
            "murmur_pitch": _describe_murmur(patient, "pitch"),
        }
        for patient in patients.to_dict("records")
        for path in _list_files(patient)
    ]
    return Reading(
        pd.DataFrame(rows),
        checksums=checksums,
        in_parts=root == _locations.local_folder("circor"),
        annotations=_read_annotations(root, patients, checksums),
    )


def _read_patients(root: Path) -> pd.DataFrame:
    path = root / "training_data.csv"
    table = input_csv.read_table(path, ["Patient ID"]).rename(columns={"Recording locations:": "Locations"})
    required = ["Locations", "Age", "Sex", "Murmur", "Murmur locations", "Additional ID"]
    if missing := [column for column in required if column not in table]:
        raise MurmurError(f"{path}: no column {', '.join(missing)}; fetch the data set's own table")
    input_csv.check_not_empty(path, table, "Locations")
    for column in ("Locations", "Murmur locations"):
        invalid = table[column].notna() & ~table[column].str.fullmatch(rf"{SITE}(\+{SITE})*").eq(True)
        allowed = "AV, PV, TV, MV or Phc, joined by +"
        input_csv.check_rows(path, invalid, f"{column} is not {allowed}; fetch the data set's own table")
    for column in ("Patient ID", "Additional ID"):
        invalid = table[column].notna() & ~table[column].str.fullmatch(r"\d+(\.0)?").eq(True)
        input_csv.check_rows(path, invalid, f"{column} is not a whole number; fetch the data set's own table")
        table[column] = table[column].str.removesuffix(
            ".0"
        )  # written by programs that save a column with gaps as floats
    for column in {*TIMINGS} & {*table}:
        invalid = table[column].notna() & ~table[column].isin(_states.TIMINGS)
        allowed = ", ".join(_states.TIMINGS)
        input_csv.check_rows(path, invalid, f"{column} is not {allowed}; fetch the data set's own table")
    input_csv.check_rows(path, table["Patient ID"].duplicated(), "the patient is in two rows; keep one")
    input_csv.check_spelling(path, table["Patient ID"], table["Additional ID"])
    return table


def _list_files(patient: dict[str, str]) -> list[str]:
    """List the WAV files of a patient: a site with n > 1 recordings has files numbered from 1 to n."""
    sites = Counter(patient["Locations"].split("+"))
    names = [
        f"{patient['Patient ID']}_{site}" + (f"_{k}" if n > 1 else "")
        for site, n in sites.items()
        for k in range(1, n + 1)
    ]
    return [f"training_data/{name}.wav" for name in names]


def _check_labels(patients: pd.DataFrame, root: Path, task: str) -> None:
    column, path = COLUMNS[task], root / "training_data.csv"
    if column not in patients:
        raise MurmurError(f"{path}: no column {column}, which task {task} needs; fetch version 1.0.3")
    unknown = ~patients[column].isin(TASKS[task].classes)
    if unknown.any():
        patient = patients[unknown].iloc[0]
        raise MurmurError(
            f"{path}: patient {patient['Patient ID']}: {column} is {patient[column]!r}, "
            f"expected one of {', '.join(TASKS[task].classes)}; correct or remove the row"
        )


def _link_persons(patients: pd.DataFrame) -> dict[str, str]:
    """Return {patient id: person id}, the smallest id of all that Additional ID links in either direction."""
    persons = {patient: patient for patient in patients["Patient ID"]}
    for patient, linked in zip(patients["Patient ID"], patients["Additional ID"], strict=True):
        if linked is not None:
            same = {persons[patient], persons.setdefault(linked, linked)}
            smallest = min(same, key=lambda number: (len(number), number))
            persons = {p: smallest if person in same else person for p, person in persons.items()}
    return persons


def _label_recording(patient: dict[str, str], site: str, task: str, options: Options) -> str:
    label, murmur_sites = patient[COLUMNS[task]], patient["Murmur locations"]
    if options.recording_label == "site" and label == "Present" and murmur_sites:
        return "Present" if site in murmur_sites.split("+") else "Absent"
    return label


def _describe_murmur(patient: dict[str, str], fact: str) -> str | None:
    """Return a fact about the systolic and the diastolic murmur, joined by +; None without a murmur."""
    values = [patient.get(f"{phase} murmur {fact}") for phase in ("Systolic", "Diastolic")]
    return "+".join(value for value in values if value) or None


def _name_states(path: str) -> str:
    """Return the file with the heart cycles of a recording."""
    return path.removesuffix(".wav") + ".tsv"


def _read_annotations(root: Path, patients: pd.DataFrame, checksums: dict[str, str]) -> pd.DataFrame:
    """Read the heart cycles of all recordings with such a file, and place the murmurs into them."""
    intervals: list[tuple[str, float, float, str]] = []
    missing = disordered = 0
    for patient in patients.to_dict("records"):
        for path in _list_files(patient):
            if not (file := root / _name_states(path)).exists():
                missing += (root / path).exists()
                continue
            _checksums.verify(root, [_name_states(path)], checksums)
            states = _states.read_states(file)
            disordered += not _states.is_in_order(states)
            events = states + [
                murmur
                for timing in _list_timings(patient, path)
                for murmur in _states.place_murmurs(states, timing)
            ]
            intervals += [(file.stem, *event) for event in events]
    _log_annotations(root, patients, missing, disordered)
    return pd.DataFrame(intervals, columns=ANNOTATIONS.names)


def _list_timings(patient: dict[str, str], path: str) -> list[str]:
    """Return the timings of the murmurs of a recording; without named sites they are at all sites."""
    site, sites = Path(path).stem.split("_")[1], patient["Murmur locations"]
    timings = [patient.get(column) for column in TIMINGS]
    return [timing for timing in timings if timing and (not sites or site in sites.split("+"))]


def _log_annotations(root: Path, patients: pd.DataFrame, missing: int, disordered: int) -> None:
    """Log what is not as expected in the annotations."""
    if missing:
        logger.info(f"{root}: recordings without a .tsv file, so without annotations: {missing}")
    if disordered:
        logger.info(
            f"{root}: .tsv files with states in another order than S1, systole, S2, diastole, used as "
            f"published: {disordered}"
        )
    if TIMINGS[0] not in patients:
        logger.info(f"{root}: training_data.csv has no column {TIMINGS[0]}: no murmur is annotated")
