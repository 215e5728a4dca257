"""Is the difference between two experiments anything? Paired tests over the folds that both were scored on.

The folds of one data set are not independent: their training parts overlap, and every run tests the same
persons again. A plain paired t-test takes fifty folds for fifty experiments and finds a difference far too
often. Both tests here widen its standard error by what the folds share (see `paired_test`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.tables.csv_reader import parse_csv

FOLDS, AUDIT, DETAILS = FILES = ("metrics/folds.csv", "metrics/audit.csv", "metrics/details.json")
LOWER_IS_BETTER = ("brier", "ece", "brier_calibrated", "ece_calibrated", "outcome_cost")
ROPE, LEVEL = 0.01, 0.05
ALIKE = 2e-6  # differences no further apart are equal: the scores have six digits after the point
AGAIN = "run it again with this version of murmur: dvc repro, or dvc exp run"
FIGURES = ("low", "high", "t", "p", "worse", "equivalent", "better")
HEADER = ("metric", "A", "B", "difference", "95 % interval", "p", "P(worse)", "P(equivalent)", "P(better)")


class Experiment(NamedTuple):
    """What `compare` needs of an experiment; folds by (level, run, fold), each with its row of the audit."""

    name: str
    folds: pd.DataFrame
    metrics: Sequence[str]  # the columns of folds that are
    data: Mapping[str, str]  # dataset, task, sha256
    flaws: str  # why it is leaky; empty: it is not
    level: str
    headline: Sequence[str]


def parse_experiment(name: str, texts: Mapping[str, str]) -> Experiment:
    """An experiment from the texts of its `FILES`, by path; `name` is what messages call it.

    Raises
    ------
    MurmurError
        Naming the experiment and what is missing, if a file is not as this version writes it.
    """
    try:
        scores, audit = (parse_csv(texts[path], f"{name}: {path}") for path in (FOLDS, AUDIT))
        scores, audit = scores.set_index(["level", "run", "fold"]), audit.set_index(["run", "fold"])
        folds = scores.join(audit[["n_train", "n_validation", "n_test", "test_sha256"]])
        if lost := folds.index[folds["test_sha256"].isna()].tolist():
            raise ValueError(f"audit.csv lacks run {lost[0][1]}, fold {lost[0][2]}")
        names = [column for column in scores if not column.startswith("n_")]
        details = json.loads(texts[DETAILS])
        data = {key: details["data"][key] for key in ("dataset", "task", "sha256")}
        headline = list(details["headline"])
        return Experiment(name, folds, names, data, leaks.describe_leak(details), details["level"], headline)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise MurmurError(f"{name}: its files in metrics/ do not fit together ({what}); {AGAIN}") from error


def paired_test(d: np.ndarray, ratio: float, rope: float = ROPE) -> dict[str, np.ndarray]:
    """What differences `d` [..., J] of J paired folds (B less A) tell, each figure of shape [...].

    difference, their mean; error, its standard error sqrt((1/J + ratio) variance); low, high, the 95 %
    interval; t and two-sided p with J - 1 degrees of freedom: the corrected resampled t-test (Nadeau &
    Bengio, Machine Learning 52, 2003), over all folds of repeated cross-validation (Bouckaert & Frank,
    PAKDD 2004). below, equivalent, above: the probabilities that the difference is under -rope, within
    +-rope and over rope, by the Bayesian correlated t-test (Corani & Benavoli, Machine Learning 100, 2015):
    a Student posterior about the mean, of scale^2 (1/J + rho / (1 - rho)) variance, where rho is the share
    of the units that are tested; rho / (1 - rho) is `ratio`, so the scale is the standard error.

    Where all differences are equal there is nothing to test by: p and equivalent are 1 if they are all 0,
    else all but the difference is NaN.

    Parameters
    ----------
    ratio: n_test / n_train of a fold.
    rope: half the width of the region of practical equivalence, in the metric's unit.
    """
    n = d.shape[-1]
    difference, flat = d.mean(-1), np.ptp(d, axis=-1) <= ALIKE
    zero = flat & (np.abs(difference) <= ALIKE / 2)
    error = np.where(flat, np.nan, np.sqrt((1 / n + ratio) * d.var(-1, ddof=1)))
    posterior, t = stats.t(n - 1, difference, error), difference / error
    low, high = posterior.interval(1 - LEVEL)
    figures = {"error": error, "low": low, "high": high, "t": t, "p": 2 * stats.t.sf(np.abs(t), n - 1)}
    below, not_above = posterior.cdf(-rope), posterior.cdf(rope)
    figures |= {"below": below, "equivalent": not_above - below, "above": posterior.sf(rope)}
    sure = {"p": 1, "equivalent": 1}
    known = {name: np.where(zero, sure.get(name, 0), value) for name, value in figures.items()}
    return {"difference": difference, **known}


def compare_experiments(
    a: Experiment,
    b: Experiment,
    *,
    metrics: Sequence[str] = (),
    level: str | None = None,
    rope: float = ROPE,
) -> dict[str, Any]:
    """Whether B differs from A: verdict, notes, and a row of figures for each metric.

    Runs with the same test part (a published split) count once, with their mean score: how far they lie
    apart tells of seeds, not of other persons. A fold in which a metric is undefined on either side is left
    out of that metric.

    Parameters
    ----------
    metrics: columns of folds.csv, the one that decides first; none: A's headline.
    level: segment, recording or patient; None: that of the headlines.
    rope: as in `paired_test`, for every metric.

    Raises
    ------
    MurmurError
        Naming both sides, if they are not of the same data, task, level and test parts, have no run in
        common, or lack a metric.
    """
    _check_data(a, b)
    level = level or _same_level(a, b)
    names = _known(metrics or a.headline, a, b)
    one, other = _common(a, b, level)
    _check_parts(a, b, one, other)
    both = pd.concat([one, other])
    ratio = float((both["n_test"] / (both["n_train"] + both["n_validation"])).mean())
    table = {name: _row(name, one, other, ratio, rope) for name in names}
    return {
        "a": {"name": a.name, "leaky": bool(a.flaws), "flaws": a.flaws},
        "b": {"name": b.name, "leaky": bool(b.flaws), "flaws": b.flaws},
        "data": dict(a.data),
        "level": level,
        "runs": one.index.unique("run").tolist(),
        "folds": len(one),
        "ratio": ratio,
        "rope": rope,
        "verdict": describe_verdict(names[0], table[names[0]], rope),
        "notes": _notes(a, b, level, one, table),
        "metrics": table,
    }


def describe_verdict(name: str, row: Mapping[str, Any], rope: float) -> str:
    """One sentence on the metric `name`, from its row in `compare`'s result."""
    if not row["pairs"]:
        return f"no test: {name} is undefined in every fold"
    apart = f"{name} differs by {row['difference']:+.3f}"
    if row["pairs"] < 2:
        return f"no test: one pair of scores; {apart}; more split.runs of kfold or holdout help"
    if row["p"] is None:
        return f"no test: {apart} in every fold alike, so there is no spread to test it by"
    if row["low"] == row["high"]:
        return f"no difference: {name} is the same in every fold"
    told = f"{apart} [{row['low']:+.3f}, {row['high']:+.3f}], p {_p(row['p'])} ({row['pairs']} pairs)"
    alike = f"the difference is within {rope:g} with a probability of {row['equivalent']:.2f}"
    is_alike = f"; {alike}" if row["equivalent"] >= 1 - LEVEL else ""
    if row["p"] >= LEVEL:
        return f"no difference can be claimed: {told}{is_alike}"
    winner = "B" if (row["difference"] > 0) != row["lower_is_better"] else "A"
    return f"{winner} is better: {told}{is_alike}"


def format_text(result: Mapping[str, Any]) -> str:
    """`compare`'s result for a terminal: the verdict, the notes, a row a metric."""
    return "\n".join(
        [result["verdict"], *_about(result), *result["notes"], "", formatting.format_table(_rows(result))]
    )


def format_markdown(result: Mapping[str, Any]) -> str:
    """`compare`'s result for a pull request."""
    notes = [f"- {note}" for note in (*_about(result), *result["notes"])]
    return "\n".join([f"**{result['verdict']}**", "", formatting.format_markdown(_rows(result)), "", *notes])


def _rows(result: Mapping[str, Any]) -> formatting.Rows:
    """The table of `compare`'s result, its head first; a leaky side is marked there."""
    marks = {side: f"{side} (LEAKY)" for side in "AB" if result[side.lower()]["leaky"]}
    head = tuple(marks.get(name, name) for name in HEADER)
    return [head, *(_cells(name, row) for name, row in result["metrics"].items())]


def _check_data(a: Experiment, b: Experiment) -> None:
    if odd := [f"{key} {a.data[key]} / {b.data[key]}" for key in a.data if a.data[key] != b.data[key]]:
        raise MurmurError(
            f"A ({a.name}) and B ({b.name}) are not of the same data and task: {', '.join(odd)}; "
            "run both on the same"
        )


def _same_level(a: Experiment, b: Experiment) -> str:
    if a.level != b.level:
        raise MurmurError(
            f"the headline of A ({a.name}) is of the {a.level} level, that of B ({b.name}) of the {b.level} "
            "level; name one with --level"
        )
    return a.level


def _known(names: Sequence[str], a: Experiment, b: Experiment) -> list[str]:
    for side, one in (("A", a), ("B", b)):
        if unknown := [name for name in names if name not in one.metrics]:
            raise MurmurError(
                f"{side} ({one.name}) has no metric {', '.join(unknown)}; "
                f"name others with --metric; there are {', '.join(one.metrics)}"
            )
    return list(names)


def _common(a: Experiment, b: Experiment, level: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides' scores in the folds, (run, fold), that both have at this level."""
    for side, one in (("A", a), ("B", b)):
        if level not in (levels := one.folds.index.unique("level")):
            raise MurmurError(f"{side} ({one.name}) has no {level} level; there are {', '.join(levels)}")
    scores = [one.folds.loc[level] for one in (a, b)]
    common = scores[0].index.intersection(scores[1].index)
    if common.empty:
        runs = " / ".join(formatting.join_sorted(table.index.unique("run")) for table in scores)
        raise MurmurError(
            f"A ({a.name}) and B ({b.name}) have no run in common: {runs}; run both with the same split.runs"
        )
    return scores[0].loc[common], scores[1].loc[common]


def _check_parts(a: Experiment, b: Experiment, one: pd.DataFrame, other: pd.DataFrame) -> None:
    """The test parts of all folds are the same and have as many units."""
    for column, what in (("test_sha256", "test part"), ("n_units", "number of units")):
        if odd := one.index[one[column] != other[column]].tolist():
            run, fold = odd[0]
            x, y = one.loc[odd[0], column], other.loc[odd[0], column]
            raise MurmurError(
                f"run {run}, fold {fold}: A ({a.name}) and B ({b.name}) differ in their {what}: "
                f"{x} / {y} ({len(odd)} such of {len(one)} folds); "
                "run both with the same seed and the same sections split and segment"
            )


def _row(name: str, one: pd.DataFrame, other: pd.DataFrame, ratio: float, rope: float) -> dict[str, Any]:
    """A metric's figures; worse and better are B's, whichever way the metric goes."""
    defined = pd.DataFrame({"a": one[name], "b": other[name], "part": one["test_sha256"]}).dropna()
    pairs = defined.groupby("part", sort=False).mean()
    d = (pairs["b"] - pairs["a"]).to_numpy()
    row = {"a": pairs["a"].mean(), "b": pairs["b"].mean(), "difference": (pairs["b"] - pairs["a"]).mean()}
    row |= dict.fromkeys(FIGURES, np.nan)
    lower = name in LOWER_IS_BETTER
    if len(d) > 1:
        found = paired_test(d, ratio, rope)
        worse, better = ("above", "below") if lower else ("below", "above")
        found |= {"worse": found[worse], "better": found[better]}
        row |= {key: found[key] for key in FIGURES}
    known = {key: float(value) if np.isfinite(value) else None for key, value in row.items()}
    counts = {"pairs": len(d), "undefined": len(one) - len(defined)}
    return {**known, **counts, "lower_is_better": lower}


def _notes(
    a: Experiment, b: Experiment, level: str, one: pd.DataFrame, table: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What a reader of the figures must know, the gravest first."""
    notes = [
        f"WARNING: {side} ({e.name}) is LEAKY ({e.flaws}): its scores may flatter, and so may the difference"
        for side, e in (("A", a), ("B", b))
        if e.flaws
    ]
    runs = one.index.unique("run")
    for side, e in (("A", a), ("B", b)):
        if alone := set(e.folds.loc[level].index.unique("run")) - set(runs):
            notes.append(
                f"only {side} has run {formatting.join_sorted(alone)}: compared is run "
                f"{formatting.join_sorted(runs)}"
            )
    parts = one["test_sha256"].nunique()
    if parts < len(one):
        notes.append(
            f"{len(one)} folds have {parts} different test part(s): those with the same one count once, with "
            "their mean score; more seeds are not more persons"
        )
    elif len(runs) == 1 and parts > 1:
        notes.append("one run is one deal of the folds; more split.runs would show the luck of the deal")
    notes += [
        f"{name} is undefined in {row['undefined']} of {len(one)} folds (a class is absent there): left out"
        for name, row in table.items()
        if row["undefined"]
    ]
    if len(table) > 1:
        notes.append("the first row decides; the others describe (nothing corrects for many tests)")
    return notes


def _about(result: Mapping[str, Any]) -> list[str]:
    runs, folds = len(result["runs"]), result["folds"]
    return [
        f"A: {result['a']['name']}   B: {result['b']['name']}",
        f"{result['level']} level, mean of {folds} fold(s) of {runs} run(s); worse, better: B by more than "
        f"{result['rope']:g}, equivalent: within it",
    ]


def _cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    scores = [
        formatting.format_figure(row["a"]),
        formatting.format_figure(row["b"]),
        formatting.format_figure(row["difference"], "+"),
    ]
    interval = f"[{row['low']:+.3f}, {row['high']:+.3f}]" if row["low"] is not None else "-"
    chances = [formatting.format_figure(row[key]) for key in ("worse", "equivalent", "better")]
    mark = " (lower is better)" if row["lower_is_better"] else ""
    return (name + mark, *scores, interval, "-" if row["p"] is None else _p(row["p"]), *chances)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
