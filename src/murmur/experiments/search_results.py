"""The results of a search: the best trial, and all trials as a table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from murmur import formatting
from murmur.experiments import recipes
from murmur.experiments.comparison import LOWER_IS_BETTER
from murmur.experiments.search_space import Search, convert_value, get_value, set_values

BASE = "base"
REASON = "reason"  # the attribute of a trial that has failed
STATES = ("complete", "pruned", "failed")  # in the order of the printed table


class Results(NamedTuple):
    """The results so far.

    Attributes
    ----------
    study : Study
        The study.
    base : float
        The score of the base.
    """

    study: Study
    base: float

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials that have ended. The others were interrupted, and the same values were tried again."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    @property
    def best(self) -> FrozenTrial | None:
        """The trial with the best score of all runs; None if it is not better than the base."""
        sign = -1 if self.study.direction == StudyDirection.MINIMIZE else 1
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        best = max(complete, key=lambda trial: sign * trial.values[0], default=None)
        return best if best and sign * best.values[0] > sign * self.base else None


def name_state(trial: FrozenTrial) -> str:
    """Name the state of a trial that has ended: one of `STATES`."""
    return "failed" if REASON in trial.user_attrs else trial.state.name.lower()


def decode_values(search: Search, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the parameters from those of Optuna, by key."""
    return {key: convert_value(domain, values[key]) for key, domain in search.domains.items()}


def format_values(values: Mapping[str, Any]) -> str:
    """Format values as `key=value, key=value`."""
    return ", ".join(f"{key}={recipes.format_value(value)}" for key, value in values.items())


def tabulate(results: Results, search: Search) -> pd.DataFrame:
    """Make a table with a row for the base and for each trial.

    Returns
    -------
    DataFrame
        trial, state, validation, runs (how many are scored), a column for each key, reason (of a failure).
    """
    base = {"trial": BASE, "state": "complete", "validation": results.base, "runs": len(search.runs)}
    base |= {key: recipes.format_value(get_value(search.base, key)) for key in search.domains}
    rows = [base | {"reason": ""}]
    for number, trial in enumerate(results.trials, 1):
        scores = [*trial.intermediate_values.values()]
        state = name_state(trial)
        values = decode_values(search, trial.params)
        rows.append(
            {
                "trial": str(number),
                "state": state,
                "validation": None if state == "failed" else scores[-1],
                "runs": len(scores),
                **{key: recipes.format_value(value) for key, value in values.items()},
                "reason": trial.user_attrs.get(REASON, ""),
            }
        )
    return pd.DataFrame(rows)


def describe(results: Results, search: Search) -> str:
    """State the metric and how many trials were scored."""
    states = [name_state(trial) for trial in results.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES)
    trials, runs = (
        formatting.format_count(n, noun) for n, noun in ((len(states), "trial"), (len(search.runs), "run"))
    )
    metric = f"{search.plan.metric} by {search.base['evaluate']['level']}"
    return f"{metric}: {trials}, scored on the validation parts of {runs}: {counts}; no test part was scored"


def arrange(results: Results, search: Search) -> formatting.Rows:
    """Arrange the table of `tabulate` as text: complete trials first, the best one at the top."""
    table = tabulate(results, search)
    table = table.sort_values(
        "validation", ascending=search.plan.metric in LOWER_IS_BETTER, kind="stable"
    ).sort_values("state", key=lambda states: states.map(STATES.index), kind="stable")
    rows = [["trial", "validation", "runs", *search.domains]]
    for row in table.to_dict("records"):
        state = "" if row["state"] == "complete" else f" {row['state']}"
        score = formatting.format_figure(row["validation"]) + state
        rows.append([row["trial"], score, str(row["runs"]), *(row[key] for key in search.domains)])
    return rows


def describe_last(results: Results, search: Search) -> str:
    """Describe the last trial and the best so far in one line; the base if there is no trial."""
    base = f"base {formatting.format_figure(results.base)}"
    if not results.trials:
        return base
    rows = tabulate(results, search)
    row, best = rows.iloc[-1], results.best
    score = formatting.format_figure(row["validation"])
    text = f"trial {row['trial']} of {search.plan.trials} {row['state']}: {score}"
    return f"{text} (best {formatting.format_figure(best.values[0])}, {base})" if best else f"{text} ({base})"


def format_best(results: Results, search: Search) -> str:
    """Format the parameters of the best trial as a recipe; empty if it is not better than the base."""
    if not (best := results.best):
        return ""
    values, number = decode_values(search, best.params), results.trials.index(best) + 1
    scores = f"{search.plan.metric} {best.values[0]:.3f} (base: {results.base:.3f})"
    head = (
        f"# The best trial of {search.path.name}\n#\n# `murmur tune {search.path}`: trial {number} of "
        f"{len(results.trials)}.\n# Validation parts: {scores}.\n# Tried: {', '.join(search.domains)}\n"
    )
    return recipes.format_recipe(set_values(search.base, values), head)
