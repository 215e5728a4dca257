"""Images of spectrograms: matplotlib's colours, resized."""

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest

from murmur.features import mel
from murmur.sections.mel import Image
from tests.spectrograms import LENGTH, OPTIONS, change, compute_with_librosa, noise


@pytest.mark.parametrize("colours", ["grey", "viridis", "magma"])
@pytest.mark.parametrize("size", [16, 64])
def test_images_have_the_colours_of_matplotlib(colours, size):
    x = noise(2 * LENGTH).reshape(2, LENGTH)
    found = mel.make_transform(2000, change(image=Image(size=size, colours=colours)))(x)
    assert found.shape == (2, 3, size, size) and found.dtype == np.uint8
    for image, row in zip(found, x, strict=True):
        log = compute_with_librosa(row, 2000, OPTIONS)
        coloured = plt.get_cmap(colours)(plt.Normalize()(log), bytes=True)[..., :3]
        resized = PIL.Image.fromarray(coloured).resize((size, size), PIL.Image.Resampling.BILINEAR)
        difference = np.abs(image.transpose(1, 2, 0).astype(int) - np.asarray(resized))
        assert difference.max() <= 6 and difference.mean() < 1  # matplotlib has 256 steps of 1/256, not 1/255


def test_the_first_row_of_an_image_is_the_lowest_band():
    tone = np.sin(2 * np.pi * 60 * np.arange(LENGTH) / 2000).astype(np.float32)
    (image,) = mel.make_transform(2000, change(image=Image(size=20, colours="grey")))(tone[None])
    brightness = image[0].mean(axis=1)
    assert brightness[:3].max() == brightness.max() and brightness[-1] < 0.5 * brightness.max()


def test_the_channels_of_a_grey_image_are_equal_and_silence_is_black():
    options = change(image=Image(size=12, colours="grey"))
    (image,) = mel.make_transform(2000, options)(noise(LENGTH)[None])
    assert (image == image[0]).all() and image.max() > 200
    assert (mel.make_transform(2000, options)(np.zeros((1, LENGTH), np.float32)) == 0).all()
