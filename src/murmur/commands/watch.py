"""The command that shows trainings while they run."""

import os
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from murmur.errors import MurmurError
from murmur.interruption import SHOW_CURSOR, clean_up_on_signal
from murmur.reporting.line_chart import draw_lines
from murmur.training import display, live

EXPERIMENTS = (".dvc/tmp/exps/*", ".dvc/tmp/exps/standalone/*")  # where DVC runs queued and temporary ones
PAUSE = 20.0  # s in which one training may end and the next begin
WIDTH = 60  # characters of the table of the folds
CURVES = {"validation_loss": "validation loss", "validation_uar": "validation UAR"}


def watch_training(
    once: Annotated[bool, typer.Option("--once", help="show the present state and end")] = False,
) -> None:
    """Show the learning curves of a training while it runs.

    Start it in a second terminal, while `dvc repro` or an experiment runs, also a queued one. It ends with
    the training, or with Ctrl-C. While DVC runs earlier stages, it waits for the training. If nothing is
    being trained and DVC does not run, it shows the last run.

    Examples
    --------
    murmur watch
    murmur watch --once
    """
    console = Console()

    def draw() -> RenderableType:
        return _draw(_list_runs(), console)

    if not once and console.is_terminal:
        with clean_up_on_signal(_end):
            _wait_for_training(console)
            if _is_in_progress(_list_runs()):
                with Live(get_renderable=draw, console=console, refresh_per_second=1):
                    while _is_in_progress(_list_runs()):
                        time.sleep(1)
                console.print("The training has ended.")
                return
    console.print(draw())


def _wait_for_training(console: Console) -> None:
    """Wait until a training begins, or DVC ends."""
    is_announced = False
    while not any(map(live.is_training, _list_runs())) and _is_dvc_running():
        if not is_announced:
            console.print("DVC is running: waiting for the stage train")
        is_announced = True
        time.sleep(1)


def _is_dvc_running() -> bool:
    """Return whether DVC or `murmur repro` runs the pipeline of this project, or an experiment of it."""
    import psutil

    folders = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, folder = process.info["cmdline"] or [], process.info["cwd"]
        # python /…/bin/dvc, or python -m dvc
        is_dvc = any(Path(word).name in ("dvc", "murmur") for word in words[:3])
        if is_dvc and {"repro", "run", "exec-run"} & set(words) and folder:
            folders.append(Path(folder))
    return any(folder.is_relative_to(Path.cwd()) for folder in folders)


def _end() -> None:
    """End at Ctrl-C, which is the usual end of this command: no message, status 0."""
    os.write(1, SHOW_CURSOR + b"\n")
    os._exit(0)


def _list_runs() -> list[Path]:
    """Return the folders of all runs, the last one that was trained last."""
    files = chain.from_iterable(
        Path().glob(f"{folder}/{live.FOLDER}/run_*/run.json") for folder in (".", *EXPERIMENTS)
    )
    return sorted((file.parent for file in files), key=_last_change)


def _last_change(path: Path) -> float:
    """Return when the progress of a run was last recorded, in seconds since 1970."""
    try:
        return max(file.stat().st_mtime for file in path.iterdir())
    except (OSError, ValueError):  # deleted at this moment
        return 0.0


def _is_in_progress(runs: Sequence[Path]) -> bool:
    """Return whether a run is being trained, or one ended so recently that the next may follow."""
    return any(map(live.is_training, runs)) or (bool(runs) and time.time() - _last_change(runs[-1]) < PAUSE)


def _draw(runs: Sequence[Path], console: Console) -> RenderableType:
    """Draw all runs that are being trained, else the last one."""
    if not runs:
        raise MurmurError(f"{live.FOLDER}: no training has been recorded yet; start one with dvc repro")
    if trained := [path for path in runs if live.is_training(path)]:
        return Group(*(_draw_run(path, console) for path in trained))
    return Group("No run is being trained now. The last one:", _draw_run(runs[-1], console))


def _draw_run(path: Path, console: Console) -> RenderableType:
    """Draw the progress and the learning curves of a run."""
    state = live.read_run(path)
    if state is None:
        return f"{path}: not readable"
    state.is_training = live.is_training(path)
    if console.width < WIDTH:
        return Group(
            display.describe_run(state),
            f"The table and the learning curves need a terminal of {WIDTH} columns.",
        )
    started = [fit for fit in state.fits if fit.started is not None]
    charts = Table.grid(padding=(0, 2))
    charts.add_row(*(_draw_curves(path, state, column, console) for column in CURVES))
    return Group(display.draw_run(state, started), "", charts)


def _draw_curves(path: Path, state: live.RunState, column: str, console: Console) -> RenderableType:
    """Draw a line for each network, in the colour of its fold."""
    lines = [
        (live.read_curve(path, fit, column), display.choose_colour(fit.fold))
        for fit in state.fits
        if fit.started is not None
    ]
    ascii_only = console.options.ascii_only
    return draw_lines(CURVES[column], lines, state.epochs, console.width // 2 - 2, ascii_only=ascii_only)
