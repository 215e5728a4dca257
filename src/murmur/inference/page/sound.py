"""What the page plays and shows of a recording: a WAV file and a picture of its spectrogram."""

from io import BytesIO

import numpy as np
import soundfile
import soxr

RATE = 8000  # Hz, of the player; every browser plays it, and heart sounds are below 1 kHz
PEAK = 0.9  # largest sample of the player
WINDOW = 512  # samples, 64 ms
MIN_HOP = 32  # samples, 4 ms
MAX_COLUMNS = 1500  # of the picture, so that an hour needs no more memory than a minute
MAX_FREQUENCY = 1000  # Hz
RANGE = 50  # dB between the darkest and the brightest colour
BRIGHTEST = 99.8  # percentile, so that one click does not darken the rest


def convert_for_player(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample a recording to `RATE` and scale it to the peak `PEAK`.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        One channel.
    rate : int
        Its sample rate, Hz.

    Returns
    -------
    ndarray, shape (m,), float32
    """
    resampled = soxr.resample(np.nan_to_num(samples).astype(np.float32), rate, RATE)
    peak = np.abs(resampled).max(initial=0)
    return resampled * (PEAK / peak) if peak else resampled


def encode_wav(samples: np.ndarray) -> bytes:
    """Encode samples of the rate `RATE` as a WAV file of 16 bits."""
    file = BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def draw_spectrogram(samples: np.ndarray) -> bytes:
    """Draw the spectrogram of samples of the rate `RATE` as a PNG, without axes.

    The columns go from the first to the last sample, the rows from `MAX_FREQUENCY` down to 0 Hz. Of long
    recordings, the columns show single windows, not all of them.

    Parameters
    ----------
    samples : ndarray, shape (m,)

    Returns
    -------
    bytes
    """
    from matplotlib import colormaps  # slow to import
    from PIL import Image

    columns = min(MAX_COLUMNS, max(2, len(samples) // MIN_HOP))
    starts = np.linspace(0, len(samples), columns).astype(int)
    windows = np.pad(samples, WINDOW // 2)[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows)[:, : MAX_FREQUENCY * WINDOW // RATE + 1].T) ** 2
    reference = np.percentile(power, BRIGHTEST) or 1
    decibels = 10 * np.log10(power / reference + 1e-12)
    pixels = (np.clip(decibels / RANGE + 1, 0, 1)[::-1] * 255).round().astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("P")
    colours = (colormaps["cividis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    image.putpalette(colours.tobytes())
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
