"""The mel scale of Slaney's Auditory Toolbox."""

import numpy as np

from murmur.sections.mel import Mel


def mel_frequencies(options: Mel) -> np.ndarray:
    """Compute the edges of the mel bands: evenly spaced in mel from `f_min` to `f_max`.

    Parameters
    ----------
    options : Mel
        Section `mel` of params.yaml.

    Returns
    -------
    ndarray, shape (n_mels + 2,)
        Frequencies in Hz. Band k starts at frequency k, has its peak at k + 1 and ends at k + 2.

    References
    ----------
    Slaney (1998), Auditory Toolbox, Interval Research Technical Report 1998-010: linear below 1 kHz,
    logarithmic above.
    """
    low, high = (
        hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)
        for hz in (options.f_min, options.f_max)
    )
    mels = np.linspace(low, high, options.n_mels + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
