"""Plain and published code for the features: one file after another, as in a notebook."""

from pathlib import Path
from types import SimpleNamespace

import librosa
import librosa.display
import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL.Image import Resampling, fromarray
from scipy.signal import butter, sosfiltfilt

from murmur.sections.clean import Clean, Denoise
from murmur.sections.mel import Image, Mel


def compute_plainly(
    recordings: pd.DataFrame, segments: pd.DataFrame, raw: Path, p: SimpleNamespace
) -> list[np.ndarray]:
    """Compute the spectrogram or image of each segment with librosa, scipy and Pillow.

    The positions of the segments are the pipeline's. Nothing is written.
    """
    compute = compute_image if p.mel.image else compute_log_mel
    return [compute(x, p.clean.sample_rate, p.mel) for x in cut_plainly(recordings, segments, raw, p)]


def draw_pictures(
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    raw: Path,
    p: SimpleNamespace,
    out: Path,
    axes: bool,
) -> None:
    """Draw each spectrogram into a PNG file with librosa and matplotlib, as published code.

    With `axes` as in librosa's documentation, with axes and a colour bar; otherwise 224 x 224 pixels without.
    """
    from matplotlib import pyplot as plt

    plt.switch_backend("Agg")
    out.mkdir(exist_ok=True)
    rate, hop = p.clean.sample_rate, p.mel.hop_length
    for k, x in enumerate(cut_plainly(recordings, segments, raw, p)):
        figure, ax = plt.subplots(figsize=None if axes else (2.24, 2.24))
        decibels = np.float32(compute_log_mel(x, rate, p.mel))
        mesh = librosa.display.specshow(decibels, sr=rate, hop_length=hop, x_axis="time", y_axis="mel", ax=ax)
        figure.colorbar(mesh, format="%+2.0f dB") if axes else ax.axis("off")
        figure.savefig(out / f"{k}.png")
        plt.close(figure)


def cut_plainly(recordings: pd.DataFrame, segments: pd.DataFrame, raw: Path, p: SimpleNamespace):
    """Clean each file and yield its segments."""
    length = round(p.segment.length * p.clean.sample_rate)
    positions = dict(list(segments.groupby("recording_id")[["start", "n_samples"]]))
    for name, path in zip(recordings["recording_id"], recordings["path"], strict=True):
        y = clean_plainly(raw / path, p.clean)
        for start, size in positions[name].to_numpy() if name in positions else ():
            piece = y[start : start + size]
            fill = np.resize(piece, length - size) if p.segment.short == "wrap" else np.zeros(length - size)
            yield np.append(piece, fill.astype(np.float32))


def clean_plainly(path: Path, options: Clean) -> np.ndarray:
    """Load, denoise, filter and normalise a file."""
    y, rate = librosa.load(path, sr=options.sample_rate)
    if options.denoise:
        y = reduce_noise(y, rate, options.denoise)
    if band := options.bandpass:
        y = sosfiltfilt(butter(band.order, [band.low, band.high], "bandpass", fs=rate, output="sos"), y)
    if options.normalise != "none":
        y = y / (np.abs(y).max() if options.normalise == "peak" else np.sqrt(np.mean(y**2)))
    return y.astype(np.float32)


def reduce_noise(y: np.ndarray, rate: int, options: Denoise) -> np.ndarray:
    """Reduce noise by spectral gating."""
    import noisereduce  # imports torch, which counts in the peak memory

    smooth = {
        "time_mask_smooth_ms": options.time_smooth_ms,
        "freq_mask_smooth_hz": options.frequency_smooth_hz,
    }
    return noisereduce.reduce_noise(y=y, sr=rate, n_fft=options.n_fft, **smooth)


def compute_log_mel(x: np.ndarray, rate: int, options: Mel) -> np.ndarray:
    """Compute the spectrogram [mels, frames] of x [n] with librosa."""
    sizes = options.model_dump(include={"n_mels", "n_fft", "win_length", "hop_length"})
    power = librosa.feature.melspectrogram(y=x, sr=rate, fmin=options.f_min, fmax=options.f_max, **sizes)
    reference = np.max if options.reference == "max" else options.reference
    db = librosa.power_to_db(power, ref=reference, top_db=options.top_db if options.scale == "db" else None)
    log = db if options.scale == "db" else db * np.log(10) / 10
    return log if options.image else log.astype(options.dtype)


def compute_image(x: np.ndarray, rate: int, options: Mel) -> np.ndarray:
    """Compute the image [3, size, size] of x [n] with librosa, the colour maps of matplotlib, and Pillow."""
    image: Image = options.image
    log = compute_log_mel(x, rate, options)
    values = (log - log.min()) / (log.max() - log.min())
    colours = colormaps[image.colours]((values * 255).round().astype(np.uint8))[..., :3]
    picture = fromarray((colours * 255).round().astype(np.uint8))
    return np.asarray(picture.resize((image.size, image.size), Resampling.BILINEAR)).transpose(2, 0, 1)
