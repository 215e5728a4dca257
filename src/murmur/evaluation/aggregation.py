"""From the models' predictions to the predicted classes at every level: pooling, calibration, decision."""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from murmur.errors import MurmurError
from murmur.evaluation import calibration, regression, rules, thresholds
from murmur.evaluation.levels import (
    Level,
    Units,
    class_without_segments,
    find_positions,
    sum_positive,
)
from murmur.evaluation.temperature import apply_temperature
from murmur.formatting import format_count
from murmur.sections.evaluate import Evaluate
from murmur.tables.levels import LEVELS
from murmur.tables.predictions import FIGURES
from murmur.tables.recordings import DatasetCard

logger = logging.getLogger(__name__)

KEYS = regression.KEYS
Tables = Mapping[int, pd.DataFrame]


class Fitted(NamedTuple):
    """What is fitted to the validation parts.

    Attributes
    ----------
    decisions : DataFrame
        run, fold, level, temperature, threshold (of the positive classes' probability), weight_<class>:
        metrics/calibration.csv.
    regression : DataFrame
        run, fold, class, figure, coefficient: metrics/regression.csv. No rows without the rule `regression`.
    """

    decisions: pd.DataFrame
    regression: pd.DataFrame


def compute_levels(
    predictions: Tables,
    folds: Tables,
    units: Mapping[str, Units],
    card: DatasetCard,
    options: Evaluate,
    fitted: Fitted | None = None,
    part: Literal["test", "validation"] = "test",
) -> tuple[dict[str, Level], Fitted]:
    """Predict a class for every test unit, at the level of the models' output and at all levels above.

    The probabilities of a recording are pooled from its segments, those of a patient from its recordings,
    within one fold: a patient whose recordings are tested in two folds is scored in both. A recording or
    patient without a usable segment has no probabilities; its class is `class_without_segments`. The rule
    `regression` predicts patients of a validation part by a regression that was fitted without them.

    Parameters
    ----------
    predictions, folds : dict of int to DataFrame
        By run, as `murmur.tables.predictions` and `murmur.tables.folds`.
    units : dict of str to Units
        By level.
    card : DatasetCard
        Its classes and positive classes are used. With `fitted`, they may be some of the models' classes.
    options : Evaluate
        `rule` pools; `thresholds` names the class weights, see `rules.choose_class_weights`;
        `sensitivity` is the one required of the threshold.
    fitted : Fitted, optional
        The second return value of an earlier call, to use instead of fitting.
    part : {"test", "validation"}
        The part of each fold whose units are predicted.

    Returns
    -------
    levels : dict of str to Level
        From the lowest level to patients.
    fitted : Fitted
        What was fitted.

    Raises
    ------
    MurmurError
        If class weights or a regression are to be fitted and a fold has no validation part, or one with too
        few persons; or the metric does not exist for these classes.
    """
    classes = _list_model_classes(card, fitted)
    tables, coefficients = _pool_levels(
        _number_predictions(predictions, units, classes), units, options, classes, fitted
    )
    if fitted is None and len(coefficients):
        _log_small_parts(tables["patient"], folds)
    fits = []
    for level, pooled in tables.items():
        table = _select_classes(pooled, classes, card.classes)
        if level != "segment":
            table = _add_units_without_segments(table, folds, units, level, part)
        fit = _fit(table, units[level], card, options, level) if fitted is None else fitted.decisions
        fits.append(fit)
        table = _predict(table, fit[fit["level"] == level], card.classes)
        if options.rule == "any_present" and level == "patient" and "recording" in tables:
            table["predicted"] = _any_present(table, tables["recording"], units["recording"], card)
        tables[level] = table
    levels = {
        level: _make_level(level, table[table["test"] == (part == "test")], units[level], card)
        for level, table in tables.items()
    }
    return levels, fitted or Fitted(pd.concat(fits, ignore_index=True), coefficients)


def fit_decisions(
    predictions: Tables, units: Mapping[str, Units], card: DatasetCard, options: Evaluate
) -> Fitted:
    """Fit temperature, threshold and class weights of each level to the validation parts of all folds.

    The rule `regression` fits one regression to all of them, in which each patient counts once.

    Parameters
    ----------
    predictions, units, card, options
        As for `compute_levels`.

    Returns
    -------
    Fitted
        Its tables have no run and fold. The temperature is NaN without validation parts.

    Raises
    ------
    MurmurError
        As `compute_levels`.
    """
    validation = {run: table[table["role"] == "validation"] for run, table in predictions.items()}
    numbered = _number_predictions(validation, units, card.classes)
    tables, coefficients = _pool_levels(numbered, units, options, card.classes, over_all_folds=True)
    fits = [_fit(t.assign(run=0, fold=0), units[level], card, options, level) for level, t in tables.items()]
    names = ["level", "temperature", "threshold", *(f"weight_{c}" for c in card.classes)]
    decisions = pd.concat(fits, ignore_index=True)[names] if fits else pd.DataFrame(columns=names)
    return Fitted(decisions, coefficients.drop(columns=["run", "fold"]))


def _list_model_classes(card: DatasetCard, fitted: Fitted | None) -> tuple[str, ...]:
    """The classes of the predictions: those of the regression, else those of the card."""
    if fitted is None or fitted.regression.empty:
        return card.classes
    return tuple(fitted.regression["class"].unique())


def _number_predictions(
    predictions: Tables, units: Mapping[str, Units], classes: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """By level: run, fold, test (False: validation), unit (its number), p_<class>, and FIGURES if given."""
    columns = [f"p_{c}" for c in classes]
    if all(regression.has_frame_figures(table) for table in predictions.values()):
        columns += FIGURES
    parts: dict[str, list[pd.DataFrame]] = {}
    for run in sorted(predictions):
        for level, table in predictions[run].groupby("level", sort=False):
            unit = find_positions(units[level].names, table["unit_id"])
            keys = table[["run", "fold"]].assign(test=(table["role"] == "test").to_numpy(), unit=unit)
            parts.setdefault(level, []).append(keys.join(table[columns].astype(float)))
    return {level: pd.concat(tables, ignore_index=True) for level, tables in parts.items()}


def _pool_levels(
    tables: Mapping[str, pd.DataFrame],
    units: Mapping[str, Units],
    options: Evaluate,
    classes: tuple[str, ...],
    fitted: Fitted | None = None,
    *,
    over_all_folds: bool = False,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The tables of all levels from the lowest one of `tables`, and the coefficients of the regression.

    The latter are those of `fitted`, or fitted here: for each fold, or for all of them together.
    """
    pooled = dict(tables)
    coefficients = pd.DataFrame(columns=regression.COLUMNS) if fitted is None else fitted.regression
    for below, level in pairwise(LEVELS):
        if level in pooled or below not in pooled:
            continue
        if options.rule != "regression" or level != "patient":
            pooled[level] = _pool(pooled[below], units[below], options.rule, classes)
            continue
        figures = _compute_figures(pooled[below], units[below], classes, options.figures)
        figures = figures.assign(run=0, fold=0) if over_all_folds else figures
        if fitted is None:
            coefficients = regression.fit_folds(figures, units[level], classes)
        pooled[level] = regression.predict_folds(figures, coefficients, units[level], classes)
    return pooled, coefficients


def _pool(table: pd.DataFrame, units: Units, rule: str, classes: Sequence[str]) -> pd.DataFrame:
    """The table of the next higher level: probabilities pooled by the rule, and means of FIGURES."""
    columns = [f"p_{c}" for c in classes]
    member, keys = _group_parts(table, units)
    p = rules.pool_probabilities(table[columns].to_numpy(), member, len(keys), rule)
    pooled = keys.join(pd.DataFrame(p, columns=columns))
    if figures := [name for name in FIGURES if name in table]:
        means = rules.pool_probabilities(table[figures].to_numpy(), member, len(keys), "mean_probability")
        pooled[figures] = means
    return pooled


def _compute_figures(
    table: pd.DataFrame, units: Units, classes: tuple[str, ...], names: Sequence[str]
) -> pd.DataFrame:
    """The figures of each patient in each fold, from the table of the recordings."""
    member, keys = _group_parts(table, units)
    return keys.join(regression.compute_figures(table, member, classes, names))


def _group_parts(table: pd.DataFrame, units: Units) -> tuple[np.ndarray, pd.DataFrame]:
    """The group of each row, of the same run, fold, part and next higher unit; the keys of each group."""
    member, keys = _group_rows([table["run"], table["fold"], table["test"], units.parent[table["unit"]]])
    return member, pd.DataFrame(keys, columns=KEYS).astype({"test": bool})


def _group_rows(keys: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The group [n] of each row of whole numbers, and the keys [groups, keys] of each group, sorted."""
    arrays = [np.asarray(key, np.int64) for key in keys]
    sizes = [int(key.max(initial=0)) + 1 for key in arrays]
    codes, member = np.unique(np.ravel_multi_index(arrays, sizes), return_inverse=True)
    return member, np.stack(np.unravel_index(codes, sizes), axis=1)


def _add_units_without_segments(
    table: pd.DataFrame, folds: Tables, units: Mapping[str, Units], level: str, part: str
) -> pd.DataFrame:
    """With a row of NaN for each recording or patient of the part that has no usable segment."""
    tested = pd.concat(list(folds.values()))
    tested = tested[(tested["role"] == part) & tested["segment_id"].isna()]
    unit = find_positions(units["recording"].names, tested["recording_id"])
    unit = unit if level == "recording" else units["recording"].parent[unit]
    keys = tested[["run", "fold"]].assign(test=part == "test", unit=unit).drop_duplicates()
    return keys.merge(table, how="outer", on=KEYS)[table.columns]


def _select_classes(table: pd.DataFrame, classes: tuple[str, ...], selected: tuple[str, ...]) -> pd.DataFrame:
    """The keys and the probabilities of some classes, scaled to a sum of 1."""
    p = table[[f"p_{c}" for c in selected]]
    return table[KEYS].join(p if classes == selected else p.div(p.sum(axis=1), axis=0))


def _log_small_parts(patients: pd.DataFrame, folds: Tables) -> None:
    """Log a note if a regression is fitted to a single small validation part."""
    if any("inner" in table and table["inner"].notna().any() for table in folds.values()):
        return
    sizes = patients[~patients["test"]].groupby(["run", "fold"]).size()
    if sizes.min() < regression.FEW:
        logger.info(
            "evaluate.rule: the regression of a fold is fitted to as few as "
            f"{format_count(int(sizes.min()), 'patient')}, the validation part; with split.inner: 5 it is "
            "fitted to the whole training part"
        )


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
        temperature = calibration.fit_temperature(truth, p) if len(validation) else np.nan
        weights = np.ones(len(card.classes))
        if options.thresholds and not (options.rule == "any_present" and level == "patient"):
            weights = rules.choose_class_weights(
                truth, p, options.thresholds, card.classes, temperature, options.uar_share
            )
        is_positive = np.isin(card.classes, card.positive)[truth]
        score = sum_positive(p, card.classes, card.positive)
        row = {"run": run, "fold": fold, "level": level, "temperature": temperature}
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
    """Make the level of a table."""
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
