"""The command that compares a recipe with changes of itself."""

from pathlib import Path
from typing import Annotated

import typer

from murmur import formatting
from murmur.files import write_text


def run_ablation(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="the list of changes, in YAML")],
) -> None:
    """Compare a recipe with changes of itself, on the same folds.

    Each change runs in a temporary folder with the cache of the project. After each, the table is written
    beside FILE, as .csv and .md. An interrupted study continues where it was: start it again.

    Examples
    --------
    murmur ablation docs/ablation.yaml
    """
    from murmur.experiments import ablation  # imports scipy
    from murmur.tables.csv_writer import write_csv

    plan, params = ablation.read_plan(path)
    for table in ablation.run_study(plan, params, path.with_suffix(".csv")):
        write_csv(table, path.with_suffix(".csv"))
        write_text(path.with_suffix(".md"), ablation.format_page(table, plan, path))
    print(formatting.format_table(ablation.tabulate(table)))
