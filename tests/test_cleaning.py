"""Cleaning gives the samples of scipy and soxr, with the lengths and positions of the signals table."""

import noisereduce
import numpy as np
import pandas as pd
import pytest
import soxr
from scipy.signal import butter, sosfiltfilt

from murmur.errors import MurmurError
from murmur.features.bandpass import apply_bandpass
from murmur.features.cleaning import clean_recordings, clean_signal
from murmur.recordings import audio
from murmur.sections.clean import Bandpass, Clean, Denoise
from murmur.tables import parquet
from murmur.tables.signals import SIGNALS
from tests import made

BAND = Bandpass(order=4, low=25, high=800)
GATE = Denoise(n_fft=1024, time_smooth_ms=128, frequency_smooth_hz=500)
OPTIONS = Clean(sample_rate=2000, denoise=None, bandpass=BAND, normalise="none")


def noise(n, seed=0):
    return made.noise(n, seed).astype(np.float32)


def write_recordings(tmp_path, sounds):
    """Write {name: (samples, rate)} to raw/; return the columns of the recordings table that clean reads."""
    for name, (samples, rate) in sounds.items():
        made.audio(tmp_path / "raw" / f"{name}.wav", samples, rate, subtype="FLOAT")
    paths = [f"{name}.wav" for name in sounds]
    facts = pd.DataFrame(audio.compute_facts(*audio.load(tmp_path / "raw" / path)) for path in paths)
    return facts.assign(recording_id=list(sounds), path=paths)


def change(**changes):
    return OPTIONS.model_copy(update=changes)


def test_the_steps_are_in_order():
    """Resampling, filter, normalisation."""
    x = soxr.resample(noise(8000), 4000, 2000)
    y = sosfiltfilt(butter(4, [25, 800], "bandpass", fs=2000, output="sos"), x)
    found = clean_signal(noise(8000), 4000, change(normalise="peak"), 4000)
    np.testing.assert_allclose(found, y / np.abs(y).max(), atol=1e-6)
    assert found.dtype == np.float32


def test_without_steps_the_samples_are_unchanged():
    assert (clean_signal(noise(300), 2000, change(bandpass=None), 300) == noise(300)).all()


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100])
def test_a_tone_is_the_same_tone_at_any_rate(rate):
    expected = np.sin(2 * np.pi * 150 * np.arange(4000) / 2000)
    tone = np.sin(2 * np.pi * 150 * np.arange(2 * rate) / rate).astype(np.float32)
    found = clean_signal(tone, rate, OPTIONS, 4000)
    np.testing.assert_allclose(found[300:-300], expected[300:-300], atol=0.01)


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100])
def test_lengths_are_those_of_the_signals_table(tmp_path, rate):
    """Rounded up, so that even one sample at 44.1 kHz becomes one at 2 kHz."""
    sizes = [1, 2, 3, 7, 100, 1001, 4411]
    table = write_recordings(tmp_path, {f"n{n}": (noise(n), rate) for n in sizes})
    signals = clean_recordings(table, tmp_path / "raw", change(normalise="peak"), tmp_path / "signals.npy")
    flat = np.load(tmp_path / "signals.npy")
    assert list(signals["n_samples"]) == [int(np.ceil(n * 2000 / rate)) for n in sizes]
    assert list(signals["offset"]) == [0, *np.cumsum(signals["n_samples"])[:-1]]
    assert flat.shape == (signals["n_samples"].sum(),) and flat.dtype == np.float32
    assert np.isfinite(flat).all()
    parquet.write(signals, tmp_path / "signals.parquet", SIGNALS)


def test_each_recording_is_at_the_position_in_the_table(tmp_path, workers):
    rates = [2000, 4000, 8000, 1000] * 3
    sounds = {f"r{k}": (noise(1500 + 40 * k, seed=k), rate) for k, rate in enumerate(rates)}
    signals = clean_recordings(
        write_recordings(tmp_path, sounds), tmp_path / "raw", OPTIONS, tmp_path / "signals.npy"
    )
    flat = np.load(tmp_path / "signals.npy")
    for name, offset, n in signals.itertuples(index=False):
        assert (flat[offset : offset + n] == clean_signal(*sounds[name], OPTIONS, n)).all()


def test_normalised_signals_have_a_peak_or_rms_of_1():
    for sign in (1, -1):
        assert np.abs(
            clean_signal(sign * noise(4000), 2000, change(normalise="peak"), 4000)
        ).max() == pytest.approx(1)
    rms = clean_signal(noise(4000), 2000, change(normalise="rms"), 4000)
    assert np.sqrt(np.mean(rms**2)) == pytest.approx(1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("normalise", ["peak", "rms", "none"])
def test_silence_stays_silence(normalise):
    assert (clean_signal(np.zeros(4000, np.float32), 4000, change(normalise=normalise), 2000) == 0).all()


@pytest.mark.parametrize("rate", [2000, 4000])
def test_spectral_gating_reduces_noise_more_than_heart_beats(rate):
    time = np.arange(8 * rate) / rate
    beat = time % 1 < 0.1
    sound = 0.5 * noise(len(time)) + np.sin(2 * np.pi * 150 * time) * beat
    options = change(sample_rate=rate, denoise=GATE, bandpass=None)
    found = clean_signal(sound.astype(np.float32), rate, options, len(time))
    assert found.shape == time.shape
    assert found[~beat].std() < 0.1 * sound[~beat].std()
    assert found[beat].std() / found[~beat].std() > 2 * sound[beat].std() / sound[~beat].std()


def test_an_error_of_spectral_gating_names_the_key():
    too_short = GATE.model_copy(update={"time_smooth_ms": 10})  # shorter than a frame
    with pytest.raises(MurmurError, match=r"clean\.denoise, n_fft 1024: .*128ms"):
        clean_signal(noise(8000), 2000, change(denoise=too_short), 8000)
    fits = GATE.model_copy(update={"n_fft": 64, "time_smooth_ms": 10})
    assert len(clean_signal(noise(8000), 2000, change(denoise=fits), 8000)) == 8000


def test_spectral_gating_has_all_its_parameters_and_is_before_the_filter():
    x = noise(8000)
    for changes in ({}, {"n_fft": 512}, {"time_smooth_ms": 300}, {"frequency_smooth_hz": 900}):
        o = GATE.model_copy(update=changes)
        gated = noisereduce.reduce_noise(
            x,
            2000,
            n_fft=o.n_fft,
            time_mask_smooth_ms=o.time_smooth_ms,
            freq_mask_smooth_hz=o.frequency_smooth_hz,
        )
        np.testing.assert_allclose(
            clean_signal(x, 2000, change(denoise=o), 8000),
            apply_bandpass(gated, 2000, BAND),
            rtol=0,
            atol=1e-6,
        )


def test_an_unreadable_recording_leaves_the_old_file_or_none(tmp_path, workers):
    table = write_recordings(tmp_path, {f"r{k}": (noise(1000), 2000) for k in range(8)})
    (tmp_path / "raw" / "r5.wav").write_bytes(b"no audio")
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "signals.npy"
    with pytest.raises(MurmurError, match=r"r5\.wav"):
        clean_recordings(table, tmp_path / "raw", OPTIONS, out)
    assert not any(out.parent.iterdir())
    out.write_bytes(b"of an earlier run")
    with pytest.raises(MurmurError, match=r"r5\.wav"):
        clean_recordings(table, tmp_path / "raw", OPTIONS, out)
    assert out.read_bytes() == b"of an earlier run" and len(list(out.parent.iterdir())) == 1


def test_stereo_is_cleaned_as_the_mean_of_its_channels(tmp_path):
    left, right = noise(3000, seed=1), noise(3000, seed=2)
    clean_recordings(
        write_recordings(tmp_path, {"s": (np.stack([left, right], axis=1), 2000)}),
        tmp_path / "raw",
        OPTIONS,
        tmp_path / "s.npy",
    )
    expected = clean_signal((left + right) / 2, 2000, OPTIONS, 3000)
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), expected, atol=1e-6)
