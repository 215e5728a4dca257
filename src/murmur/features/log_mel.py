"""The log-mel transform, with librosa's conventions."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft

from murmur.errors import MurmurError
from murmur.features.mel_scale import mel_frequencies
from murmur.sections.mel import Mel

AMIN = 1e-10  # lower limit of the power before the logarithm, as in librosa
EPSILON = np.float32(2**-23)  # M2D adds it to the power


class LogMel:
    """Transform of segments into log-mel spectrograms.

    The same as `librosa.feature.melspectrogram` (Slaney's mel scale and normalisation, Hann window, centred
    frames), followed by `librosa.power_to_db` (`scale: db`), the natural logarithm (`ln`) or
    ln(power + 2^-23) (`ln_plus`).

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    options : Mel
        Section `mel` of params.yaml.
    win_length, hop_length : int
        Length of the window and distance between frames, in samples.

    Attributes
    ----------
    window : ndarray, shape (n_fft,), float32
        Hann window, with zeros on both sides.
    bins : slice
        The frequency bins that a mel band uses.
    bank : ndarray, shape (bins, n_mels), float32
        The mel filters at these bins.

    Raises
    ------
    MurmurError
        If a mel band contains no frequency bin.

    Notes
    -----
    Where the reference of the scale is the maximum, silence has the lowest value of the scale: -`top_db`, or
    without `top_db` the level of `AMIN` relative to the highest power of a signal in [-1, 1]. In librosa it
    has the highest.

    References
    ----------
    `ln_plus`: Niizumi et al. (2023), "Masked Modeling Duo", ICASSP.
    """

    def __init__(self, rate: int, options: Mel, win_length: int, hop_length: int):
        self.options, self.hop_length = options, hop_length
        n_zeros = options.n_fft - win_length
        window = np.hanning(win_length + 1)[:-1] if win_length > 1 else np.ones(1)  # periodic
        self.window = np.pad(window, (n_zeros // 2, n_zeros - n_zeros // 2)).astype(np.float32)
        bank = mel_bank(rate, options)
        if n_empty := int((bank.max(axis=1) == 0).sum()):
            raise MurmurError(
                f"mel.n_mels {options.n_mels}: bands without an FFT bin: {n_empty}; "
                "take fewer bands or a longer mel.n_fft"
            )
        used = np.flatnonzero(bank.any(axis=0))
        self.bins = slice(used[0], used[-1] + 1)
        self.bank = np.ascontiguousarray(bank[:, self.bins].T)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Transform segments, shape (k, n), into spectrograms, shape (k, n_mels, frames); both float32."""
        frames = sliding_window_view(self._extend(x), self.options.n_fft, axis=1)[:, :: self.hop_length]
        spectrum = rfft(frames * self.window)[..., self.bins]
        squares = np.square(spectrum.view(spectrum.real.dtype))  # of real and imaginary parts in turn
        power = (squares[..., ::2] + squares[..., 1::2]) @ self.bank
        power[x.min(axis=1) == x.max(axis=1)] = 0  # a constant signal is silent, its zero-padded ends are not
        return self._to_log(power).transpose(0, 2, 1)

    def _extend(self, x: np.ndarray) -> np.ndarray:
        """Extend segments at both ends, so that the first and last frames are centred on their ends."""
        half = self.options.n_fft // 2
        if self.options.edges == "reflect":
            return np.pad(x, ((0, 0), (half, half)), "reflect")
        zeros = np.zeros((len(x), half), x.dtype)
        return np.concatenate([zeros, x, zeros], axis=1)  # np.pad takes three times as long

    def _to_log(self, power: np.ndarray) -> np.ndarray:
        """Take the logarithm of the power, shape (k, frames, n_mels), relative to the reference."""
        o = self.options
        if o.scale == "ln_plus":
            return np.log(power + EPSILON)
        reference = power.max(axis=(1, 2), keepdims=True) if o.reference == "max" else np.float32(o.reference)
        log = np.log(np.maximum(power, AMIN)) - np.log(np.maximum(reference, AMIN))
        if o.scale == "db":
            log *= np.float32(10 / np.log(10))
            if o.top_db is not None:
                np.maximum(log, log.max(axis=(1, 2), keepdims=True) - np.float32(o.top_db), out=log)
        if o.reference == "max":
            log[reference.ravel() <= AMIN] = self.silence()
        return log

    def silence(self) -> float:
        """Compute the value of silence where the reference is the maximum."""
        o = self.options
        if o.scale == "db" and o.top_db is not None:
            return -o.top_db
        full_scale = np.square(self.window.sum()) * self.bank.sum(axis=0).max()
        return float(np.log(AMIN / full_scale) * (10 / np.log(10) if o.scale == "db" else 1))


def mel_bank(rate: int, options: Mel) -> np.ndarray:
    """Compute triangular mel filters of equal area, as `librosa.filters.mel`.

    Implemented here because the import of librosa takes longer than the transform of a thousand recordings.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    options : Mel
        Section `mel` of params.yaml.

    Returns
    -------
    ndarray, shape (n_mels, n_fft // 2 + 1), float32
    """
    edges = mel_frequencies(options)[:, None]
    bins = np.fft.rfftfreq(options.n_fft, 1 / rate)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)
