"""The command that trains and scores on the splits of publications."""

import logging
import time
from pathlib import Path
from typing import Annotated

import typer

from murmur import formatting
from murmur.commands.recipes import Settings, complete_name
from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.logs import escape_unprintable
from murmur.params.yaml_files import read_yaml
from murmur.progress import format_duration

logger = logging.getLogger(__name__)

Lists = Annotated[
    list[Path],
    typer.Argument(
        metavar="LIST",
        help="a CSV file with the column dest_file, or a folder with train.txt, validation.txt and test.txt",
        default_factory=list,
        show_default=False,
    ),
]
Part = Annotated[Path | None, typer.Option(help="one more list: a file of ids", show_default=False)]
Recipe = Annotated[
    str | None,
    typer.Option(help="a recipe; by default the present params.yaml", autocompletion=complete_name),
]


def score_literature(
    lists: Lists,
    settings: Settings,
    train: Part = None,
    validation: Part = None,
    test: Part = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="number of trainings for each list")] = 5,
    recipe: Recipe = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="the data may lack patients of the lists")
    ] = False,
    only_published: Annotated[
        bool, typer.Option("--only-published", help="do not repeat it without the shared persons")
    ] = False,
    md: Annotated[bool, typer.Option("--md", help="as Markdown")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="as CSV, a row for each training")] = False,
) -> None:
    """Train and score on the splits of publications.

    Each LIST is a split. Its table is printed beside the published figures: as published, and again after the
    persons in the test part were removed from the training and validation parts. Trainings that ran before
    are reused, also those of an interrupted command.

    Examples
    --------
    murmur literature m2d/datalist_stratified_data*.csv
    murmur literature lists/a lists/b --recipe circor_attention --seeds 3
    murmur literature --train train.txt --test test.txt --md
    """
    from murmur.experiments import literature
    from murmur.experiments.split_lists import read_list, read_parts
    from murmur.tables.csv_writer import format_csv

    start = time.monotonic()
    content = recipes.read_recipe(recipe) if recipe else read_yaml("params.yaml")
    for setting in settings:
        recipes.apply_setting(content, setting)
    tables = {path.stem: read_list(path) for path in lists}
    if len(tables) < len(lists):
        raise MurmurError("two lists have the same name: rename one of them")
    parts = {"train": train, "validation": validation, "test": test}
    if files := {role: path for role, path in parts.items() if path}:
        if not (train and test):
            raise MurmurError("--train, --validation and --test: name at least --train and --test")
        tables[str(test)] = read_parts(files)
    if not tables:
        raise MurmurError("no list: name a CSV file or a folder, or --train and --test")
    options = {"allow_missing": allow_missing, "only_published": only_published}
    scores = literature.score_lists(tables, content, seeds, **options)
    n_runs = sum(len(s.runs) for s in scores)
    logger.info(
        "%s in %s", formatting.format_count(n_runs, "training"), format_duration(time.monotonic() - start)
    )
    if as_csv:
        print(format_csv(literature.list_runs(scores)), end="")
        return
    is_circor = (content["dataset"], content["task"]) == ("circor", "murmur")
    rows = literature.tabulate_scores(scores, is_circor=is_circor)
    table = formatting.format_markdown_table(rows) if md else formatting.format_table(rows)
    notes = literature.list_notes(scores, is_circor=is_circor)
    text = "\n".join([table, "", *(f"- {note}" for note in notes)] if md else [table, *notes])
    print(escape_unprintable(text, lines=True))
