"""What the errors are: how often units are recognised or give a false alarm, by murmur, site and patient."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from murmur.evaluation.levels import Level
from murmur.evaluation.subgroups import divide, score_part

PARTS = {"sensitivity": True, "specificity": False}  # metric: whether it is that of the positive units
FACTS = ("murmur_grade", "murmur_timing", "murmur_pitch", "annotated", "sex", "age_group")  # of patients
QUARTERS = {0.0: "0-25 %", 0.25: "25-50 %", 0.5: "50-75 %", 0.75: "75-100 %"}  # of the annotated fraction
ALL = "all"
COLUMNS = ["metric", "group", "value", "level", "n_units", "n_persons", "mean", "sd", "low", "high"]


def score_error_groups(levels: Mapping[str, Level], draws: int, seed: int) -> pd.DataFrame:
    """Score groups of positive units by sensitivity and groups of all other units by specificity.

    Grade, timing and pitch of the murmur, the annotated fraction (noise is not annotated), sex and age divide
    the patients, the site divides the recordings. A fact that is the same for all units gives no groups.

    Parameters
    ----------
    levels : dict of str to Level
        By name.
    draws, seed : int
        As in `scores.bootstrap_persons`.

    Returns
    -------
    DataFrame
        metric, group (the fact; `ALL` for all patients), value, level, n_units, n_persons; mean and sd over
        runs; low and high, the 95 % interval over persons.

    Notes
    -----
    If all units of a group are right in every run, or all are wrong, a bootstrap has no spread. The interval
    is then that of Clopper and Pearson for the number of persons. Otherwise one person has no interval.
    """
    tables = [
        score_part(part, [metric], draws, seed).assign(group=group, value=value)
        for metric, is_positive in PARTS.items()
        for level in (levels[name] for name in ("patient", "recording") if name in levels)
        for group, value, part in _list_groups(level.select(level.is_positive == is_positive))
    ]
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(tables, ignore_index=True)[COLUMNS]
    bound = (0.025 ** (1 / table["n_persons"])).where(table["low"].notna())
    has_no_spread = (table["n_persons"] == 1) & table["mean"].between(0, 1, inclusive="neither")
    table.loc[has_no_spread, ["low", "high"]] = np.nan
    return table.assign(
        low=table["low"].mask(table["mean"] == 1, bound),
        high=table["high"].mask(table["mean"] == 0, 1 - bound),
    )


def _list_groups(level: Level) -> Iterable[tuple[str, str, Level]]:
    """The groups of a level: fact, value and rows."""
    if level.name == "patient" and len(level):
        yield ALL, ALL, level
    for fact in FACTS if level.name == "patient" else ("site",):
        values = level.units.facts[fact]
        if fact.startswith("murmur_"):  # of the systolic murmur, if there is a diastolic one too
            values = values.map(lambda value: value.partition("+")[0], na_action="ignore")
        if fact == "annotated":
            values = pd.cut(values, [*QUARTERS, 1.0], labels=list(QUARTERS.values()), include_lowest=True)
            values = values.astype(object)
        if values.iloc[level.unit].nunique(dropna=False) > 1:
            yield from ((fact, value, part) for value, part in divide(level, values))
