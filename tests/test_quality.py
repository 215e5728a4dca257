"""Signal quality: the score of regular heart sounds, heart rate, clipped samples."""

import numpy as np
import pytest

from murmur.generalisation.robustness import add_noise
from murmur.inference.quality import measure_quality

RATE = 2000


def beats(rate_per_minute, *, seconds=20, rate=RATE, s2=0.7):
    """A recording of S1 and S2, each a decaying sine of 60 Hz, 0.3 of a heart cycle apart."""
    t = np.arange(round(seconds * rate)) / rate
    x = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    for phase, height in ((0.1, 1.0), (0.4, s2)):
        since = (t * rate_per_minute / 60 - phase) % 1 * 60 / rate_per_minute
        x += height * np.sin(2 * np.pi * 60 * since) * np.exp(-since / 0.03)
    return x.astype(np.float32)


def measure(x, rate=RATE):
    return measure_quality(x, x, rate)


@pytest.mark.parametrize("rate", [1000, 2000, 4000, 44100])
@pytest.mark.parametrize("heart_rate", [45, 72, 110, 160])
def test_the_heart_rate_is_that_of_the_beats_at_any_sample_rate(heart_rate, rate):
    quality = measure(beats(heart_rate, rate=rate), rate)
    assert quality.heart_rate == pytest.approx(heart_rate, rel=0.03)
    assert 0.7 < quality.score <= 1


def test_the_score_falls_with_noise_and_does_not_depend_on_the_level():
    x, rng = beats(72), np.random.default_rng(1)
    scores = [measure(add_noise(x, RATE, snr, rng)).score for snr in (40, 10, 0, -10, -20, -30)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.12
    assert measure(1e-3 * x).score == pytest.approx(measure(x).score, rel=1e-6)


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).standard_normal(20 * RATE),
        np.sin(2 * np.pi * 100 * np.arange(20 * RATE) / RATE),
        np.zeros(20 * RATE),
        np.zeros(1),
        beats(72, seconds=1.5),
    ],
    ids=["noise", "sine", "silence", "one sample", "too short"],
)
def test_no_heart_rate_without_a_regular_beat(x):
    assert measure(x.astype(np.float32)).heart_rate is None


def test_noise_a_sine_and_silence_have_a_score_near_zero():
    for x in (np.random.default_rng(0).standard_normal(20 * RATE), np.ones(9000), np.sin(np.arange(9000.0))):
        assert measure(x).score < 0.12


def test_clipped_samples_are_runs_at_the_limit():
    x = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    x[::500] = 1  # single samples at the highest value, as after normalisation to full scale
    assert measure(x).clipped == 0
    x[1002:1302], x[5001:5101] = 1, -1
    assert measure(x).clipped == pytest.approx(0.04, abs=1e-3)
    assert measure(np.clip(beats(72), -0.2, 0.2)).clipped > 0.01
    assert measure(beats(72)).clipped == 0
    clicks = np.zeros(10_000, np.float32)
    clicks[::700] = 1
    assert measure(clicks).clipped == measure(np.ones(9000)).clipped == 0  # silent, but not clipped


def test_a_long_recording_has_the_figures_of_a_short_one():
    x = beats(72, seconds=60)
    short, long = measure(x), measure(np.tile(x, 4))  # longer than the pieces in which it is filtered
    assert long.score == pytest.approx(short.score, abs=0.02)
    assert long.heart_rate == pytest.approx(short.heart_rate, rel=1e-3)
