"""The command that searches parameters."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from murmur import formatting
from murmur.files import remove_path, write_text
from murmur.logs import escape_unprintable

if TYPE_CHECKING:  # imports Optuna
    from murmur.experiments.search_results import Results
    from murmur.experiments.search_space import Search

TABLE, BEST = "trials.csv", "best.yaml"
HINT = """\
Run the best trial (its trainings are in the cache):
  {command}
or write it to params.yaml:
  murmur use {best} && dvc exp run
Its validation score is the best of many, and so too high. Are its test scores better than those of HEAD?
  murmur compare"""
logger = logging.getLogger(__name__)


def tune_params(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="metric and values to try, in YAML")],
) -> None:
    """Search parameters by the score of the validation parts.

    No test part is scored. Each trial runs in a temporary folder with the cache of the project. A folder
    beside FILE, with its name, gets the journal, the table of the trials, pictures, and the best parameters
    as a recipe. An interrupted search continues where it was: start it again.

    Examples
    --------
    murmur tune searches/lr.yaml
    murmur use searches/lr/best.yaml
    """
    from murmur.experiments import search_results, search_space, tuning  # these import Optuna
    from murmur.reporting.search_plots import draw_search
    from murmur.tables.csv_writer import write_csv

    search, folder = search_space.read_search(path), path.with_suffix("")
    for results in tuning.run_search(search, folder):
        write_csv(search_results.tabulate(results, search), folder / TABLE)
        if recipe := search_results.format_best(results, search):
            write_text(folder / BEST, recipe)
        else:
            remove_path(folder / BEST)
        logger.info("%s", search_results.describe_last(results, search))
    files = [folder / TABLE, *draw_search(results, search.plan.metric, folder)]
    _print_results(results, search)
    print(f"written: {', '.join(map(str, files))}")


def _print_results(results: "Results", search: "Search") -> None:
    """Print the table of the trials, and the commands that run the best one."""
    from murmur.experiments import search_results, search_space

    print(search_results.describe(results, search))
    rows = [[escape_unprintable(cell) for cell in row] for row in search_results.arrange(results, search)]
    print(formatting.format_table(rows))
    if not results.best:
        print("No trial has a better score than the base: keep its parameters.")
        return
    values = search_results.decode_values(search, results.best.params)
    best = search.path.with_suffix("") / BEST
    print(HINT.format(command=search_space.format_command(search, values), best=shlex.quote(str(best))))
