"""Figures of the answers: by fold, run and subgroup, with intervals over groups of persons."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from murmur.evaluation import metrics
from murmur.evaluation.levels import FACTS, Units, positive_probabilities
from murmur.sections.evaluate import Evaluate
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import Card

logger = logging.getLogger(__name__)

HEADLINE = ("uar", "sensitivity", "specificity", "f1_macro", "roc_auc")
LEADS = ("weighted_accuracy_official", "macc")  # of the data sets that have one
INTERVAL = (0.025, 0.975)
QUALITY = {"good": 0, "poor": 1}
Drawn = Mapping[str, np.ndarray]


def score_units(scores: pd.DataFrame, units: Units, card: Card, by: Sequence[str]) -> pd.DataFrame:
    """A row per group of `by` columns: n_units, n_persons, and every figure of `murmur.metrics`.

    n_no_answer counts the units without a usable segment, also where they are answered Unknown.
    macc only where the data set tells the quality of its recordings.
    """
    groups = scores.assign(person=units.person[scores["unit"]]).groupby(list(by))
    table = groups.agg(n_units=("unit", "size"), n_persons=("person", "nunique")).reset_index()
    group = groups.ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    truth, p, q = _truth_and_p(scores, units, card.classes)
    areas = [_of_probabilities(truth[m], p[m], q[m], card) for m in members]
    counts = _counts(scores, units, card, group, len(table))
    figures = pd.DataFrame(_of_counts(counts, units, card))
    silent = np.bincount(group, np.isnan(p[:, 0]), len(table)).astype(int)  # answered Unknown or not at all
    return pd.concat([table, pd.DataFrame(areas), figures.assign(n_no_answer=silent)], axis=1)


def score_all_levels(
    scores: Mapping[str, pd.DataFrame], units: Mapping[str, Units], card: Card, by: list[str]
) -> pd.DataFrame:
    """`score` at every level, sorted by the `by` columns and then by level."""
    tables = [
        score_units(table, units[level], card, by).assign(level=level) for level, table in scores.items()
    ]
    whole = pd.concat(tables)
    whole["level"] = pd.Categorical(whole["level"], LEVELS)
    whole = whole.sort_values([*by, "level"], ignore_index=True).astype({"level": str})
    return whole[[*by, "level", *whole.columns.drop([*by, "level"])]]


def select_headline(runs: pd.DataFrame) -> list[str]:
    """The few figures of the summary; the first ranks constant answers: the data set's own where defined."""
    own = [name for name in LEADS if name in runs and runs[name].notna().all()]
    return [*(own or ["accuracy"]), *HEADLINE]


def bootstrap_persons(
    scores: pd.DataFrame, units: Units, card: Card, names: Sequence[str], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Draw groups of persons with replacement, the same in every run: each figure [draws, runs].

    Groups (`Units.group`), not units, since those of one person resemble each other, and those of persons who
    share audio; not runs, since the spread over runs is only the luck of the split: more runs narrow it, more
    patients do not (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8). The models are
    taken as given. A figure is NaN in a draw that lacks a class it needs.
    """
    groups, group = np.unique(units.group[scores["unit"]], return_inverse=True)
    runs, run = np.unique(scores["run"], return_inverse=True)
    n, r = len(groups), len(runs)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    counts = _counts(scores, units, card, group * r + run, n * r)
    shape = (r, *counts.shape[1:])
    figures = _of_counts((weights @ counts.reshape(n, -1)).reshape(draws, *shape), units, card)
    if "roc_auc" in names:
        truth, p, _ = _truth_and_p(scores, units, card.classes)
        members = [np.flatnonzero(run == k) for k in range(r)]
        areas = [
            metrics.weighted_roc_auc(truth[m], p[m], weights, card.classes, card.positive, group[m])
            for m in members
        ]
        figures["roc_auc"] = np.stack(areas, axis=1)
    return {name: figures[name] for name in names}


def summarise_headline(
    runs: pd.DataFrame, names: Sequence[str], drawn: Drawn, quiet: bool = False
) -> dict[str, dict[str, float]]:
    """For each figure the mean and sample SD over runs, and the 95 % percentile interval of `bootstrap`.

    Draws in which a figure is undefined, for want of a class, are left out of its interval, and a note says
    how many. Where they are more than one in ten there is no interval: it would speak of the others only.
    """
    table = {}
    for name in names:
        values = drawn[name].mean(axis=1) if name in drawn else np.empty(0)
        defined = values[~np.isnan(values)]
        if len(defined) < len(values) and not quiet:
            logger.info(f"{name} is undefined in {len(values) - len(defined)} of {len(values)} draws")
        enough = len(defined) and len(defined) >= 0.9 * len(values)
        low, high = np.quantile(defined, INTERVAL) if enough else (np.nan, np.nan)
        table[name] = {"mean": runs[name].mean(skipna=False), "sd": runs[name].std(skipna=False)}
        table[name] |= {"low": low, "high": high}
    return table


def score_constant_answer(unit: np.ndarray, units: Units, card: Card, names: Sequence[str]) -> dict[str, Any]:
    """The figures of the one answer, always given to `unit` [n], that has the highest `names[0]`."""
    each = [
        _counts(pd.DataFrame({"unit": unit, "answer": k}), units, card, np.zeros(len(unit), int), 1)
        for k in range(len(card.classes))
    ]
    figures = _of_counts(np.concatenate(each), units, card)
    figures["roc_auc"] = np.full(len(card.classes), 0.5)  # nothing is put in order
    best = int(figures[names[0]].argmax())
    return {"answer": card.classes[best], **{name: float(figures[name][best]) for name in names}}


def score_subgroups(
    scores: Mapping[str, pd.DataFrame],
    units: Mapping[str, Units],
    card: Card,
    names: Sequence[str],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """group, value, level, n_units, n_persons, metric, mean, sd, low, high, as far as the data set tells.

    By site, source and quality of the recordings, by sex and age group of the patients; where all have the
    same value there is nothing to tell apart.
    """
    tables = [
        _subgroup(rows, units[level], card, names, draws, seed).assign(group=fact, value=value, level=level)
        for fact, level in _facts(scores, units)
        for value, rows in _values(scores[level], units[level], fact)
    ]
    columns = ["group", "value", "level", "n_units", "n_persons", "metric", "mean", "sd", "low", "high"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _facts(scores: Mapping[str, Any], units: Mapping[str, Units]) -> Iterable[tuple[str, str]]:
    for fact in FACTS:
        level = "patient" if fact in ("sex", "age_group") or "recording" not in scores else "recording"
        facts = units[level].facts
        if level in scores and fact in facts and facts[fact].nunique(dropna=False) > 1:
            yield fact, level


def _values(table: pd.DataFrame, units: Units, fact: str) -> Iterable[tuple[str, pd.DataFrame]]:
    value = units.facts[fact].fillna("not stated").to_numpy(str)[table["unit"]]
    for name in np.unique(value):
        yield str(name), table[value == name]


def _subgroup(
    table: pd.DataFrame, units: Units, card: Card, names: Sequence[str], draws: int, seed: int
) -> pd.DataFrame:
    runs = score_units(table, units, card, ["run"])
    figures = summarise_headline(
        runs, names, bootstrap_persons(table, units, card, names, draws, seed), quiet=True
    )
    rows = pd.DataFrame(figures).T.rename_axis("metric").reset_index()
    unit = table["unit"].unique()
    return rows.assign(n_units=len(unit), n_persons=len(np.unique(units.person[unit])))


def score_operating_points(
    scores: pd.DataFrame,
    units: Units,
    card: Card,
    fitted: pd.DataFrame,
    options: Evaluate,
    seed: int,
) -> pd.DataFrame:
    """chosen_on, figure, mean, sd, low, high: what calling positive above a threshold gives.

    chosen_on validation: each fold's threshold is the highest at which its validation part reaches the
    required sensitivity, and what the test part then has is told, sensitivity too. chosen_on curve: read off
    each run's own test ROC, a description without an interval that nobody could have chosen beforehand.
    Predictive values are at the stated prevalence of the positive classes.

    Where a validation part has no positive, or too few with an answer, its threshold is undefined and with it
    all that is chosen on validation.
    """
    p = scores[[f"p_{c}" for c in card.classes]].to_numpy()
    hit, said = positive_probabilities(units.truth[scores["unit"]], p, card)
    threshold = scores[["run", "fold"]].merge(fitted, how="left", on=["run", "fold"])["threshold"].to_numpy()
    if np.isnan(threshold).any():
        undefined = pd.DataFrame({"sensitivity": [np.nan], "specificity": [np.nan]})
        chosen = _points("validation", undefined, {}, options.prevalence)
    else:
        answer = np.where(np.isnan(said), 2, said < threshold).astype(int)
        called = pd.DataFrame({"run": scores["run"], "unit": scores["unit"], "answer": answer})
        chosen = _validation_points(called, units, card, options, seed)
    read_off = _curve_points(scores["run"].to_numpy(), hit, said, options)
    return pd.concat([chosen, read_off], ignore_index=True)


def _validation_points(
    called: pd.DataFrame, units: Units, card: Card, options: Evaluate, seed: int
) -> pd.DataFrame:
    two = replace(card, classes=("positive", "rest"), positive=("positive",))
    merged = units._replace(truth=1 - np.isin(card.classes, card.positive)[units.truth].astype(int))
    run = pd.factorize(called["run"])[0]
    runs = pd.DataFrame(_of_counts(_counts(called, merged, two, run, run.max() + 1), merged, two))
    drawn = bootstrap_persons(called, merged, two, ["sensitivity", "specificity"], options.draws, seed)
    return _points("validation", runs, drawn, options.prevalence)


def _curve_points(run: np.ndarray, hit: np.ndarray, said: np.ndarray, options: Evaluate) -> pd.DataFrame:
    points = []
    for rows in (np.flatnonzero(run == k) for k in np.unique(run)):
        threshold = metrics.threshold_for(hit[rows], said[rows], options.sensitivity)
        points.append(metrics.at_threshold(hit[rows], said[rows], threshold))
    return _points(
        "curve", pd.DataFrame(points, columns=["sensitivity", "specificity"]), {}, options.prevalence
    )


def _points(chosen_on: str, runs: pd.DataFrame, drawn: Drawn, prevalence: float) -> pd.DataFrame:
    names = ["sensitivity", "specificity", "ppv", "npv"]
    both = [_with_values(table, prevalence) for table in (runs, drawn) if len(table)]
    figures = summarise_headline(pd.DataFrame(both[0]), names, both[1] if drawn else {}, quiet=True)
    return (
        pd.DataFrame(figures)
        .T.rename_axis("figure")
        .reset_index()
        .assign(chosen_on=chosen_on)[["chosen_on", "figure", "mean", "sd", "low", "high"]]
    )


def _with_values(table: Any, prevalence: float) -> dict[str, np.ndarray]:
    sensitivity, specificity = (np.asarray(table[name]) for name in ("sensitivity", "specificity"))
    ppv, npv = metrics.predictive_values(sensitivity, specificity, prevalence)
    return {"sensitivity": sensitivity, "specificity": specificity, "ppv": ppv, "npv": npv}


def _of_probabilities(truth: np.ndarray, p: np.ndarray, q: np.ndarray, card: Card) -> dict[str, float]:
    found = metrics.from_probabilities(truth, p, card.classes, card.positive)
    return found | {"brier_calibrated": metrics.brier(truth, q), "ece_calibrated": metrics.ece(truth, q)}


def _counts(scores: pd.DataFrame, units: Units, card: Card, group: np.ndarray, n_groups: int) -> np.ndarray:
    """[groups, qualities, actual, predicted]; one quality (all) where the data set tells none."""
    truth, answer = units.truth[scores["unit"]], scores["answer"].to_numpy()
    if not _has_quality(units, card):
        return metrics.confusion(truth, answer, len(card.classes), group, n_groups)[:, None]
    quality = units.facts["quality"].map(QUALITY).fillna(2).to_numpy(int)[scores["unit"]]
    counts = metrics.confusion(truth, answer, len(card.classes), group * 3 + quality, n_groups * 3)
    return counts.reshape(n_groups, 3, *counts.shape[1:])


def _of_counts(counts: np.ndarray, units: Units, card: Card) -> dict[str, np.ndarray]:
    """The figures of counts [..., qualities, actual, predicted]."""
    figures = metrics.from_confusion(counts.sum(-3), card.classes, card.positive)
    return figures | ({"macc": metrics.macc(counts)} if _has_quality(units, card) else {})


def _has_quality(units: Units, card: Card) -> bool:
    return len(card.classes) == 2 and "quality" in units.facts and bool(units.facts["quality"].notna().any())


def _truth_and_p(
    scores: pd.DataFrame, units: Units, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, q = (scores[[prefix + c for c in classes]].to_numpy() for prefix in ("p_", "q_"))
    return units.truth[scores["unit"]], p, q
