"""The headline metrics within subgroups: by site, source, quality, sex and age group."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from murmur.evaluation import scores
from murmur.evaluation.levels import Level

FACTS = ("site", "source", "quality", "sex", "age_group")
COLUMNS = ["group", "value", "level", "n_units", "n_persons", "metric", "mean", "sd", "low", "high"]


def score_subgroups(levels: Mapping[str, Level], names: Sequence[str], draws: int, seed: int) -> pd.DataFrame:
    """Score the units of each subgroup: a row for each metric of each value of each fact.

    Site, source and quality divide the recordings, sex and age group the patients. A fact that is the same
    for all units gives no subgroups.

    Parameters
    ----------
    levels : dict of str to Level
        By name.
    names : sequence of str
        The metrics.
    draws, seed : int
        As in `scores.bootstrap_persons`.

    Returns
    -------
    DataFrame
        group (the fact), value, level, n_units, n_persons, metric, mean, sd, low, high.
    """
    tables = [
        score_part(part, names, draws, seed).assign(group=fact, value=value)
        for fact, level in _divided_levels(levels)
        for value, part in divide(level, level.units.facts[fact])
    ]
    return pd.concat(tables)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def _divided_levels(levels: Mapping[str, Level]) -> Iterable[tuple[str, Level]]:
    """Each fact with several values, and the level that it divides."""
    for fact in FACTS:
        of_patients = fact in ("sex", "age_group") or "recording" not in levels
        level = levels.get("patient" if of_patients else "recording")
        if level and fact in level.units.facts and level.units.facts[fact].nunique(dropna=False) > 1:
            yield fact, level


def divide(level: Level, values: pd.Series) -> Iterable[tuple[str, Level]]:
    """Each value of the units of a level, in alphabetical order, and the rows of the level that have it."""
    of_rows = values.fillna("not stated").to_numpy(str)[level.unit]
    for value in np.unique(of_rows):
        yield str(value), level.select(of_rows == value)


def score_part(level: Level, names: Sequence[str], draws: int, seed: int) -> pd.DataFrame:
    """Score part of a level, a row for each metric: level, n_units, n_persons, mean, sd, low and high."""
    runs = scores.score_units(level, ["run"])
    drawn = scores.bootstrap_persons(level, names, draws, seed)
    table = pd.DataFrame(scores.summarise_headline(runs, names, drawn)).T
    return (
        table.rename_axis("metric")
        .reset_index()
        .assign(
            level=level.name,
            n_units=len(np.unique(level.unit)),
            n_persons=len(np.unique(level.person)),
        )
    )
