"""An ablation study: a recipe compared with itself after each change of a list, on the same folds."""

import json
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, Field

from murmur import formatting
from murmur.errors import MurmurError
from murmur.experiments import comparison, project, recipes
from murmur.experiments.comparison import Experiment
from murmur.params.validation import validate
from murmur.params.yaml_files import read_yaml
from murmur.sections.experiment import Params
from murmur.tables.csv_reader import read_csv

BASE = "(base)"
TEXT = Annotated[str, Field(min_length=1)]
INTRODUCTION = """\
# Ablation

What the ingredients of the recipe `{recipe}` contribute: each row changes what it names and keeps the rest.
{base}
- All rows have the same test parts ({runs} runs, {folds} folds). A difference is to the base, paired over
  the folds, with the 95 % interval of the corrected resampled t-test, as `murmur compare` prints it. **Bold:
  the interval excludes 0**, which by chance alone is expected for {chance} of the {rows} rows in each column.
- validation: the score of the validation parts, by which to choose. minutes: how long one fold was trained on
  one core, with all its networks; other programs on the computer make it longer.
- The test parts were scored {looks} times for this table: for the base and for each row. A row that is chosen
  by this table has a test score that is too high.

Made by `murmur ablation {plan}`; the figures with p-values are in `{csv}`.
"""


class Row(BaseModel, extra="forbid"):
    """A change of the recipe.

    Attributes
    ----------
    name : str
        What is changed, in a few words.
    ingredient : str
        What it is about; the table is sorted by it.
    settings : dict
        Dotted keys of params.yaml with their values.
    """

    name: TEXT
    ingredient: TEXT
    settings: Annotated[dict[str, Any], Field(min_length=1)]


class Plan(BaseModel, extra="forbid"):
    """The file of an ablation study.

    Attributes
    ----------
    recipe : str
        The base.
    runs : list of int
        `split.runs` of the base and of all rows.
    settings : dict
        Other changes of the base, and so of all rows.
    metrics : list of str
        Columns of metrics/folds.csv to compare.
    rows : list of Row
        The changes, each alone.
    """

    recipe: TEXT
    runs: list[int]
    settings: dict[str, Any] = {}
    metrics: Annotated[list[TEXT], Field(min_length=1)]
    rows: Annotated[list[Row], Field(min_length=1)]


class Outcome(NamedTuple):
    """The results of one set of parameters.

    Attributes
    ----------
    experiment : Experiment
        Its scores.
    validation : float or None
        The score of its validation parts.
    minutes : float or None
        The training time of a fold; None if no training ran, because the cache had its results.
    """

    experiment: Experiment
    validation: float | None
    minutes: float | None


def read_plan(path: Path) -> tuple[Plan, dict[str, dict[str, Any]]]:
    """Read the file of an ablation study.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Plan
        Its content.
    dict of str to dict
        All parameters of the base and of each row, by name, the base first.

    Raises
    ------
    MurmurError
        Naming the file and the key or the row, if a value is wrong, two rows have the same name, or a row
        changes nothing.
    """
    plan = validate(Plan, read_yaml(path), str(path))
    names = [BASE, *(row.name for row in plan.rows)]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise MurmurError(f"{path}: two rows have the name {repeated[0]!r}; rename one")
    changes = [{}, *(row.settings for row in plan.rows)]
    params = {}
    for name, settings in zip(names, changes, strict=True):
        where = f"{path}: {name}"
        params[name] = deepcopy(recipes.read_recipe(plan.recipe))
        for key, value in ({"split.runs": plan.runs} | plan.settings | settings).items():
            recipes.set_value(params[name], key, value, f"{where}: {key}")
        validate(Params, params[name], where)
        if name != BASE and params[name] == params[BASE]:
            raise MurmurError(f"{where}: changes nothing in the base; give another value, or remove the row")
    return plan, params


def run_study(plan: Plan, params: Mapping[str, dict[str, Any]], old: Path) -> Iterator[pd.DataFrame]:
    """Run the base and each row, and compare each row with the base.

    Each runs in a temporary folder with the cache of the project: what ran before is not repeated.

    Parameters
    ----------
    plan, params
        From `read_plan`.
    old : Path
        The table of an earlier study, which need not exist: it has the minutes of trainings that the cache
        holds, and its rows are kept until they have run again, if the base has the same scores.

    Yields
    ------
    DataFrame
        After each row the table so far: ingredient, row, settings, metric, base, score, pairs, difference,
        low, high, p, validation, minutes.

    Raises
    ------
    MurmurError
        If a stage fails, or if a row has other test parts than the base.
    """
    columns = ["row", "metric", "base", "minutes"]
    earlier = read_csv(old, columns) if old.exists() else pd.DataFrame(columns=columns, dtype=float)
    minutes, waiting = earlier.groupby("row")["minutes"].first().to_dict(), [row.name for row in plan.rows]
    base, rows = run_params(params[BASE], BASE), []
    for row in [None, *plan.rows]:
        outcome = run_params(params[row.name], row.name) if row else base
        rows += list(_compare(row, base, outcome, plan.metrics, minutes))
        waiting = [name for name in waiting if not row or name != row.name]
        scores = {figures["metric"]: figures["base"] for figures in rows}
        has_this_base = (earlier["metric"].map(scores) - earlier["base"]).abs() <= comparison.TOLERANCE
        rest = earlier[earlier["row"].isin(waiting) & has_this_base]
        yield pd.concat([pd.DataFrame(rows), rest], ignore_index=True) if len(rest) else pd.DataFrame(rows)


def run_params(params: Mapping[str, Any], name: str) -> Outcome:
    """Run the pipeline with these parameters."""
    with project.reproduce(params, name, "evaluate") as folder:
        texts = {path: (folder / path).read_text(encoding="utf-8") for path in comparison.FILES}
        minutes = _measure_training(folder / "live")
    validation = json.loads(texts[comparison.DETAILS])["validation"]["mean"]
    return Outcome(comparison.parse_experiment(name, texts), validation, minutes)


def _measure_training(folder: Path) -> float | None:
    """The mean training time of a fold, with all its networks, in minutes; None if nothing was trained."""
    paths = list(folder.glob("run_*/fold_*.json"))
    fits = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    folds = {(path.parent, fit["fold"]) for path, fit in zip(paths, fits, strict=True)}
    return sum(fit["seconds"] for fit in fits) / len(folds) / 60 if fits else None


def _compare(
    row: Row | None, base: Outcome, outcome: Outcome, metrics: list[str], minutes: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """The rows of the table for one row of the study, one for each metric."""
    table = comparison.compare_experiments(base.experiment, outcome.experiment, metrics=metrics)["metrics"]
    name = row.name if row else BASE
    settings = row.settings if row else {}
    facts = {
        "ingredient": row.ingredient if row else "",
        "row": name,
        "settings": ", ".join(f"{key}={recipes.format_value(value)}" for key, value in settings.items()),
    }
    cost = {
        "validation": outcome.validation,
        "minutes": minutes.get(name) if outcome.minutes is None else outcome.minutes,
    }
    for metric in metrics:
        figures = {"base": table[metric]["a"], "score": table[metric]["b"], "pairs": table[metric]["pairs"]}
        figures |= {key: table[metric][key] for key in ("difference", "low", "high", "p")} if row else {}
        yield {**facts, "metric": metric, **figures, **cost}


def format_page(table: pd.DataFrame, plan: Plan, path: Path) -> str:
    """Write the table as a page in Markdown, sorted by ingredient.

    Parameters
    ----------
    table : DataFrame
        From `run_study`.
    plan : Plan
        The study.
    path : Path
        The file of the study.
    """
    n = table["row"].nunique()
    settings = ", ".join(f"`{key}={recipes.format_value(value)}`" for key, value in plan.settings.items())
    text = INTRODUCTION.format(
        recipe=plan.recipe,
        base=f"The base is the recipe with {settings}.\n" if settings else "",
        runs=len(plan.runs),
        folds=table["pairs"].max(),
        rows=n - 1,
        chance=f"{0.05 * (n - 1):.1f}",
        looks=n,
        plan=path,
        csv=path.with_suffix(".csv").name,
    )
    return f"{text}\n{formatting.format_markdown_table(tabulate(table))}\n"


def tabulate(table: pd.DataFrame) -> formatting.Rows:
    """Arrange the table: a row for each change, the base first, with the difference in each metric.

    Parameters
    ----------
    table : DataFrame
        From `run_study`.
    """
    metrics = list(table["metric"].unique())
    rows = [["ingredient", "change", *metrics, "validation", "minutes"]]
    for _, part in sorted(table.groupby(["ingredient", "row"], sort=False), key=lambda item: item[0][0]):
        figures = part.set_index("metric").to_dict("index")
        first = figures[metrics[0]]
        cells = [_format_difference(figures[metric]) for metric in metrics]
        cost = [formatting.format_figure(first["validation"]), _format_minutes(first["minutes"])]
        rows.append([first["ingredient"], first["row"], *cells, *cost])
    return rows


def _format_difference(row: Mapping[str, Any]) -> str:
    """The score of the base, or a difference with its interval, bold if the interval excludes 0."""
    if row["row"] == BASE:
        return formatting.format_figure(row["base"])
    interval = formatting.format_interval(row, formatting.BRACKETED, "+")
    text = f"{formatting.format_figure(row['difference'], '+')} {interval}"
    return f"**{text}**" if row["low"] > 0 or row["high"] < 0 else text


def _format_minutes(minutes: float | None) -> str:
    return "-" if minutes is None or math.isnan(minutes) else f"{minutes:.1f}"
