"""Pictures of the data, for `dvc plots`; the same data give the same bytes."""

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
from PIL import Image

from murmur.files import atomic_write

COLOURS = colormaps["cividis"].resampled(24)  # safe for the colour-blind; few, so that a palette holds them
TITLE = 34  # letters above a picture


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
    """Draw example spectrograms as a PNG, a row per class, from recordings spread over each class.

    Each picture is the middle segment of its recording, in its own range of brightness: compare shapes,
    not loudness.

    Parameters
    ----------
    mel: [segments, channels, mels, frames]; the first channel is drawn, or the colours of an image (uint8);
        only what is drawn is read.
    recording_ids, labels: [segments].
    seconds: of a segment.
    frequencies: [mels], centre of each band, Hz.
    """
    figure, grid = _grid(len(classes), per_class)
    examples = _examples(pd.DataFrame({"recording": recording_ids, "label": labels}), classes, per_class)
    for label, axes, rows in zip(classes, grid, examples, strict=True):
        titles = [f"{recording_ids[row]}: {label}" for row in rows]
        _fill(axes, mel, rows, titles, seconds, frequencies)
    with atomic_write(path) as part:
        _save(figure, part)


def draw_errors(
    mel: np.ndarray,
    titles: Sequence[str],
    path: str | Path,
    *,
    seconds: float,
    frequencies: np.ndarray,
) -> None:
    """Draw the spectrograms of up to ten wrong answers as a PNG, five to a line; with none, a notice of it.

    Parameters
    ----------
    mel: [n, channels, mels, frames], or [n, …] colours; the first ten are drawn, in their order; where there
        are fewer, places stay empty.
    seconds, frequencies: as in `gallery`.
    titles: [n], one or more lines such as "0001_AV" and "Absent, said Present .93"; what is too long for its
        picture is broken, not cut.
    """
    if len(titles) == 0:
        draw_notice("no wrong answer to show", path)
        return
    figure, grid = _grid(2, 5, height=2.2)
    places, n = grid.ravel(), min(len(titles), grid.size)
    wrapped = ["\n".join(textwrap.fill(line, TITLE) for line in title.splitlines()) for title in titles]
    _fill(places, mel, range(n), wrapped[:n], seconds, frequencies)
    for ax in places[max(0, n - 5) : n]:  # nothing stands below these
        ax.tick_params(labelbottom=True)
    with atomic_write(path) as part:
        _save(figure, part)


def draw_notice(text: str, path: str | Path) -> None:
    """Write a line of text as a PNG, in place of a picture that may not be shown."""
    figure = Figure(figsize=(6, 0.6), dpi=72)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    with atomic_write(path) as part:
        _save(figure, part)


def _examples(segments: pd.DataFrame, classes: Sequence[str], per_class: int) -> list[np.ndarray]:
    """Rows of the segments to draw, for each class."""
    recordings = segments.reset_index().groupby(["label", "recording"])["index"].agg(["min", "max"])
    middle = recordings.sum(axis=1) // 2
    rows = [middle[label].to_numpy() if label in middle else np.empty(0, int) for label in classes]
    return [
        r[np.unique(np.linspace(0, len(r) - 1, per_class).round().astype(int))] if len(r) else r for r in rows
    ]


def _grid(lines: int, columns: int, height: float = 1.8) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(2.7 * columns, height * lines + 0.4), dpi=72, layout="constrained")
    figure.supxlabel("time (s)")
    figure.supylabel("frequency (Hz)")
    return figure, figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)


def _fill(
    axes: Iterable[Axes],
    mel: np.ndarray,
    rows: Iterable[int],
    titles: Sequence[str],
    seconds: float,
    frequencies: np.ndarray,
) -> None:
    """A picture and its title in each place; what is left of the places stays empty."""
    for ax, row, title in zip_longest(axes, rows, titles):
        if row is None:
            ax.axis("off")
        else:
            _draw(ax, mel[row], seconds, frequencies)
            ax.set_title(title, fontsize=9, parse_math=False)


def _draw(ax: Axes, channels: np.ndarray, seconds: float, frequencies: np.ndarray) -> None:
    mels = len(frequencies)
    picture = channels.transpose(1, 2, 0) if channels.dtype == np.uint8 else channels[0].astype(np.float32)
    extent = (0, seconds, -0.5, mels - 0.5)
    ax.imshow(picture, origin="lower", aspect="auto", cmap=COLOURS, extent=extent)
    ticks = np.linspace(0, mels - 1, min(5, mels)).round().astype(int)
    ax.set_yticks(ticks, [f"{frequencies[k]:.0f}" for k in ticks])


def _save(figure: Figure, path: Path) -> None:
    """With a palette: half the size of full colour."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    picture.save(path, "PNG", optimize=True)


def export_images(
    images: np.ndarray, segment_ids: Sequence[str], labels: Sequence[str], folder: str | Path
) -> None:
    """Write colour images [segments, 3, size, size] uint8 as folder/label/segment.png, low bands below."""
    with atomic_write(folder) as part:
        part.mkdir()
        for image, segment_id, label in zip(images, segment_ids, labels, strict=True):
            path = part / label / f"{segment_id}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(image[:, ::-1].transpose(1, 2, 0))).save(path)
