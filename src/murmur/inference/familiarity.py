"""Whether a recording is like those of the training data."""

import numpy as np
import scipy.fft
from threadpoolctl import threadpool_limits

from murmur.params.types import Section

N_BANDS = 8
LOWEST, HIGHEST = 25, 0.4  # Hz, and as a fraction of the sample rate
FRAME = 0.128  # s
FRAMES_AT_ONCE = 512  # so that memory is bounded
FLOOR = 1e-6  # of the power, relative to the mean over bands: 60 dB below
SHARE = 0.02  # of the recordings of new persons of the same source that is beyond the limit
N_PARTS = 5  # the persons are divided into this many parts to find the limit
DIGITS = 6  # of the numbers in a reference


class Reference(Section):
    """What the recordings of the training data are like.

    Attributes
    ----------
    mean : tuple of float
        Mean of each figure of `describe_signal`.
    precision : tuple of tuple of float
        Inverse of their covariance matrix.
    limit : float
        Distance above which a recording is unlike the training data.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float


def describe_signal(signal: np.ndarray, rate: int) -> np.ndarray:
    """Compute the figures by which recordings are compared.

    Parameters
    ----------
    signal : ndarray, shape (m,)
        The cleaned recording.
    rate : int
        Its sample rate, Hz.

    Returns
    -------
    ndarray, shape (12,)
        The logarithm of the mean power in eight bands of equal width on a logarithmic scale, from 25 Hz to
        0.4 of the sample rate, relative to the mean over the bands. Then, for four pairs of bands, the
        logarithm of the arithmetic over the geometric mean of the power over time: it is low for steady noise
        and high for sounds between pauses. The figures do not depend on the level of the recording.
    """
    power = _compute_band_powers(signal, rate)
    power = power / (power.mean() or 1.0) + FLOOR
    level = np.log(power.mean(axis=0))
    variation = level - np.log(power).mean(axis=0)
    return np.concatenate([level, variation.reshape(-1, 2).mean(axis=1)])


def _compute_band_powers(signal: np.ndarray, rate: int) -> np.ndarray:
    """Compute the power in each frame and band, shape (frames, bands)."""
    size = max(2, round(FRAME * rate))
    signal = np.pad(signal, (0, max(0, size - len(signal))))
    frames = signal[: len(signal) // size * size].reshape(-1, size)
    window = np.hanning(size).astype(np.float32)
    bands = _assign_bins(size, rate)
    parts = [
        np.square(np.abs(scipy.fft.rfft(frames[k : k + FRAMES_AT_ONCE] * window))) @ bands
        for k in range(0, len(frames), FRAMES_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)


def _assign_bins(size: int, rate: int) -> np.ndarray:
    """Compute the weights of frequency bins in the mean of each band; a narrow band has the nearest bin."""
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    edges = np.geomspace(LOWEST, max(HIGHEST * rate, LOWEST + 1), N_BANDS + 1)
    weights = (frequencies[:, None] >= edges[:-1]) & (frequencies[:, None] < edges[1:])
    centres = np.sqrt(edges[:-1] * edges[1:])
    nearest = np.abs(frequencies[:, None] - centres).argmin(axis=0)
    weights[nearest, np.arange(N_BANDS)] = True
    return (weights / weights.sum(axis=0)).astype(np.float32)


def fit_reference(figures: np.ndarray, persons: np.ndarray) -> Reference:
    """Describe the training data by the mean and covariance of the figures of its recordings.

    Parameters
    ----------
    figures : ndarray, shape (recordings, n)
        From `describe_signal`.
    persons : ndarray of str, shape (recordings,)
        The person of each recording.

    Returns
    -------
    Reference

    Notes
    -----
    The distance of a recording is the Mahalanobis distance from the mean. The covariance matrix is that of
    Ledoit and Wolf [1]_, which can be inverted also with few recordings. The limit is the distance that 2 %
    of the recordings exceed if mean and covariance are computed without the fifth of the persons that they
    belong to: about 2 % of the recordings of new persons of the same source are beyond it. With fewer than 50
    recordings it is the largest distance.

    References
    ----------
    .. [1] Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices,
       J Multivariate Anal 88(2), https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    names, person = np.unique(np.asarray(persons, str), return_inverse=True)
    part = person % min(N_PARTS, len(names))
    with threadpool_limits(1):  # the last bits of a matrix product depend on the number of threads
        distances = np.concatenate([
            _compute_distances(figures[part == k], *_fit(figures[part != k] if len(names) > 1 else figures))
            for k in np.unique(part)
        ])  # fmt: skip
        mean, precision = _fit(figures)
    limit = np.quantile(distances, 1 - SHARE, method="higher")
    return Reference(
        mean=_round(mean), precision=tuple(_round(row) for row in precision), limit=_round([limit])[0]
    )


def _fit(figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the inverse of the covariance matrix."""
    from sklearn.covariance import LedoitWolf  # slow to import, not needed for predictions

    mean, sd = figures.mean(axis=0), figures.std(axis=0) + 1e-3
    precision = LedoitWolf(assume_centered=True).fit((figures - mean) / sd).precision_
    return mean, precision / np.outer(sd, sd)


def _compute_distances(figures: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    centred = figures - mean
    return np.sqrt(np.einsum("ri,ij,rj->r", centred, precision, centred))


def _round(values: np.ndarray | list[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def compute_distance(figures: np.ndarray, reference: Reference) -> float:
    """Compute the distance of a recording from the training data.

    Parameters
    ----------
    figures : ndarray, shape (n,)
        From `describe_signal`.
    reference : Reference
        From `fit_reference`.

    Returns
    -------
    float
        The Mahalanobis distance; above `reference.limit` the recording is unlike the training data.
    """
    mean, precision = np.array(reference.mean), np.array(reference.precision)
    return float(_compute_distances(figures[None], mean, precision)[0])
