"""Zero-phase Butterworth bandpass filter."""

from functools import cache

import numpy as np
from scipy.signal import butter, sosfilt, sosfilt_zi, sosfreqz

from murmur.errors import MurmurError
from murmur.sections.clean import Bandpass

LONGEST_RINGING = 60  # s, the time constant of a bandpass


def apply_bandpass(x: np.ndarray, rate: int, band: Bandpass) -> np.ndarray:
    """Zero-phase Butterworth bandpass of x [n] at `rate` Hz, in float64.

    The very samples of `scipy.signal.sosfiltfilt`, which would work out its initial state anew for each
    recording, a fifth of its time.
    """
    sections, state = design_bandpass(rate, band)
    edge = min(3 * (2 * len(sections) + 1), len(x) - 1)
    y = np.pad(x, edge, "reflect", reflect_type="odd")
    y, _ = sosfilt(sections, y, zi=state * y[0])
    y, _ = sosfilt(sections, y[::-1], zi=state * y[-1])
    return y[::-1][edge : edge + len(x)]


@cache
def design_bandpass(rate: int, band: Bandpass) -> tuple[np.ndarray, np.ndarray]:
    """The second-order sections of the bandpass, [n, 6], and their initial state, [n, 2].

    Raises
    ------
    MurmurError
        If the filter is not stable in float64, or rings for more than a minute.
    """
    edges = [band.low, band.high]
    with np.errstate(all="ignore"):
        sections = butter(band.order, edges, "bandpass", fs=rate, output="sos")
        gains = np.abs(sosfreqz(sections, edges, fs=rate)[1])
        margin = 1 - np.abs(butter(band.order, edges, "bandpass", fs=rate, output="zpk")[1]).max()
    if not (np.allclose(gains, np.sqrt(0.5), rtol=0.01) and margin * rate * LONGEST_RINGING > 1):
        raise MurmurError(
            f"clean.bandpass: no stable filter of order {band.order}, {band.low:g}-{band.high:g} Hz, at "
            f"clean.sample_rate {rate}; lower order, or move low and high away from 0, Nyquist and each other"
        )
    return sections, sosfilt_zi(sections)
