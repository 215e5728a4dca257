"""Comparison of the honest and the published protocol of a recipe on the same data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.experiments import project, recipes
from murmur.experiments.current import read_details

PROTOCOL_KEYS = (
    *("group_by", "validate_on", "flaws", "shared_persons", "shared_recordings", "shared_near", "leaky"),
)
PROTOCOLS = ("honest", "as published")
NO_FIGURE = dict.fromkeys(("mean", "low", "high"))


def run_protocols(name: str, settings: Sequence[str]) -> list[dict[str, Any]]:
    """Run a recipe under the honest and under the published protocol.

    Each runs in a temporary folder with the cache of the project, so that stages that ran before are reused.

    Parameters
    ----------
    name : str
        The recipe.
    settings : sequence of str
        Changes of parameters for both runs, each ``key=value``.

    Returns
    -------
    list of two dicts
        The details (metrics/details.json) of both runs, honest first.

    Raises
    ------
    MurmurError
        If the recipe or a setting is wrong, or if the recipe has no published protocol.
    """
    content = recipes.read_recipe(name)
    for setting in settings:
        recipes.apply_setting(content, setting)
    if not content.get("published"):
        raise MurmurError(f"recipe {name} names no published protocol to compare with")
    published = recipes.apply_published(content, f"recipe {name}")
    return [
        _run_pipeline(parameters, f"{name}, {protocol}")
        for parameters, protocol in zip((content, published), PROTOCOLS, strict=True)
    ]


def _run_pipeline(content: Mapping[str, Any], title: str) -> dict[str, Any]:
    """The details of a run with these parameters."""
    with project.reproduce(content, title, "evaluate") as folder:
        return read_details(folder)


def tabulate_gap(honest: Mapping[str, Any], published: Mapping[str, Any]) -> formatting.Rows:
    """The headline metrics under both protocols with their difference, then the properties of the protocols.

    Parameters
    ----------
    honest, published : mapping
        The details (metrics/details.json) of both runs.

    Returns
    -------
    sequence of rows
        The header first.
    """
    runs = (honest, published)
    constant = [
        f"always {run['baseline']['answer']} ({short})" for run, short in zip(runs, ("h.", "p."), strict=True)
    ]
    titles = [protocol + _mark_title(run) for run, protocol in zip(runs, PROTOCOLS, strict=True)]
    metrics = [_compare_metric(name, honest, published) for name in honest["headline"]]
    protocols = [
        (key, str(honest["protocol"][key]), str(published["protocol"][key]), "", "", "")
        for key in PROTOCOL_KEYS
    ]
    return [("", *titles, "gap", *constant), *metrics, *protocols]


def _mark_title(details: Mapping[str, Any]) -> str:
    if _shares_nothing_known(details):
        return " (persons unknown)"
    return " (LEAKY)" if details["protocol"]["leaky"] else ""


def _shares_nothing_known(details: Mapping[str, Any]) -> bool:
    """Return whether the only flaw is that the data set does not name the person of each recording."""
    protocol = details["protocol"]
    shared = [*leaks.list_shared(protocol), *leaks.describe_inner_leak(protocol)]
    return protocol["flaws"] == "data set" and not shared


def _compare_metric(name: str, honest: Mapping[str, Any], published: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table: both means, their difference, and both constant predictions."""
    rows = (honest["headline"][name], published["headline"].get(name, NO_FIGURE))
    means = [row["mean"] for row in rows]
    gap = None if None in means else means[1] - means[0]
    constant = [run["baseline"].get(name) for run in (honest, published)]
    return (
        name,
        *(formatting.format_with_interval(row, formatting.BRACKETED) for row in rows),
        formatting.format_figure(gap, "+"),
        *map(formatting.format_figure, constant),
    )


def list_leaks(honest: Mapping[str, Any], published: Mapping[str, Any]) -> Iterable[str]:
    """For each protocol that leaks, or may leak, a sentence on its leaks."""
    for run, protocol in zip((honest, published), PROTOCOLS, strict=True):
        if _shares_nothing_known(run):
            reason = leaks.describe_leak(run)
            yield f"{protocol}: the parts of the folds share nothing that is known, but {reason}."
        elif mark := leaks.mark_leak(run):
            yield f"{protocol}: {mark}"
