"""Spectrograms of all segments: channels, rows and files."""

import os
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, sosfiltfilt

from murmur.errors import MurmurError
from murmur.features import log_mel, mel
from murmur.features.cleaning import clean_recordings
from murmur.recordings import audio
from murmur.sections.clean import Bandpass, Clean
from murmur.sections.mel import Image
from tests.spectrograms import (
    LENGTH,
    N_FRAMES,
    OPTIONS,
    change,
    compute_with_librosa,
    count_frames,
    cut,
    make_recordings,
    noise,
    write,
)

WINDOWS = {"n_fft": 512, "win_length": [100, 200, 400], "hop_length": [40, 100, 200]}


def three_windows(**changes):
    """The channels of loud and quiet noise, and librosa's spectrogram for each window on its own."""
    options = change(**WINDOWS, **changes)
    x = noise(3 * LENGTH).reshape(3, LENGTH) * np.array([[1], [0.1], [3]], np.float32)
    windows = zip(options.win_length, options.hop_length, strict=True)
    single = [options.model_copy(update={"win_length": w, "hop_length": h}) for w, h in windows]
    return mel.make_transform(2000, options)(x), [
        [compute_with_librosa(row, 2000, o) for o in single] for row in x
    ]


@pytest.mark.parametrize(
    ("changes", "filling"),
    [
        ({}, lambda log: -80),
        ({"fill": "max"}, lambda log: 0),  # as in published code
        ({"reference": 1.0}, lambda log: log.max() - 80),
        ({"reference": 1.0, "fill": "max"}, np.max),
        ({"top_db": None}, np.min),
        ({"scale": "ln"}, np.min),
        ({"scale": "ln_plus"}, np.min),
        ({"scale": "ln_plus", "fill": "max"}, np.max),
    ],
)
def test_each_window_is_a_channel_and_the_shorter_are_padded(changes, filling):
    found, expected = three_windows(**changes)
    assert found.shape == (3, 3, 20, 26)
    for channels, logs in zip(found, expected, strict=True):
        assert [log.shape[1] for log in logs] == [26, 11, 6]
        for channel, log in zip(channels, logs, strict=True):
            n = log.shape[1]
            np.testing.assert_allclose(channel[:, :n], log, rtol=0, atol=1e-3)
            np.testing.assert_allclose(channel[:, n:], filling(log), rtol=0, atol=1e-3)


@pytest.mark.parametrize("fill", ["floor", "max"])
@pytest.mark.parametrize(
    ("changes", "floor"), [({}, -80), ({"reference": 1.0}, -100), ({"top_db": None}, None)]
)
def test_the_channels_of_a_silent_segment_are_padded_with_the_same_value(changes, floor, fill):
    (silence,) = mel.make_transform(2000, change(**WINDOWS, fill=fill, **changes))(
        np.zeros((1, LENGTH), np.float32)
    )
    for channel in silence:
        assert (channel == channel[0, 0]).all() and channel[0, 0] == pytest.approx(floor or channel[0, 0])


def test_a_list_of_one_window_is_the_same_as_that_window(tmp_path):
    built = make_recordings([5000])
    from_list = write(*built, tmp_path / "list.npy", change(win_length=[128], hop_length=[50]))
    assert from_list.tobytes() == write(*built, tmp_path / "mel.npy").tobytes()


def test_the_number_of_frames_is_that_of_the_shortest_hop():
    for length in (999, 1000, 1001):
        for n_fft in (255, 256):
            options = change(n_fft=n_fft, win_length=[99, 128], hop_length=[61, 50])
            found = mel.make_transform(2000, options)(noise(length)[None])
            assert found.shape[3] == count_frames(length, options)


def test_minmax_scales_each_channel_of_each_segment_to_0_and_1():
    found, expected = three_windows(normalise="minmax", fill="max")
    np.testing.assert_allclose(found.min(axis=(2, 3)), 0)
    np.testing.assert_allclose(found.max(axis=(2, 3)), 1)
    for channels, logs in zip(found, expected, strict=True):
        for channel, log in zip(channels, logs, strict=True):
            scaled = (log - log.min()) / (log.max() - log.min())
            np.testing.assert_allclose(channel[:, : log.shape[1]], scaled, atol=1e-4)


def test_minmax_of_silence_is_0():
    x = np.zeros((1, LENGTH), np.float32)
    assert (mel.make_transform(2000, change(normalise="minmax"))(x) == 0).all()


def test_bands_scales_each_band_of_each_segment_to_mean_0_and_deviation_1():
    found, expected = three_windows(normalise="bands", top_db=None)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=3), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=3), 1, atol=1e-4)
    log = expected[0][0]  # with the shortest hop: it has no padding
    scaled = (log - log.mean(axis=1, keepdims=True)) / log.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found[0, 0], scaled, atol=1e-3)


@pytest.mark.parametrize("scale", ["db", "ln", "ln_plus"])
def test_bands_of_silence_are_0(scale):
    x = np.zeros((1, LENGTH), np.float32)
    found = mel.make_transform(2000, change(normalise="bands", scale=scale))(x)
    np.testing.assert_allclose(found, 0, atol=1e-3)


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_images_and_channels_are_written_unchanged(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(mel, "BATCH", 5)
    monkeypatch.setattr(mel, "PIECE", 2)
    flat, signals, segments = make_recordings([5000, 2001])
    segments["reversed"] = np.arange(len(segments)) % 2 == 1
    offset = dict(zip(signals["recording_id"], signals["offset"], strict=True))
    x = np.zeros((len(segments), LENGTH), np.float32)
    for row, (_, name, start, size, is_reversed) in zip(x, segments.itertuples(index=False), strict=True):
        row[:size] = flat[offset[name] + start :][:size]
        row[:] = row[::-1].copy() if is_reversed else row
    images = change(format=kind, image=Image(size=24, colours="magma"))
    for options, dtype in ((images, "uint8"), (change(format=kind, dtype="float16", **WINDOWS), "float16")):
        found = write(flat, signals, segments, tmp_path / f"mel.{kind}", options)
        assert found.dtype == dtype and found.shape[0] == len(segments)
        assert (found == mel.make_transform(2000, options)(x).astype(dtype)).all()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_constant_spectrograms_are_refused(tmp_path, kind):
    options = change(format=kind, top_db=1e-9, dtype="float16")
    with pytest.raises(MurmurError, match=r"mel: all values of all spectrograms are -?0, .*mel\.top_db"):
        write(*make_recordings([3000]), tmp_path / f"mel.{kind}", options)
    assert not list(tmp_path.glob("mel*"))


@pytest.mark.parametrize("wrap", [False, True])
def test_row_k_belongs_to_segment_k(tmp_path, monkeypatch, wrap):
    """In every batch; short segments are filled with zeros or repeated, some segments are reversed."""
    monkeypatch.setattr(mel, "BATCH", 5)
    monkeypatch.setattr(mel, "PIECE", 2)
    flat, signals, segments = make_recordings([3456, 300, 2001, 5000])
    segments["reversed"] = np.arange(len(segments)) % 3 == 1
    segments = segments.sample(frac=1, random_state=0)  # the table's order counts, not the recordings'
    found = write(flat, signals, segments, tmp_path / "mel.npy", wrap=wrap)
    offset = dict(zip(signals["recording_id"], signals["offset"], strict=True))
    assert len(found) == len(segments) > 10
    for row, (_, name, start, size, is_reversed) in zip(found, segments.itertuples(index=False), strict=True):
        x = flat[offset[name] + start :][:size]
        filled = np.tile(x, 4)[:LENGTH] if wrap else np.append(x, np.zeros(LENGTH - size, np.float32))
        filled = filled[::-1] if is_reversed else filled
        np.testing.assert_allclose(row[0], compute_with_librosa(filled, 2000, OPTIONS), rtol=0, atol=1e-4)


def test_segments_do_not_contain_samples_of_another_recording(tmp_path):
    flat, signals, segments = make_recordings([1300, 1700, 700])
    middle = segments[segments["recording_id"] == "r1"]
    expected = np.array(write(flat, signals, middle, tmp_path / "mel.npy"))
    flat[:1300] = flat[3000:] = np.nan
    assert (write(flat, signals, middle, tmp_path / "mel.npy") == expected).all()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_an_interrupted_write_leaves_the_old_file_or_none(tmp_path, monkeypatch, workers, kind):
    calls = []

    def fail(self, x):
        calls.append(len(x))
        if len(calls) > 3:
            raise RuntimeError("interrupted")
        return np.zeros((len(x), 20, N_FRAMES), np.float32)

    monkeypatch.setattr(mel, "BATCH", 2)
    monkeypatch.setattr(log_mel.LogMel, "__call__", fail)
    out = tmp_path / f"mel.{kind}"
    for before in ([], [out]):
        for path in before:
            path.write_bytes(b"of an earlier run")
        calls.clear()
        with pytest.raises(RuntimeError, match="interrupted"):
            write(*make_recordings([40_000]), out, change(format=kind))
        assert [path for path in tmp_path.iterdir() if path.name.startswith("mel")] == before
    assert out.read_bytes() == b"of an earlier run"


CIRCOR = Path(os.environ.get("MURMUR_DATA", "nowhere"), "circor", "training_data")


@pytest.mark.skipif(not CIRCOR.is_dir(), reason="MURMUR_DATA names no folder with circor/training_data")
def test_the_spectrograms_of_a_real_recording_are_those_of_librosa(tmp_path):
    """From the WAV file to the spectrograms: clean, segment, mel."""
    path = min(CIRCOR.glob("*.wav"))
    table = pd.DataFrame([audio.inspect_file(path)]).assign(recording_id="r", path=path.name)
    band = Bandpass(order=4, low=25, high=800)
    options = Clean(sample_rate=2000, denoise=None, bandpass=band, normalise="peak")
    signals = clean_recordings(table, CIRCOR, options, tmp_path / "signals.npy")
    segments = cut(signals, short="drop")
    found = write(np.load(tmp_path / "signals.npy"), signals, segments, tmp_path / "mel.npy")

    y, _ = librosa.load(path, sr=2000)
    y = sosfiltfilt(butter(4, [25, 800], "bandpass", fs=2000, output="sos"), y)
    y = (y / np.abs(y).max()).astype(np.float32)
    expected = [compute_with_librosa(y[start : start + LENGTH], 2000, OPTIONS) for start in segments["start"]]
    assert len(expected) > 10
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-3)
