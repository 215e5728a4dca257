"""The bandpass gives scipy's samples, keeps the band in phase, and refuses what is unstable."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from murmur.errors import MurmurError
from murmur.features.bandpass import apply_bandpass
from murmur.sections.clean import Bandpass
from tests import made


def noise(n):
    return made.noise(n).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 27, 28, 5000])
@pytest.mark.parametrize(("order", "low", "high"), [(4, 25, 800), (2, 20, 400), (1, 100, 990)])
def test_the_samples_are_those_of_sosfiltfilt(n, order, low, high):
    sections = butter(order, [low, high], "bandpass", fs=2000, output="sos")
    expected = sosfiltfilt(sections, noise(n), padlen=min(3 * (2 * len(sections) + 1), n - 1))
    found = apply_bandpass(noise(n), 2000, Bandpass(order=order, low=low, high=high))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("order", "low", "high"),
    [(200, 25, 800), (4, 1e-9, 800), (1, 1e-9, 800), (4, 1e-3, 800), (4, 25, 999.999999), (4, 500, 500.0001)],
)
def test_an_unstable_bandpass_is_refused(order, low, high):
    with pytest.raises(MurmurError, match=rf"^clean\.bandpass: no stable filter of order {order}, .* lower"):
        apply_bandpass(noise(5000), 2000, Bandpass.model_construct(order=order, low=low, high=high))


@pytest.mark.parametrize(("order", "low", "high"), [(100, 25, 800), (4, 0.01, 800), (8, 20, 40), (2, 25, 26)])
def test_a_steep_or_narrow_bandpass_is_stable(order, low, high):
    found = apply_bandpass(noise(5000) + 1, 2000, Bandpass(order=order, low=low, high=high))
    assert np.isfinite(found).all() and np.abs(found).max() < 10


def test_only_the_band_remains_and_in_phase():
    time = np.arange(8000) / 2000
    inside, below, above = (np.sin(2 * np.pi * f * time) for f in (150, 4, 980))
    found = apply_bandpass(inside + below + above, 2000, Bandpass(order=4, low=25, high=800))
    np.testing.assert_allclose(found[500:-500], inside[500:-500], atol=0.01)
