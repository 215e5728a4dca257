"""From the models' predictions to the predicted classes at every level: pooling, calibration, decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from murmur.errors import MurmurError
from murmur.evaluation import calibration, rules, thresholds
from murmur.evaluation.levels import (
    Level,
    Units,
    class_without_segments,
    find_positions,
    sum_positive,
)
from murmur.evaluation.temperature import apply_temperature
from murmur.sections.evaluate import Evaluate
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import DatasetCard

KEYS = ["run", "fold", "test", "unit"]
Tables = Mapping[int, pd.DataFrame]


def compute_levels(
    predictions: Tables,
    folds: Tables,
    units: Mapping[str, Units],
    card: DatasetCard,
    options: Evaluate,
    fitted: pd.DataFrame | None = None,
) -> tuple[dict[str, Level], pd.DataFrame]:
    """Predict a class for every test unit, at the level of the models' output and at all levels above.

    The probabilities of a recording are pooled from its segments, those of a patient from its recordings,
    within one fold: a patient whose recordings are tested in two folds is scored in both. A recording or
    patient without a usable segment has no probabilities; its class is `class_without_segments`.

    Parameters
    ----------
    predictions, folds : dict of int to DataFrame
        By run, as `murmur.tables.predictions` and `murmur.tables.folds`.
    units : dict of str to Units
        By level.
    card : DatasetCard
        Its classes and positive classes are used.
    options : Evaluate
        `rule` pools; `thresholds` is the metric that the class weights maximise on validation;
        `sensitivity` is the one required of the threshold.
    fitted : DataFrame, optional
        The second return value of an earlier call, to use instead of fitting.

    Returns
    -------
    levels : dict of str to Level
        From the lowest level to patients.
    fitted : DataFrame
        run, fold, level, temperature, threshold (of the positive classes' probability), weight_<class>.

    Raises
    ------
    MurmurError
        If class weights are to be fitted and a fold has no validation part, or the metric does not exist
        for these classes.
    """
    tables = _number_predictions(predictions, units, card.classes)
    fits = []
    for below, level in zip((None, *LEVELS), LEVELS, strict=False):
        if level not in tables:
            if below not in tables:
                continue
            tables[level] = _pool(tables[below], units[below], options.rule, card.classes)
        table = tables[level]
        if level != "segment":
            table = _add_units_without_segments(table, folds, units, level)
        fit = _fit(table, units[level], card, options, level) if fitted is None else fitted
        fits.append(fit)
        table = _predict(table, fit[fit["level"] == level], card.classes)
        if options.rule == "any_present" and level == "patient" and "recording" in tables:
            table["predicted"] = _any_present(table, tables["recording"], units["recording"], card)
        tables[level] = table
    levels = {
        level: _make_level(level, tables[level], units[level], card) for level in LEVELS if level in tables
    }
    return levels, pd.concat(fits, ignore_index=True) if fitted is None else fitted


def fit_decisions(
    predictions: Tables, units: Mapping[str, Units], card: DatasetCard, options: Evaluate
) -> pd.DataFrame:
    """Fit temperature, threshold and class weights of each level to the validation parts of all folds.

    Parameters
    ----------
    predictions, units, card, options
        As for `compute_levels`.

    Returns
    -------
    DataFrame
        level, temperature (NaN without validation parts), threshold, weight_<class>.

    Raises
    ------
    MurmurError
        As `compute_levels`.
    """
    validation = {run: table[table["role"] == "validation"] for run, table in predictions.items()}
    tables = _number_predictions(validation, units, card.classes)
    fits = []
    for below, level in zip((None, *LEVELS), LEVELS, strict=False):
        if level not in tables and below in tables:
            tables[level] = _pool(tables[below], units[below], options.rule, card.classes)
        if level in tables:
            fits.append(_fit(tables[level].assign(run=0, fold=0), units[level], card, options, level))
    names = ["level", "temperature", "threshold", *(f"weight_{c}" for c in card.classes)]
    return pd.concat(fits, ignore_index=True)[names] if fits else pd.DataFrame(columns=names)


def _number_predictions(
    predictions: Tables, units: Mapping[str, Units], classes: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """By level: run, fold, test (False: validation), unit (its number), p_<class>."""
    columns = [f"p_{c}" for c in classes]
    parts: dict[str, list[pd.DataFrame]] = {}
    for run in sorted(predictions):
        for level, table in predictions[run].groupby("level", sort=False):
            unit = find_positions(units[level].names, table["unit_id"])
            keys = table[["run", "fold"]].assign(test=(table["role"] == "test").to_numpy(), unit=unit)
            parts.setdefault(level, []).append(keys.join(table[columns].astype(float)))
    return {level: pd.concat(tables, ignore_index=True) for level, tables in parts.items()}


def _pool(table: pd.DataFrame, units: Units, rule: str, classes: Sequence[str]) -> pd.DataFrame:
    """The table of the next higher level: the probabilities of the units' parts, pooled by the rule."""
    columns = [f"p_{c}" for c in classes]
    table = table[table[columns[0]].notna()]
    parent = units.parent[table["unit"]]
    member, keys = _group_rows([table["run"], table["fold"], table["test"], parent])
    p = rules.pool_probabilities(table[columns].to_numpy(), member, len(keys), rule)
    return pd.DataFrame(keys, columns=KEYS).astype({"test": bool}).join(pd.DataFrame(p, columns=columns))


def _group_rows(keys: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The group [n] of each row of whole numbers, and the keys [groups, keys] of each group, sorted."""
    arrays = [np.asarray(key, np.int64) for key in keys]
    sizes = [int(key.max(initial=0)) + 1 for key in arrays]
    codes, member = np.unique(np.ravel_multi_index(arrays, sizes), return_inverse=True)
    return member, np.stack(np.unravel_index(codes, sizes), axis=1)


def _add_units_without_segments(
    table: pd.DataFrame, folds: Tables, units: Mapping[str, Units], level: str
) -> pd.DataFrame:
    """With a row of NaN for each test recording or patient that has no usable segment."""
    tested = pd.concat(list(folds.values()))
    tested = tested[(tested["role"] == "test") & tested["segment_id"].isna()]
    unit = find_positions(units["recording"].names, tested["recording_id"])
    unit = unit if level == "recording" else units["recording"].parent[unit]
    keys = tested[["run", "fold"]].assign(test=True, unit=unit).drop_duplicates()
    return keys.merge(table, how="outer", on=KEYS)[table.columns]


def _fit(table: pd.DataFrame, units: Units, card: DatasetCard, options: Evaluate, level: str) -> pd.DataFrame:
    """Temperature, threshold and class weights of each fold, from its validation part alone."""
    columns, rows = [f"p_{c}" for c in card.classes], []
    for (run, fold), part in table.groupby(["run", "fold"]):
        validation = part[~part["test"] & part[columns[0]].notna()]
        truth, p = units.truth[validation["unit"]], validation[columns].to_numpy()
        if options.thresholds and not len(validation):
            raise MurmurError(
                f"evaluate.thresholds: run {run}, fold {fold} has no validation part to fit them to, and the "
                "test part is not for that; set it to null, or split.validate_on to validation"
            )
        weights = np.ones(len(card.classes))
        if options.thresholds and not (options.rule == "any_present" and level == "patient"):
            value = rules.value_per_unit(truth, options.thresholds, card.classes)
            weights = rules.fit_class_weights(truth, p, value)
        is_positive = np.isin(card.classes, card.positive)[truth]
        score = sum_positive(p, card.classes, card.positive)
        row = {"run": run, "fold": fold, "level": level}
        row["temperature"] = calibration.fit_temperature(truth, p) if len(validation) else np.nan
        row["threshold"] = thresholds.find_threshold(is_positive, score, options.sensitivity)
        rows.append(row | {f"weight_{c}": w for c, w in zip(card.classes, weights, strict=True)})
    return pd.DataFrame(rows)


def _predict(table: pd.DataFrame, fitted: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """With the predicted class and the calibrated probabilities q_<class>."""
    of_fold = table[["run", "fold"]].merge(fitted, how="left", on=["run", "fold"])
    p = table[[f"p_{c}" for c in classes]].to_numpy()
    weights = of_fold[[f"weight_{c}" for c in classes]].to_numpy()
    q = apply_temperature(p, of_fold["temperature"].to_numpy()[:, None])
    table = table.assign(predicted=rules.choose_class(p, weights, class_without_segments(classes)))
    return table.join(pd.DataFrame(q, columns=[f"q_{c}" for c in classes], index=table.index))


def _any_present(
    table: pd.DataFrame, recordings: pd.DataFrame, units: Units, card: DatasetCard
) -> np.ndarray:
    """The class [n] of each patient in `table` from the predicted classes of its recordings."""
    pairs = zip(
        (table["run"], table["fold"], table["test"], table["unit"]),
        (recordings["run"], recordings["fold"], recordings["test"], units.parent[recordings["unit"]]),
        strict=True,
    )
    member, _ = _group_rows([np.concatenate(pair) for pair in pairs])
    n, order = len(table), [*rules.sort_positive_first(card.classes, card.positive), len(card.classes)]
    chosen = rules.choose_any_present(recordings["predicted"].to_numpy(), member[n:], member.max() + 1, order)
    return chosen[member[:n]]


def _make_level(name: str, table: pd.DataFrame, units: Units, card: DatasetCard) -> Level:
    """Make the level of the test rows of a table."""
    table = table[table["test"]]
    keys = {key: table[key].to_numpy() for key in ("run", "fold", "unit", "predicted")}
    p, q = (table[[prefix + c for c in card.classes]].to_numpy() for prefix in ("p_", "q_"))
    return Level(name, units, card.classes, card.positive, **keys, probabilities=p, calibrated=q)


def predict_without_segments(
    folds: Tables, units: Mapping[str, Units], card: DatasetCard, name: str
) -> Level:
    """Return the level `name` of test parts in which no recording has a usable segment.

    Parameters
    ----------
    folds : dict of int to DataFrame
        By run, test rows only.
    units, card
        As in `compute_levels`.
    name : str
        recording or patient.
    """
    tested = pd.concat(list(folds.values()))
    unit = find_positions(units["recording"].names, tested["recording_id"])
    unit = units["recording"].parent[unit] if name == "patient" else unit
    table = tested[["run", "fold"]].assign(unit=unit).drop_duplicates()
    keys = {key: table[key].to_numpy() for key in ("run", "fold", "unit")}
    predicted = np.full(len(table), class_without_segments(card.classes))
    nothing = np.full((len(table), len(card.classes)), np.nan)
    return Level(
        name,
        units[name],
        card.classes,
        card.positive,
        **keys,
        predicted=predicted,
        probabilities=nothing,
        calibrated=nothing,
    )
