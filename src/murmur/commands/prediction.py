"""The command that predicts recordings with a trained model."""

import logging
import re
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from threadpoolctl import threadpool_limits

from murmur import formatting
from murmur.errors import MurmurError
from murmur.logs import escape_unprintable

if TYPE_CHECKING:
    from murmur.inference.patients import Patient
    from murmur.inference.prediction import Model
    from murmur.inference.results import Prediction

logger = logging.getLogger(__name__)
NOT_READ, CANNOT_TELL = 3, 4  # exit codes
DEFAULT = Path("models/murmur")


def predict(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="recordings, folders, or a CSV file of patients"),
    ] = None,
    model: Annotated[Path, typer.Option(help="folder or ONNX file of the model")] = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document instead of the table")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="also write a CSV file, a row for each segment, recording, patient")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="also write a picture of each recording into DIR")
    ] = None,
    segments: Annotated[bool, typer.Option("--segments", help="also show each segment in the table")] = False,
    challenge: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="IN OUT", help="folders of the PhysioNet challenge 2022, instead of PATH"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="give no answer for clipped or unfamiliar recordings")
    ] = True,
) -> None:
    """Predict recordings with a trained model.

    A path is an audio file, the header (.hea) of a WFDB record, a folder, or a CSV file with the columns
    patient_id, path and, if known, site. Files of a folder with names such as ID_AV.wav and ID_MV.wav are of
    one patient. For research only: murmur is not a medical device. --challenge writes an answer for each
    patient, as with --no-check.

    Exit codes: 0, every patient has an answer; 3, a file could not be read; 4, all files were read, but for
    a patient the model cannot tell; 1, another error, or no file could be read; 2, wrong options.

    Examples
    --------
    murmur predict recording.wav
    murmur predict data/own --csv predictions.csv --plot pictures
    murmur predict patient/*.wav --json
    murmur predict --model model.onnx recording.wav
    murmur predict --challenge test_data test_outputs
    """
    if bool(paths) == bool(challenge):
        raise MurmurError("name a recording or a folder (murmur predict PATH...), or --challenge IN OUT")
    if challenge and (as_json or csv or plot or segments):
        raise MurmurError("--challenge writes the challenge's files only; leave out the other options")
    if challenge:
        _predict_challenge(model, *challenge)
        return
    if csv and csv.is_dir():
        raise MurmurError(f"--csv {csv}: a folder; name a file")
    if plot and plot.exists() and not plot.is_dir():
        raise MurmurError(f"--plot {plot}: not a folder; choose another name")
    from murmur.inference import patients as finding  # these import numpy and pandas
    from murmur.inference.loading import load_model
    from murmur.inference.output import format_json, format_model, format_predictions, make_table
    from murmur.tables.csv_writer import write_csv

    found = finding.find_patients(paths or [])
    loaded = load_model(model)
    predictions, failures = _predict_all(loaded, found, check, plot)
    if csv and predictions:
        write_csv(make_table(predictions, loaded.info.classes), csv)
        logger.info("wrote %s", csv)
    if as_json:
        print(format_json(predictions, failures, loaded.info))
    elif predictions:
        width = min(shutil.get_terminal_size().columns, 100)
        text = format_predictions(predictions, failures, loaded.info, segments=segments, width=width)
        print(escape_unprintable(f"{text}\n\n{format_model(loaded.info, model, width)}", lines=True))
    if not predictions and len(failures) == 1:
        raise MurmurError(*failures.values())
    for error in failures.values():
        logger.warning("%s", escape_unprintable(error))
    if not predictions:
        raise MurmurError("no recording could be read")
    if failures or any(prediction.answer is None for prediction in predictions):
        raise typer.Exit(NOT_READ if failures else CANNOT_TELL)


def _predict_challenge(model: Path, folder: Path, out: Path) -> None:
    """Predict the patients of a folder of the challenge, and write the challenge's output files."""
    from murmur.inference.challenge import predict_challenge
    from murmur.inference.loading import load_model

    loaded = load_model(model)
    with threadpool_limits(1):
        files = predict_challenge(loaded, folder, out)
    logger.info("wrote %s: %s", out, formatting.format_count(len(files), "file"))


def _predict_all(
    model: "Model", patients: Sequence["Patient"], check: bool, plot: Path | None
) -> tuple[list["Prediction"], dict[str, str]]:
    """Predict all patients in threads, and write their plots; return also the error of each bad file."""
    from murmur import workers
    from murmur.inference.patients import predict_readable

    work = partial(predict_readable, model, check=check)
    many = len(patients) > 1  # one patient needs no progress bar
    predictions: list[Prediction] = []
    failures: dict[str, str] = {}
    taken: set[str] = set()
    with threadpool_limits(1):
        results = workers.stream_threads(work, patients, "predicting") if many else map(work, patients)
        for prediction, errors in results:
            failures |= errors
            if prediction:
                predictions.append(prediction)
                if plot:
                    _write_plots(prediction, model, plot, taken)
    if plot and predictions:
        logger.info("wrote %s: %s", plot, formatting.format_count(len(taken), "picture"))
    return predictions, failures


def _write_plots(prediction: "Prediction", model: "Model", folder: Path, taken: set[str]) -> None:
    """Write the pictures of a patient under names that are not taken."""
    from murmur.reporting.prediction_plot import write_plots  # imports matplotlib

    names = [_choose_name(Path(recording.name).stem, taken) for recording in prediction.recordings]
    overview = _choose_name(prediction.patient_id, taken) if len(names) > 1 else ""
    write_plots(prediction, model.info, folder, names, overview)


def _choose_name(text: str, taken: set[str]) -> str:
    """Choose a file name that is not taken; upper and lower case are the same on some systems."""
    stem = re.sub(r"[^\w.+-]+", "_", text) or "recording"
    numbers = count(2)
    name = f"{stem}.png"
    while name.lower() in taken:
        name = f"{stem}_{next(numbers)}.png"
    taken.add(name.lower())
    return name
