"""Progress of long work: bars in a terminal; otherwise, as in a log file, a line each minute.

The work goes on if its progress cannot be shown, as on a full disk or after the end of `| head`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import IO, Any, TypeVar, cast

import rich
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import track as draw_bar

INTERVAL = 60.0  # s between two lines
Item = TypeVar("Item")


class _Output:
    """A text stream that ignores errors of the operating system."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_console() -> Console:
    return Console(file=cast("IO[str]", _Output(rich.get_console().file)))  # stderr in commands


def track(items: Sequence[Item], label: str) -> Iterator[Item]:
    """Yield items, and show how many are done and how much time is left.

    Nothing is shown if log messages of level INFO are not.

    Parameters
    ----------
    items : sequence
        The items.
    label : str
        What is done.
    """
    console = _open_console()
    if _is_silent():
        yield from items
    elif _is_terminal(console):
        yield from draw_bar(items, label, console=console)
    else:
        yield from _track_in_lines(items, label, console)


def _track_in_lines(items: Sequence[Item], label: str, console: Console) -> Iterator[Item]:
    start, done = time.monotonic(), 0

    def describe() -> str:
        seconds = time.monotonic() - start
        left = seconds / done * (len(items) - done) if done else None
        percent = f"{label}: {100 * done // len(items)} %"
        return f"{percent}, about {format_duration(left)} left" if left else percent

    with _print_each_minute(describe, console):
        for item in items:
            yield item
            done += 1
    _print(f"{label}: 100 %, {format_duration(time.monotonic() - start)}", console)


@contextmanager
def show(draw: Callable[[], RenderableType], describe: Callable[[], str]) -> Iterator[None]:
    """Show the progress of the work in the block.

    A terminal shows `draw` until the block ends. Other outputs get `describe` each minute. A last `describe`
    stays on both, unless the block raises an error. Nothing is shown if log messages of level INFO are not.

    Parameters
    ----------
    draw : callable
        Returns what a terminal shows, once per second.
    describe : callable
        Returns one line.
    """
    console = _open_console()
    shown: AbstractContextManager[object]
    if _is_silent():
        shown = nullcontext()
    elif _is_terminal(console):
        shown = Live(get_renderable=draw, console=console, refresh_per_second=1, transient=True)
    else:
        shown = _print_each_minute(describe, console)
    with shown:
        yield
    if not _is_silent():
        _print(describe(), console)


@contextmanager
def _print_each_minute(describe: Callable[[], str], console: Console) -> Iterator[None]:
    """Print `describe()` each minute while the block runs."""
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(INTERVAL):
            _print(describe(), console)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _print(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _is_silent() -> bool:
    return not logging.getLogger("murmur").isEnabledFor(logging.INFO)


def _is_terminal(console: Console) -> bool:
    """Return whether lines can be redrawn; FORCE_COLOR alone, as in CI, makes no terminal of a file."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def format_duration(seconds: float) -> str:
    """Return a rounded duration, such as ``40 s``, ``4 min`` or ``2 h 10 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
