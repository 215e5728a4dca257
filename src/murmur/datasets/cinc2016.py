"""The PhysioNet/CinC Challenge 2016 (Liu et al. 2016), PhysioNet challenge-2016 1.0.0: six sets in one."""

import logging
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from murmur import input_csv
from murmur.datasets import Reading, Task, _fetch
from murmur.errors import MurmurError

logger = logging.getLogger(__name__)

ADDRESS = "https://physionet.org/files/challenge-2016/1.0.0/"
APPENDIX = "annotations/Online_Appendix_training_set.csv"
FLAGS = "annotations/updated/training-{}/REFERENCE_withSQI.csv"
Set = Literal["a", "b", "c", "d", "e", "f"]
SETS: tuple[Set, ...] = get_args(Set)
TASKS = {"abnormal": Task(("abnormal", "normal"), ("abnormal",))}
LABELS = {"1": "abnormal", "-1": "normal"}
QUALITIES = {"1": "good", "0": "poor"}  # poor: the challenge's "unsure"
PERSONS = (
    f"the subject that the original name in {APPENDIX} tells, in sets a, b, c and most of e; otherwise no "
    "person is named and each recording counts as a person"
)
COPIES = "validation/ holds copies of training recordings"
LICENCE = "ODC-By 1.0"
SUBJECTS = {
    "a": r"(C\d+)S\d",
    "b": r"(S\d+)f\d",
    "c": r"(id\d+)",
}  # in the original names: C16S0b, S34f2.e4k_data


class Options(BaseModel, extra="forbid"):
    """`sets`: of a to f. They differ in device, place and illness; column source tells them apart."""

    sets: Annotated[list[Set], Field(min_length=1)] = list(SETS)


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """`$MURMUR_DATA/cinc2016`, else the wanted sets, fetched and unpacked: each comes whole or not at all."""
    if root := _fetch.local("cinc2016", *(f"training-{name}" for name in SETS)):
        return root
    root = _fetch.kept("cinc2016")
    _fetch.fetch(ADDRESS, {"SHA256SUMS.txt": None}, root)
    checksums = _fetch.read_checksums(root / "SHA256SUMS.txt")
    asked = sorted(set(options.sets))
    wanted = [f"training-{name}" for name in asked if not (root / f"training-{name}").is_dir()]
    optional = [APPENDIX, *(FLAGS.format(name) for name in asked)]
    names = [*(f"{name}.zip" for name in wanted), *(name for name in optional if name in checksums)]
    _fetch.fetch(ADDRESS, {name: checksums.get(name) for name in names}, root)
    for name in wanted:
        _fetch.unzip(root / f"{name}.zip", root / name)
        (root / f"{name}.zip").unlink()
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read each set's REFERENCE.csv; a recording is a patient, for the challenge scores recordings.

    quality is good or poor by the flags in annotations/updated, None where that folder does not tell. The
    label is that of REFERENCE.csv; where the flags' table has another, a note says so.

    Raises
    ------
    MurmurError
        Naming the file and the row: no folder of a set, a name that is not the set's or stands twice, a
        value that is not 1 or -1, a flag that is not 1 or 0.
    """
    table = pd.concat([_read_set(root, name) for name in sorted(set(options.sets))], ignore_index=True)
    persons = _persons(root)
    table["person_id"] = [persons.get(name) for name in table["recording_id"]]
    table = table.assign(patient_id=table["recording_id"], patient_label=table["label"])
    table = table.assign(site="unspecified", role=None, sex=None, age_group=None)
    return Reading(
        table,
        _not_read(root, table, options),
        _fetch.read_checksums(root / "SHA256SUMS.txt"),
        in_parts=root == _fetch.named("cinc2016"),
        persons=_persons_in_words(table, bool(persons)),
    )


def _not_read(root: Path, table: pd.DataFrame, options: Options) -> list[tuple[str, str]]:
    """What lies beside the recordings of the sets and is none of them, with the reason."""
    others = [f"training-{name}" for name in SETS if name not in options.sets]
    left_out = _fetch.unasked(root, others, "download.cinc2016.sets")
    left_out += [
        (p.relative_to(root).as_posix(), COPIES) for p in sorted((root / "validation").rglob("*.wav"))
    ]
    known = {*table["path"]}
    for name in sorted(set(options.sets)):
        paths = [
            f"training-{name}/{p.name}" for p in sorted((root / f"training-{name}").glob(f"{name}*.wav"))
        ]
        left_out += [(p, f"training-{name}/REFERENCE.csv has no row for it") for p in paths if p not in known]
    return left_out


def _persons_in_words(table: pd.DataFrame, appendix: bool) -> str:
    if not appendix:
        return f"{APPENDIX} is not there, so no person is named: each recording counts as one"
    named = table["person_id"].notna().groupby(table["source"].str[-1])
    some, unnamed = named.any(), ~named.all()
    told = [f"the subject that the original name in {APPENDIX} tells (set {', '.join(some.index[some])})"]
    partly = [f"part of {name}" if some[name] else name for name in unnamed.index[unnamed]]
    without = [f"no person is named and each recording counts as one (set {', '.join(partly)})"]
    return "; ".join(told * int(some.any()) + without * int(unnamed.any()))


def _read_set(root: Path, name: str) -> pd.DataFrame:
    folder = root / f"training-{name}"
    if not folder.is_dir():
        raise MurmurError(
            f"{folder}: no such folder{input_csv.place_found(folder)}; put it there or take {name} out of "
            "download.cinc2016.sets"
        )
    table = _read_labels(folder / "REFERENCE.csv", name)
    table["path"] = [f"{folder.name}/{recording}.wav" for recording in table["recording_id"]]
    table["quality"] = _qualities(root / FLAGS.format(name), name, table)
    return table.assign(source=f"cinc2016/{name}")


def _read_labels(where: Path, name: str, *more: str) -> pd.DataFrame:
    """recording_id, label and, as text, the columns `more`."""
    table = input_csv.read(where, ["recording_id", "value", *more], header=False)
    odd = ~table["recording_id"].str.fullmatch(rf"{name}\d+")
    input_csv.check_rows(where, odd, f"the name is not {name} and a number; fetch the set's own table")
    input_csv.check_rows(
        where, table["recording_id"].duplicated(), "the recording stands twice; keep one row"
    )
    table["label"] = table["value"].map(LABELS)
    input_csv.check_rows(
        where, table["label"].isna(), "the value is not 1 (abnormal) or -1 (normal); mend it"
    )
    return table.drop(columns="value")


def _qualities(where: Path, name: str, table: pd.DataFrame) -> np.ndarray | None:
    """The quality of each recording in `table`; None where the file `where` or its row is not there."""
    if not where.is_file():
        return None
    flags = _read_labels(where, name, "flag")
    flags["quality"] = flags["flag"].map(QUALITIES)
    input_csv.check_rows(where, flags["quality"].isna(), "the flag is not 1 (good) or 0 (poor); mend it")
    both = table.merge(flags, "left", "recording_id", suffixes=("", "_there"))
    if other := (both["label_there"].fillna(both["label"]) != both["label"]).sum():
        logger.info(f"{where}: {other} labels differ from those of REFERENCE.csv, which are used")
    if none := both["quality"].isna().sum():
        logger.info(
            f"{where}: no quality flag for {none} of {len(both)} recordings; they are read all the same"
        )
    return both["quality"].to_numpy()


def _persons(root: Path) -> dict[str, str]:
    """Recording -> person, of those whose original name tells it; {} without the appendix."""
    where = root / APPENDIX
    if not where.is_file():
        return {}
    columns = ["Challenge record name", "Original record name", "# Raw record"]
    table = input_csv.read(where, columns, only=True).fillna("")
    persons = pd.Series([_person(*row) for row in table.itertuples(index=False)], table.index, dtype=object)
    differ = persons.fillna("").groupby(table[columns[0]]).transform("nunique") > 1
    input_csv.check_rows(where, differ, "another row tells another person of this recording; keep one")
    return {name: p for name, p in zip(table[columns[0]], persons, strict=True) if p is not None}


def _person(name: str, original: str, raw: str) -> str | None:
    """In set e pieces of one raw record are one person; two groups, e00079 and 14, count from 1 each."""
    if name[0] == "e" and raw and original:
        return f"e_{'normal' if original[0] == 'e' else 'ill'}_{raw.removesuffix('.0')}"
    match = name[0] in SUBJECTS and re.match(SUBJECTS[name[0]], original)
    return f"{name[0]}_{match[1]}" if match else None
