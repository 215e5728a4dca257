"""The progress of a run: one line, a table for a terminal, and the time left."""

import heapq
from collections.abc import Sequence
from statistics import fmean

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from murmur.progress import format_duration
from murmur.training.live import FoldState, RunState

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


def estimate_seconds_left(state: RunState) -> float | None:
    """Estimate the time until every fold has reached the last epoch; None before the first batch.

    Early stopping can end a fold before, so this is a maximum. Folds that wait begin as others end.
    """
    trained = sum(fold.epochs for fold in state.folds)
    if not trained:
        return None
    pace = sum(fold.seconds for fold in state.folds) / trained
    left = [(state.epochs - fold.epochs) * pace for fold in state.folds if not fold.is_finished]
    ends = [0.0] * state.workers
    for seconds in sorted(left):  # folds that run have less left than those that wait
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def describe_run(state: RunState, *, losses: bool = True) -> str:
    """Return one line: folds and epochs that are done, the mean losses of the folds, the time left.

    Parameters
    ----------
    state : RunState
        The progress of the run.
    losses : bool
        Include the losses.
    """
    total, trained = len(state.folds), sum(int(fold.epochs) for fold in state.folds)
    finished = sum(fold.is_finished for fold in state.folds)
    if finished == total:
        parts = [f"train run {state.run}: {total} folds, {trained} epochs"]
    else:
        epochs = f"{trained} of at most {total * state.epochs} epochs"
        parts = [f"train run {state.run}: {finished} of {total} folds, {epochs}"]
    if losses:
        parts += _describe_losses(state)
    if finished == total:
        parts.append(format_duration(_measure_seconds(state.folds)))
    elif not state.is_training:
        parts.append("interrupted")
    elif left := estimate_seconds_left(state):
        parts.append(f"at most {format_duration(max(left, 1))} left")
    return ", ".join(parts)


def _describe_losses(state: RunState) -> list[str]:
    """Return the mean losses of the folds that have trained an epoch."""
    trained = [fold for fold in state.folds if fold.train_loss is not None]
    names = ("train_loss", "validation_loss") if trained else ()
    means = {name: fmean(getattr(fold, name) for fold in trained) for name in names}
    return [f"{name.replace('_', ' ')} {mean:.3f}" for name, mean in means.items()]


def _measure_seconds(folds: Sequence[FoldState]) -> float:
    """Return the time from the start of the first fold to the end of the last."""
    times = [(fold.started, fold.started + fold.seconds) for fold in folds if fold.started is not None]
    return max(end for _, end in times) - min(start for start, _ in times)


def draw_run(state: RunState, folds: Sequence[FoldState]) -> RenderableType:
    """Return a table for a terminal: the progress of the run, and a row for each of `folds`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    scores = ("train\nloss", "validation\nloss", "validation\nUAR", "best\nepoch")
    table.add_column("\nfold")
    table.add_column("", max_width=16)
    for heading in (f"epoch, at\nmost {state.epochs}", *scores):
        table.add_column(heading, justify="right", no_wrap=True)
    for fold in folds:
        table.add_row(
            Text(str(fold.fold), choose_colour(fold.fold)),
            ProgressBar(state.epochs, _count_done(state, fold)),
            str(min(int(fold.epochs) + fold.is_running, state.epochs)),
            *map(_format_score, (fold.train_loss, fold.validation_loss, fold.validation_uar)),
            "" if fold.best is None else str(fold.best + 1),
        )
    done = sum(_count_done(state, fold) for fold in state.folds)
    bar = ProgressBar(len(state.folds) * state.epochs, done, width=78)
    return Group(Text(describe_run(state, losses=False)), Padding(bar, 0), table)  # a bar alone ends no line


def _count_done(state: RunState, fold: FoldState) -> float:
    """Return the epochs of a fold that need no more work: all of them once early stopping has ended it."""
    return state.epochs if fold.is_finished else fold.epochs


def _format_score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def choose_colour(fold: int) -> str:
    """Return the colour of a fold."""
    return COLOURS[fold % len(COLOURS)]
