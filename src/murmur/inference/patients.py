"""The patients whose recordings are named by paths: files, folders, and CSV files."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from murmur import input_csv, progress
from murmur.errors import MurmurError, explain_os_error
from murmur.formatting import format_count
from murmur.inference.prediction import Model
from murmur.inference.reading import find_audio_file, is_audio, read_any, read_length
from murmur.inference.results import Prediction
from murmur.recordings.audio import AudioFacts, compute_facts
from murmur.spelling import remove_invisible

logger = logging.getLogger(__name__)

SITES = {site.lower(): site for site in ("AV", "MV", "PV", "TV", "Phc")}
ID_SITE = re.compile(rf"(.+)_({'|'.join(SITES)})(_\d+)?", re.IGNORECASE | re.DOTALL)  # as in CirCor
PATH_COLUMNS = ("path", "recording", "file_name")
REMEDY = "save a CSV in UTF-8 with the columns patient_id,path and, where it is known, site"
LISTED = 3  # names in a note


class SiteRecording(NamedTuple):
    """A recording of a patient.

    Attributes
    ----------
    path : Path
        The file; of a WFDB record the header.
    site : str or None
        Auscultation site.
    name : str
        Name of the file.
    """

    path: Path
    site: str | None
    name: str


class Patient(NamedTuple):
    """A patient and the recordings of him or her.

    Attributes
    ----------
    patient_id : str
        Unique among all patients: where two have the same id, it is preceded by the folder or CSV file.
    recordings : tuple of SiteRecording
        At least one.
    """

    patient_id: str
    recordings: tuple[SiteRecording, ...]


class _Key(NamedTuple):
    """What recordings of the same patient have in common.

    Attributes
    ----------
    place : Path
        The folder or the CSV file; of a recording without an id, its file.
    patient_id : str
        As in the name of the file or in the CSV.
    unique_id : str
        Used where two patients have the same id.
    """

    place: Path
    patient_id: str
    unique_id: str


_Found = tuple[_Key, SiteRecording]


def find_patients(paths: Iterable[str | Path]) -> list[Patient]:
    """List the patients whose recordings these paths name, in the order of the paths.

    Parameters
    ----------
    paths : iterable of path-like
        Each is an audio file or the header of a WFDB record; a folder, which is searched with its subfolders
        in the order of the names; or a CSV file with the columns `patient_id`, `path` (or `recording`,
        `file_name`; relative to the CSV file) and, optionally, `site`.

    Returns
    -------
    list of Patient
        Files named ID_SITE, such as P1_AV.wav or P1_Phc_2.wav, with the same ID in the same folder are of one
        patient. Every other file is a patient of its own.

    Raises
    ------
    MurmurError
        If a folder holds no audio, or a CSV file is damaged or names a file that does not exist. Other files
        that do not exist or cannot be read are found when they are read.

    Notes
    -----
    In a folder, these are not used: hidden files and folders, files that belong to a recording or a patient
    by their name (as ID.txt, ID_SITE.hea and ID_SITE.tsv of CirCor) and, with a note, other files that are
    not audio. A file that is named twice is used once, and so is audio that a patient has twice. A file
    without ID_SITE is not used if its audio is that of an earlier file.
    """
    found = [item for path in paths for item in _list_recordings(path)]
    return _group(_drop_same_audio(_drop_same_file(found)))


def _list_recordings(path: str | Path) -> Iterable[_Found]:
    if not str(path):
        raise MurmurError("'': an empty path; name a file or a folder")
    path = Path(path)
    if path.is_dir():
        return _search_folder(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    return [_describe_file(find_audio_file(path) if path.is_file() else path)]


def _describe_file(path: Path) -> _Found:
    """Return the patient and the site of a file by its name."""
    if match := ID_SITE.fullmatch(path.stem):
        key = _Key(path.parent.resolve(), match[1], str(path.parent / match[1]))
        return key, SiteRecording(path, SITES[match[2].lower()], path.name)
    return _Key(path.absolute(), path.stem, str(path)), SiteRecording(path, None, path.name)


def _search_folder(root: Path) -> list[_Found]:
    files = [*_list_files(root)]
    audio = [path for path in files if is_audio(path)]
    others = {*files} - {*audio}
    if not audio:
        names = (
            f" (it holds {count_and_list((path.name for path in sorted(others)), 'file')})" if others else ""
        )
        raise MurmurError(f"{root}: no audio in this folder{names}; name an audio file or a folder with some")
    found = [_describe_file(path) for path in audio]
    known = {path.with_suffix("") for path in audio} | {
        path.parent / key.patient_id for path, (key, _) in zip(audio, found, strict=True)
    }
    if unknown := sorted(path for path in others if path.with_suffix("") not in known):
        names = count_and_list((str(path.relative_to(root)) for path in unknown), "file")
        logger.info(f"{root}: not used, because it is not audio: {names}")
    return found


def _list_files(root: Path) -> Iterator[Path]:
    """Yield all files that are not hidden, in the order of their names; links to folders are followed."""
    visited = set()

    def warn(error: OSError) -> None:
        logger.warning(f"{explain_os_error(error)}; this folder is not used")

    for name, folders, files in os.walk(root, followlinks=True, onerror=warn):
        folder = Path(name)
        visited.add(folder.resolve())
        folders[:] = [
            child
            for child in sorted(folders)
            if child[0] != "." and (folder / child).resolve() not in visited
        ]
        yield from (folder / file for file in sorted(files) if file[0] != ".")


def _read_csv(path: Path) -> list[_Found]:
    table = input_csv.read_table(path, ["patient_id"], remedy=REMEDY)
    columns = [column for column in PATH_COLUMNS if column in table]
    if len(columns) != 1:
        problem = f"has both {' and '.join(columns)}" if columns else "has no column path"
        raise MurmurError(f"{path}: {problem}; {REMEDY}")
    names, sites = table[columns[0]], table.get("site", table["patient_id"].map(lambda _: None))
    input_csv.check_ids(path, table["patient_id"])
    input_csv.check_not_empty(path, table, columns[0])
    input_csv.check_spelling(path, sites.dropna())
    files = names.map(lambda name: find_audio_file(_match_name(path.parent / name)))
    for row, file in files.items():
        if not file.is_file():
            raise MurmurError(f"{path}: row {row}: no file {file}; correct the {columns[0]}")
    again = files.map(Path.resolve).duplicated()
    input_csv.check_rows(
        path, again, f"{names[again].min()} is also in a row before; keep one row of each file"
    )
    return [
        (_Key(path.resolve(), patient, f"{path}:{patient}"), SiteRecording(file, site, file.name))
        for patient, file, site in zip(table["patient_id"], files, sites, strict=True)
    ]


def _match_name(path: Path) -> Path:
    """Return the file, whose name may differ from a cell in spaces and in the form of accents."""
    if path.exists() or not path.parent.is_dir():
        return path
    same = [file for file in path.parent.iterdir() if remove_invisible(file.name) == path.name]
    return same[0] if len(same) == 1 else path


def _drop_same_file(found: Sequence[_Found]) -> list[_Found]:
    """Remove files that are named twice."""
    kept: dict[str, _Found] = {}
    repeated = []
    for key, recording in found:
        if (path := os.path.realpath(recording.path)) in kept:
            repeated.append(str(recording.path))
        kept.setdefault(path, (key, recording))
    if repeated:
        logger.info(f"named twice and used once: {count_and_list(repeated, 'file')}")
    return [*kept.values()]


def _drop_same_audio(found: Sequence[_Found]) -> list[_Found]:
    """Remove recordings with the same audio as another of their patient; note those of other patients."""
    first: dict[AudioFacts, _Found] = {}
    kept, repeated, shared = [], [], []
    for (key, recording), facts in zip(found, _compute_facts(found), strict=True):
        other = first.setdefault(facts, (key, recording)) if facts else (key, recording)
        pair = f"{recording.path} = {other[1].path}"
        if other[1] is recording:
            kept.append((key, recording))
        elif key == other[0] or key.place == recording.path.absolute():
            repeated.append(pair)
        else:
            kept.append((key, recording))
            shared.append(pair)
    if repeated:
        logger.info(f"not used, because another has the same audio: {count_and_list(repeated, 'recording')}")
    if shared:
        logger.warning(f"two patients have the same audio: {count_and_list(shared, 'recording')}")
    return kept


def _compute_facts(found: Sequence[_Found]) -> list[AudioFacts | None]:
    """Compute the hash of the audio of each recording, but only of those with a length that others have."""
    lengths = [_read_length(recording.path) for _, recording in found]
    counts = Counter(lengths)
    candidates = [k for k, length in enumerate(lengths) if length and counts[length] > 1]
    facts: list[AudioFacts | None] = [None] * len(found)
    is_long = len(candidates) > 100
    for k in progress.track(candidates, "comparing recordings of equal length") if is_long else candidates:
        with suppress(MurmurError):
            facts[k] = compute_facts(*read_any(found[k][1].path))
    return facts


def _read_length(path: Path) -> tuple[int, int] | None:
    with suppress(MurmurError):
        return read_length(path)
    return None


def _group(found: Sequence[_Found]) -> list[Patient]:
    groups: dict[tuple[Path, str], list[_Found]] = {}
    for key, recording in found:
        groups.setdefault((key.place, key.patient_id), []).append((key, recording))
    counts = Counter(patient_id for _, patient_id in groups)
    return [
        Patient(
            patient_id if counts[patient_id] == 1 else items[0][0].unique_id,
            tuple(recording for _, recording in items),
        )
        for (_, patient_id), items in groups.items()
    ]


def predict_readable(
    model: Model, patient: Patient, *, check: bool = True
) -> tuple[Prediction | None, dict[str, str]]:
    """Predict a patient from the recordings that can be read.

    Parameters
    ----------
    model : Model
        From `load_model`.
    patient : Patient
        From `find_patients`.
    check : bool
        As in `Model.predict`.

    Returns
    -------
    prediction : Prediction or None
        With the paths of the recordings that cannot be read; None if this is so for all.
    errors : dict of str to str
        For each recording that cannot be read, by its path, what is wrong.
    """
    if not patient.recordings:  # of the challenge
        return None, {}
    try:
        return _predict(model, patient, check), {}
    except MurmurError:
        faults = {r: fault for r in patient.recordings if (fault := _find_fault(r.path))}
        if not faults:  # an error that is not of a recording
            raise
    readable = tuple(r for r in patient.recordings if r not in faults)
    errors = {str(r.path): str(fault) for r, fault in faults.items()}
    if not readable:
        return None, errors
    prediction = _predict(model, patient._replace(recordings=readable), check)
    return replace(prediction, not_read=tuple(errors)), errors


def _predict(model: Model, patient: Patient, check: bool) -> Prediction:
    paths, sites = [r.path for r in patient.recordings], [r.site for r in patient.recordings]
    return model.predict(paths, sites=sites, patient_id=patient.patient_id, check=check)


def _find_fault(path: Path) -> MurmurError | None:
    try:
        read_any(path)
    except MurmurError as error:
        return error
    return None


def count_and_list(names: Iterable[str], noun: str) -> str:
    """Return the number of names and the first of them, such as `2 files (a, b)`."""
    names = [*names]
    more = ", …" if len(names) > LISTED else ""
    return f"{format_count(len(names), noun)} ({', '.join(names[:LISTED])}{more})"
