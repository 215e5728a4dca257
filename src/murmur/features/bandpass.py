"""Zero-phase Butterworth bandpass filter."""

from functools import cache

import numpy as np
from scipy.signal import butter, sosfilt, sosfilt_zi, sosfreqz

from murmur.errors import MurmurError
from murmur.sections.clean import Bandpass

MAX_TIME_CONSTANT = 60  # s, for the impulse response to decay to 1/e


def apply_bandpass(x: np.ndarray, rate: int, band: Bandpass) -> np.ndarray:
    """Filter a signal forward and backward with a Butterworth bandpass.

    Parameters
    ----------
    x : ndarray, shape (n,)
        The signal.
    rate : int
        Sample rate, Hz.
    band : Bandpass
        Order and cutoff frequencies. At the cutoff frequencies the gain is -6 dB, since the filter is
        applied twice.

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    MurmurError
        As `design_bandpass`.

    Notes
    -----
    The output is identical to that of `scipy.signal.sosfiltfilt`, which computes the initial state again for
    each recording: 5 % of the CPU time of clean, segment and mel together (902 recordings of CirCor).
    """
    sections, state = design_bandpass(rate, band)
    n_pad = min(3 * (2 * len(sections) + 1), len(x) - 1)
    before, after = 2 * x[0] - x[n_pad:0:-1], 2 * x[-1] - x[-2 : -n_pad - 2 : -1]
    y = np.concatenate([before, x, after])  # np.pad takes seven times as long
    y, _ = sosfilt(sections, y, zi=state * y[0])
    y, _ = sosfilt(sections, y[::-1], zi=state * y[-1])
    return y[::-1][n_pad : n_pad + len(x)]


@cache
def design_bandpass(rate: int, band: Bandpass) -> tuple[np.ndarray, np.ndarray]:
    """Compute the coefficients of a Butterworth bandpass.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    band : Bandpass
        Order and cutoff frequencies.

    Returns
    -------
    sections : ndarray, shape (n_sections, 6)
        Second-order sections, as `scipy.signal.butter`.
    state : ndarray, shape (n_sections, 2)
        Their initial state for a step, as `scipy.signal.sosfilt_zi`.

    Raises
    ------
    MurmurError
        If the filter is unstable or inaccurate in float64, or its impulse response is longer than
        `MAX_TIME_CONSTANT`.
    """
    cutoffs = [band.low, band.high]
    with np.errstate(all="ignore"):
        sections = butter(band.order, cutoffs, "bandpass", fs=rate, output="sos")
        gains = np.abs(sosfreqz(sections, cutoffs, fs=rate)[1])
        _, poles, _ = butter(band.order, cutoffs, "bandpass", fs=rate, output="zpk")
        margin = 1 - np.abs(poles).max()
    if not (np.allclose(gains, np.sqrt(0.5), rtol=0.01) and margin * rate * MAX_TIME_CONSTANT > 1):
        raise MurmurError(
            f"clean.bandpass: no stable filter of order {band.order}, {band.low:g}-{band.high:g} Hz, at "
            f"clean.sample_rate {rate}; lower order, or move low and high away from 0, Nyquist and each other"
        )
    return sections, sosfilt_zi(sections)
