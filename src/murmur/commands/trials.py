"""The command that lists the experiments."""

import csv
import logging
import sys
from collections import Counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from murmur import formatting
from murmur.experiments import project, trials
from murmur.experiments.trials import Trial
from murmur.formatting import Rows
from murmur.logs import escape_unprintable

logger = logging.getLogger(__name__)

Test = Annotated[bool, typer.Option("--test", help="also the test scores: look once, after the choice")]
AsCsv = Annotated[bool, typer.Option("--csv", help="as CSV, with a column for each changed parameter")]
Commits = Annotated[int, typer.Option(min=1, help="the last N commits of the branch, not only HEAD")]


def list_experiments(test: Test = False, as_csv: AsCsv = False, commits: Commits = 1) -> None:
    """List the experiments, sorted by their validation score.

    The best is first, and the parameters that differ from those of HEAD are listed. Choose by the
    validation score. The test score of an experiment that was chosen by its test score is too high. Scores of
    other data, another level, other thresholds or another metric have their own table.

    Examples
    --------
    murmur experiments
    murmur experiments --test
    murmur experiments --csv > tried.csv
    """
    listed = trials.list_trials(commits)
    head, groups = listed[0], trials.group_trials(listed)
    if as_csv:
        records = trials.list_records([trial for group in groups for trial in group], head, test=test)
        writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return
    for k, group in enumerate(groups):
        heading = escape_unprintable(trials.describe_group(group, head))
        print(f"\n{heading}" if k else heading)
        _print_table(trials.tabulate_trials(group, head, test=test))
    _log_notes(listed, test=test)


def _print_table(rows: Rows) -> None:
    """Print a table. A terminal breaks lines in its first and last column; redirected output breaks none."""
    rows = [[escape_unprintable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        print(formatting.format_table(rows))
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for k, name in enumerate(rows[0]):
        table.add_column(name, no_wrap=0 < k < len(rows[0]) - 1, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    Console().print(table)


def _log_notes(listed: list[Trial], *, test: bool) -> None:
    """How many experiments are queued or failed, and what to keep in mind."""
    states, experiments = Counter(trial.state for trial in listed), project.list_experiments()
    if not experiments and not states["queued"] + states["running"] + states["failed"]:
        logger.info("no experiments yet; begin with: dvc exp run -S train.lr=0.002 (docs/search.md)")
    if states["queued"] and states["running"]:
        logger.info("%d queued, %d running; look: dvc queue status", states["queued"], states["running"])
    elif states["queued"]:
        logger.info("%d queued; run them: dvc queue start -j 1; look: dvc queue status", states["queued"])
    if states["failed"]:
        logger.info("%d failed; the reason: dvc queue logs NAME", states["failed"])
    if n := sum(e.baseline != listed[0].commit for e in experiments):
        logger.info("based on another commit than HEAD, whose code may differ: %d of the experiments", n)
    if any(
        key == "seed" or key.startswith("split.") for t in listed for key in trials.list_changes(t, listed[0])
    ):
        logger.info("where split.* or seed differ, the validation parts differ: compare only equal ones")
    if test:
        logger.info(
            "a test score that decided the choice is too high; publish how many experiments were tried (%d)",
            len(experiments),
        )
