"""The mel scale of Slaney's Auditory Toolbox."""

import numpy as np

from murmur.sections.mel import Mel


def mel_frequencies(options: Mel) -> np.ndarray:
    """Hz [mels + 2], evenly spaced in mel: band k rises from the k-th, peaks at the next, ends at the third.

    The scale is that of Slaney's Auditory Toolbox (1998): linear below 1 kHz, logarithmic above.
    """
    low, high = (
        hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)
        for hz in (options.f_min, options.f_max)
    )
    mels = np.linspace(low, high, options.n_mels + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
