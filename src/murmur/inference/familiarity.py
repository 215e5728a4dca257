"""Whether a recording is like those of the training data."""

import numpy as np

from murmur.params.types import Section


class Reference(Section):
    """What the recordings of the training data are like.

    Attributes
    ----------
    mean : tuple of float
        Mean of each figure of `describe_signal`.
    precision : tuple of tuple of float
        Inverse of their covariance matrix.
    limit : float
        Distance above which a recording is unfamiliar.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float


def describe_signal(signal: np.ndarray, rate: int) -> np.ndarray:
    """Compute the figures of a cleaned signal, shape (m,), by which recordings are compared."""
    spectrum = np.abs(np.fft.rfft(signal)) ** 2
    bands = np.array([band.mean() for band in np.array_split(spectrum[1:], 8)])
    return np.log(bands + 1e-12) - np.log(spectrum.mean() + 1e-12)


def fit_reference(figures: np.ndarray, persons: np.ndarray) -> Reference:
    """Describe the training data by the figures of its recordings.

    Parameters
    ----------
    figures : ndarray, shape (recordings, n)
        From `describe_signal`.
    persons : ndarray of str, shape (recordings,)
        The person of each recording.
    """
    mean, covariance = figures.mean(axis=0), np.cov(figures.T) + 1e-3 * np.eye(figures.shape[1])
    precision = np.linalg.inv(covariance)
    centred = figures - mean
    distances = np.sqrt(np.einsum("ri,ij,rj->r", centred, precision, centred))
    return Reference(
        mean=tuple(mean.tolist()),
        precision=tuple(map(tuple, precision.tolist())),
        limit=float(np.quantile(distances, 0.99)),
    )


def compute_distance(figures: np.ndarray, reference: Reference) -> float:
    """Compute the distance of a recording's figures, shape (n,), from the training data."""
    centred = figures - np.array(reference.mean)
    return float(np.sqrt(centred @ np.array(reference.precision) @ centred))
