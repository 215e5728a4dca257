"""Plot of the heart cycles of a recording: heart sounds, and the probability of a murmur over time."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from murmur.inference.heart_sounds import HeartSounds
from murmur.reporting.cycle_colours import MURMUR_COLOUR, STATE_COLOURS

LONGEST = 90.0  # s; in longer recordings a heart sound is narrower than a pixel, and only the murmur is drawn
BAND = (-0.42, 0.28)  # lower edge and height of the heart sounds, below the probabilities 0 to 1


def draw_heart_cycles(ax: Axes, sounds: HeartSounds, seconds: float) -> None:
    """Draw the heart sounds as a band, and above it the probability of a murmur over time.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    sounds : HeartSounds
        Of the recording.
    seconds : float
        Length of the recording, s.
    """
    lowest = BAND[0] - 0.04 if seconds <= LONGEST else -0.04
    ax.set(ylim=(lowest, 1.04), yticks=(0, 0.5, 1), ylabel="P(murmur)")
    times, murmur = sounds.murmur_track.T
    ax.fill_between(times, murmur, color=MURMUR_COLOUR, alpha=0.2, linewidth=0)
    ax.plot(times, murmur, color=MURMUR_COLOUR, linewidth=0.9)
    if seconds > LONGEST:
        return
    for event, colour in STATE_COLOURS.items():
        rows = sounds.cycles[sounds.cycles["event"] == event]
        spans = np.stack([rows["start"], rows["end"] - rows["start"]], axis=1)
        ax.broken_barh(spans.tolist(), BAND, facecolors=colour, linewidth=0)


def make_cycle_legend(seconds: float) -> list[Any]:
    """Return the handles of the legend of `draw_heart_cycles`."""
    line = Line2D([], [], color=MURMUR_COLOUR, linewidth=0.9, label="probability of a murmur")
    if seconds > LONGEST:
        return [line]
    return [line, *(Patch(color=colour, label=event) for event, colour in STATE_COLOURS.items())]
