"""CirCor's annotations: files of heart-cycle states, and murmurs placed into them by their timing."""

import math
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from murmur.errors import MurmurError
from murmur.tables.annotations import STATES

PARTS = {"Holo": (0.0, 1.0), "Early-": (0.0, 0.5), "Mid-": (0.25, 0.75), "Late-": (0.5, 1.0)}
TIMINGS = {  # fractions of the interval, and the interval
    f"{part}{word}": (*fractions, interval)
    for word, interval in (("systolic", "systole"), ("diastolic", "diastole"))
    for part, fractions in PARTS.items()
}
GAP = 0.02  # s between two intervals that follow each other
REMEDY = "fetch the file again, or delete it: then its recording is not annotated"


class Interval(NamedTuple):
    """An annotated interval.

    Attributes
    ----------
    start, end : float
        s from the beginning of the recording.
    event : str
        As `murmur.tables.annotations.EVENTS`.
    """

    start: float
    end: float
    event: str


def read_states(path: Path) -> list[Interval]:
    """Read a file with start (s), end (s) and state of an interval in each line.

    The states are 1 to 4 for S1, systole, S2 and diastole, and 0 for what is not annotated. Intervals of
    state 0 or without a duration are left out.

    Parameters
    ----------
    path : Path
        The .tsv file.

    Returns
    -------
    list of Interval
        In the order of the file.

    Raises
    ------
    MurmurError
        Naming the file and the row, if it is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise MurmurError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    rows = [(k, line.split()) for k, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise MurmurError(f"{path}: has no rows; {REMEDY}")
    intervals = [_parse_row(path, k, cells) for k, cells in rows]
    return [interval for interval in intervals if interval and interval.start < interval.end]


def _parse_row(path: Path, k: int, cells: list[str]) -> Interval | None:
    """Return the interval of a row, or None if it is not annotated."""
    try:
        start, end, state = map(float, cells)
    except ValueError as error:
        raise MurmurError(f"{path}: row {k} is not 'start end state' in numbers; {REMEDY}") from error
    if not (math.isfinite(end) and 0 <= start <= end):
        raise MurmurError(f"{path}: row {k}: {start:g} to {end:g} s is not an interval; {REMEDY}")
    if state not in range(len(STATES) + 1):
        raise MurmurError(f"{path}: row {k}: state {state:g} is not one of 0 to {len(STATES)}; {REMEDY}")
    return Interval(start, end, STATES[int(state) - 1]) if state else None


def place_murmurs(states: list[Interval], timing: str) -> list[Interval]:
    """Place a murmur into each systole or diastole.

    Parameters
    ----------
    states : list of Interval
        As `read_states` returns them.
    timing : str
        When there is a murmur: `Holosystolic` in all of systole, `Early-systolic` in its first half,
        `Mid-systolic` in its middle half, `Late-systolic` in its second half, and the same with `diastolic`.

    Returns
    -------
    list of Interval
        With the event murmur.
    """
    first, last, event = TIMINGS[timing]
    return [
        Interval(s.start + first * (s.end - s.start), s.start + last * (s.end - s.start), "murmur")
        for s in states
        if s.event == event
    ]


def is_in_order(states: list[Interval]) -> bool:
    """Whether S1, systole, S2 and diastole follow each other, except where something is not annotated."""
    return all(
        STATES.index(b.event) == (STATES.index(a.event) + 1) % len(STATES)
        for a, b in pairwise(states)
        if b.start - a.end < GAP
    )
