"""The `murmur` command: an application with one module for each group of commands.

No stage of the pipeline depends on these modules.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Annotated

import rich
import typer

from murmur import __version__, logs
from murmur.commands import (
    ablation,
    acceptance,
    comparison,
    export,
    generalisation,
    integration,
    literature,
    models,
    prediction,
    recipes,
    reporting,
    reproduction,
    serving,
    trials,
    tuning,
    verification,
    watch,
)
from murmur.errors import MurmurError, run_stage
from murmur.experiments.recipes import FOLDER

# rich_markup_mode: boxes would cut words in a narrow terminal
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
COMMANDS: dict[str, Callable[..., None]] = {
    "repro": reproduction.reproduce_pipeline,
    "accept": acceptance.accept_code,
    "repair": reproduction.repair,
    "show": reporting.show_results,
    "predict": prediction.predict,
    "serve": serving.serve_page,
    "export": export.export_onnx,
    "recipes": recipes.list_recipes,
    "use": recipes.use_recipe,
    "model": models.choose_model,
    "optimism": recipes.compare_protocols,
    "literature": literature.score_literature,
    "experiments": trials.list_experiments,
    "compare": comparison.compare_revisions,
    "ablation": ablation.run_ablation,
    "tune": tuning.tune_params,
    "watch": watch.watch_training,
    "report": reporting.write_html_report,
    "images": reporting.export_images,
    "evaluate-on": generalisation.evaluate_on,
    "robustness": generalisation.evaluate_disturbed,
    "verify": verification.verify_files,
    "ci": integration.run_ci,
}
ANYWHERE = {"predict", "serve", "export"}  # commands that do not need the project's folder
EXAMPLES = "\n\nExamples\n--------\n"  # the section of a docstring that ends the help text of a command


def add_command(name: str, command: Callable[..., None]) -> None:
    """Add a command to the application; its docstring is the help text."""
    text, _, examples = (inspect.getdoc(command) or "").partition(EXAMPLES)
    app.command(name, help=text, epilog=f"\b\nExamples:\n{indent(examples, '  ')}")(command)


for name, command in COMMANDS.items():
    add_command(name, command)


def print_version(is_wanted: bool) -> None:
    """Print the version and exit."""
    if is_wanted:
        print(f"murmur {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback(epilog="`murmur COMMAND --help` describes a command, with examples.")
def prepare(context: typer.Context, _version: Version = False) -> None:
    """Reproducible heart-murmur classification: results, published systems, comparison, and evaluation."""
    if "--help" in sys.argv:  # works in any folder
        return
    is_project = Path("dvc.yaml").is_file() and FOLDER.is_dir()
    if not is_project and context.invoked_subcommand not in ANYWHERE:
        raise MurmurError("no dvc.yaml and recipes/ here: go to the project's folder")
    show_messages_on_stderr()


def show_messages_on_stderr() -> None:
    """Print log messages and progress on standard error, so that standard output has only the result."""
    logs.show_messages("stderr")
    rich.reconfigure(stderr=True)


def main() -> None:
    """Run the command `murmur`; errors that a user can fix are printed without a traceback."""
    run_stage(app)
