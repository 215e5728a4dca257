"""Images of spectrograms; the same data give the same bytes."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from murmur.files import atomic_write

COLOURS = colormaps["cividis"].resampled(24)  # safe for the colour-blind; few, to fit into a palette
TITLE = 32  # characters in a line above a spectrogram
SHAPE = (2, 5)  # rows and columns of the drawing of errors


def draw_gallery(
    mel: np.ndarray,
    recording_ids: Sequence[str],
    labels: Sequence[str],
    classes: Sequence[str],
    path: str | Path,
    *,
    seconds: float,
    frequencies: np.ndarray,
    per_class: int = 3,
) -> None:
    """Draw example spectrograms as a PNG, a row for each class, from recordings spread over the class.

    A spectrogram is that of the middle segment of its recording. Each has a colour scale of its own: the
    drawing shows shapes, not loudness.

    Parameters
    ----------
    mel : ndarray, shape [segments, channels, mels, frames]
        The first channel is drawn, or the colours of an image (uint8). Only the drawn segments are read.
    recording_ids, labels : sequence of str, [segments]
        The recording of each segment and its label.
    classes : sequence of str
        The classes to draw, in order.
    path : path-like
        The PNG file.
    seconds : float
        The length of a segment, s.
    frequencies : ndarray, shape [mels]
        The centre of each band, Hz.
    per_class : int
        The number of recordings of each class.
    """
    figure, grid = _make_grid(len(classes), per_class)
    segments = pd.DataFrame({"recording": recording_ids, "label": labels})
    examples = _choose_examples(segments, classes, per_class)
    for label, axes, rows in zip(classes, grid, examples, strict=True):
        titles = [textwrap.fill(f"{recording_ids[row]}: {label}", TITLE) for row in rows]
        _draw_all(axes, mel, rows, titles, seconds, frequencies)
    with atomic_write(path) as part:
        save_png(figure, part)


def draw_errors(
    mel: np.ndarray,
    titles: Sequence[str],
    path: str | Path,
    *,
    seconds: float,
    frequencies: np.ndarray,
) -> None:
    """Draw the spectrograms of up to ten wrong predictions as a PNG; if there is none, a text.

    Parameters
    ----------
    mel : ndarray, shape [n, channels, mels, frames]
        As for `draw_gallery`; the first ten are drawn, in this order.
    titles : sequence of str, [n]
        One or more lines for each, such as ``0001_AV``. Long lines are wrapped, not cut.
    path : path-like
        The PNG file.
    seconds, frequencies
        As for `draw_gallery`.
    """
    if len(titles) == 0:
        draw_notice("no positive patient is missed in most runs, and none is a false alarm", path)
        return
    rows, columns = SHAPE
    figure, grid = _make_grid(rows, columns, height=2.2)
    axes, n = grid.ravel(), min(len(titles), grid.size)
    wrapped = ["\n".join(textwrap.fill(line, TITLE) for line in title.splitlines()) for title in titles]
    _draw_all(axes, mel, range(n), wrapped[:n], seconds, frequencies)
    for ax in axes[max(0, n - columns) : n]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    with atomic_write(path) as part:
        save_png(figure, part)


def draw_notice(text: str, path: str | Path) -> None:
    """Draw a line of text as a PNG, where no spectrogram can be shown."""
    figure = Figure(figsize=(6, 0.6), dpi=72)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    with atomic_write(path) as part:
        save_png(figure, part)


def _choose_examples(segments: pd.DataFrame, classes: Sequence[str], per_class: int) -> list[np.ndarray]:
    """For each class the row numbers of the segments to draw."""
    numbers = segments.reset_index().groupby(["label", "recording"])["index"].agg(["min", "max"])
    middle = numbers.sum(axis=1) // 2
    examples = []
    for label in classes:
        rows = middle[label].to_numpy() if label in middle else np.empty(0, int)
        chosen = np.linspace(0, len(rows) - 1, per_class).round().astype(int)
        examples.append(rows[np.unique(chosen)] if len(rows) else rows)
    return examples


def _make_grid(rows: int, columns: int, height: float = 1.8) -> tuple[Figure, np.ndarray]:
    """A figure with axes in rows and columns; `height` of a row in inches."""
    figure = Figure(figsize=(2.7 * columns, height * rows + 0.4), dpi=72, layout="constrained")
    figure.supxlabel("time (s)")
    figure.supylabel("frequency (Hz)")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def _draw_all(
    axes: Iterable[Axes],
    mel: np.ndarray,
    rows: Iterable[int],
    titles: Sequence[str],
    seconds: float,
    frequencies: np.ndarray,
) -> None:
    """Draw a spectrogram with its title on each axes; axes without one stay empty."""
    for ax, row, title in zip_longest(axes, rows, titles):
        if row is None:
            ax.axis("off")
        else:
            draw_spectrogram(ax, mel[row], seconds, frequencies)
            ax.set_title(title, fontsize=9, parse_math=False)


def draw_spectrogram(ax: Axes, channels: np.ndarray, seconds: float, frequencies: np.ndarray) -> None:
    """Draw a spectrogram or an image.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where it is drawn.
    channels : ndarray, shape [channels, mels, frames]
        The first channel is drawn, or the colours of an image (uint8).
    seconds : float
        Its length, s.
    frequencies : ndarray, shape [mels]
        The centre of each band, Hz.
    """
    mels = len(frequencies)
    image = channels.transpose(1, 2, 0) if channels.dtype == np.uint8 else channels[0].astype(np.float32)
    extent = (0, seconds, -0.5, mels - 0.5)
    ax.imshow(image, origin="lower", aspect="auto", cmap=COLOURS, extent=extent)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(frequencies[0], frequencies[-1])
    ticks = ticks[(ticks >= frequencies[0]) & (ticks <= frequencies[-1])]
    ax.set_yticks(np.interp(ticks, frequencies, range(mels)), [f"{tick:g}" for tick in ticks])


def save_png(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG with a palette: half the size of full colour."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    image.save(path, "PNG", optimize=True)


def write_images(
    images: np.ndarray, segment_ids: Sequence[str], labels: Sequence[str], folder: str | Path
) -> None:
    """Write colour images as PNG files, FOLDER/LABEL/SEGMENT.png, with low frequencies at the bottom.

    Parameters
    ----------
    images : ndarray of uint8, shape [segments, 3, size, size]
        With low frequencies first.
    segment_ids, labels : sequence of str, [segments]
        The names of the files and of their folders.
    folder : path-like
        The new folder.
    """
    with atomic_write(folder) as part:
        part.mkdir()
        for image, segment_id, label in zip(images, segment_ids, labels, strict=True):
            path = part / label / f"{segment_id}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(image[:, ::-1].transpose(1, 2, 0))).save(path)
