"""The command that compares two experiments."""

import json
from typing import Annotated

import typer

from murmur.experiments import project
from murmur.experiments.current import warn_if_params_changed
from murmur.logs import escape_unprintable

Base = Annotated[str, typer.Argument(help="the base: a git revision, a DVC experiment or `workspace`")]
Candidate = Annotated[str, typer.Argument(help="the revision, experiment or workspace to test")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="a column of metrics/folds.csv; may be repeated, the verdict uses the first"
    ),
]
Level = Annotated[str | None, typer.Option(help="segment, recording or patient")]
Rope = Annotated[
    float, typer.Option(min=0, help="region of practical equivalence (±), in the unit of the metric")
]


def compare_revisions(
    a: Base = "HEAD",
    b: Candidate = "workspace",
    metric: Metrics = None,
    level: Level = None,
    rope: Rope = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    md: Annotated[bool, typer.Option("--md", help="as Markdown")] = False,
) -> None:
    """Test whether two experiments differ significantly.

    The test is paired over the folds and corrected for their dependence.

    Examples
    --------
    murmur compare
    murmur compare main my-experiment --metric uar --level patient
    """
    from murmur.experiments import comparison  # imports scipy

    if "workspace" in (a, b):
        warn_if_params_changed()
    sides = [comparison.parse_experiment(*project.read_revision(name, comparison.FILES)) for name in (a, b)]
    result = comparison.compare_experiments(*sides, metrics=metric or (), level=level, rope=rope)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        text = comparison.format_markdown(result) if md else comparison.format_text(result)
        print(escape_unprintable(text, lines=True))
