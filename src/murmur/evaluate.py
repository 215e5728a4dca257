"""From predictions to figures: three levels, every fold and run, an interval, and the data of the plots.

A unit (segment, recording or patient) is scored only by the fold in which it is test, so by a model that
never saw its person. Its class is the one with the highest probability; in a tie, the first of them.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from murmur import metrics
from murmur.errors import MurmurError
from murmur.files import beside
from murmur.params import Segment, Split
from murmur.tables import LEVELS, Card, Note, csv_text

HEADLINE = ("uar", "sensitivity", "specificity", "f1_macro", "roc_auc")
INTERVAL = (0.025, 0.975)
GRID = np.linspace(0, 1, 101)
AT_ONCE = 4_000_000  # weights of units times draws held at once


class Units(NamedTuple):
    """All units of a level, numbered by their place: names, class, person, and unit of the level above."""

    names: pd.Index
    truth: np.ndarray
    person: np.ndarray
    parent: np.ndarray


@dataclass(frozen=True)
class Results:
    """What `write` writes: a row per run, fold and level, and per run and level; summary; plots' tables."""

    folds: pd.DataFrame
    runs: pd.DataFrame
    summary: dict[str, Any]
    plots: dict[str, pd.DataFrame]


def evaluate(
    recordings: pd.DataFrame,
    card: Card,
    segments: pd.DataFrame,
    folds: Mapping[int, pd.DataFrame],
    predictions: Mapping[int, pd.DataFrame],
    histories: Mapping[int, pd.DataFrame],
    *,
    level: str,
    draws: int,
    seed: int,
    notes: Sequence[Note],
    audit: pd.DataFrame,
    protocol: Mapping[str, Any],
    left_out: int,
) -> Results:
    """Score the predictions of all runs; nothing is written.

    Figures of a run are those of the pooled test units of its folds, so that a class too rare for one fold is
    still defined; its roc_auc compares probabilities of different folds' models.

    Parameters
    ----------
    recordings, card, segments: as in `murmur.tables`.
    folds, predictions, histories: by run; a history has a row per fold and epoch.
    level: of the headline figures in the summary, their interval and the plots.
    draws: of the bootstrap; 0 gives no interval.
    notes: of the runs' predictions, on what they were trained.
    audit: a row per fold; its columns shared_… count what stands on both sides of the split.
    protocol: what to say of the split (see `protocol`); `leaky` is true too if the audit finds anything.
    left_out: how many recordings and pieces the rules left out.

    Raises
    ------
    MurmurError
        If a test unit has no prediction (see `check_complete`), or no model speaks at or below `level`.
    """
    check_complete(predictions, folds, segments, recordings)
    units = number_units(recordings, segments, card.classes)
    scores = aggregate([predictions[run] for run in sorted(folds)], units, card.classes)
    if level not in scores:
        raise MurmurError(
            f"evaluate.level: {level} is below {next(iter(scores))}, the level of the predictions"
        )
    by_fold, by_run = (_all_levels(scores, units, card, by) for by in (["run", "fold"], ["run"]))
    at_level, unit, runs = scores[level], units[level], by_run[by_run["level"] == level]
    names = headline_names(runs)
    summary = {
        level: headline(runs, names, bootstrap(at_level, unit, card, names, draws, seed)),
        "baseline": constant_answer(unit.truth[at_level["unit"]], card, names),
        "data": _data(recordings, segments, card) | {"left_out": left_out},
        "protocol": {**protocol, "runs": len(folds), **_leaks(audit, protocol)},
        **_trained_on(notes),
    }
    plots = {
        "confusion": _answers(at_level, unit, card.classes),
        "roc": roc(at_level, unit, card),
        "learning_curves": learning_curves(histories.values()),
        "score_per_run": runs[["run", *names]],
    }
    return Results(by_fold, by_run, summary, plots)


def protocol(split: Split, segment: Segment, card: Card) -> dict[str, Any]:
    """How the recordings were split, what the data set takes for a person, and what makes it `leaky`.

    Leaky, whatever the audit finds: the test part stops the training, the label decides what is cut, the
    data set itself cannot be split without leaks.
    """
    flaws = {
        "validate_on": split.validate_on == "test",
        "data set": not card.leak_free,
        "first_of": bool(segment.first and segment.first_of),
    }
    return {
        "method": split.method,
        "folds": split.folds if split.method == "kfold" else 1,
        "group_by": split.group_by,
        "validate_on": split.validate_on,
        "person": card.persons,
        "leaky": any(flaws.values()),
        "flaws": ", ".join(name for name, there in flaws.items() if there) or "none",
    }


def in_words(results: Results, level: str) -> str:
    """The headline figures as a table of text, each beside the constant answer's."""
    baseline = results.summary["baseline"]
    lines = [f"{level + ' level':28}  mean     SD  95 % interval  always {baseline['answer']}"]
    for name, row in results.summary[level].items():
        sd = f"{row['sd']:.3f}" if np.isfinite(row["sd"]) else "-"  # of one run there is none
        interval = "{low:.3f}-{high:.3f}".format(**row) if np.isfinite(row["low"]) else "-"
        lines.append(f"  {name:26} {row['mean']:.3f}  {sd:>5}  {interval:>13}  {baseline[name]:.3f}")
    return "\n".join(lines)


def run_files(folder: str | Path, runs: Iterable[int], suffix: str = ".parquet") -> dict[int, Path]:
    """The files run_R of the listed runs; a file of another run is not read, and a note says so.

    Raises
    ------
    MurmurError
        Naming every listed run without a file, and how to make it.
    """
    found = {path.name: path for path in sorted(Path(folder).glob(f"run_*{suffix}"))}
    listed = {run: f"run_{run}{suffix}" for run in sorted(runs)}
    if missing := [run for run, name in listed.items() if name not in found]:
        raise MurmurError(f"{folder}: no file for run {_list(missing)}; make it: {_repro(missing)}")
    for name in sorted(found.keys() - set(listed.values())):
        print(f"note: {found[name]} is not read: its run is not in split.runs")
    return {run: found[name] for run, name in listed.items()}


def check_complete(
    predictions: Mapping[int, pd.DataFrame],
    folds: Mapping[int, pd.DataFrame],
    segments: pd.DataFrame,
    recordings: pd.DataFrame,
) -> None:
    """Refuse predictions that are not exactly one for each test unit of each fold of the runs in `folds`.

    A recording without a segment has no unit: the segment stage has listed it as left out.

    Raises
    ------
    MurmurError
        Naming the run, the fold, an example, and the command that makes them.
    """
    if missing := sorted(set(folds) - set(predictions)):
        raise MurmurError(f"no predictions of run {_list(missing)}; make them: {_repro(missing)}")
    pieces = segments[["segment_id", "recording_id", "reversed"]].merge(
        recordings[["recording_id", "patient_id"]]
    )
    spoken = None
    for run in sorted(folds):
        said = predictions[run].query("role == 'test'")
        levels = set(said["level"].unique())
        if not levels or levels != (spoken or levels):
            what = f"speak of {_list(levels) or 'no test unit'}"
            what += f", other runs of {_list(spoken)}" if spoken else ""
            raise MurmurError(f"predictions of run {run} {what}; make them again: {_repro([run])}")
        spoken = levels
        for level in sorted(levels):
            _check_units(run, level, said[said["level"] == level], _test_units(folds[run], pieces, level))


def number_units(
    recordings: pd.DataFrame, segments: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Units]:
    """The units of every level; segments and recordings carry `label`, patients carry `patient_label`."""
    names, of_classes = pd.Index(recordings["recording_id"]), pd.Index(classes)
    recording = names.get_indexer(pd.Index(segments["recording_id"]))
    person = pd.factorize(recordings["person_id"])[0]
    patient, patients = pd.factorize(recordings["patient_id"])
    first = np.unique(patient, return_index=True)[1]
    truth = of_classes.get_indexer(pd.Index(recordings["label"]))
    of_patient = of_classes.get_indexer(pd.Index(recordings["patient_label"]))[first]
    return {
        "segment": Units(pd.Index(segments["segment_id"]), truth[recording], person[recording], recording),
        "recording": Units(names, truth, person, patient),
        "patient": Units(pd.Index(patients), of_patient, person[first], np.arange(len(first))),
    }


def aggregate(
    predictions: Iterable[pd.DataFrame], units: Mapping[str, Units], classes: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Test probabilities at the level where the models speak and at every level above: run, fold, unit, p_….

    A recording has the mean of its segments, a patient the mean of its recordings, within one fold (where
    folds cut through a patient, each scores its own part). `unit` is a number in `units`.
    """
    every = pd.concat([table[table["role"] == "test"] for table in predictions], ignore_index=True)
    columns = [f"p_{c}" for c in classes]
    scores: dict[str, pd.DataFrame] = {}
    for below, level in zip((None, *LEVELS), LEVELS, strict=False):
        said = every[every["level"] == level]
        if len(said):
            table = said[["run", "fold", *columns]].astype(dict.fromkeys(columns, float))
            scores[level] = table.assign(unit=units[level].names.get_indexer(pd.Index(said["unit_id"])))
        elif below in scores:
            table = scores[below].assign(unit=units[below].parent[scores[below]["unit"]])
            scores[level] = table.groupby(["run", "fold", "unit"], as_index=False).mean()
    return scores


def score(scores: pd.DataFrame, units: Units, card: Card, by: Sequence[str]) -> pd.DataFrame:
    """A row per group of `by` columns: n_units, n_persons, and every figure of `murmur.metrics`."""
    truth, p = _truth_and_p(scores, units, card.classes)
    groups = scores.assign(person=units.person[scores["unit"]]).groupby(list(by))
    table = groups.agg(n_units=("unit", "size"), n_persons=("person", "nunique")).reset_index()
    group = groups.ngroup().to_numpy()
    counts = metrics.confusion(truth, p.argmax(1), len(card.classes), group)
    members = [np.flatnonzero(group == g) for g in range(len(table))]
    areas = [metrics.from_probabilities(truth[m], p[m], card.classes, card.positive) for m in members]
    figures = pd.DataFrame(metrics.from_confusion(counts, card.classes, card.positive))
    return pd.concat([table, pd.DataFrame(areas), figures], axis=1)


def headline_names(runs: pd.DataFrame) -> list[str]:
    """The few figures of the summary; the first ranks constant answers: CirCor's where it is defined."""
    official = "weighted_accuracy_official"
    defined = official in runs and runs[official].notna().all()
    return [official if defined else "accuracy", *HEADLINE]


def bootstrap(
    scores: pd.DataFrame, units: Units, card: Card, names: Sequence[str], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Draw persons with replacement, the same persons in every run: each figure's mean over runs, [draws].

    Persons, not units, since those of one person resemble each other; not runs, since the spread over runs
    is only the luck of the split: more runs narrow it, more patients do not (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 8). A figure is NaN in a draw that lacks a class it needs.
    """
    truth, p = _truth_and_p(scores, units, card.classes)
    persons, person = np.unique(units.person[scores["unit"]], return_inverse=True)
    runs, run = np.unique(scores["run"], return_inverse=True)
    n, r, c = len(persons), len(runs), len(card.classes)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    counts = metrics.confusion(truth, p.argmax(1), c, person * r + run, n * r).reshape(n, -1)
    figures = metrics.from_confusion((weights @ counts).reshape(draws, r, c, c), card.classes, card.positive)
    members = [np.flatnonzero(run == k) for k in range(r)]
    areas = [_drawn_areas(truth[m], p[m], weights, person[m], card) for m in members]
    figures["roc_auc"] = np.stack(areas, axis=1)
    return {name: figures[name].mean(axis=1) for name in names}


def headline(
    runs: pd.DataFrame, names: Sequence[str], drawn: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """For each figure the mean and sample SD over runs, and the 95 % percentile interval of `bootstrap`.

    Draws in which a figure is undefined, for want of a class, are left out of its interval, and a note says
    how many. Where they are more than one in ten there is no interval: it would speak of the others only.
    """
    table = {}
    for name in names:
        defined = drawn[name][~np.isnan(drawn[name])]
        if len(defined) < len(drawn[name]):
            print(
                f"note: {name} is undefined in {len(drawn[name]) - len(defined)} of {len(drawn[name])} draws"
            )
        enough = len(defined) and len(defined) >= 0.9 * len(drawn[name])
        low, high = np.quantile(defined, INTERVAL) if enough else (np.nan, np.nan)
        table[name] = {"mean": runs[name].mean(skipna=False), "sd": runs[name].std(skipna=False)}
        table[name] |= {"low": low, "high": high}
    return table


def constant_answer(truth: np.ndarray, card: Card, names: Sequence[str]) -> dict[str, Any]:
    """The figures of the one answer, always given, that has the highest `names[0]`; truth [n] in classes."""
    c = np.arange(len(card.classes))
    counts = np.zeros((len(c), len(c), len(c)))
    counts[c, :, c] = np.bincount(truth, minlength=len(c))
    figures = metrics.from_confusion(counts, card.classes, card.positive)
    figures["roc_auc"] = np.full(len(c), 0.5)  # nothing is put in order
    best = int(figures[names[0]].argmax())
    return {"answer": card.classes[best], **{name: float(figures[name][best]) for name in names}}


def roc(scores: pd.DataFrame, units: Units, card: Card) -> pd.DataFrame:
    """fpr (101 points), tpr, tpr_low, tpr_high: positive against the rest, of each run's pooled units.

    tpr is the mean over runs, tpr_low and tpr_high the least and greatest run: a spread, not an interval.
    """
    hit = np.isin(card.classes, card.positive)[units.truth[scores["unit"]]]
    said = scores[[f"p_{c}" for c in card.positive]].sum(axis=1).to_numpy()
    curves = [np.full(len(GRID), np.nan)]
    for rows in scores.groupby("run").indices.values():
        if 0 < hit[rows].sum() < len(rows):
            fpr, tpr, _ = roc_curve(hit[rows], said[rows])
            curves.append(np.interp(GRID, fpr, tpr))
    tpr = np.array(curves[1:] or curves)
    return pd.DataFrame({"fpr": GRID, "tpr": tpr.mean(0), "tpr_low": tpr.min(0), "tpr_high": tpr.max(0)})


def learning_curves(histories: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """A row per epoch: each column's mean over the fits still running, of all runs and folds, and n_fits."""
    fits = pd.concat(histories).drop(columns=["run", "fold", "best"], errors="ignore").groupby("epoch")
    return fits.mean().assign(n_fits=fits.size()).reset_index()


def write(results: Results, metrics_dir: str | Path, plots_dir: str | Path) -> None:
    """Write folds and runs (CSV and JSON), summary.json and the plots' CSVs, each whole or not at all.

    Six digits after the point; an undefined figure is empty in CSV and null in JSON, which DVC leaves out.
    """
    tables = {"folds": results.folds, "runs": results.runs}
    texts = {Path(metrics_dir, f"{name}.csv"): csv_text(table) for name, table in tables.items()}
    texts |= {Path(metrics_dir, f"{name}.json"): _json(_nested(table)) for name, table in tables.items()}
    texts |= {Path(plots_dir, f"{name}.csv"): csv_text(table) for name, table in results.plots.items()}
    texts[Path(metrics_dir, "summary.json")] = _json(results.summary)
    for path, text in texts.items():
        with beside(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")


def _test_units(folds: pd.DataFrame, pieces: pd.DataFrame, level: str) -> pd.DataFrame:
    """fold, unit_id of what is to be predicted: a test recording's own segments, or those named."""
    test = folds[folds["role"] == "test"]
    whole = test["segment_id"].isna()
    found = [
        test.loc[whole, ["fold", "recording_id"]].merge(pieces[~pieces["reversed"]], on="recording_id"),
        test.loc[~whole, ["fold", "segment_id"]].merge(pieces, on="segment_id"),
    ]
    return pd.concat(found)[["fold", f"{level}_id"]].set_axis(["fold", "unit_id"], axis=1).drop_duplicates()


def _check_units(run: int, level: str, said: pd.DataFrame, wanted: pd.DataFrame) -> None:
    again = f"make them again: {_repro([run])}"
    if missing := set(wanted["fold"]) - set(said["fold"]):
        raise MurmurError(f"predictions of run {run}: fold {_list(missing)} is missing; {again}")
    names = pd.Index(wanted["unit_id"].unique())
    asked, answered = (
        t["fold"] * (len(names) + 1) + names.get_indexer(t["unit_id"]) + 1 for t in (wanted, said)
    )
    faults = {
        "is test but has no prediction": wanted[~asked.isin(answered)],
        "has a prediction but is not test": said[~answered.isin(asked)],
        "is predicted twice": said[answered.duplicated()],
        "has no number as its probability": said[~np.isfinite(said.filter(like="p_")).all(axis=1)],
    }
    for fault, rows in faults.items():
        if len(rows):
            where = f"run {run}, fold {rows['fold'].iloc[0]}: {level} {rows['unit_id'].iloc[0]}"
            raise MurmurError(f"predictions of {where} {fault} ({len(rows)} such in the run); {again}")


def _all_levels(
    scores: Mapping[str, pd.DataFrame], units: Mapping[str, Units], card: Card, by: list[str]
) -> pd.DataFrame:
    tables = [score(table, units[level], card, by).assign(level=level) for level, table in scores.items()]
    whole = pd.concat(tables)
    whole["level"] = pd.Categorical(whole["level"], LEVELS)
    whole = whole.sort_values([*by, "level"], ignore_index=True).astype({"level": str})
    return whole[[*by, "level", *whole.columns.drop([*by, "level"])]]


def _truth_and_p(scores: pd.DataFrame, units: Units, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return units.truth[scores["unit"]], scores[[f"p_{c}" for c in classes]].to_numpy()


def _drawn_areas(
    truth: np.ndarray, p: np.ndarray, weights: np.ndarray, person: np.ndarray, card: Card
) -> np.ndarray:
    parts = np.array_split(weights, 1 + len(weights) * len(truth) // AT_ONCE)
    areas = [metrics.weighted_roc_auc(truth, p, w[:, person], card.classes, card.positive) for w in parts]
    return np.concatenate(areas)


def _answers(scores: pd.DataFrame, units: Units, classes: Sequence[str]) -> pd.DataFrame:
    truth, p = _truth_and_p(scores, units, classes)
    return pd.DataFrame({"actual": np.take(classes, truth), "predicted": np.take(classes, p.argmax(1))})


def _data(recordings: pd.DataFrame, segments: pd.DataFrame, card: Card) -> dict[str, Any]:
    known = recordings[["recording_id", "audio_sha256", "label", "patient_label"]].sort_values("recording_id")
    return {
        "dataset": card.dataset,
        "task": card.task,
        "recordings": len(recordings),
        "patients": recordings["patient_id"].nunique(),
        "persons": recordings["person_id"].nunique(),
        "segments": len(segments),
        "sha256": hashlib.sha256(known.to_csv(index=False, lineterminator="\n").encode()).hexdigest()[:16],
    }


def _leaks(audit: pd.DataFrame, protocol: Mapping[str, Any]) -> dict[str, Any]:
    shared = audit.filter(like="shared_").max()
    return {**shared, "leaky": bool(protocol.get("leaky") or shared.any())}


def _trained_on(notes: Sequence[Note]) -> dict[str, Any]:
    """device, precision, versions; where runs differ, all that occur."""
    versions = {name: _list({note.versions[name] for note in notes}) for name in notes[0].versions}
    return {
        "device": _list({note.device for note in notes}),
        "precision": _list({note.precision for note in notes}),
        "versions": {"python": platform.python_version(), **versions},
    }


def _nested(table: pd.DataFrame) -> dict[str, Any]:
    """run_R -> fold_F, where there is one -> level -> figures: dicts only, since DVC drops lists."""
    tree: dict[str, Any] = {}
    for row in table.to_dict("records"):
        place = tree.setdefault(f"run_{row.pop('run')}", {})
        if "fold" in row:
            place = place.setdefault(f"fold_{row.pop('fold')}", {})
        place[row.pop("level")] = row
    return tree


def _json(value: Any) -> str:
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def _list(items: Iterable[Any]) -> str:
    return ", ".join(str(item) for item in sorted(items))


def _repro(runs: Iterable[int]) -> str:
    return "dvc repro " + " ".join(f"train@{run}" for run in runs)
