"""A picture of heart cycles: where in the recording and in the cycle a network finds murmurs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from murmur.evaluation.inputs import EvaluationTables
from murmur.features import mel_scale, store
from murmur.features.heart_cycles import THIRDS
from murmur.files import atomic_write
from murmur.reporting import spectrograms
from murmur.reporting.cycle_colours import MURMUR_COLOUR, STATE_COLOURS
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment

LANES = ("annotated", "found")
NO_CYCLES = "no heart cycles: the network does not label frames, or no test recording has annotated ones"


def draw_heart_cycles(
    tables: EvaluationTables,
    cycles: Mapping[int, pd.DataFrame],
    annotations: pd.DataFrame,
    scored: pd.DataFrame,
    mel: Mel,
    segment: Segment,
    rate: int,
    spectra: Path,
    path: Path,
) -> None:
    """Draw parts of three test recordings with their annotated and found heart cycles as a PNG.

    They are one of a positive class and one of another class, whose mean probability of a murmur in systole
    is the median of their class, and that with the lowest F1 of the onsets of heart sounds. The part is the
    segment with the most annotated time.

    Parameters
    ----------
    tables : EvaluationTables
        The tables of recordings and segments, and the description of the data set.
    cycles, annotations, scored
        The heart cycles of each run, the annotated ones, and the recordings that `add_segmentation` returns.
    mel, segment : Mel, Segment
        The sections `mel` and `segment` of params.yaml.
    rate : int
        Sample rate of the signals, Hz.
    spectra : Path
        The folder with the spectrograms of all segments.
    path : Path
        The PNG file. It has a line of text if there are no heart cycles, or the data may not be shared.
    """
    card = tables.card
    if scored.empty:
        spectrograms.draw_notice(NO_CYCLES, path)
        return
    if not card.shareable:  # the picture is committed to git
        spectrograms.draw_notice(f"no picture: {card.dataset} may not be shared ({card.licence})", path)
        return
    first = scored[scored["run"] == scored["run"].min()]
    found = cycles[int(first["run"].iloc[0])]
    examples = _choose_examples(first, found, tables.recordings, card.positive)
    array, frequencies = store.read_array(spectra), mel_scale.mel_frequencies(mel)[1:-1]
    figure = Figure(figsize=(10, 0.6 + 3.1 * len(examples)), dpi=72, layout="constrained")
    parts = figure.subfigures(len(examples), 1, squeeze=False)[:, 0]
    for part, (title, fold, recording) in zip(parts, examples, strict=True):
        annotated = annotations[annotations["recording_id"] == recording]
        of_recording = found[(found["recording_id"] == recording) & (found["fold"] == fold)]
        row, start = _choose_segment(tables.segments, recording, annotated, rate, segment.length)
        axes = part.subplots(3, 1, sharex=True, height_ratios=(4, 1.4, 1.6))
        spectrograms.draw_spectrogram(axes[0], array[row], segment.length, frequencies)
        axes[0].set_title(title, fontsize=10, parse_math=False)
        axes[0].set_ylabel("frequency (Hz)")
        _draw_states(axes[1], (annotated, of_recording), start)
        _draw_murmur(axes[2], of_recording, start, segment.length)
    figure.legend(
        handles=[Patch(color=colour, label=state) for state, colour in STATE_COLOURS.items()]
        + [Patch(color=MURMUR_COLOUR, label="murmur")],
        loc="outside upper center",
        ncols=5,
        frameon=False,
    )
    with atomic_write(path) as temporary:
        spectrograms.save_png(figure, temporary)


def _choose_examples(
    scored: pd.DataFrame, cycles: pd.DataFrame, recordings: pd.DataFrame, positive: tuple[str, ...]
) -> list[tuple[str, int, str]]:
    """Choose up to three recordings: title, fold and name of each."""
    keys = ["fold", "recording_id"]
    murmur = cycles[cycles["event"] == "systole"].groupby(keys)["murmur"].mean().rename("murmur")
    table = scored.join(murmur, on=keys).merge(recordings[["recording_id", "label"]], on="recording_id")
    matched, annotated = (table[[f"S1_{n}", f"S2_{n}"]].sum(axis=1) for n in ("matched", "annotated"))
    found = table[["S1_found", "S2_found"]].sum(axis=1)
    table["f1"] = 2 * matched / (annotated + found)
    is_positive = table["label"].isin(positive)
    ordered = [
        rows.dropna(subset="murmur").sort_values(["murmur", *keys])
        for rows in (table[is_positive], table[~is_positive])
    ]
    examples = [
        (rows.iloc[len(rows) // 2], "median probability of a murmur") for rows in ordered if len(rows)
    ]
    examples.append((table.sort_values(["f1", *keys]).iloc[0], "lowest F1 of the onsets"))
    return [
        (
            f"{row['recording_id']}: {row['label']}; {why} (systole {row['murmur']:.2f}, F1 {row['f1']:.2f})",
            int(row["fold"]),
            str(row["recording_id"]),
        )
        for row, why in examples
    ]


def _choose_segment(
    segments: pd.DataFrame, recording: str, annotated: pd.DataFrame, rate: int, seconds: float
) -> tuple[int, float]:
    """Choose the segment with the most annotated time: its row and its start, s."""
    rows = segments[(segments["recording_id"] == recording) & ~segments["reversed"]]
    starts = rows["start"].to_numpy() / rate
    states = annotated[annotated["event"] != "murmur"]
    last = np.minimum(states["end"].to_numpy(), starts[:, None] + seconds)
    covered = np.maximum(last - np.maximum(states["start"].to_numpy(), starts[:, None]), 0).sum(axis=1)
    best = int(covered.argmax())
    return int(rows.index[best]), float(starts[best])


def _draw_states(ax: Axes, tables: tuple[pd.DataFrame, pd.DataFrame], start: float) -> None:
    """Draw a lane for the annotated and one for the found states; a line marks annotated murmurs."""
    for lane, table in enumerate(tables):
        for state, rows in table.groupby("event"):
            bars = list(zip(rows["start"] - start, rows["end"] - rows["start"], strict=True))
            place, colour = (
                ((0.45, 0.1), MURMUR_COLOUR) if state == "murmur" else ((0.6 - 0.6 * lane, 0.4), "")
            )
            ax.broken_barh(bars, place, facecolors=colour or STATE_COLOURS[str(state)])
    ax.set(yticks=(0.8, 0.2), yticklabels=LANES, ylim=(-0.05, 1.05))


def _draw_murmur(ax: Axes, cycles: pd.DataFrame, start: float, seconds: float) -> None:
    """Draw the probability of a murmur over time, from its values in the thirds of each interval."""
    starts, ends = (cycles[name].to_numpy()[:, None] for name in ("start", "end"))
    times = starts + np.array([*THIRDS.values()]) * (ends - starts)
    values = cycles[list(THIRDS)].to_numpy()
    breaks = np.append(starts[1:, 0] - ends[:-1, 0] > 0.02, False)[:, None]  # left out: no line across
    times = np.hstack([times, ends])
    values = np.hstack(
        [values, np.where(breaks, np.nan, np.append(values[1:, :1], values[-1:, -1:], axis=0))]
    )
    ax.plot(times.ravel() - start, values.ravel(), color=MURMUR_COLOUR, linewidth=1.2)
    ax.set(ylim=(0, 1), xlim=(0, seconds), ylabel="murmur", xlabel="time in the segment (s)")
