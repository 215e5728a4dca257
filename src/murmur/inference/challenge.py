"""Input and output of the George B. Moody PhysioNet Challenge 2022.

Reyna et al. (2023), "Heart murmur detection from phonocardiogram recordings: The George B. Moody PhysioNet
Challenge 2022", PLOS Digital Health 2(9), e0000324. The formats are those of run_model.py and helper_code.py
in https://github.com/physionetchallenges/python-classifier-2022, and of evaluate_model.py in
https://github.com/physionetchallenges/evaluation-2022.
"""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from murmur import workers
from murmur.errors import MurmurError
from murmur.files import write_text
from murmur.inference.model_info import ModelInfo
from murmur.inference.patients import Patient, SiteRecording, count_and_list, predict_readable
from murmur.inference.prediction import Model
from murmur.inference.results import Prediction

logger = logging.getLogger(__name__)

CLASSES = (("Present", "Unknown", "Absent"), ("Abnormal", "Normal"))  # of the murmur, of the clinical outcome
UNKNOWN = "Unknown"


def predict_challenge(model: Model, folder: str | Path, out: str | Path) -> list[Path]:
    """Predict all patients of a folder of the challenge, and write the challenge's output files.

    Parameters
    ----------
    model : Model
        Its classes are among the challenge's: Present, Unknown, Absent, or Abnormal, Normal.
    folder : path-like
        With ID.txt for each patient, and the recordings that it names.
    out : path-like
        Folder for ID.csv of each patient. It must be new or empty, or hold only files that are replaced.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    MurmurError
        If the model has other classes, an ID.txt is not as in the challenge, or `out` holds other files.

    Notes
    -----
    The challenge requires an answer for each patient, so recordings are not checked (see `Model.predict`). If
    no recording of a patient can be read or used, it is Unknown, or else the class with most patients in the
    training data, and the probabilities are the proportions of the classes in the training data. Files are
    written when all patients are predicted, each completely or not at all.
    """
    classes = _order_classes(model.info)
    patients, out = read_patients(folder), Path(out)
    files = [out / f"{name}.csv" for name in patients]
    replaced = _list_replaced(out, files)
    predict = partial(predict_readable, model, check=False)
    outputs = workers.map_threads(predict, patients.values(), "predicting")
    texts = [
        _format_output(patient.patient_id, prediction, classes, model.info)
        for patient, (prediction, _) in zip(patients.values(), outputs, strict=True)
    ]
    _log_problems(patients.values(), outputs, model.info)
    for file, text in zip(files, texts, strict=True):
        write_text(file, text)
    if replaced:
        logger.info(f"{out}: replaced {count_and_list(replaced, 'file')}")
    return files


def read_patients(folder: str | Path) -> dict[str, Patient]:
    """Read the ID.txt files of a folder of the challenge.

    Parameters
    ----------
    folder : path-like
        As `predict_challenge`.

    Returns
    -------
    dict of str to Patient
        By the name of the file without .txt, in the order of the challenge: by number, if all are numbers.

    Raises
    ------
    MurmurError
        Naming the file: there is none, or one is not `ID n rate`, then n lines `SITE HEA WAV …`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MurmurError(f"{folder}: no such folder; name the folder with the ID.txt files of the challenge")
    names = sorted(path.stem for path in folder.glob("*.txt") if not path.name.startswith("."))
    if not names:
        raise MurmurError(
            f"{folder}: holds no ID.txt; name the folder with the ID.txt files of the challenge"
        )
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return {name: _read_patient(folder / f"{name}.txt") for name in names}


def _read_patient(path: Path) -> Patient:
    """Read an ID.txt: the first line has the id and the number of recordings, a line for each follows."""
    if not path.is_file():
        raise MurmurError(f"{path}: not a regular file; remove it")
    lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    first = lines[0] if lines else []
    if len(first) < 3 or not first[1].isdecimal():
        raise MurmurError(
            f"{path}: line 1 is not `ID n rate`, so this is no ID.txt of the challenge; move the file to "
            "another folder, or name the folder that holds only the patients (in CirCor, training_data)"
        )
    n = int(first[1])
    rows = lines[1 : n + 1]
    if len(rows) < n or any(len(fields) < 3 or fields[0].startswith("#") for fields in rows):
        raise MurmurError(f"{path}: not {n} lines `SITE HEA WAV` after line 1, which states {n}; correct it")
    recordings = [SiteRecording(path.parent / wav, site, wav) for site, _, wav, *_ in rows]
    return Patient(first[0], tuple(recordings))


def _order_classes(info: ModelInfo) -> list[str]:
    """Return the classes of a model in the order of the challenge."""
    for classes in CLASSES:
        if set(info.classes) <= set(classes):
            return [c for c in classes if c in info.classes]
    raise MurmurError(
        f"the model has the classes {', '.join(info.classes)}, not those of the challenge "
        f"({', or '.join(map(', '.join, CLASSES))}); use a model with these classes"
    )


def _list_replaced(out: Path, files: Iterable[Path]) -> list[str]:
    """Return the names of the files in `out`; all of them will be replaced."""
    if not out.exists():
        return []
    if not out.is_dir():
        raise MurmurError(f"{out}: is not a folder; name a new or empty folder")
    present = sorted(path.name for path in out.iterdir())
    if others := [name for name in present if name not in {file.name for file in files}]:
        raise MurmurError(
            f"{out}: holds {count_and_list(others, 'file')} of another origin; name a new or empty folder"
        )
    return present


def _format_output(
    patient_id: str, prediction: Prediction | None, classes: list[str], info: ModelInfo
) -> str:
    """Format an ID.csv, as `save_challenge_outputs` of the challenge does."""
    answer, probabilities = _get_default(info)
    if prediction and prediction.answer and prediction.probabilities:
        answer, probabilities = prediction.answer, prediction.probabilities
    labels = [str(int(c == answer)) for c in classes]
    values = [str(float(probabilities[c])) for c in classes]
    return "".join(f"{line}\n" for line in (f"#{patient_id}", *map(",".join, (classes, labels, values))))


def _get_default(info: ModelInfo) -> tuple[str, dict[str, float]]:
    """Return the answer for a patient without a prediction, and the proportions in the training data."""
    counts = {c: info.data.counts[c]["patients"] for c in info.classes}
    shares = {c: n / sum(counts.values()) for c, n in counts.items()}
    return (UNKNOWN if UNKNOWN in counts else max(counts, key=lambda c: counts[c])), shares


def _log_problems(
    patients: Iterable[Patient],
    outputs: Iterable[tuple[Prediction | None, dict[str, str]]],
    info: ModelInfo,
) -> None:
    """Log which recordings cannot be read and which patients have no prediction."""
    errors = [error for _, errors in outputs for error in errors.values()]
    if errors:
        logger.warning(f"not used, because they cannot be read: {count_and_list(errors, 'recording')}")
    pairs = zip(patients, outputs, strict=True)
    unpredicted = [patient.patient_id for patient, (p, _) in pairs if p is None or p.answer is None]
    if unpredicted:
        answer, shares = _get_default(info)
        mix = ", ".join(f"{c} {share:.3f}" for c, share in shares.items())
        names = count_and_list(unpredicted, "patient")
        logger.warning(f"no usable recording: {names}; answered {answer}, as in the training data: {mix}")
