"""Progress: a bar in a terminal, plain lines in other outputs, and nothing if notes are not shown."""

import io
import logging
import time

import pytest
import rich
from rich.console import Console

from murmur import progress
from murmur.errors import MurmurError


class Terminal(io.StringIO):
    """A text stream that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def output(monkeypatch, request):
    """The stream on which progress is shown."""
    stream = request.param()
    monkeypatch.setattr(rich, "get_console", lambda: Console(file=stream))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress, "INTERVAL", 0.1)
    return stream


redirected = pytest.mark.parametrize("output", [io.StringIO], indirect=True)
in_terminal = pytest.mark.parametrize("output", [Terminal], indirect=True)


@redirected
def test_a_file_gets_a_line_each_interval_and_one_at_the_end(output):
    for item in progress.track([0.0, 0.3], "cleaning"):
        time.sleep(item)
    *lines, last = output.getvalue().splitlines()
    assert "cleaning: 50 %, about 0 s left" in lines and len(lines) >= 2
    assert last.startswith("cleaning: 100 %, ")


@redirected
def test_work_that_fails_has_no_last_line(output):
    with pytest.raises(MurmurError), progress.show(str, lambda: "1 of 2"):
        raise MurmurError("failed")
    assert output.getvalue() == ""


@in_terminal
@pytest.mark.parametrize("fails", [False, True])
def test_a_terminal_shows_a_display_that_leaves_only_the_last_line(output, fails):
    try:
        with progress.show(lambda: "drawn", lambda: "done"):
            if fails:
                raise MurmurError("failed")
    except MurmurError:
        pass
    shown, _, left = output.getvalue().rpartition("\x1b[2K")  # the display is erased
    assert "drawn" in shown and shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert left == ("" if fails else "done\n")


@in_terminal
def test_a_terminal_shows_a_bar(output):
    assert list(progress.track([1, 2], "cleaning")) == [1, 2]
    assert "cleaning" in output.getvalue() and "100%" in output.getvalue()


class FullDisk(io.StringIO):
    """A stream that cannot be written."""

    def write(self, text):
        raise OSError(28, "No space left on device")


class ClosedPipe(FullDisk):
    """A stream whose reader has ended."""

    def write(self, text):
        raise BrokenPipeError


class ClosedTerminal(Terminal, FullDisk):
    """A terminal that was closed."""


@pytest.mark.parametrize("output", [FullDisk, ClosedPipe, ClosedTerminal], indirect=True)
def test_work_goes_on_if_its_progress_cannot_be_shown(output):
    for item in progress.track([0.0, 0.3], "cleaning"):
        time.sleep(item)
    with progress.show(str, lambda: "done"):
        time.sleep(0.2)


@redirected
def test_nothing_is_shown_if_notes_are_not(output):
    logging.getLogger("murmur").setLevel(logging.WARNING)
    assert list(progress.track([1, 2], "cleaning")) == [1, 2]
    with progress.show(str, lambda: "done"):
        pass
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5900, "98 min"),
        (6000, "1 h 40 min"),
        (9e4, "25 h 0 min"),
    ],
)
def test_durations_are_rounded(seconds, text):
    assert progress.format_duration(seconds) == text
