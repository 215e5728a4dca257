"""The `murmur` command: an application with one module for each group of commands.

No stage of the pipeline depends on these modules.
"""

from collections.abc import Callable
from pathlib import Path

import rich
import typer

from murmur import logs
from murmur.commands import comparison, generalisation, integration, recipes, reporting, trials
from murmur.errors import MurmurError, run_stage
from murmur.experiments.recipes import FOLDER

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": recipes.list_recipes,
    "use": recipes.use_recipe,
    "optimism": recipes.compare_protocols,
    "experiments": trials.list_experiments,
    "compare": comparison.compare_revisions,
    "report": reporting.write_html_report,
    "images": reporting.export_images,
    "evaluate-on": generalisation.evaluate_on,
    "robustness": generalisation.evaluate_disturbed,
    "ci": integration.run_ci,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback()
def prepare() -> None:
    """Reproducible heart-murmur classification: published systems as recipes, under honest protocols."""
    if not Path("dvc.yaml").is_file() or not FOLDER.is_dir():
        raise MurmurError("no dvc.yaml and recipes/ here: go to the project's folder")
    show_messages_on_stderr()


def show_messages_on_stderr() -> None:
    """Print log messages and progress on standard error, so that standard output has only the result."""
    logs.show_messages("stderr")
    rich.reconfigure(stderr=True)


def main() -> None:
    """Run the command `murmur`; errors that a user can fix are printed without a traceback."""
    run_stage(app)


if __name__ == "__main__":
    main()
