"""From predictions to tables: three levels, every fold and run, intervals, subgroups, the data of the plots.

A unit (segment, recording or patient) is scored only by the fold in which it is test, so by a model that
never saw its person, and by a rule whose weights and temperature its fold's validation part has given.
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.evaluation import levels, scores
from murmur.evaluation.curves import (
    Mistake,
    average_histories,
    compute_precision_recall,
    compute_reliability_curve,
    compute_roc,
    count_confusions,
    find_confident_errors,
)
from murmur.sections.evaluate import Evaluate
from murmur.sections.segment import Segment
from murmur.sections.split import Split
from murmur.sections.train import Train
from murmur.tables.predictions import TrainingNote
from murmur.tables.recordings import Card


@dataclass(frozen=True)
class Results:
    """What `write` writes: the headline, all about the experiment, tables by name, the worst mistakes."""

    summary: dict[str, Any]
    details: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    plots: dict[str, pd.DataFrame]
    mistakes: list[Mistake]


def evaluate_predictions(
    recordings: pd.DataFrame,
    card: Card,
    segments: pd.DataFrame,
    folds: Mapping[int, pd.DataFrame],
    predictions: Mapping[int, pd.DataFrame],
    histories: Mapping[int, pd.DataFrame],
    *,
    options: Evaluate,
    seed: int,
    notes: Sequence[TrainingNote],
    audit: pd.DataFrame,
    protocol: Mapping[str, Any],
    left_out: int,
) -> Results:
    """Score the predictions of all runs; nothing is written.

    Figures of a run are those of the pooled test units of its folds, so that a class too rare for one fold is
    still defined; its roc_auc compares probabilities of different folds' models.

    Parameters
    ----------
    recordings, card, segments: as in `murmur.tables`; recordings with the column group of `tables.GROUPS`,
        without which persons are resampled.
    folds, predictions, histories: by run; a history has a row per fold and epoch.
    options: `level` of the headline figures, their interval and the plots, and how answers are found.
    notes: of the runs' predictions, on what they were trained.
    audit: a row per fold; its columns shared_… count what stands on both sides of the split.
    protocol: what to say of the split (see `protocol`); `leaky` is true too if the audit finds anything.
    left_out: how many recordings and pieces the rules left out.

    Raises
    ------
    MurmurError
        If a test unit has no prediction (`answers.check_complete`), or no model speaks at or below `level`.
    """
    levels.check_predictions(predictions, folds, segments, recordings)
    units = levels.number_units(recordings, segments, card.classes)
    said, fitted = levels.compute_levels(predictions, folds, units, card, options)
    level = options.level
    if level not in said:
        raise MurmurError(
            f"evaluate.level: {level} is below {next(iter(said))}, the level of the predictions"
        )
    by_fold, by_run = (scores.score_all_levels(said, units, card, by) for by in (["run", "fold"], ["run"]))
    runs = by_run[by_run["level"] == level]
    names, at_level = scores.select_headline(runs), fitted[fitted["level"] == level]
    drawn = scores.bootstrap_persons(said[level], units[level], card, names, options.draws, seed)
    tables = {
        "folds": by_fold,
        "runs": by_run,
        "subgroups": scores.score_subgroups(said, units, card, names, options.draws, seed),
        "operating_points": scores.score_operating_points(
            said[level], units[level], card, at_level, options, seed
        ),
        "calibration": fitted,
    }
    details = {
        "level": level,
        "rule": options.model_dump(include={"rule", "thresholds", "sensitivity", "prevalence"}),
        "headline": scores.summarise_headline(runs, names, drawn),
        "baseline": scores.score_constant_answer(said[level]["unit"].to_numpy(), units[level], card, names),
        "no_answer": _unanswered(recordings, segments),
        "absent": _absent(by_fold, level, card.classes),
        "scored": _scored(said, units, segments, level),
        "resampled": _resampled(said[level]["unit"], units[level]),
        "parts": _parts(folds),
        "data": _data(recordings, segments, units["patient"].facts, card) | {"left_out": left_out},
        "protocol": {**protocol, "runs": len(folds), **_leaks(audit, protocol)},
        **_trained_on(notes),
    }
    curves = {
        "confusion": count_confusions(said[level], units[level], card.classes),
        "roc": compute_roc(said[level], units[level], card),
        "precision_recall": compute_precision_recall(said[level], units[level], card),
        "reliability": compute_reliability_curve(said[level], units[level], card.classes),
        "learning_curves": average_histories(histories.values()),
        "score_per_fold": by_fold.query("level == @level")[["run", "fold", *names]],
    }
    mistakes = find_confident_errors(said, units, card.classes)
    return Results(_summary(details), details, tables, curves, mistakes)


def describe_protocol(
    split: Split, segment: Segment, card: Card, folds: int, has_validation: bool = False
) -> dict[str, Any]:
    """How the recordings were split, what the data set takes for a person, and what makes it `leaky`.

    Leaky, whatever the audit finds: the test part selects the epoch, the label decides what is cut, the
    data set does not name the person of each recording.

    Parameters
    ----------
    has_validation: every fold has a validation part, as a published split may give it.
    """
    flaws = {
        "validate_on": split.validate_on == "test" and not has_validation,
        "data set": not card.leak_free,
        "first_of": bool(segment.first and segment.first_of),
    }
    return {
        "method": split.method,
        "folds": folds,
        "group_by": split.group_by,
        "merge_near_duplicates": split.merge_near_duplicates,
        "on_leak": split.on_leak,
        "validate_on": split.validate_on,
        "person": card.persons,
        "leaky": any(flaws.values()),
        "flaws": ", ".join(name for name, there in flaws.items() if there) or "none",
    }


def describe_selection(train: Train) -> dict[str, str]:
    """By what the epoch is selected, and which rules stop the training."""
    rules = train.model_dump(include={"patience", "stop_accuracy", "stop_one_class"})
    stops = [f"{name} {value}" for name, value in rules.items() if value is not None and value is not False]
    return {"select_on": train.select_on, "stops": ", ".join(stops) or "none"}


def summarise(details: Mapping[str, Any]) -> str:
    """The headline figures as a table of text, each beside the constant answer's; a dash where undefined.

    The first line says why they are leaky, if they are.
    """
    baseline = details["baseline"]
    lines = [leaks.mark_leak(details)] if leaks.describe_leak(details) else []
    lines += [f"{details['level'] + ' level':28}  mean     SD  95 % interval  always {baseline['answer']}"]
    for name, row in details["headline"].items():
        mean, sd, always = map(formatting.format_figure, (row["mean"], row["sd"], baseline[name]))
        lines.append(f"  {name:26} {mean:>5}  {sd:>5}  {formatting.format_interval(row):>13}  {always:>5}")
    if silent := {level: n for level, n in details["no_answer"].items() if n}:
        what = (
            "answered Unknown"
            if levels.CLASS_WITHOUT_SEGMENTS in details["data"]["classes"]
            else "taken for wrong"
        )
        lines.append(f"without a usable segment, {what}: {silent}")
    for name, n in details["absent"].items():
        where = f"{n} folds have no {name} in their test part"
        lines.append(f"{where}: what needs it is undefined there (-), not 0")
    lines.append(
        f"The 95 % interval resamples {formatting.describe_resampling(details)}. {formatting.INTERVAL_NOTE}"
    )
    return "\n".join(lines)


def have_validation(folds: Mapping[int, pd.DataFrame]) -> bool:
    """Whether every fold of every run has a validation part."""
    return _parts(folds)["without_validation"] == 0


def _summary(details: Mapping[str, Any]) -> dict[str, Any]:
    """What `dvc metrics diff` and `dvc exp show` have a column for: few, so that they can be read."""
    figures = details["headline"]
    lead = next(iter(figures))
    means = {name: row["mean"] for name, row in figures.items()}
    interval = {"interval_low": figures[lead]["low"], "interval_high": figures[lead]["high"]}
    rest = {name: mean for name, mean in means.items() if name != lead}
    return {lead: means[lead], **interval, **rest, "leaky": details["protocol"]["leaky"]}


def _unanswered(recordings: pd.DataFrame, segments: pd.DataFrame) -> dict[str, int]:
    """How many recordings and patients have no usable segment."""
    heard = recordings["recording_id"].isin(segments["recording_id"].unique())
    patients = set(recordings["patient_id"]) - set(recordings.loc[heard, "patient_id"])
    return {"recording": int((~heard).sum()), "patient": len(patients)}


def _absent(folds: pd.DataFrame, level: str, classes: Sequence[str]) -> dict[str, int]:
    """In how many folds a class is absent from the test part: only those of which there are any."""
    at_level = folds[folds["level"] == level]
    missing = {c: int(at_level[f"recall_{c}"].isna().sum()) for c in classes}
    return {c: n for c, n in missing.items() if n}


def _scored(
    said: Mapping[str, pd.DataFrame], units: Mapping[str, levels.Units], segments: pd.DataFrame, level: str
) -> dict[str, Any]:
    """How many units are scored of how many, each in how many runs, and whether folds cut through them."""
    tested = said[level][["run", "unit"]]
    in_runs = tested.drop_duplicates()["unit"].value_counts()
    unasked = 0
    if level == "segment":  # mirrored copies train only
        unasked = int((segments["reversed"].to_numpy() & ~segments.index.isin(in_runs.index)).sum())
    return {
        "units": len(in_runs),
        "of": len(units[level].names) - unasked,
        "least_runs": int(in_runs.min()),
        "most_runs": int(in_runs.max()),
        "in_parts": bool(tested.duplicated().any()),
        "lowest_level": next(iter(said)),
    }


def _resampled(unit: pd.Series, units: levels.Units) -> dict[str, int]:
    """How many groups the bootstrap of these units resamples, and of how many persons."""
    return {"groups": len(np.unique(units.group[unit])), "persons": len(np.unique(units.person[unit]))}


def _parts(folds: Mapping[int, pd.DataFrame]) -> dict[str, int]:
    """How many folds there are in all, without a validation part, and with different test parts."""
    parts = [fold for run in folds.values() for _, fold in run.groupby("fold")]
    names = [part["segment_id"].fillna("") + "@" + part["recording_id"] for part in parts]
    tests = {frozenset(n[part["role"] == "test"]) for n, part in zip(names, parts, strict=True)}
    without = sum("validation" not in set(part["role"]) for part in parts)
    return {"folds": len(parts), "without_validation": without, "test_parts": len(tests)}


def _data(
    recordings: pd.DataFrame, segments: pd.DataFrame, of_patients: pd.DataFrame, card: Card
) -> dict[str, Any]:
    known = recordings[["recording_id", "audio_sha256", "label", "patient_label"]].sort_values("recording_id")
    patients = recordings.drop_duplicates("patient_id")
    by_class = {
        c: {
            "recordings": int((recordings["label"] == c).sum()),
            "patients": int((patients["patient_label"] == c).sum()),
            "persons": recordings.loc[recordings["patient_label"] == c, "person_id"].nunique(),
        }
        for c in card.classes
    }
    return {
        "dataset": card.dataset,
        "task": card.task,
        "classes": list(card.classes),
        "positive": list(card.positive),
        "recordings": len(recordings),
        "patients": len(patients),
        "persons": recordings["person_id"].nunique(),
        "unknown_persons": card.unknown_persons,
        "segments": len(segments),
        "hours": float((recordings["n_samples"] / recordings["sample_rate"]).sum() / 3600),
        "counts": by_class,
        "sites": _tally(recordings["site"]),
        "source": _tally(recordings["source"]),
        "sample_rates": _sample_rates(recordings, card.classes),
        "sex": _tally(of_patients["sex"]),
        "age_group": _tally(of_patients["age_group"]),
        "licence": card.licence,
        "shareable": card.shareable,
        "sha256": hashlib.sha256(known.to_csv(index=False, lineterminator="\n").encode()).hexdigest()[:16],
    }


def _tally(values: pd.Series) -> dict[str, int]:
    """How often each value occurs; {} where the data set tells none."""
    if values.isna().all():
        return {}
    return {str(k): int(n) for k, n in values.fillna("not stated").value_counts().sort_index().items()}


def _sample_rates(recordings: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many recordings of each class were recorded at each rate, Hz."""
    found = pd.crosstab(recordings["sample_rate"], recordings["label"]).reindex(columns=classes, fill_value=0)
    return {str(rate): {c: int(n) for c, n in row.items()} for rate, row in found.sort_index().iterrows()}


def _leaks(audit: pd.DataFrame, protocol: Mapping[str, Any]) -> dict[str, Any]:
    shared = audit.filter(like="shared_").max()
    return {**shared, "leaky": bool(protocol.get("leaky") or shared.any())}


def _trained_on(notes: Sequence[TrainingNote]) -> dict[str, Any]:
    """device, precision, versions; where runs differ, all that occur."""
    versions = {
        name: formatting.join_sorted({note.versions[name] for note in notes}) for name in notes[0].versions
    }
    return {
        "device": formatting.join_sorted({note.device for note in notes}),
        "precision": formatting.join_sorted({note.precision for note in notes}),
        "versions": {"python": platform.python_version(), **versions},
    }
