"""What the page plays and shows of a recording: a WAV file and a picture of its spectrogram."""

from io import BytesIO

import numpy as np
import soundfile
import soxr

from murmur.features.images import make_colours

RATE = 8000  # Hz, of the player; every browser plays it, and heart sounds are below 1 kHz
PEAK = 0.9  # largest sample of the player
WINDOW = 512  # samples, 64 ms
MIN_HOP = 32  # samples, 4 ms
MAX_COLUMNS = 1500  # of the picture, so that an hour needs no more memory than a minute
MAX_WINDOWS = 16  # in a column; with one alone, the column would depend on the phase of the heartbeat
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

    The columns go from the first to the last sample, the rows from `MAX_FREQUENCY` down to 0 Hz. A column is
    the mean power of the windows in it, up to `MAX_WINDOWS`.

    Parameters
    ----------
    samples : ndarray, shape (m,)

    Returns
    -------
    bytes
    """
    from PIL import Image

    power = _compute_power(samples)
    reference = np.percentile(power, BRIGHTEST) or 1
    decibels = 10 * np.log10(power / reference + 1e-12)
    pixels = (np.clip(decibels / RANGE + 1, 0, 1)[::-1] * 255).round().astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("P")
    image.putpalette(make_colours("cividis").tobytes())
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _compute_power(samples: np.ndarray) -> np.ndarray:
    """Compute the power of each pixel, shape (rows, columns); the first row is 0 Hz."""
    columns = min(MAX_COLUMNS, max(2, len(samples) // MIN_HOP))
    hop = len(samples) / columns
    windows = min(MAX_WINDOWS, max(1, round(hop / WINDOW)))
    padded, taper = np.pad(samples, WINDOW // 2), np.hanning(WINDOW).astype(np.float32)
    power = np.zeros((MAX_FREQUENCY * WINDOW // RATE + 1, columns))
    for k in range(windows):
        starts = ((np.arange(columns) + (k + 0.5) / windows) * hop).astype(int)
        spectra = np.fft.rfft(padded[starts[:, None] + np.arange(WINDOW)] * taper)
        power += np.abs(spectra[:, : len(power)].T) ** 2 / windows
    return power
