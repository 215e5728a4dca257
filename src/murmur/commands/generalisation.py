"""Commands that evaluate the trained models on external data and on disturbed recordings."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.experiments import current
from murmur.files import write_text

logger = logging.getLogger(__name__)

Mappings = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="LABEL=CLASS",
        help="a label of the data set and its class, or null to leave it out; may be repeated",
        default_factory=list,
        show_default=False,
    ),
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        "-S",
        metavar="KEY=VALUE",
        help="a key of `download`, for that data set; may be repeated",
        default_factory=list,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]
AsMarkdown = Annotated[bool, typer.Option("--md", help="as Markdown")]


def evaluate_on(
    dataset: Annotated[str, typer.Argument(help="another data set, as params.yaml lists them")],
    mappings: Mappings,
    settings: Settings,
    task: Annotated[
        str | None,
        typer.Option(help="its task; by default that of the experiment, otherwise the first of the data set"),
    ] = None,
    as_json: AsJson = False,
    md: AsMarkdown = False,
) -> None:
    """Evaluate the trained models on another data set.

    Its recordings are preprocessed as in training, and the model of every fold predicts every recording.
    Recordings of persons who are in the experiment are left out. Writes metrics/elsewhere_DATASET.json.

    Examples
    --------
    murmur evaluate-on pascal --map murmur=Present --map normal=Absent
    murmur evaluate-on folder -S download.folder.path=data/own --map ill=Present
    """
    from murmur.evaluation import output
    from murmur.experiments.external_evaluation import evaluate_on_dataset
    from murmur.generalisation import external_validation  # imports torch

    files = current.record_files()
    result = evaluate_on_dataset(dataset, mappings, settings, task)
    current.check_files_unchanged(files)
    text = output.format_json(result)
    path = f"metrics/elsewhere_{dataset}.json"
    write_text(path, text)
    logger.info("wrote %s", path)
    if as_json:
        print(text, end="")
        return
    rows, remarks = external_validation.format_comparison(result)
    print(formatting.format_markdown_table(rows) if md else formatting.format_table(rows))
    print("\n".join(["", *(f"- {remark}" for remark in remarks)] if md else remarks))


def evaluate_disturbed(
    runs: Annotated[str | None, typer.Option(help="runs to evaluate, such as 0,1; by default all")] = None,
    disturb: Annotated[
        str | None, typer.Option(help="some of noise,gain,band,length; by default all")
    ] = None,
    as_json: AsJson = False,
    md: AsMarkdown = False,
) -> None:
    """Evaluate the trained models on disturbed recordings.

    The recordings are those of their test parts, with noise, gain, a narrower band, or cut short. Writes
    plots/robustness.csv.

    Examples
    --------
    murmur robustness
    murmur robustness --runs 0,1 --disturb noise,gain
    """
    from murmur.generalisation import robustness  # imports torch
    from murmur.tables.csv_writer import write_csv

    kinds, chosen = _parse_disturbances(disturb, list(robustness.DISTURBANCES)), _parse_runs(runs)
    files = current.record_files()
    e = current.load_experiment(chosen)
    table = robustness.evaluate_robustness(
        e.models, e.data.recordings, Path("data/raw"), e.folds, e.card, e.params, kinds
    )
    first_metric = table["metric"].iloc[0]
    table = table.sort_values(["disturbance", "value", "metric"], na_position="first", ignore_index=True)
    table.insert(0, "experiment", current.hash_experiment())
    current.check_files_unchanged(files)
    write_csv(table, "plots/robustness.csv")
    logger.info("wrote plots/robustness.csv")
    if as_json:
        print(table.to_json(orient="records", indent=2, double_precision=6))
        return
    rows = robustness.make_rows(table, first_metric)
    if mark := leaks.mark_leak(current.read_details()):
        print(f"{mark}\n" if md else mark)
    print(formatting.format_markdown_table(rows) if md else formatting.format_table(rows))
    print(f"\n{formatting.INTERVAL_NOTE}" if md else formatting.INTERVAL_NOTE)


def _parse_disturbances(text: str | None, known: list[str]) -> list[str]:
    """The chosen disturbances; by default all known ones."""
    chosen = text.split(",") if text else known
    if unknown := sorted(set(chosen) - set(known)):
        raise MurmurError(f"--disturb: no disturbance {unknown[0]!r}; there are {', '.join(known)}")
    return chosen


def _parse_runs(text: str | None) -> list[int] | None:
    """The chosen runs; None for all."""
    if not text:
        return None
    if not all(run.isdigit() for run in text.split(",")):
        raise MurmurError(f"--runs {text}: expected numbers of runs, such as 0,1")
    return [int(run) for run in text.split(",")]
