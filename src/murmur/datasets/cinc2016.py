"""The PhysioNet/CinC Challenge 2016 (Liu et al. 2016), PhysioNet challenge-2016 1.0.0: six sets in one."""

import logging
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from murmur import input_csv
from murmur.datasets import Reading, Task, _archives, _checksums, _fetch, _locations
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
    f"the subject in the original name in {APPENDIX}, for sets a, b, c and most of e; otherwise no "
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
    """The options of this data set.

    Attributes
    ----------
    sets : list of {"a", "b", "c", "d", "e", "f"}
        The sets to use. They differ in device, place and diseases; the column source has the set.
    """

    sets: Annotated[list[Set], Field(min_length=1)] = list(SETS)


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Return `$MURMUR_DATA/cinc2016`, or a cache folder into which the selected sets are fetched.

    A set is unpacked completely or not at all.
    """
    if root := _locations.find_local("cinc2016", *(f"training-{name}" for name in SETS)):
        return root
    root = _locations.cache_folder("cinc2016")
    checksums = _fetch.fetch_checksums(ADDRESS, root)
    selected = sorted(set(options.sets))
    missing = [f"training-{name}" for name in selected if not (root / f"training-{name}").is_dir()]
    optional = [APPENDIX, *(FLAGS.format(name) for name in selected)]
    names = [*(f"{name}.zip" for name in missing), *(name for name in optional if name in checksums)]
    _fetch.fetch_files(ADDRESS, {name: checksums.get(name) for name in names}, root)
    for name in missing:
        _archives.unzip(root / f"{name}.zip", root / name)
        (root / f"{name}.zip").unlink()
    return root


def read(root: Path, options: Options, task: str) -> Reading:
    """Read REFERENCE.csv of each set; a recording is a patient, as the challenge scores recordings.

    The column quality is good or poor by the flags in annotations/updated, None where there is no flag. The
    label is that of REFERENCE.csv; a note is logged if the table of flags has other labels.

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
        Naming the file and the row: a missing folder of a set, a recording that is in two rows or not of this
        set, a value that is not 1 or -1, a flag that is not 1 or 0.
    """
    table = pd.concat([_read_set(root, name) for name in sorted(set(options.sets))], ignore_index=True)
    persons = _read_persons(root)
    table["person_id"] = [persons.get(name) for name in table["recording_id"]]
    table = table.assign(patient_id=table["recording_id"], patient_label=table["label"])
    table = table.assign(site="unspecified", role=None, sex=None, age_group=None)
    return Reading(
        table,
        _list_left_out(root, table, options),
        _checksums.read_checksums(root / "SHA256SUMS.txt"),
        in_parts=root == _locations.local_folder("cinc2016"),
        persons=_describe_persons(table, bool(persons)),
    )


def _list_left_out(root: Path, table: pd.DataFrame, options: Options) -> list[tuple[str, str]]:
    """List WAV files that are not used: in other sets, copies in validation/, not in REFERENCE.csv."""
    others = [f"training-{name}" for name in SETS if name not in options.sets]
    left_out = _locations.list_unselected(root, others, "download.cinc2016.sets")
    copies = sorted((root / "validation").rglob("*.wav"))
    left_out += [(path.relative_to(root).as_posix(), COPIES) for path in copies]
    used = {*table["path"]}
    for name in sorted(set(options.sets)):
        files = sorted((root / f"training-{name}").glob(f"{name}*.wav"))
        paths = [f"training-{name}/{file.name}" for file in files]
        reason = f"training-{name}/REFERENCE.csv has no row for it"
        left_out += [(path, reason) for path in paths if path not in used]
    return left_out


def _describe_persons(table: pd.DataFrame, appendix: bool) -> str:
    """Describe what person_id is; `appendix`: whether the table of original names exists."""
    if not appendix:
        return f"{APPENDIX} is missing, so no person is named: each recording counts as one"
    is_known = table["person_id"].notna().groupby(table["source"].str[-1])
    any_known, any_unknown = is_known.any(), ~is_known.all()
    sentences = []
    if any_known.any():
        sets = ", ".join(any_known.index[any_known])
        sentences.append(f"the subject in the original name in {APPENDIX} (set {sets})")
    if any_unknown.any():
        unknown = any_unknown.index[any_unknown]
        sets = ", ".join(f"part of {name}" if any_known[name] else name for name in unknown)
        sentences.append(f"no person is named and each recording counts as one (set {sets})")
    return "; ".join(sentences)


def _read_set(root: Path, name: str) -> pd.DataFrame:
    folder = root / f"training-{name}"
    if not folder.is_dir():
        raise MurmurError(
            f"{folder}: no such folder{input_csv.describe_location(folder)}; add it or remove {name} from "
            "download.cinc2016.sets"
        )
    table = _read_labels(folder / "REFERENCE.csv", name)
    table["path"] = [f"{folder.name}/{recording}.wav" for recording in table["recording_id"]]
    table["quality"] = _read_qualities(root / FLAGS.format(name), name, table)
    return table.assign(source=f"cinc2016/{name}")


def _read_labels(path: Path, name: str, *more: str) -> pd.DataFrame:
    """Read recording_id, label and, as text, the columns `more` of a CSV without a header."""
    table = input_csv.read_table(path, ["recording_id", "value", *more], header=False)
    invalid = ~table["recording_id"].str.fullmatch(rf"{name}\d+")
    input_csv.check_rows(path, invalid, f"the name is not {name} and a number; fetch the set's own table")
    input_csv.check_rows(path, table["recording_id"].duplicated(), "the recording is in two rows; keep one")
    table["label"] = table["value"].map(LABELS)
    input_csv.check_rows(
        path, table["label"].isna(), "the value is not 1 (abnormal) or -1 (normal); correct it"
    )
    return table.drop(columns="value")


def _read_qualities(path: Path, name: str, table: pd.DataFrame) -> np.ndarray | None:
    """Read the quality of each recording in `table`; None where the file or the row is missing."""
    if not path.is_file():
        return None
    flags = _read_labels(path, name, "flag")
    flags["quality"] = flags["flag"].map(QUALITIES)
    input_csv.check_rows(path, flags["quality"].isna(), "the flag is not 1 (good) or 0 (poor); correct it")
    merged = table.merge(flags, "left", "recording_id", suffixes=("", "_flags"))
    if n := (merged["label_flags"].fillna(merged["label"]) != merged["label"]).sum():
        logger.info(f"{path}: labels that differ from those of REFERENCE.csv, which are used: {n}")
    if n := merged["quality"].isna().sum():
        logger.info(
            f"{path}: no quality flag for {n} of {len(merged)} recordings; they are used all the same"
        )
    return merged["quality"].to_numpy()


def _read_persons(root: Path) -> dict[str, str]:
    """Read {recording: person} for recordings whose original name has the person; {} without the appendix."""
    path = root / APPENDIX
    if not path.is_file():
        return {}
    columns = ["Challenge record name", "Original record name", "# Raw record"]
    table = input_csv.read_table(path, columns, only=True).fillna("")
    persons = pd.Series(
        [_parse_person(*row) for row in table.itertuples(index=False)], table.index, dtype=object
    )
    differ = persons.fillna("").groupby(table[columns[0]]).transform("nunique") > 1
    input_csv.check_rows(path, differ, "another row has another person for this recording; keep one")
    pairs = zip(table[columns[0]], persons, strict=True)
    return {name: person for name, person in pairs if person is not None}


def _parse_person(name: str, original: str, raw: str) -> str | None:
    """Return the person of a recording, from its name in the challenge, its original name and its raw record.

    In set e the parts of one raw record are one person. The raw records of the normal group (original names
    such as e00079) and of the ill group (such as 14) are each numbered from 1.
    """
    if name[0] == "e" and raw and original:
        return f"e_{'normal' if original[0] == 'e' else 'ill'}_{raw.removesuffix('.0')}"
    match = name[0] in SUBJECTS and re.match(SUBJECTS[name[0]], original)
    return f"{name[0]}_{match[1]}" if match else None
