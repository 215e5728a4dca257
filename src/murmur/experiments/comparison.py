"""Is the difference between two experiments significant? Paired tests over the folds of both.

The folds of one data set are not independent: their training parts overlap, and each run tests the same
persons again. A plain paired t-test counts fifty folds as fifty independent experiments and finds a
difference far too often. Both tests here use a larger standard error for this reason (see
`compute_paired_tests`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.tables.csv_reader import parse_csv

FOLDS, AUDIT, DETAILS = FILES = ("metrics/folds.csv", "metrics/audit.csv", "metrics/details.json")
LOWER_IS_BETTER = ("brier", "ece", "brier_calibrated", "ece_calibrated", "outcome_cost")
ROPE = 0.01  # region of practical equivalence, ±
LEVEL = 0.05  # of significance
TOLERANCE = 2e-6  # differences no further apart count as equal: the scores have six digits after the point
AGAIN = "run it again with this version of murmur: dvc repro, or dvc exp run"
FIGURES = ("low", "high", "t", "p", "worse", "equivalent", "better")
HEADER = ("metric", "A", "B", "difference", "95 % interval", "p", "P(worse)", "P(equivalent)", "P(better)")


class Experiment(NamedTuple):
    """An experiment to compare.

    Attributes
    ----------
    name : str
        Its name in messages.
    folds : DataFrame
        The scores and the sizes of the parts of each fold; the index is (level, run, fold).
    metrics : sequence of str
        The columns of `folds` that are metrics.
    data : mapping
        dataset, task, sha256 and sha256_patients of its data. The last one, without the labels of recordings,
        counts at the level of patients.
    flaws : str
        Why it is leaky; empty if it is not.
    level : str
        The level of its headline: segment, recording or patient.
    headline : sequence of str
        The metrics of its headline.
    """

    name: str
    folds: pd.DataFrame
    metrics: Sequence[str]
    data: Mapping[str, str]
    flaws: str
    level: str
    headline: Sequence[str]


class FoldScores(NamedTuple):
    """The scores of both experiments at one level, in the folds that both have; the index is (run, fold)."""

    a: pd.DataFrame
    b: pd.DataFrame


def parse_experiment(name: str, texts: Mapping[str, str]) -> Experiment:
    """Read an experiment from the texts of its files.

    Parameters
    ----------
    name : str
        The name of the experiment in messages.
    texts : mapping of str to str
        The text of each of `FILES`, by path.

    Raises
    ------
    MurmurError
        If a file is of another version, naming the experiment and what is missing.
    """
    try:
        scores, audit = (parse_csv(texts[path], f"{name}: {path}") for path in (FOLDS, AUDIT))
        scores, audit = scores.set_index(["level", "run", "fold"]), audit.set_index(["run", "fold"])
        folds = scores.join(audit[["n_train", "n_validation", "n_test", "test_sha256"]])
        if missing := folds.index[folds["test_sha256"].isna()].tolist():
            raise ValueError(f"audit.csv lacks run {missing[0][1]}, fold {missing[0][2]}")
        metrics = [column for column in scores if not column.startswith("n_")]
        details = json.loads(texts[DETAILS])
        data = {key: details["data"][key] for key in ("dataset", "task", "sha256", "sha256_patients")}
        flaws, headline = leaks.describe_leak(details), list(details["headline"])
        return Experiment(name, folds, metrics, data, flaws, details["level"], headline)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MurmurError(f"{name}: its files in metrics/ do not fit together ({reason}); {AGAIN}") from error


def compute_paired_tests(differences: np.ndarray, ratio: float, rope: float = ROPE) -> dict[str, np.ndarray]:
    """Test whether the mean of paired differences over folds is zero, and whether it is of practical size.

    Parameters
    ----------
    differences : ndarray, shape [..., J]
        The scores of B minus those of A, in J folds.
    ratio : float
        The size of a test part divided by that of its training part.
    rope : float
        Half the width of the region of practical equivalence, in the unit of the metric.

    Returns
    -------
    dict of str to ndarray, shape [...]
        difference: the mean. error: its standard error. low, high: the 95 % interval. t and two-sided p, with
        J - 1 degrees of freedom. below, equivalent, above: the probabilities that the difference is below
        -rope, within ±rope and above rope. If all differences are equal no test is possible: p and equivalent
        are 1 if all of them are 0; else all values except difference are NaN.

    Notes
    -----
    The standard error is sqrt((1/J + ratio) variance), as in the corrected resampled t-test [1]_, over all
    folds of repeated cross-validation [2]_. The Bayesian correlated t-test [3]_ has a Student posterior of
    the mean with scale² = (1/J + rho / (1 - rho)) variance, where rho is the share of the units that are
    tested. As rho / (1 - rho) is `ratio`, the scale equals the standard error.

    References
    ----------
    .. [1] Nadeau & Bengio, Inference for the Generalization Error, Machine Learning 52, 2003.
    .. [2] Bouckaert & Frank, Evaluating the Replicability of Significance Tests for Comparing Learning
       Algorithms, PAKDD 2004.
    .. [3] Corani & Benavoli, A Bayesian Approach for Comparing Cross-Validated Algorithms on Multiple Data
       Sets, Machine Learning 100, 2015.
    """
    n = differences.shape[-1]
    difference, all_equal = differences.mean(-1), np.ptp(differences, axis=-1) <= TOLERANCE
    all_zero = all_equal & (np.abs(difference) <= TOLERANCE / 2)
    error = np.where(all_equal, np.nan, np.sqrt((1 / n + ratio) * differences.var(-1, ddof=1)))
    posterior, t = stats.t(n - 1, difference, error), difference / error
    low, high = posterior.interval(1 - LEVEL)
    below, not_above = posterior.cdf(-rope), posterior.cdf(rope)
    figures = {"error": error, "low": low, "high": high, "t": t, "p": 2 * stats.t.sf(np.abs(t), n - 1)}
    figures |= {"below": below, "equivalent": not_above - below, "above": posterior.sf(rope)}
    if_zero = {"p": 1, "equivalent": 1}
    defined = {name: np.where(all_zero, if_zero.get(name, 0), value) for name, value in figures.items()}
    return {"difference": difference, **defined}


def compare_experiments(
    a: Experiment,
    b: Experiment,
    *,
    metrics: Sequence[str] = (),
    level: str | None = None,
    rope: float = ROPE,
) -> dict[str, Any]:
    """Test whether B differs from A, paired over their common folds.

    Runs with the same test part (a published split) count once, with their mean score: their spread shows
    the effect of the seed, not that of other persons. A fold in which a metric is undefined for A or B is
    left out of this metric.

    Parameters
    ----------
    a, b : Experiment
        The base and the candidate.
    metrics : sequence of str
        Columns of folds.csv; the first one gives the verdict. By default the headline metrics of A.
    level : str, optional
        segment, recording or patient; by default that of the headlines.
    rope : float
        As for `compute_paired_tests`, for each metric.

    Returns
    -------
    dict
        The `verdict` in a sentence, `notes` and, under `metrics`, the figures of each metric.

    Raises
    ------
    MurmurError
        Naming both sides, if they differ in data, task, level or test parts, have no run in common, or lack a
        metric.
    """
    level = level or _get_common_level(a, b)
    _check_data(a, b, level)
    names = _check_metrics(metrics or a.headline, a, b)
    scores = _select_common_folds(a, b, level)
    _check_test_parts(a, b, scores)
    both = pd.concat(scores)
    ratio = float((both["n_test"] / (both["n_train"] + both["n_validation"])).mean())
    table = {name: _compare_metric(name, scores, ratio, rope) for name in names}
    return {
        "a": {"name": a.name, "leaky": bool(a.flaws), "flaws": a.flaws},
        "b": {"name": b.name, "leaky": bool(b.flaws), "flaws": b.flaws},
        "data": dict(a.data),
        "level": level,
        "runs": scores.a.index.unique("run").tolist(),
        "folds": len(scores.a),
        "ratio": ratio,
        "rope": rope,
        "verdict": describe_verdict(names[0], table[names[0]], rope),
        "notes": [*_list_warnings(a, b, level, scores), *_list_table_notes(table, len(scores.a))],
        "metrics": table,
    }


def describe_verdict(name: str, row: Mapping[str, Any], rope: float) -> str:
    """Describe the result for one metric in a sentence.

    Parameters
    ----------
    name : str
        The metric.
    row : mapping
        Its figures, as in the result of `compare_experiments`.
    rope : float
        The region of practical equivalence, ±.
    """
    if not row["pairs"]:
        return f"no test: {name} is undefined in every fold"
    difference = f"{name} differs by {formatting.format_figure(row['difference'], '+')}"
    if row["pairs"] < 2:
        return f"no test: one pair of scores; {difference}; use more split.runs of kfold or holdout"
    if row["p"] is None:
        return f"no test: {difference} in each fold; without any spread it cannot be tested"
    if row["low"] == row["high"]:
        return f"no difference: {name} is the same in every fold"
    interval = formatting.format_interval(row, formatting.BRACKETED, "+")
    pairs = formatting.format_count(row["pairs"], "pair")
    result = f"{difference} {interval}, p {_format_p(row['p'])} ({pairs})"
    if row["equivalent"] >= 1 - LEVEL:
        result += f"; the difference is within ±{rope:g} with a probability of {row['equivalent']:.2f}"
    if row["p"] >= LEVEL:
        return f"no significant difference: {result}"
    better = "B" if (row["difference"] > 0) != row["lower_is_better"] else "A"
    return f"{better} is better: {result}"


def format_text(result: Mapping[str, Any]) -> str:
    """Format the result of `compare_experiments` for a terminal."""
    table = formatting.format_table(_tabulate(result))
    return "\n".join([result["verdict"], *_describe_sides(result), *result["notes"], "", table])


def format_markdown(result: Mapping[str, Any]) -> str:
    """Format the result of `compare_experiments` for a pull request."""
    notes = [f"- {note}" for note in (*_describe_sides(result), *result["notes"])]
    return "\n".join(
        [f"**{result['verdict']}**", "", formatting.format_markdown_table(_tabulate(result)), "", *notes]
    )


def _check_data(a: Experiment, b: Experiment, level: str) -> None:
    keys = ("dataset", "task", "sha256_patients" if level == "patient" else "sha256")
    different = [f"{key} {a.data[key]} / {b.data[key]}" for key in keys if a.data[key] != b.data[key]]
    if different:
        raise MurmurError(
            f"A ({a.name}) and B ({b.name}) are not of the same data and task: {', '.join(different)}; "
            "run both on the same"
        )


def _get_common_level(a: Experiment, b: Experiment) -> str:
    if a.level != b.level:
        raise MurmurError(
            f"the headline of A ({a.name}) is of the {a.level} level, that of B ({b.name}) of the {b.level} "
            "level; choose one with --level"
        )
    return a.level


def _check_metrics(metrics: Sequence[str], a: Experiment, b: Experiment) -> list[str]:
    """The metrics, if both experiments have them."""
    for side, experiment in (("A", a), ("B", b)):
        if unknown := [name for name in metrics if name not in experiment.metrics]:
            raise MurmurError(
                f"{side} ({experiment.name}) has no metric {', '.join(unknown)}; "
                f"choose others with --metric; there are {', '.join(experiment.metrics)}"
            )
    return list(metrics)


def _select_common_folds(a: Experiment, b: Experiment, level: str) -> FoldScores:
    for side, experiment in (("A", a), ("B", b)):
        if level not in (levels := experiment.folds.index.unique("level")):
            raise MurmurError(
                f"{side} ({experiment.name}) has no {level} level; there are {', '.join(levels)}"
            )
    scores_a, scores_b = a.folds.loc[level], b.folds.loc[level]
    common = scores_a.index.intersection(scores_b.index)
    if common.empty:
        runs = " / ".join(formatting.join_sorted(table.index.unique("run")) for table in (scores_a, scores_b))
        raise MurmurError(
            f"A ({a.name}) and B ({b.name}) have no run in common: {runs}; run both with the same split.runs"
        )
    return FoldScores(scores_a.loc[common], scores_b.loc[common])


def _check_test_parts(a: Experiment, b: Experiment, scores: FoldScores) -> None:
    """Check that the test parts of all folds are the same and have the same number of units."""
    for column, name in (("test_sha256", "test part"), ("n_units", "number of units")):
        if different := scores.a.index[scores.a[column] != scores.b[column]].tolist():
            run, fold = different[0]
            values = " / ".join(str(table.loc[different[0], column]) for table in scores)
            raise MurmurError(
                f"run {run}, fold {fold}: A ({a.name}) and B ({b.name}) differ in their {name}: "
                f"{values} ({len(different)} such of {len(scores.a)} folds); "
                "run both with the same seed and the same sections split and segment"
            )


def _compare_metric(name: str, scores: FoldScores, ratio: float, rope: float) -> dict[str, Any]:
    """The figures of a metric; worse and better are those of B, whether lower or higher is better."""
    folds = pd.DataFrame({"a": scores.a[name], "b": scores.b[name], "part": scores.a["test_sha256"]}).dropna()
    pairs = folds.groupby("part", sort=False).mean()
    differences = pairs["b"] - pairs["a"]
    row = {"a": pairs["a"].mean(), "b": pairs["b"].mean(), "difference": differences.mean()}
    row |= dict.fromkeys(FIGURES, np.nan)
    lower_is_better = name in LOWER_IS_BETTER
    if len(pairs) > 1:
        tests = compute_paired_tests(differences.to_numpy(), ratio, rope)
        worse, better = ("above", "below") if lower_is_better else ("below", "above")
        tests |= {"worse": tests[worse], "better": tests[better]}
        row |= {key: tests[key] for key in FIGURES}
    figures = {key: float(value) if np.isfinite(value) else None for key, value in row.items()}
    counts = {"pairs": len(pairs), "undefined": len(scores.a) - len(folds)}
    return {**figures, **counts, "lower_is_better": lower_is_better}


def _list_warnings(a: Experiment, b: Experiment, level: str, scores: FoldScores) -> Iterable[str]:
    """Notes on leaks, on runs that only one side has, and on too few runs or test parts."""
    sides = (("A", a), ("B", b))
    for side, experiment in sides:
        if experiment.flaws:
            yield (
                f"WARNING: {side} ({experiment.name}) is LEAKY ({experiment.flaws}): its scores may be too "
                "optimistic, and the difference may be wrong"
            )
    runs = scores.a.index.unique("run")
    for side, experiment in sides:
        if others := set(experiment.folds.loc[level].index.unique("run")) - set(runs):
            yield (
                f"only {side} has run {formatting.join_sorted(others)}: compared is run "
                f"{formatting.join_sorted(runs)}"
            )
    n_folds, n_parts = len(scores.a), scores.a["test_sha256"].nunique()
    if n_parts < n_folds:
        yield (
            f"{n_folds} folds have {formatting.format_count(n_parts, 'different test part')}: folds with "
            "the same one count once, with their mean score, because more seeds are not more persons"
        )
    elif len(runs) == 1 and n_parts > 1:
        yield "one run is one random split; more split.runs would show how much the split matters"


def _list_table_notes(table: Mapping[str, Mapping[str, Any]], n_folds: int) -> Iterable[str]:
    for name, row in table.items():
        if row["undefined"]:
            yield (
                f"{name} is undefined in {row['undefined']} of {n_folds} folds (a class is absent there): "
                "left out"
            )
    if len(table) > 1:
        yield "the first row decides; the others are descriptive (no correction for multiple tests)"


def _describe_sides(result: Mapping[str, Any]) -> list[str]:
    folds = formatting.format_count(result["folds"], "fold")
    runs = formatting.format_count(len(result["runs"]), "run")
    return [
        f"A: {result['a']['name']}   B: {result['b']['name']}",
        (
            f"{result['level']} level, mean of {folds} of {runs}; "
            f"worse, better: B by more than {result['rope']:g}, equivalent: within it"
        ),
        (
            "A and B are means over folds; `dvc metrics diff` shows means over runs, where a run pools its "
            "folds: a small difference can have the other sign there"
        ),
    ]


def _tabulate(result: Mapping[str, Any]) -> formatting.Rows:
    """The table of a result, its header first; leaky sides are marked in the header."""
    marks = {side: f"{side} (LEAKY)" for side in "AB" if result[side.lower()]["leaky"]}
    header = tuple(marks.get(name, name) for name in HEADER)
    return [header, *(_format_row(name, row) for name, row in result["metrics"].items())]


def _format_row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    mark = " (lower is better)" if row["lower_is_better"] else ""
    return (
        name + mark,
        formatting.format_figure(row["a"]),
        formatting.format_figure(row["b"]),
        formatting.format_figure(row["difference"], "+"),
        formatting.format_interval(row, formatting.BRACKETED, "+"),
        _format_p(row["p"]),
        *(formatting.format_figure(row[key]) for key in ("worse", "equivalent", "better")),
    )


def _format_p(p: float | None) -> str:
    return "< 0.001" if p is not None and p < 0.001 else formatting.format_figure(p)
