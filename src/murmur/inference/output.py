"""Predictions as a table for a terminal, as JSON, and as a table with one row for each unit."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd

from murmur import formatting
from murmur.inference.model_info import ModelInfo
from murmur.inference.results import CANNOT_TELL, Prediction, RecordingPrediction
from murmur.logs import escape_unprintable

NOT_READ = "not read"
NOT_USED = "the answer of the patient does not use these recordings and their probabilities"
LISTED = 20  # reasons
METRICS = {
    "weighted_accuracy_official": "weighted accuracy (official mix)",
    "macc": "mean of sensitivity and specificity",
    "accuracy": "accuracy",
    "uar": "unweighted average recall",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1_macro": "F1, macro",
    "roc_auc": "ROC-AUC",
}
Failures = Mapping[str, str]


def format_json(predictions: Sequence[Prediction], failures: Failures, info: ModelInfo) -> str:
    """Format predictions as one JSON document.

    Parameters
    ----------
    predictions : sequence of Prediction
        One for each patient.
    failures : dict of str to str
        The error of each file that could not be read, by its path.
    info : ModelInfo
        Of the model.

    Returns
    -------
    str
        With the keys `model`, `patients` and `failures`.
    """
    names = {
        *("murmur", "classes", "positive", "level", "ensemble", "performance", "data", "intended_use"),
        *("code_sha256", "weights_sha256"),
    }
    content = {
        "model": info.model_dump(mode="json", include=names),
        "patients": [prediction.to_dict() for prediction in predictions],
        "failures": [{"path": path, "error": error} for path, error in failures.items()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def make_table(predictions: Sequence[Prediction], classes: Sequence[str]) -> pd.DataFrame:
    """Make a table with a row for each segment, interval of a heart cycle, recording and patient.

    Parameters
    ----------
    predictions : sequence of Prediction
        One for each patient.
    classes : sequence of str
        The classes of the model.

    Returns
    -------
    DataFrame
        With the columns level, patient_id, recording, site, start, end (s), answer, reasons, p_CLASS for each
        class, quality, heart_rate, clipped, event, murmur, path, recordings_given, recordings_used. What does
        not apply to a level is empty.
    """
    columns = ["level", "patient_id", "recording", "site", "start", "end", "answer", "reasons"]
    columns += [f"p_{name}" for name in classes] + [
        "quality",
        "heart_rate",
        "clipped",
        "event",
        "murmur",
        "path",
        "recordings_given",
        "recordings_used",
    ]
    rows = [
        {key: escape_unprintable(value) if isinstance(value, str) else value for key, value in row.items()}
        for prediction in predictions
        for row in _list_units(prediction)
    ]
    numbers = dict.fromkeys(("recordings_given", "recordings_used"), "Int64")
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def _list_units(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """List the rows of a patient: its segments and recordings, then the patient."""
    patient = {"patient_id": prediction.patient_id}
    for recording in prediction.recordings:
        own = {**patient, "recording": recording.name, "site": recording.site, "path": recording.path}
        for start, end, p in zip(recording.starts, recording.ends, recording.segments, strict=True):
            yield {"level": "segment", **own, "start": start, "end": end, **_name(prediction.classes, p)}
        if recording.cycles is not None:
            yield from ({"level": "interval", **own, **row} for row in recording.cycles.to_dict("records"))
        quality = recording.quality
        facts: dict[str, Any] = {"quality": quality.score, "heart_rate": recording.heart_rate}
        facts["clipped"] = quality.clipped
        if phase := recording.murmur_phase:
            facts |= {"event": phase.part, "murmur": phase.probability}
        span = {"start": 0.0, "end": recording.seconds}
        yield {"level": "recording", **own, **span, **_list_answer(recording), **facts}
    numbers = {"recordings_given": prediction.n_given, "recordings_used": prediction.n_used}
    yield {"level": "patient", **patient, **_list_answer(prediction), **numbers}


def _list_answer(prediction: Prediction | RecordingPrediction) -> dict[str, Any]:
    values = prediction.probabilities or {}
    reasons = "; ".join(prediction.reasons) or None
    return {"answer": prediction.answer, "reasons": reasons, **_name(list(values), list(values.values()))}


def _name(classes: Sequence[str], p: Sequence[float]) -> dict[str, float]:
    return {f"p_{name}": value for name, value in zip(classes, p, strict=True)}


def format_predictions(
    predictions: Sequence[Prediction],
    failures: Failures,
    info: ModelInfo,
    *,
    segments: bool = False,
    width: int = 100,
) -> str:
    """Format predictions as a table for a terminal, with the reasons of missing answers below.

    Parameters
    ----------
    predictions, failures, info
        As for `format_json`.
    segments : bool
        Whether the table has a row for each segment.
    width : int
        Characters in a line of the text below the table.
    """
    header = ["patient", "answer", *info.classes, "site", "length", "quality", "heart rate"]
    recordings = (recording for prediction in predictions for recording in prediction.recordings)
    header += ["murmur"] if any(recording.murmur_phase for recording in recordings) else []
    rows = [row for prediction in predictions for row in _format_patient(prediction, segments)]
    of_patients = {path for prediction in predictions for path in prediction.not_read}
    rows += [[Path(path).name, NOT_READ] for path in failures if path not in of_patients]
    rows = [[*map(escape_unprintable, row), *[""] * (len(header) - len(row))] for row in rows]
    table = formatting.format_table([header, *rows])
    lines = [*_count_recordings(predictions), *_format_reasons(predictions)]
    text = [fill(line, width, subsequent_indent="    ") for line in lines]
    counts = [_count_answers(predictions)] if len(predictions) > 1 else []
    return "\n".join([table, *(["", *counts, *text] if counts or text else [])])


def _count_answers(predictions: Sequence[Prediction]) -> str:
    """Count the patients with each answer, such as ``3 patients: 2 Absent, 1 cannot tell``."""
    counts = Counter(prediction.answer or CANNOT_TELL for prediction in predictions)
    answers = ", ".join(f"{n} {answer}" for answer, n in counts.most_common())
    return f"{formatting.format_count(len(predictions), 'patient')}: {answers}"


def _count_recordings(predictions: Sequence[Prediction]) -> list[str]:
    """Count the answers that use only some of the recordings of their patient."""
    n = sum(bool(p.answer) and p.n_used < p.n_given for p in predictions)
    answers = f"{formatting.format_count(n, 'answer')} {'is' if n == 1 else 'are'}"
    return [f"{answers} from only some of the recordings of the patient."] if n else []


def _format_patient(prediction: Prediction, segments: bool) -> Iterator[list[str]]:
    """Format the rows of a patient; a patient with one recording has one row."""
    row = [prediction.patient_id, *_format_answer(prediction, prediction.classes)]
    recordings, n = prediction.recordings, prediction.n_given
    note = f"{prediction.n_used} of {n} used" if prediction.n_used < n else ""
    yield [*row, *(_format_facts(recordings[0]) if n == 1 else [note])]
    for recording in recordings:
        if n > 1:
            answer = _format_answer(recording, prediction.classes)
            yield [f"  {recording.name}", *answer, *_format_facts(recording)]
        rows = zip(recording.starts, recording.ends, recording.segments, strict=True) if segments else ()
        for start, end, p in rows:
            yield [f"    {start:.1f}-{end:.1f} s", "", *map(formatting.format_figure, p)]
    yield from ([f"  {Path(path).name}", NOT_READ] for path in prediction.not_read)


def _format_answer(prediction: Prediction | RecordingPrediction, classes: Sequence[str]) -> list[str]:
    """Format the answer and the probability of each class."""
    values = prediction.probabilities or {}
    answer = prediction.answer or (CANNOT_TELL if prediction.reasons else "-")
    return [answer, *(formatting.format_figure(values.get(name)) for name in classes)]


def _format_facts(recording: RecordingPrediction) -> list[str]:
    """Format site, length, quality, heart rate and, if it is known, where in the heart cycle a murmur is."""
    rate, phase = recording.heart_rate, recording.murmur_phase
    facts = [
        f"{recording.seconds:.1f} s",
        f"{recording.quality.score:.2f}",
        f"{rate:.0f}/min" if rate else "-",
        *([f"{phase.part} {phase.probability:.2f}"] if phase else []),
    ]
    return [recording.site or "-", *facts]


def _format_reasons(predictions: Sequence[Prediction]) -> list[str]:
    """List why there is no answer for a recording or patient; if these are many, count them by kind."""
    reasons = [(r.name, "; ".join(r.reasons)) for p in predictions for r in p.recordings if r.reasons]
    reasons += [
        (prediction.patient_id, "; ".join(prediction.reasons))
        for prediction in predictions
        if prediction.reasons and not any(r.reasons for r in prediction.recordings)
    ]
    if not reasons:
        return []
    if len(reasons) <= LISTED:
        return [f"No answer for ({NOT_USED}):", *(f"  {name}: {reason}" for name, reason in reasons)]
    kinds = Counter(reason.partition(":")[0] for _, reason in reasons)
    lines = [f"  {kind}: {formatting.format_count(n, 'recording')}" for kind, n in kinds.most_common()]
    return [f"No answer for ({NOT_USED}; --json and --csv give the reason of each):", *lines]


def format_model(info: ModelInfo, path: str | Path, width: int = 100) -> str:
    """Describe a model in a few lines: its data, the performance to expect, and what it may be used for.

    Parameters
    ----------
    info : ModelInfo
        Of the model.
    path : path-like
        Where it was loaded from.
    width : int
        Characters in a line.
    """
    data, performance = info.data, info.performance
    persons = formatting.format_count(data.persons, "person")
    patients = formatting.format_count(data.patients, "patient")
    lines = [f"Model {path}: trained on {data.dataset}, {patients} ({persons}), {data.hours:.2f} h."]
    if data.dataset == "synthetic":
        lines.append("SIMULATED DATA: the answers and the performance have no clinical meaning.")
    if performance.leaky:
        lines.append(f"LEAKY: the performance may be too optimistic ({performance.flaws}).")
    lines.append(
        f"Expected performance for similar recordings, {performance.level} level (mean of "
        f"{formatting.format_count(performance.runs, 'run')} of the cross-validation, 95 % interval over "
        "persons):"
    )
    baseline = performance.baseline
    table = [
        [
            f"  {METRICS.get(name, name)}",
            formatting.format_with_interval({"low": None, "high": None, **row}),
            f"always {baseline['answer']}: {formatting.format_figure(baseline.get(name))}",
        ]
        for name, row in performance.metrics.items()
    ]
    text = [fill(line, width) for line in lines] + [formatting.format_table(table)]
    return "\n".join([*text, fill(info.intended_use, width)])
