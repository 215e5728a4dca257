"""Plots of predictions: waveform, mel spectrogram, and the probability of the positive classes over time."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from threadpoolctl import threadpool_limits

from murmur.features.log_mel import LogMel
from murmur.features.mel_scale import mel_frequencies
from murmur.features.one_recording import clean_recording
from murmur.files import atomic_write
from murmur.inference.heart_sounds import describe_phase
from murmur.inference.model_info import ModelInfo
from murmur.inference.prediction import Model
from murmur.inference.reading import read_any
from murmur.inference.results import CANNOT_TELL, PATIENTS_ONLY, Prediction, RecordingPrediction
from murmur.logs import escape_unprintable
from murmur.reporting.heart_cycle_plot import draw_heart_cycles, make_cycle_legend
from murmur.reporting.spectrograms import draw_spectrogram, save_png

COLUMNS = 900  # of a waveform or a spectrogram; a figure has about as many pixels
SEGMENTS = 150  # more segments are drawn as mean and range of groups of segments
BLOCK = 256  # frames in each transform: the memory does not grow with the length of the recording
RANGE = 60.0  # dB
LINE = 100  # characters
DARK, LIGHT = "#08306b", "#c6d5e8"  # also distinct in grey


class _Figure(Figure):
    """A figure that notebooks show."""

    def _repr_png_(self) -> bytes:
        """Return the picture for notebooks in which pyplot is not in use."""
        self.savefig(content := BytesIO(), format="png")
        return content.getvalue()


def plot_recording_prediction(
    prediction: RecordingPrediction, samples: np.ndarray, rate: int, info: ModelInfo, patient_id: str = ""
) -> Figure:
    """Plot the prediction for one recording.

    Parameters
    ----------
    prediction : RecordingPrediction
        From `Model.predict`.
    samples : ndarray, shape (n,)
        The recording.
    rate : int
        Its sample rate, Hz.
    info : ModelInfo
        Of the model.
    patient_id : str
        Name of the patient, for the title.

    Returns
    -------
    matplotlib.figure.Figure
        From top to bottom: waveform, mel spectrogram of the cleaned recording, heart cycles with the
        probability of a murmur (of networks that label frames), probability of the positive classes in each
        segment.
    """
    seconds = len(samples) / rate
    title = "\n".join([*textwrap.wrap(_name(prediction, patient_id), LINE), _describe(prediction)])
    sounds = prediction.heart_sounds
    plots = 5.35 if sounds is None else 7.0  # height without the title
    height = plots + 0.15 + 0.2 * len(title.splitlines())
    figure = _Figure(figsize=(9, height), dpi=100)
    ratios = (1, 1.3, 1.3) if sounds is None else (1, 1.3, 1.3, 1.3)
    axes = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    bottom = 0.95 if sounds is None else 1.15
    margins = {"top": plots / height, "bottom": bottom / height}
    figure.subplots_adjust(left=0.08, right=0.985, hspace=0.08, **margins)
    axes[0].set_title(title, fontsize=9, loc="left", parse_math=False, linespacing=1.4)
    place: dict[str, Any] = {"xy": (1, 1), "xycoords": "axes fraction", "va": "bottom"}
    place |= {"xytext": (-8, 9), "textcoords": "offset points"}
    axes[0].annotate(**_style_answer(prediction, info), **place)
    _draw_waveform(axes[0], samples, seconds)
    _draw_mel(axes[1], samples, rate, info)
    if sounds is not None:
        draw_heart_cycles(axes[2], sounds, seconds)
        place = {"loc": "lower left", "bbox_to_anchor": (0.087, 0.24 / height)}
        figure.legend(handles=make_cycle_legend(seconds), fontsize=8, ncols=5, borderaxespad=0, **place)
    _draw_probability(axes[-1], prediction, info)
    if handles := _make_legend(prediction, info):
        axes[-1].legend(handles=handles, fontsize=8, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.28))
    _label_time(axes[-1], seconds)
    return figure


def plot_patient_prediction(
    prediction: Prediction, recordings: Sequence[tuple[np.ndarray, int]], info: ModelInfo
) -> Figure:
    """Plot the prediction for a patient: a row for each recording.

    Parameters
    ----------
    prediction : Prediction
        From `Model.predict`.
    recordings : sequence of (ndarray of shape (n,), int)
        Samples and sample rate (Hz) of each recording, in the order of `prediction.recordings`.
    info : ModelInfo
        Of the model.

    Returns
    -------
    matplotlib.figure.Figure
        Left the mel spectrograms, right the probability of the positive classes in each segment or, of
        networks that label frames, the heart cycles with the probability of a murmur.
    """
    rows = len(recordings)
    height = 1.6 + 1.9 * rows
    figure = _Figure(figsize=(11, height), dpi=100)
    grid = figure.subplots(rows, 2, squeeze=False)
    margins = {"top": 1 - 1.05 / height, "bottom": 0.8 / height}
    figure.subplots_adjust(left=0.065, right=0.985, hspace=0.6, wspace=0.13, **margins)
    name = textwrap.wrap(escape_unprintable(f"patient {prediction.patient_id}"), LINE)
    title = "\n".join([*name, _describe_probabilities(prediction)])
    top = 1 - 0.12 / height
    figure.text(0.015, top, title, va="top", fontsize=9, parse_math=False, linespacing=1.4)
    style = _style_answer(prediction, info)
    figure.text(0.975, top - 0.06 / height, style.pop("text"), va="top", **style)
    for (left, right), recording, (samples, rate) in zip(
        grid, prediction.recordings, recordings, strict=True
    ):
        seconds = len(samples) / rate
        left.set_title(_name(recording), fontsize=9, loc="left", fontweight="bold", parse_math=False)
        lines = textwrap.wrap(_answer(recording, info), 80)
        if phase := recording.murmur_phase:
            lines.append(f"{_describe_rate(recording)}, {describe_phase(phase)}")
        right.set_title("\n".join(lines), fontsize=9, loc="left", parse_math=False)
        _draw_mel(left, samples, rate, info)
        if recording.heart_sounds is None:
            _draw_probability(right, recording, info)
        else:
            draw_heart_cycles(right, recording.heart_sounds, seconds)
        for ax in (left, right):
            _label_time(ax, seconds, is_last=recording is prediction.recordings[-1])
    if handles := _make_overview_legend(prediction, info):
        figure.legend(handles=handles, fontsize=8, ncols=5, loc="lower right")
    return figure


def _make_overview_legend(prediction: Prediction, info: ModelInfo) -> list[Any]:
    with_sounds = [recording.seconds for recording in prediction.recordings if recording.heart_sounds]
    if with_sounds:
        return make_cycle_legend(min(with_sounds))
    return next(filter(None, (_make_legend(recording, info) for recording in prediction.recordings)), [])


def plot_prediction(
    prediction: Prediction, model: Model, recordings: Sequence[tuple[np.ndarray, int]] | None = None
) -> Figure:
    """Plot a prediction, in a program or a notebook.

    Parameters
    ----------
    prediction : Prediction
        From `Model.predict`.
    model : Model
        The model that predicted it.
    recordings : sequence of (ndarray of shape (n,), int), optional
        Samples and sample rate (Hz) of each recording, in the order of `prediction.recordings`; by default
        the files are read again.

    Returns
    -------
    matplotlib.figure.Figure
        Of one recording: waveform, mel spectrogram, heart cycles with the probability of a murmur (of
        networks that label frames), probability of the positive classes in each segment. Of several: a row
        for each, with the mel spectrogram, and the heart cycles if there are any, else the probabilities.

    Raises
    ------
    MurmurError
        If a file cannot be read.
    ValueError
        If a recording was an array, and `recordings` is not given.

    Examples
    --------
    >>> prediction = model.predict("data/raw/P001_AV.wav")
    >>> murmur.plot_prediction(prediction, model).savefig("prediction.png")
    """
    if recordings is None:
        recordings = _read_recordings(prediction)
    if len(prediction.recordings) > 1:
        return plot_patient_prediction(prediction, recordings, model.info)
    ((samples, rate),) = recordings
    (recording,) = prediction.recordings
    return plot_recording_prediction(recording, samples, rate, model.info, prediction.patient_id)


def _read_recordings(prediction: Prediction) -> list[tuple[np.ndarray, int]]:
    """Read the files of a prediction."""
    paths = [recording.path for recording in prediction.recordings if recording.path]
    if len(paths) < len(prediction.recordings):
        raise ValueError("recordings: give the samples and the rate of each recording; one was an array")
    return [read_any(path) for path in paths]


def write_plots(
    prediction: Prediction, info: ModelInfo, folder: Path, names: Sequence[str], overview: str = ""
) -> None:
    """Write a PNG for each recording of a patient, and an overview.

    Parameters
    ----------
    prediction : Prediction
        For recordings in files.
    info : ModelInfo
        Of the model.
    folder : Path
        Folder of the pictures.
    names : sequence of str
        File name of the picture of each recording.
    overview : str
        File name of the overview; empty: none.
    """
    recordings = _read_recordings(prediction)
    for recording, loaded, name in zip(prediction.recordings, recordings, names, strict=True):
        figure = plot_recording_prediction(recording, *loaded, info, prediction.patient_id)
        _write(figure, folder / name)
    if overview:
        _write(plot_patient_prediction(prediction, recordings, info), folder / overview)


def _write(figure: Figure, path: Path) -> None:
    with atomic_write(path) as part:
        save_png(figure, part)


def _name(prediction: RecordingPrediction, patient_id: str = "") -> str:
    parts = [f"site {prediction.site}"] if prediction.site else []
    if patient_id not in ("", prediction.name, Path(prediction.name).stem):
        parts.insert(0, f"patient {patient_id}")
    name = f"{', '.join(parts)} ({prediction.name})" if parts else prediction.name
    return escape_unprintable(name)


def _describe(prediction: RecordingPrediction) -> str:
    """The lines below the title of a recording."""
    facts = (
        f"{prediction.seconds:.1f} s at {prediction.rate} Hz, signal quality {prediction.quality.score:.2f}"
    )
    lines = [_describe_probabilities(prediction), f"{facts}, {_describe_rate(prediction)}"]
    lines += [describe_phase(prediction.murmur_phase)] if prediction.murmur_phase else []
    return "\n".join(lines).strip()


def _describe_rate(prediction: RecordingPrediction) -> str:
    return f"heart rate {prediction.heart_rate:.0f}/min" if prediction.heart_rate else "heart rate not found"


def _describe_probabilities(prediction: RecordingPrediction | Prediction) -> str:
    """The probability of each class, or the reasons why there is no answer."""
    if prediction.reasons:
        return "\n".join(textwrap.wrap(f"Reason: {'; '.join(prediction.reasons)}", LINE))
    return "  ".join(f"{name} {p:.2f}" for name, p in (prediction.probabilities or {}).items())


def _answer(prediction: RecordingPrediction | Prediction, info: ModelInfo) -> str:
    """The answer with its probability, or the reasons why there is none."""
    if prediction.reasons:
        return f"{CANNOT_TELL}: {'; '.join(prediction.reasons)}"
    if prediction.answer is None or not prediction.probabilities:
        return PATIENTS_ONLY if info.level == "patient" else CANNOT_TELL
    return f"{prediction.answer}, probability {prediction.probabilities[prediction.answer]:.2f}"


def _style_answer(prediction: RecordingPrediction | Prediction, info: ModelInfo) -> dict[str, Any]:
    """The text and style of the answer in a box: dark if it is positive, dashed without an answer."""
    is_positive = prediction.answer in info.positive
    text = CANNOT_TELL if prediction.reasons else _answer(prediction, info)
    return {
        "text": text.replace(", probability", "\nprobability"),
        "ha": "right",
        "fontsize": 10,
        "fontweight": "bold",
        "color": "white" if is_positive else "black",
        "bbox": {
            "boxstyle": "round,pad=0.5",
            "facecolor": DARK if is_positive else "white",
            "linestyle": "dashed" if prediction.reasons else "solid",
        },
        "parse_math": False,
    }


def _draw_waveform(ax: Axes, samples: np.ndarray, seconds: float) -> None:
    """Draw the samples, or for many samples their range in each column."""
    ax.set_ylabel("amplitude")
    if len(samples) <= 2 * COLUMNS:
        ax.plot(np.arange(len(samples)) / len(samples) * seconds, samples, color=DARK, linewidth=0.8)
        return
    starts = np.linspace(0, len(samples), COLUMNS, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    ax.fill_between(starts / len(samples) * seconds, low, high, color=DARK, linewidth=0.5)


def _draw_mel(ax: Axes, samples: np.ndarray, rate: int, info: ModelInfo) -> None:
    """Draw the mel spectrogram of the cleaned recording, at most `RANGE` dB below its maximum."""
    signal = clean_recording(samples, rate, info.params)
    spectrogram = _compute_mel(signal, info)
    seconds = len(samples) / rate
    shown = np.maximum(spectrogram, spectrogram.max() - RANGE)
    draw_spectrogram(ax, shown[None], seconds, mel_frequencies(info.params.mel)[1:-1])
    ax.set_ylabel("frequency (Hz)")


def _compute_mel(signal: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Compute a mel spectrogram (dB) with the first window; columns are means of frames if there are many."""
    (win_length, hop_length), *_ = info.params.mel.windows
    options = info.params.mel.model_copy(update={"scale": "db", "reference": 1.0, "top_db": None})
    transform = LogMel(info.params.clean.sample_rate, options, win_length, hop_length)
    frames = -(-len(signal) // hop_length)
    pooled = -(-frames // COLUMNS)
    size = pooled * max(1, BLOCK // pooled) * hop_length
    columns = []
    with threadpool_limits(1):
        for start in range(0, len(signal), size):
            block = signal[None, start : start + size]
            if block.shape[1] <= options.n_fft:
                block = np.pad(block, ((0, 0), (0, options.n_fft + 1 - block.shape[1])))
            spectrogram = transform(block)[0, :, : -(-size // hop_length)]
            edges = np.arange(0, spectrogram.shape[1], pooled)
            counts = np.diff(np.append(edges, spectrogram.shape[1]))
            columns.append(np.add.reduceat(spectrogram, edges, axis=1) / counts)
    return np.concatenate(columns, axis=1)


def _draw_probability(ax: Axes, prediction: RecordingPrediction, info: ModelInfo) -> None:
    """Draw the probability of the positive classes in each segment, and the limit of the decision."""
    ax.set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1), ylabel=f"P({' or '.join(info.positive)})")
    if not len(prediction.segments):
        text = "no probabilities of segments: "
        text += prediction.reasons[0] if prediction.reasons else PATIENTS_ONLY
        text = "\n".join(textwrap.wrap(text, 60))
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, parse_math=False)
        return
    ends = prediction.ends
    p, limits = _compute_positive(prediction.segments, info)
    edges = np.concatenate([[0], (prediction.starts[1:] + ends[:-1]) / 2, [prediction.seconds]])
    if len(p) > SEGMENTS:
        groups = np.linspace(0, len(p), SEGMENTS, endpoint=False).astype(int)
        edges = np.append(edges[groups], edges[-1])
        low, high = np.minimum.reduceat(p, groups), np.maximum.reduceat(p, groups)
        ax.stairs(high, edges, baseline=low, fill=True, color=LIGHT)
        sizes = np.diff(np.append(groups, len(p)))
        p, limits = (np.add.reduceat(values, groups) / sizes for values in (p, limits))
        ax.stairs(p, edges, baseline=None, color=DARK, linewidth=1.5)
    else:
        ax.stairs(p, edges, fill=True, color=LIGHT)
        ax.stairs(p, edges, baseline=None, color=DARK, linewidth=1.5)
        middle, is_positive = (prediction.starts + ends) / 2, p > limits
        style: Any = {"color": DARK, "linestyle": "", "marker": "o", "markersize": 5, "clip_on": False}
        ax.plot(middle[is_positive], p[is_positive], **style)
        ax.plot(middle[~is_positive], p[~is_positive], markerfacecolor="white", **style)
    ax.stairs(limits, edges, baseline=None, color="black", linestyle=(0, (4, 2)), linewidth=1)


def _compute_positive(p: np.ndarray, info: ModelInfo) -> tuple[np.ndarray, np.ndarray]:
    """Compute the probability of the positive classes, and the limit above which one of them is chosen.

    The class with the highest weighted probability is chosen. With the shares of the probability within the
    positive and within the other classes fixed, that is a limit for the sum over the positive classes.
    """
    decision = info.decisions["segment"]  # its weights are those of the probabilities before the temperature
    weights = np.array([decision.weights[c] for c in info.classes]) ** (1 / decision.temperature)
    is_positive = np.isin(info.classes, info.positive)
    tiny = 1e-12
    positive, others = p[:, is_positive], p[:, ~is_positive]
    total = positive.sum(axis=1)
    gain = (positive * weights[is_positive]).max(axis=1) / np.maximum(total, tiny)
    loss = (others * weights[~is_positive]).max(axis=1) / np.maximum(1 - total, tiny)
    return total, loss / np.maximum(gain + loss, tiny)


def _make_legend(prediction: RecordingPrediction, info: ModelInfo) -> list[Line2D]:
    """The legend of the probabilities."""
    if not len(prediction.segments):
        return []
    positive = " or ".join(info.positive)
    limit = Line2D(
        [], [], color="black", linestyle=(0, (4, 2)), label=f"{positive} is chosen above this line"
    )
    if len(prediction.segments) > SEGMENTS:
        size = len(prediction.segments) / SEGMENTS
        mean = Line2D([], [], color=DARK, label=f"mean of {size:.0f} segments")
        spread = Line2D([], [], color=LIGHT, linewidth=6, label="lowest to highest")
        return [mean, spread, limit]
    style: Any = {"color": DARK, "marker": "o", "linestyle": ""}
    yes = Line2D([], [], label=f"segment: {positive}", **style)
    no = Line2D([], [], label="segment: another class", markerfacecolor="white", **style)
    return [yes, no, limit]


def _label_time(ax: Axes, seconds: float, *, is_last: bool = True) -> None:
    """Label the time axis in seconds, or for long recordings in minutes and seconds."""
    ax.set_xlim(0, seconds)
    if seconds > 180:
        ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 1.2, 1.8, 3, 6, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x // 60:.0f}:{x % 60:02.0f}"))
    if is_last:
        ax.set_xlabel("time (min:s)" if seconds > 180 else "time (s)")
