"""Colour images of spectrograms."""

import numpy as np

from murmur.sections.mel import Image


def minmax(x: np.ndarray) -> np.ndarray:
    """Scale each spectrogram to the range 0 to 1; one that is constant becomes 0.

    Parameters
    ----------
    x : ndarray, shape (..., n_mels, frames)

    Returns
    -------
    ndarray, of the same shape
    """
    low, high = x.min(axis=(-2, -1), keepdims=True), x.max(axis=(-2, -1), keepdims=True)
    return (x - low) / np.where(high > low, high - low, 1)


def render_images(x: np.ndarray, options: Image) -> np.ndarray:
    """Render spectrograms as colour images: first coloured, then resized (bilinear, with antialiasing).

    Parameters
    ----------
    x : ndarray, shape (k, n_mels, frames)
        Each spectrogram is scaled to the range of the colours on its own.
    options : Image
        `mel.image` of params.yaml.

    Returns
    -------
    ndarray, shape (k, 3, size, size), uint8
        The first row is the lowest band.
    """
    from PIL.Image import Resampling, fromarray

    levels = (minmax(x) * 255).round().astype(np.uint8)
    images = np.take(make_colours(options.colours), levels, axis=0)
    size = (options.size, options.size)
    resized = [np.asarray(fromarray(image).resize(size, Resampling.BILINEAR)) for image in images]
    return np.stack(resized).transpose(0, 3, 1, 2)


def make_colours(name: str) -> np.ndarray:
    """Return the colours of a colour map, from the lowest to the highest value: shape (256, 3), uint8."""
    from matplotlib import colormaps  # slow to import, rarely used

    return (colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
