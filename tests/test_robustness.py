"""Disturbances have the stated strength, are the same for the same recording, and change nothing else."""

import logging

import numpy as np
import pandas as pd
import pytest

from murmur import workers
from murmur.errors import MurmurError
from murmur.generalisation import robustness
from murmur.recordings import audio
from tests import made

RATE = 4000
RNG = np.random.default_rng(0)


def sine(hz, seconds=2.0):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def described(raw, ids, paths):
    facts = pd.DataFrame(audio.compute_facts(*audio.load(raw / path)) for path in paths)
    return facts.assign(recording_id=ids, path=paths)


def power(x):
    return float(np.mean(np.square(x, dtype=np.float64)))


@pytest.mark.parametrize("snr", [30, 10, 0])
@pytest.mark.parametrize(("size", "offset"), [(1.0, 0.0), (0.01, 0.5)])
def test_noise_has_the_signal_to_noise_ratio_at_any_level_and_offset(snr, size, offset):
    x = size * sine(100, 20) + offset
    added = robustness.disturb_samples(x, RATE, "noise", snr, 0, "a").astype(float) - x
    assert 10 * np.log10(power(size * sine(100, 20)) / power(added)) == pytest.approx(snr, abs=0.15)
    spectrum = np.square(np.abs(np.fft.rfft(added)))
    low, high = spectrum[: len(spectrum) // 2].sum(), spectrum[len(spectrum) // 2 :].sum()
    assert low / high == pytest.approx(1, abs=0.05)  # white


def test_noise_depends_on_seed_and_recording_and_is_scaled_by_the_snr():
    x = sine(100)
    at = {snr: robustness.disturb_samples(x, RATE, "noise", snr, 3, "a") - x for snr in (0, 20)}
    np.testing.assert_allclose(at[0], 10 * at[20], atol=1e-5)
    again = robustness.disturb_samples(x, RATE, "noise", 20, 3, "a") - x
    np.testing.assert_array_equal(again, at[20])
    for other in ((4, "a"), (3, "b")):
        drawn = robustness.disturb_samples(x, RATE, "noise", 20, *other) - x
        assert abs(np.corrcoef(drawn, again)[0, 1]) < 0.1


def test_gain_is_rounded_to_16_bits_and_clipped_at_full_scale():
    x = np.array([0.5, -0.5, 0.05, 1 / 2**15, 0.0])
    louder = robustness.disturb_samples(x, RATE, "gain", 20, 0, "a")
    np.testing.assert_array_equal(louder, np.float32([32767, -32768, 16384, 10, 0]) / 2**15)
    softer = robustness.disturb_samples(
        x, RATE, "gain", -40, 0, "a"
    )  # 163.84, -163.84, 16.384 and 0.01 steps
    np.testing.assert_array_equal(softer, np.float32([164, -164, 16, 0, 0]) / 2**15)


def test_the_low_pass_has_half_the_amplitude_at_its_edge_and_no_delay():
    middle = slice(RATE // 2, -RATE // 2)
    share = {}
    for hz in (100, 200, 400):
        x = sine(hz)
        y = robustness.disturb_samples(x, RATE, "band", 200, 0, "a")
        share[hz] = np.sqrt(power(y[middle]) / power(x[middle]))
        lags = [float(x[middle] @ np.roll(y, k)[middle]) for k in (-1, 0, 1)]
        assert int(np.argmax(lags)) == 1
    assert share[100] == pytest.approx(1, abs=0.01) and share[200] == pytest.approx(0.5, abs=0.01)
    assert share[400] < 0.01


def test_a_low_pass_above_half_the_sample_rate_changes_nothing():
    x = made.noise()
    np.testing.assert_array_equal(robustness.disturb_samples(x, 800, "band", 400, 0, "a"), x)
    assert not np.array_equal(robustness.disturb_samples(x, 801, "band", 400, 0, "a"), x)
    assert (
        len(robustness.disturb_samples(x[:3], RATE, "band", 400, 0, "a")) == 3
    )  # shorter than the filter's edge


def test_a_recording_is_shortened_to_its_first_seconds():
    x = made.noise(9000)
    np.testing.assert_array_equal(robustness.disturb_samples(x, RATE, "length", 2, 0, "a"), x[:8000])
    np.testing.assert_array_equal(robustness.disturb_samples(x, RATE, "length", 3, 0, "a"), x)


@pytest.mark.parametrize(
    ("name", "how"),
    [("a.wav", {}), ("b.flac", {"subtype": "PCM_24"}), ("c/d.wav", {"subtype": "FLOAT"}), ("e.wav", None)],
)
def test_unchanged_samples_are_written_exactly(tmp_path, name, how, workers):
    samples = made.noise(4001) * np.float32(0.77)
    stereo = np.stack([samples, samples[::-1]], axis=1)
    made.audio(tmp_path / "raw" / name, stereo if how is None else samples, **(how or {}))
    table = described(tmp_path / "raw", ["r"], [name])
    result = robustness.write_disturbed(
        table, tmp_path / "raw", tmp_path / "out", lambda x, rate, recording: x
    )
    expected, rate = audio.load(tmp_path / "raw" / name)
    found, same_rate = audio.load(tmp_path / "out" / result["path"].iloc[0])
    np.testing.assert_array_equal(found, expected)
    assert rate == same_rate and list(result["n_samples"]) == [4001]


def test_each_recording_is_changed_with_its_id_and_the_table_has_its_new_length(tmp_path, workers):
    ids = [f"r{k}" for k in range(7)]
    for k, name in enumerate(ids):
        made.audio(tmp_path / "raw" / f"{name}.wav", made.noise(1000 + k, seed=k))
    table = described(tmp_path / "raw", ids, [f"{i}.wav" for i in ids])
    calls = []

    def halve(x, rate, recording):
        calls.append((recording, rate))
        return x[: len(x) // 2]

    result = robustness.write_disturbed(table, tmp_path / "raw", tmp_path / "out", halve)
    assert sorted(calls) == [(i, RATE) for i in ids]
    assert list(result["n_samples"]) == [500, 500, 501, 501, 502, 502, 503]
    for k, path in enumerate(result["path"]):
        np.testing.assert_array_equal(
            audio.load(tmp_path / "out" / path)[0], made.noise(1000 + k, seed=k)[: 500 + k // 2]
        )


def test_a_recording_that_the_table_does_not_describe_is_refused(tmp_path):
    made.audio(tmp_path / "raw" / "a.wav", made.noise(900))
    table = described(tmp_path / "raw", ["r"], ["a.wav"])
    made.audio(tmp_path / "raw" / "a.wav", made.noise(900, seed=1))
    with pytest.raises(MurmurError, match=r"a\.wav: not the recording that the table describes"):
        robustness.write_disturbed(table, tmp_path / "raw", tmp_path / "out", lambda x, rate, recording: x)


def test_the_table_describes_the_disturbed_recording(tmp_path):
    made.audio(tmp_path / "raw" / "a.wav", made.noise(900))
    table = described(tmp_path / "raw", ["r"], ["a.wav"])
    result = robustness.write_disturbed(
        table, tmp_path / "raw", tmp_path / "out", lambda x, rate, recording: 2 * x[:500]
    )
    (row,) = result.itertuples(index=False)
    np.testing.assert_array_equal(audio.load_recording(tmp_path / "out", row)[0], 2 * made.noise(900)[:500])


def test_a_table_of_one_metric_begins_with_the_undisturbed_point():
    rows = {
        "disturbance": "gain",
        "value": [np.nan, -40.0, -40.0],
        "unit": "dB",
        "metric": ["uar", "f1", "uar"],
    }
    table = pd.DataFrame(
        {**rows, "mean": [0.75, 0.1, 0.5], "low": [0.7, 0, np.nan], "high": [0.8, 0, np.nan]}
    )
    assert robustness.make_rows(table, "uar") == [
        ("disturbance", "value", "uar", "95 % interval"),
        ("gain", "none", "0.750", "0.700-0.800"),
        ("gain", "-40 dB", "0.500", "-"),
    ]


def test_notes_and_progress_of_the_steps_are_not_shown(capsys):
    logger = logging.getLogger("murmur.features")
    with robustness._without_notes():
        logger.info("a note of a step")
        workers.map_threads(str, [1, 2], "a step", 1)
    assert capsys.readouterr() == ("", "")
    logger.info("a later note")
    workers.map_threads(str, [1, 2], "a later step", 1)
    out = capsys.readouterr().out
    assert "note: a later note" in out and "a later step" in out
