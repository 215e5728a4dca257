"""Whether recordings are like those of the training data, and the reasons for which no class is predicted."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from murmur.inference import checks
from murmur.inference.familiarity import Reference, compute_distance, describe_signal, fit_reference
from murmur.inference.quality import Quality

RATE = 2000


def noise(seed, cutoff, seconds=8):
    """Low-pass noise, a little different for each seed."""
    rng = np.random.default_rng(seed)
    sections = butter(2, cutoff * rng.uniform(0.9, 1.1), fs=RATE, output="sos")
    return sosfilt(sections, rng.standard_normal(seconds * RATE)).astype(np.float32)


def describe(seeds, cutoff):
    return np.array([describe_signal(noise(seed, cutoff), RATE) for seed in seeds])


@pytest.fixture(scope="module")
def reference():
    seeds = range(200)
    return fit_reference(describe(seeds, 200), np.array([f"p{seed // 2}" for seed in seeds]))


def is_unfamiliar(figures, reference):
    return np.array([compute_distance(row, reference) > reference.limit for row in figures])


def test_two_percent_of_new_persons_and_all_of_another_kind_are_beyond_the_limit(reference):
    assert is_unfamiliar(describe(range(1000, 1400), 200), reference).mean() == pytest.approx(0.02, abs=0.02)
    assert is_unfamiliar(describe(range(20), 400), reference).all()


def test_sounds_between_pauses_differ_from_steady_noise_of_the_same_spectrum(reference):
    x = noise(0, 200)
    x[np.arange(len(x)) % RATE > RATE // 4] *= 0.01
    assert compute_distance(describe_signal(x, RATE), reference) > reference.limit


def test_figures_do_not_depend_on_the_level_or_the_length():
    x = noise(0, 200)
    figures = describe_signal(x, RATE)
    np.testing.assert_allclose(describe_signal(1e-4 * x, RATE), figures, atol=1e-4)
    np.testing.assert_allclose(describe_signal(np.tile(x, 20), RATE), figures, atol=0.1)


@pytest.mark.parametrize(("n", "rate"), [(1, 2000), (100, 2000), (9000, 2000), (50, 10), (9000, 44100)])
def test_figures_are_finite_for_silence_and_for_any_length_and_rate(n, rate):
    for x in (np.zeros(n, np.float32), np.ones(n, np.float32)):
        assert np.isfinite(describe_signal(x, rate)).all()


def test_the_first_band_holds_a_tone_of_30_hz_and_the_last_one_of_700_hz():
    t = np.arange(4 * RATE) / RATE
    for hz, band in ((30, 0), (700, 7)):
        assert describe_signal(np.sin(2 * np.pi * hz * t), RATE)[:8].argmax() == band


@pytest.mark.parametrize("n", [3, 8])
def test_fewer_recordings_than_figures(n):
    figures = describe(range(n), 200)
    reference = fit_reference(figures, np.array([f"p{k}" for k in range(n)]))
    assert np.isfinite(reference.precision).all()
    assert is_unfamiliar(describe(range(9), 400), reference).all()


def test_the_limit_is_of_persons_that_were_left_out():
    rng = np.random.default_rng(0)
    centre = np.repeat(rng.standard_normal((10, 12)), 20, axis=0)  # 10 persons, 20 similar recordings each
    figures = centre + 0.01 * rng.standard_normal(centre.shape)
    persons = np.repeat([f"p{k}" for k in range(10)], 20)
    single = np.array([f"p{k}" for k in range(200)])  # as if each recording were of another person
    assert fit_reference(figures, persons).limit > 1.5 * fit_reference(figures, single).limit


def test_a_reference_is_small_and_survives_json(reference):
    text = reference.model_dump_json()
    assert len(text) < 3000 and Reference.model_validate_json(text) == reference


def test_the_reasons_have_the_figure_and_the_limit(reference):
    def find(x, clipped=0.0, score=0.5):
        return checks.find_doubts(x, RATE, Quality(score, None, clipped), reference)

    x = noise(0, 200)
    assert find(x, checks.MAX_CLIPPED, checks.MIN_SCORE) == ()
    (clipped,) = find(x, clipped=0.3)
    assert clipped.startswith("clipped: 30 % of the samples") and "at most 15 %" in clipped
    (irregular,) = find(x, score=0.05)
    assert irregular.startswith("no regular heart sounds: the quality score is 0.05")
    assert find(x[: 3 * RATE], score=0.05) == ()  # too short for a limit of the score
    assert find(noise(0, 500))[0].startswith("unlike the training data: the distance is ")


def test_the_distance_does_not_depend_on_the_unit_of_a_figure():
    rng = np.random.default_rng(3)
    figures, persons = rng.normal(size=(60, 4)), np.arange(60).astype(str)
    scale = np.array([1.0, 1000.0, 0.01, 1.0])
    references = [fit_reference(figures * s, persons) for s in (1.0, scale)]
    distances = [compute_distance(figures[7] * s, r) for s, r in zip((1.0, scale), references, strict=True)]
    assert distances[0] == pytest.approx(distances[1], rel=0.05)
