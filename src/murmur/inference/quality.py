"""Signal quality of a recording: how regular its heart sounds are, heart rate, clipping."""

from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.signal import butter, sosfilt

ENVELOPE_RATE = 50  # Hz
LOW_PASS = 150  # Hz: heart sounds are below, most of the power of many murmurs is above
FLOOR = 0.01  # added to the envelope before the logarithm, a fraction of its mean
MIN_VARIANCE = 0.05  # of the logarithm of the envelope, 1 dB squared: below it, nothing beats
WINDOW = 4.0  # s
PERIODS = (0.35, 1.5)  # s: 171 to 40 beats per minute
SIMILAR = 0.9  # of peaks that are about as high as the highest one, the first is that of one heart cycle
CLEAR = 0.3  # minimum score at which the heart rate is given
MIN_RUN = 3  # samples in a row at the limit that count as clipped
MIN_DEPARTURE = (
    0.1  # of the limit from the mean, a fraction of the range; else samples at the limit are silent
)
PIECE = 60  # s, length of the pieces that are filtered, so that memory is bounded


class Quality(NamedTuple):
    """Figures of the quality of a recording.

    Attributes
    ----------
    score : float
        Regularity of the heart sounds, from 0 (none found) to 1 (all beats equal).
    heart_rate : float or None
        Beats per minute, None if the score is below 0.3 or the recording shorter than 4 s.
    clipped : float
        Fraction of the samples that are clipped.
    """

    score: float
    heart_rate: float | None
    clipped: float


def measure_quality(samples: np.ndarray, signal: np.ndarray, rate: int) -> Quality:
    """Measure the quality of a recording.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The recording as it was read.
    signal : ndarray, shape (m,)
        The cleaned recording.
    rate : int
        Sample rate of `signal`, Hz.

    Returns
    -------
    Quality

    Notes
    -----
    The score is the height of the highest peak of the autocorrelation of the envelope at lags from 0.35 to
    1.5 s, one of the quality indices of [1]_. The envelope is the logarithm of the power below 150 Hz in
    steps of 20 ms. Its autocorrelation is the mean over windows of 4 s that overlap by half, divided by the
    value at lag 0. The heart rate is that of the peak. In a recording shorter than 4 s the score is less
    exact: lags of more than half its length are not used, and noise has higher scores.

    Samples are clipped if three or more in a row are equal to the highest value of the recording, or to the
    lowest, unless that value is near the mean, as in a recording of silence with clicks.

    References
    ----------
    .. [1] Springer et al. (2016), Automated signal quality assessment of mobile phone-recorded heart sound
       signals, J Med Eng Technol 40(7-8), https://doi.org/10.1080/03091902.2016.1213902
    """
    envelope, envelope_rate = _compute_envelope(signal, rate)
    score, period = _find_peak(_autocorrelate(envelope, envelope_rate), envelope_rate)
    has_clear_rate = score >= CLEAR and len(signal) >= WINDOW * rate
    heart_rate = 60 / period if has_clear_rate else None
    return Quality(score, heart_rate, _measure_clipping(samples))


def _compute_envelope(signal: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Return the logarithm of the power in steps of about 20 ms, and the number of steps per second."""
    step = max(1, round(rate / ENVELOPE_RATE))
    size = PIECE * ENVELOPE_RATE * step
    pieces = [_compute_power(signal[k : k + size], rate, step) for k in range(0, len(signal), size)]
    power = np.concatenate([np.zeros(0), *pieces])
    return np.log(power + FLOOR * power.mean() + 1e-30) if len(power) else power, rate / step


def _compute_power(x: np.ndarray, rate: int, step: int) -> np.ndarray:
    if rate > 2 * LOW_PASS:
        x = sosfilt(_design_low_pass(rate), x)
    n = len(x) // step
    return np.square(x[: n * step], dtype=np.float64).reshape(n, step).mean(axis=1)


@cache
def _design_low_pass(rate: int) -> np.ndarray:
    return butter(2, LOW_PASS, fs=rate, output="sos")


def _autocorrelate(x: np.ndarray, rate: float) -> np.ndarray:
    """Return the autocorrelation at lags up to half a window, 1 at lag 0; the mean over windows."""
    size = min(len(x), round(WINDOW * rate))
    if size < 4:
        return np.zeros(1)
    windows = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 2]
    windows = windows - windows.mean(axis=1, keepdims=True)
    spectrum = np.square(np.abs(scipy.fft.rfft(windows, 2 * size)))
    lags = np.arange(size // 2)
    products = scipy.fft.irfft(spectrum, 2 * size)[:, : len(lags)] / (size - lags)
    variances = np.maximum(products[:, :1], MIN_VARIANCE)
    return (products / variances).mean(axis=0)


def _find_peak(correlation: np.ndarray, rate: float) -> tuple[float, float]:
    """Return the height of the peak of one heart cycle, and its lag in s; 0 and NaN if there is no peak."""
    lags = np.arange(
        max(1, round(PERIODS[0] * rate)), min(round(PERIODS[1] * rate), len(correlation) - 2) + 1
    )
    height = correlation[lags]
    is_peak = (height > 0) & (height >= correlation[lags - 1]) & (height > correlation[lags + 1])
    if not is_peak.any():
        return 0.0, np.nan
    lag = lags[is_peak & (height >= SIMILAR * height[is_peak].max())][0]
    left, top, right = correlation[lag - 1 : lag + 2].tolist()
    shift = (left - right) / (2 * (left - 2 * top + right))  # of a parabola through the three values
    return min(1.0, top), float(lag + shift) / rate


def _measure_clipping(samples: np.ndarray) -> float:
    """Return the fraction of the samples that are in runs at the highest or lowest value."""
    lowest, mean, highest = samples.min(), samples.mean(dtype=np.float64), samples.max()
    clipped = 0
    for limit in (lowest, highest):
        if abs(limit - mean) <= MIN_DEPARTURE * (highest - lowest):
            continue
        places = np.flatnonzero(samples == limit)
        runs = np.diff(np.flatnonzero(np.diff(places, prepend=-2, append=-2) != 1))
        clipped += int(runs[runs >= MIN_RUN].sum())
    return clipped / len(samples)
