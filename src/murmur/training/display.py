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
from murmur.training.live import FitState, RunState

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


def estimate_seconds_left(state: RunState) -> float | None:
    """Estimate the time until every network has reached the last epoch; None before the first batch.

    Early stopping can end a fit before, so this is a maximum. Fits that wait begin as others end.
    """
    trained = sum(fit.epochs for fit in state.fits)
    if not trained:
        return None
    pace = sum(fit.seconds for fit in state.fits) / trained
    left = [(state.epochs - fit.epochs) * pace for fit in state.fits if not fit.is_finished]
    ends = [0.0] * state.workers
    for seconds in sorted(left):  # fits that run have less left than those that wait
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def describe_run(state: RunState, *, losses: bool = True) -> str:
    """Return one line: networks and epochs that are done, the mean losses of the networks, the time left.

    Without inner folds there is one network for each fold, and the folds are counted.

    Parameters
    ----------
    state : RunState
        The progress of the run.
    losses : bool
        Include the losses.
    """
    total, trained = len(state.fits), sum(int(fit.epochs) for fit in state.fits)
    finished = sum(fit.is_finished for fit in state.fits)
    counted = "folds" if state.inner is None else f"networks ({state.inner} for each fold)"
    if finished == total:
        parts = [f"train run {state.run}: {total} {counted}, {trained} epoch{'s' * (trained != 1)}"]
    else:
        epochs = f"{trained} of at most {total * state.epochs} epochs"
        parts = [f"train run {state.run}: {finished} of {total} {counted}, {epochs}"]
    if losses:
        parts += _describe_losses(state)
    if finished == total:
        parts.append(format_duration(_measure_seconds(state.fits)))
    elif not state.is_training:
        parts.append("interrupted")
    elif left := estimate_seconds_left(state):
        parts.append(f"at most {format_duration(max(left, 1))} left")
    return ", ".join(parts)


def _describe_losses(state: RunState) -> list[str]:
    """Return the mean losses of the networks that have trained an epoch."""
    trained = [fit for fit in state.fits if fit.train_loss is not None]
    names = ("train_loss", "validation_loss") if trained else ()
    means = {name: fmean(getattr(fit, name) for fit in trained) for name in names}
    return [f"{name.replace('_', ' ')} {mean:.3f}" for name, mean in means.items()]


def _measure_seconds(fits: Sequence[FitState]) -> float:
    """Return the time from the start of the first fit to the end of the last."""
    times = [(fit.started, fit.started + fit.seconds) for fit in fits if fit.started is not None]
    return max(end for _, end in times) - min(start for start, _ in times)


def draw_run(state: RunState, fits: Sequence[FitState]) -> RenderableType:
    """Return a table for a terminal: the progress of the run, and a row for each of `fits`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    scores = ("train\nloss", "validation\nloss", "validation\nUAR", "best\nepoch")
    table.add_column("\nfold", no_wrap=True)
    table.add_column("", max_width=16)
    for heading in (f"epoch, at\nmost {state.epochs}", *scores):
        table.add_column(heading, justify="right", no_wrap=True)
    for fit in fits:
        table.add_row(
            Text(_name_network(state, fit), choose_colour(fit.fold)),
            ProgressBar(state.epochs, _count_done(state, fit)),
            str(min(int(fit.epochs) + fit.is_running, state.epochs)),
            *map(_format_score, (fit.train_loss, fit.validation_loss, fit.validation_uar)),
            "" if fit.best is None else str(fit.best + 1),
        )
    done = sum(_count_done(state, fit) for fit in state.fits)
    bar = ProgressBar(len(state.fits) * state.epochs, done, width=78)
    return Group(Text(describe_run(state, losses=False)), Padding(bar, 0), table)  # a bar alone ends no line


def _name_network(state: RunState, fit: FitState) -> str:
    """Return the number of the fold and, with inner folds, of the network, counted from 1."""
    return str(fit.fold) if fit.inner is None else f"{fit.fold}, network {fit.inner + 1} of {state.inner}"


def _count_done(state: RunState, fit: FitState) -> float:
    """Return the epochs of a fit that need no more work: all of them once early stopping has ended it."""
    return state.epochs if fit.is_finished else fit.epochs


def _format_score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def choose_colour(fold: int) -> str:
    """Return the colour of a fold."""
    return COLOURS[fold % len(COLOURS)]
