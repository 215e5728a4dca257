"""Cleaning against plain scipy and soxr, and what it owes every recording: its length, its place, no NaN."""

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


def record(tmp_path, sounds):
    """Write {name: (samples, rate)} to raw/; return what clean reads of the recordings table."""
    for name, (samples, rate) in sounds.items():
        made.audio(tmp_path / "raw" / f"{name}.wav", samples, rate, subtype="FLOAT")
    paths = [f"{name}.wav" for name in sounds]
    facts = pd.DataFrame(audio.describe(*audio.load(tmp_path / "raw" / path)) for path in paths)
    return facts.assign(recording_id=list(sounds), path=paths)


def with_(**changes):
    return OPTIONS.model_copy(update=changes)


@pytest.mark.parametrize("n", [1, 2, 27, 28, 5000])
@pytest.mark.parametrize(("order", "low", "high"), [(4, 25, 800), (2, 20, 400), (1, 100, 990)])
def test_bandpass_is_sosfiltfilt(n, order, low, high):
    sections = butter(order, [low, high], "bandpass", fs=2000, output="sos")
    expected = sosfiltfilt(sections, noise(n), padlen=min(3 * (2 * len(sections) + 1), n - 1))
    found = apply_bandpass(noise(n), 2000, Bandpass(order=order, low=low, high=high))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "low", "high"),
    [(200, 25, 800), (4, 1e-9, 800), (1, 1e-9, 800), (4, 1e-3, 800), (4, 25, 999.999999), (4, 500, 500.0001)],
)
def test_an_unstable_bandpass_is_refused_by_name(order, low, high):
    with pytest.raises(MurmurError, match=rf"^clean\.bandpass: no stable filter of order {order}, .* lower"):
        apply_bandpass(noise(5000), 2000, Bandpass.model_construct(order=order, low=low, high=high))


@pytest.mark.parametrize(("order", "low", "high"), [(100, 25, 800), (4, 0.01, 800), (8, 20, 40), (2, 25, 26)])
def test_a_steep_or_narrow_bandpass_is_stable(order, low, high):
    found = apply_bandpass(noise(5000) + 1, 2000, Bandpass(order=order, low=low, high=high))
    assert np.isfinite(found).all() and np.abs(found).max() < 10


def test_bandpass_keeps_the_band_in_phase_and_nothing_else():
    time = np.arange(8000) / 2000
    inside, below, above = (np.sin(2 * np.pi * f * time) for f in (150, 4, 980))
    found = apply_bandpass(inside + below + above, 2000, BAND)
    np.testing.assert_allclose(found[500:-500], inside[500:-500], atol=0.01)


def test_steps_come_in_order():
    """Resample, filter, normalise: the whole of clean_one by hand."""
    x = soxr.resample(noise(8000), 4000, 2000)
    y = sosfiltfilt(butter(4, [25, 800], "bandpass", fs=2000, output="sos"), x)
    found = clean_signal(noise(8000), 4000, with_(normalise="peak"), 4000)
    np.testing.assert_allclose(found, y / np.abs(y).max(), atol=1e-6)
    assert found.dtype == np.float32


def test_without_steps_the_samples_stay_as_they_are():
    assert (clean_signal(noise(300), 2000, with_(bandpass=None), 300) == noise(300)).all()


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100])
def test_a_tone_is_the_same_tone_at_any_rate(rate):
    expected = np.sin(2 * np.pi * 150 * np.arange(4000) / 2000)
    tone = np.sin(2 * np.pi * 150 * np.arange(2 * rate) / rate).astype(np.float32)
    found = clean_signal(tone, rate, OPTIONS, 4000)
    np.testing.assert_allclose(found[300:-300], expected[300:-300], atol=0.01)


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100])
def test_lengths_are_those_of_the_signals_table(tmp_path, rate):
    """However short: one sample at 44.1 kHz is less than one at 2 kHz, and becomes one."""
    sizes = [1, 2, 3, 7, 100, 1001, 4411]
    table = record(tmp_path, {f"n{n}": (noise(n), rate) for n in sizes})
    signals = clean_recordings(table, tmp_path / "raw", with_(normalise="peak"), tmp_path / "signals.npy")
    flat = np.load(tmp_path / "signals.npy")
    assert list(signals["n_samples"]) == [int(np.ceil(n * 2000 / rate)) for n in sizes]
    assert list(signals["offset"]) == [0, *np.cumsum(signals["n_samples"])[:-1]]
    assert flat.shape == (signals["n_samples"].sum(),) and flat.dtype == np.float32
    assert np.isfinite(flat).all()
    parquet.write(signals, tmp_path / "signals.parquet", SIGNALS)


def test_each_recording_lies_where_the_table_says(tmp_path, workers):
    rates = [2000, 4000, 8000, 1000] * 3
    sounds = {f"r{k}": (noise(1500 + 40 * k, seed=k), rate) for k, rate in enumerate(rates)}
    signals = clean_recordings(record(tmp_path, sounds), tmp_path / "raw", OPTIONS, tmp_path / "signals.npy")
    flat = np.load(tmp_path / "signals.npy")
    for name, offset, n in signals.itertuples(index=False):
        assert (flat[offset : offset + n] == clean_signal(*sounds[name], OPTIONS, n)).all()


def test_normalisation():
    for sign in (1, -1):  # the peak may lie on either side
        assert np.abs(
            clean_signal(sign * noise(4000), 2000, with_(normalise="peak"), 4000)
        ).max() == pytest.approx(1)
    rms = clean_signal(noise(4000), 2000, with_(normalise="rms"), 4000)
    assert np.sqrt(np.mean(rms**2)) == pytest.approx(1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("normalise", ["peak", "rms", "none"])
def test_silence_stays_silence(normalise):
    assert (clean_signal(np.zeros(4000, np.float32), 4000, with_(normalise=normalise), 2000) == 0).all()


@pytest.mark.parametrize("rate", [2000, 4000])
def test_spectral_gating_takes_more_from_the_noise_than_from_the_beats(rate):
    time = np.arange(8 * rate) / rate
    beat = time % 1 < 0.1
    sound = 0.5 * noise(len(time)) + np.sin(2 * np.pi * 150 * time) * beat
    options = with_(sample_rate=rate, denoise=GATE, bandpass=None)
    found = clean_signal(sound.astype(np.float32), rate, options, len(time))
    assert found.shape == time.shape
    assert found[~beat].std() < 0.1 * sound[~beat].std()
    assert found[beat].std() / found[~beat].std() > 2 * sound[beat].std() / sound[~beat].std()


def test_what_spectral_gating_refuses_is_told_by_its_key():
    brief = GATE.model_copy(update={"time_smooth_ms": 10})
    with pytest.raises(MurmurError, match=r"clean\.denoise, n_fft 1024: .*128ms"):
        clean_signal(noise(8000), 2000, with_(denoise=brief), 8000)
    short = GATE.model_copy(update={"n_fft": 64, "time_smooth_ms": 10})  # whose frames are shorter
    assert len(clean_signal(noise(8000), 2000, with_(denoise=short), 8000)) == 8000


def test_every_setting_of_the_gate_reaches_it_before_the_filter():
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
            clean_signal(x, 2000, with_(denoise=o), 8000),
            apply_bandpass(gated, 2000, BAND),
            rtol=0,
            atol=1e-6,
        )


def test_a_broken_recording_leaves_no_file_and_the_old_one_whole(tmp_path, workers):
    table = record(tmp_path, {f"r{k}": (noise(1000), 2000) for k in range(8)})
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
        record(tmp_path, {"s": (np.stack([left, right], axis=1), 2000)}),
        tmp_path / "raw",
        OPTIONS,
        tmp_path / "s.npy",
    )
    expected = clean_signal((left + right) / 2, 2000, OPTIONS, 3000)
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), expected, atol=1e-6)
