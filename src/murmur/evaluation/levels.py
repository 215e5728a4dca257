"""Predictions, checked and carried upwards: what is said of every test unit at every level."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation import calibration, metrics, rules
from murmur.sections.evaluate import Evaluate
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import Card

CLASS_WITHOUT_SEGMENTS = (
    "Unknown"  # the class that a unit without a usable segment is given, where there is such a class
)
NO_ANSWER = "no answer"  # and where there is none
FACTS = ("site", "source", "quality", "sex", "age_group")


class Units(NamedTuple):
    """All units of a level, numbered by their place: names, class, person, unit of the level above, facts.

    group: the number of the group that the bootstrap resamples; the person's, where groups are not known.
    """

    names: pd.Index
    truth: np.ndarray
    person: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    facts: pd.DataFrame


def number_units(
    recordings: pd.DataFrame, segments: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Units]:
    """The units of every level; segments and recordings carry `label`, patients carry `patient_label`.

    A patient's facts are those of all the recordings, None where these differ; the quality is good where one
    recording's is, and the site is a recording's alone. `recordings` may have a column group
    (`tables.GROUPS`).
    """
    names, of_classes = pd.Index(recordings["recording_id"]), pd.Index(classes)
    recording = _places(names, segments["recording_id"])
    person = pd.factorize(recordings["person_id"])[0]
    group = pd.factorize(recordings.get("group", recordings["person_id"]))[0]
    patient, patients = pd.factorize(recordings["patient_id"])
    first = np.unique(patient, return_index=True)[1]
    truth = of_classes.get_indexer(pd.Index(recordings["label"]))
    of_patient = of_classes.get_indexer(pd.Index(recordings["patient_label"]))[first]
    facts = recordings[list(FACTS)].reset_index(drop=True)
    one = facts.drop(columns="site").groupby(patient).nunique(dropna=False) == 1
    of_patients = facts.iloc[first].drop(columns="site").reset_index(drop=True).where(one, None)
    good = (facts["quality"] == "good").groupby(patient).any()
    of_patients["quality"] = of_patients["quality"].mask(good, "good")
    none = pd.DataFrame(index=range(len(segments)))
    pieces, own = pd.Index(segments["segment_id"]), np.arange(len(first))
    return {
        "segment": Units(pieces, truth[recording], person[recording], group[recording], recording, none),
        "recording": Units(names, truth, person, group, patient, facts),
        "patient": Units(pd.Index(patients), of_patient, person[first], group[first], own, of_patients),
    }


def _places(names: pd.Index, values: pd.Series) -> np.ndarray:
    """The place of each value in `names`, -1 where it has none: `get_indexer`, without Python's strings."""
    asked, known = (pa.array(strings.array, pa.large_string()) for strings in (values, names))
    return pc.index_in(asked, known).fill_null(-1).to_numpy().astype(np.int64)


def answer_without_segments(classes: Sequence[str]) -> int:
    """The number of the answer of a unit without a usable segment: Unknown, or one after the last class."""
    return list(classes).index(CLASS_WITHOUT_SEGMENTS) if CLASS_WITHOUT_SEGMENTS in classes else len(classes)


def compute_levels(
    predictions: Mapping[int, pd.DataFrame],
    folds: Mapping[int, pd.DataFrame],
    units: Mapping[str, Units],
    card: Card,
    options: Evaluate,
    fitted: pd.DataFrame | None = None,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """What is said of every test unit, at the level where the models speak and at every level above.

    A recording is decided from its segments, a patient from its recordings, within one fold (where folds
    cut through a patient, each scores its own part). A test recording or patient without a usable segment
    has the answer `silent` and no probabilities.

    Parameters
    ----------
    predictions, folds: by run, as in `murmur.tables`.
    options: `rule` and `thresholds`; weights of classes are fitted to the validation part of each fold.
    fitted: the second return value of an earlier call, to be used instead of fitting anew.

    Returns
    -------
    answers: by level: run, fold, unit (a number in `units`), answer (a class, or one more for none), p_… the
        pooled probabilities, q_… the same after calibration (NaN where there is no validation part).
    fitted: run, fold, level, temperature, threshold (of the positive classes' probability, for the required
        sensitivity), weight_….

    Raises
    ------
    MurmurError
        If thresholds are asked for and a fold has no validation part, or are of other classes.
    """
    said = _numbered(predictions, units, card.classes)
    tables: dict[str, pd.DataFrame] = {}
    rows: list[dict[str, Any]] = []
    for below, level in zip((None, *LEVELS), LEVELS, strict=False):
        if level in said:
            table = said[level]
        elif below in tables:
            table = _pooled(tables[below], units[below], options.rule, card.classes)
        else:
            continue
        if level != "segment":
            table = _with_unanswered(table, folds, units, level, card.classes)
        found = _fitted(table, units[level], card, options, level) if fitted is None else fitted
        rows += found.to_dict("records") if fitted is None else []
        table = _decided(table, found[found["level"] == level], card.classes)
        if options.rule == "any_present" and level == "patient" and "recording" in tables:
            table["answer"] = _any_present(table, tables["recording"], units["recording"], card)
        tables[level] = table
    scored = {
        level: table[table["test"]].drop(columns="test").reset_index(drop=True)
        for level, table in tables.items()
    }
    return scored, (pd.DataFrame(rows) if fitted is None else fitted)


def _numbered(
    predictions: Mapping[int, pd.DataFrame], units: Mapping[str, Units], classes: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """By level: run, fold, test (else validation), unit, p_…."""
    columns = [f"p_{c}" for c in classes]
    parts: dict[str, list[pd.DataFrame]] = {}
    for run in sorted(predictions):
        for level, table in predictions[run].groupby("level", sort=False):
            numbers = _places(units[level].names, table["unit_id"])
            place = table[["run", "fold"]].assign(test=(table["role"] == "test").to_numpy(), unit=numbers)
            parts.setdefault(level, []).append(place.join(table[columns].astype(float)))
    return {level: pd.concat(tables, ignore_index=True) for level, tables in parts.items()}


def _pooled(table: pd.DataFrame, units: Units, rule: str, classes: Sequence[str]) -> pd.DataFrame:
    columns = [f"p_{c}" for c in classes]
    table = table[table[columns[0]].notna()]
    key = [table["run"], table["fold"], table["test"], units.parent[table["unit"]]]
    member, places = _groups(key)
    p = rules.pool_probabilities(table[columns].to_numpy(), member, len(places), rule)
    above = pd.DataFrame(places, columns=["run", "fold", "test", "unit"]).astype({"test": bool})
    return above.join(pd.DataFrame(p, columns=columns))


def _groups(keys: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The group [n] of each row of whole numbers, and each group's own numbers [groups, keys], sorted."""
    keys = [np.asarray(key, np.int64) for key in keys]
    sizes = [int(key.max(initial=0)) + 1 for key in keys]
    codes, member = np.unique(np.ravel_multi_index(keys, sizes), return_inverse=True)
    return member, np.stack(np.unravel_index(codes, sizes), axis=1)


def _with_unanswered(
    table: pd.DataFrame,
    folds: Mapping[int, pd.DataFrame],
    units: Mapping[str, Units],
    level: str,
    classes: Sequence[str],
) -> pd.DataFrame:
    """With a row of NaN for each test recording or patient that no usable segment speaks of."""
    every = pd.concat(list(folds.values()))
    every = every[(every["role"] == "test") & every["segment_id"].isna()]
    unit = _places(units["recording"].names, every["recording_id"])
    unit = unit if level == "recording" else units["recording"].parent[unit]
    wanted = every[["run", "fold"]].assign(test=True, unit=unit).drop_duplicates()
    return wanted.merge(table, how="outer", on=["run", "fold", "test", "unit"])[table.columns]


def _fitted(table: pd.DataFrame, units: Units, card: Card, options: Evaluate, level: str) -> pd.DataFrame:
    """A temperature and the weights of the classes for every fold, from its validation part alone."""
    columns, rows = [f"p_{c}" for c in card.classes], []
    for (run, fold), part in table.groupby(["run", "fold"]):
        seen = part[~part["test"] & part[columns[0]].notna()]
        truth, p = units.truth[seen["unit"]], seen[columns].to_numpy()
        weights = np.ones(len(card.classes))
        if options.thresholds and not len(seen):
            raise MurmurError(
                f"evaluate.thresholds: run {run}, fold {fold} has no validation part to fit them to, and the "
                "test part is not for that; set it to null, or split.validate_on to validation"
            )
        if options.thresholds and not (options.rule == "any_present" and level == "patient"):
            weights = rules.fit_class_weights(
                truth, p, rules.weigh_units(truth, options.thresholds, card.classes)
            )
        row = {"run": run, "fold": fold, "level": level}
        row["temperature"] = calibration.fit_temperature(truth, p) if len(seen) else np.nan
        row["threshold"] = metrics.threshold_for(*positive_probabilities(truth, p, card), options.sensitivity)
        rows.append(row | {f"weight_{c}": w for c, w in zip(card.classes, weights, strict=True)})
    return pd.DataFrame(rows)


def _decided(table: pd.DataFrame, fitted: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """With the answer and the calibrated probabilities q_…."""
    of_fold = table[["run", "fold"]].merge(fitted, how="left", on=["run", "fold"])
    p = table[[f"p_{c}" for c in classes]].to_numpy()
    weights = of_fold[[f"weight_{c}" for c in classes]].to_numpy()
    q = calibration.apply_temperature(p, of_fold["temperature"].to_numpy()[:, None])
    table = table.assign(answer=rules.choose_class(p, weights, answer_without_segments(classes)))
    return table.join(pd.DataFrame(q, columns=[f"q_{c}" for c in classes], index=table.index))


def _any_present(table: pd.DataFrame, below: pd.DataFrame, units: Units, card: Card) -> np.ndarray:
    """The patients' answers from those of their recordings."""
    parts = [
        [t["run"], t["fold"], t["test"], unit]
        for t, unit in ((table, table["unit"]), (below, units.parent[below["unit"]]))
    ]
    member, _ = _groups([np.concatenate(pair) for pair in zip(*parts, strict=True)])
    n, order = len(table), order_positive_first(card)
    found = rules.choose_any_present(below["answer"].to_numpy(), member[n:], member.max() + 1, order)
    return found[member[:n]]


def positive_probabilities(truth: np.ndarray, p: np.ndarray, card: Card) -> tuple[np.ndarray, np.ndarray]:
    """Of each unit whether its class [n] is positive, and the probability [n] of the positive classes."""
    positive = np.isin(card.classes, card.positive)
    return positive[truth], p[:, positive].sum(axis=1)


def order_positive_first(card: Card) -> list[int]:
    """The numbers of the classes, the positive ones first, and that of no answer last."""
    first = [k for k, c in enumerate(card.classes) if c in card.positive]
    return [*first, *(k for k in range(len(card.classes)) if k not in first), len(card.classes)]


def check_predictions(
    predictions: Mapping[int, pd.DataFrame],
    folds: Mapping[int, pd.DataFrame],
    segments: pd.DataFrame,
    recordings: pd.DataFrame,
) -> None:
    """Refuse predictions that are not exactly one for each test unit of each fold of the runs in `folds`.

    A recording without a segment has nothing to predict; `answers` answers for it.

    Raises
    ------
    MurmurError
        Naming the run, the fold, an example, and the command that makes them.
    """
    if missing := sorted(set(folds) - set(predictions)):
        raise MurmurError(
            f"no predictions of run {formatting.join_sorted(missing)}; make them: {train_command(missing)}"
        )
    pieces = segments[["segment_id", "recording_id", "reversed"]].merge(
        recordings[["recording_id", "patient_id"]]
    )
    spoken = None
    for run in sorted(folds):
        said = predictions[run].query("role == 'test'")
        levels = set(said["level"].unique())
        if not levels or levels != (spoken or levels):
            what = f"speak of {formatting.join_sorted(levels) or 'no test unit'}"
            what += f", other runs of {formatting.join_sorted(spoken)}" if spoken else ""
            raise MurmurError(f"predictions of run {run} {what}; make them again: {train_command([run])}")
        spoken = levels
        for level in sorted(levels):
            _check_units(run, level, said[said["level"] == level], _test_units(folds[run], pieces, level))


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
    again = f"make them again: {train_command([run])}"
    if missing := set(wanted["fold"]) - set(said["fold"]):
        raise MurmurError(
            f"predictions of run {run}: fold {formatting.join_sorted(missing)} is missing; {again}"
        )
    names = pd.Index(wanted["unit_id"].unique())
    asked, answered = (
        t["fold"] * (len(names) + 1) + _places(names, t["unit_id"]) + 1 for t in (wanted, said)
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


def train_command(runs: Iterable[int]) -> str:
    return "dvc repro " + " ".join(f"train@{run}" for run in runs)
