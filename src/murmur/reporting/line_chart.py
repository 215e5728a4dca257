"""Line charts for a terminal, drawn with Braille patterns of 2 x 4 dots."""

from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

DOTS = (
    (0x01, 0x08),
    (0x02, 0x10),
    (0x04, 0x20),
    (0x40, 0x80),
)  # bits of a Braille pattern
LABEL = 7  # characters for the values beside the axis


def draw_lines(
    title: str,
    lines: Sequence[tuple[Sequence[float], str]],
    last: int,
    width: int = 38,
    height: int = 10,
    *,
    ascii_only: bool = False,
) -> Text:
    """Draw lines over the epochs.

    Parameters
    ----------
    title : str
        What the values are.
    lines : sequence of (sequence of float, str)
        The values of each line, from epoch 1, and its colour. Values that are not finite are left out.
    last : int
        The last epoch of the axis, at most; while all lines are shorter, the axis is.
    width, height : int
        Characters of the chart, with labels and without the title.
    ascii_only : bool
        Draw with characters of ASCII, for an output that has no others.

    Returns
    -------
    rich.text.Text
    """
    values = [value for line, _ in lines for value in line if is_drawable(value)]
    chart = Text(f"{title}\n", "bold")
    if not values:
        return chart.append("no epoch has ended yet", "dim")
    low, high = min(values), max(values)
    epochs = min(last, max(4, *(len(line) for line, _ in lines)))
    columns, rows = width - LABEL - 1, height - 1
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for line, colour in lines:
        for x, y in _trace(line, epochs, low, high or 1.0, 2 * columns, 4 * rows):
            bits, _ = cells.get((y // 4, x // 2), (0, colour))
            cells[y // 4, x // 2] = bits | DOTS[y % 4][x % 2], colour
    labels = {0: high, rows // 2: (low + high) / 2, rows - 1: low}
    for row in range(rows):
        label = f"{labels[row]:.3g}" if row in labels else ""
        chart.append(f"{label:>{LABEL - 1}} {'|' if ascii_only else '┤'}", "dim")
        for column in range(columns):
            bits, colour = cells.get((row, column), (0, ""))
            chart.append("*" if bits and ascii_only else chr(0x2800 + bits) if bits else " ", colour)
        chart.append("\n")
    return chart.append(f"{'epoch':>{LABEL}} 1{epochs:>{columns - 1}}", "dim")


def is_drawable(value: float) -> bool:
    """Return whether a value has a place on an axis: it is neither infinite, nor nearly so, nor NaN."""
    return abs(value) < 1e300


def _trace(
    line: Sequence[float], epochs: int, low: float, high: float, width: int, height: int
) -> set[tuple[int, int]]:
    """Return the dots (column, row from the top) of a line."""
    span = (high - low) or 1.0
    points = [
        (k / max(epochs - 1, 1) * (width - 1), (high - value) / span * (height - 1))
        for k, value in enumerate(line[:epochs])
        if is_drawable(value)
    ]
    dots = {(round(x), round(y)) for x, y in points}
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(1, round(max(abs(x1 - x0), abs(y1 - y0))))
        dots |= {
            (round(x0 + (x1 - x0) * k / steps), round(y0 + (y1 - y0) * k / steps)) for k in range(steps + 1)
        }
    return dots
