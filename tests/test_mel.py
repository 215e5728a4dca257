"""Spectrograms against librosa's, and the files they are written to."""

import os
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from scipy.signal import butter, sosfiltfilt

from murmur import mel, tables
from murmur.clean import clean
from murmur.errors import MurmurError
from murmur.params import Bandpass, Clean, Mel, Segment
from murmur.segment import segment
from tests import made

OPTIONS = Mel(
    n_mels=20,
    n_fft=256,
    win_length=128,
    hop_length=50,
    f_min=25,
    f_max=800,
    scale="db",
    reference="max",
    top_db=80,
    dtype="float32",
    format="npy",
)
LENGTH = 1000  # samples in a segment
N_FRAMES = 21


def noise(n, seed=0):
    return made.noise(n, seed).astype(np.float32)


def with_(**changes):
    return OPTIONS.model_copy(update=changes)


def by_librosa(x, rate, o):
    power = librosa.feature.melspectrogram(
        y=x,
        sr=rate,
        n_fft=o.n_fft,
        win_length=o.win_length,
        hop_length=o.hop_length,
        n_mels=o.n_mels,
        fmin=o.f_min,
        fmax=o.f_max,
    )
    reference = np.max if o.reference == "max" else o.reference
    if o.scale == "db":
        return librosa.power_to_db(power, ref=reference, top_db=o.top_db)
    return librosa.power_to_db(power, ref=reference, top_db=None) * np.log(10) / 10


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize(
    ("rate", "changes"),
    [
        (2000, {}),
        (2000, {"win_length": 256}),
        (2000, {"win_length": 101}),
        (2000, {"n_fft": 255}),
        (2000, {"hop_length": 77}),
        (2000, {"hop_length": 500}),
        (2000, {"f_min": 0, "f_max": 1000, "n_mels": 12}),
        (2000, {"scale": "ln"}),
        (2000, {"scale": "ln", "reference": 1.0}),
        (2000, {"top_db": None}),
        (2000, {"top_db": 20}),
        (2000, {"reference": 1.0}),
        (2000, {"reference": 0.01, "top_db": None}),
        (2000, {"n_fft": 2048, "win_length": 2048, "n_mels": 40}),
        (8000, {"f_max": 4000, "n_fft": 512}),
        (4000, {"f_min": 1100, "f_max": 2000, "n_mels": 8}),
    ],
)
def test_values_are_those_of_librosa(rate, changes):
    options = with_(**changes)
    x = noise(5 * LENGTH).reshape(5, LENGTH)
    x += np.sin(2 * np.pi * 150 * np.arange(LENGTH) / rate) * np.arange(LENGTH) / LENGTH  # grows
    expected = np.stack([by_librosa(row, rate, options) for row in x])
    found = mel.LogMel(rate, options)(x)
    assert found.shape == (5, options.n_mels, mel.n_frames(LENGTH, options))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"scale": "ln"}, {"reference": 1.0}, {"top_db": None}])
def test_silence_is_that_of_librosa(changes):
    x = np.zeros((1, LENGTH), np.float32)
    x[0, :100] = 1  # frames with sound and frames without
    for row in (x, 0 * x):
        expected = by_librosa(row[0], 2000, with_(**changes))
        np.testing.assert_allclose(mel.LogMel(2000, with_(**changes))(row)[0], expected, atol=1e-3)


@pytest.mark.parametrize(("rate", "f_min", "f_max", "n_mels"), [(2000, 25, 800, 40), (16000, 0, 8000, 64)])
def test_bank_is_that_of_librosa(rate, f_min, f_max, n_mels):
    options = with_(f_min=f_min, f_max=f_max, n_mels=n_mels, n_fft=512)
    bank = librosa.filters.mel(sr=rate, n_fft=512, n_mels=n_mels, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel.mel_bank(rate, options), bank, atol=1e-8)
    edges = librosa.mel_frequencies(n_mels=n_mels + 2, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel.frequencies(options), edges)


def test_bands_without_a_bin_are_an_error_that_counts_them():
    with pytest.raises(MurmurError, match=r"mel\.n_mels 100: \d+ bands hold no FFT bin; take fewer"):
        mel.LogMel(2000, with_(n_mels=100, n_fft=128))


def flat_and_tables(sizes):
    """Recordings of so many samples, one after another, and segments that overlap and end short."""
    names = [f"r{k}" for k in range(len(sizes))]
    offsets = np.cumsum([0, *sizes[:-1]])
    signals = pd.DataFrame({"recording_id": names, "offset": offsets, "n_samples": sizes})
    options = Segment(length=LENGTH / 2000, overlap=0.5, short="pad", min_length=0)
    return noise(sum(sizes)), signals, segment(signals, 2000, options)[0]


def write(flat, signals, segments, out, options=OPTIONS, wrap=False):
    samples = out.with_name("signals.npy")
    np.save(samples, flat)
    mel.mel(signals, samples, segments, rate=2000, length=LENGTH, wrap=wrap, options=options, out=out)
    return mel.read(out)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_npy_and_parquet_read_back_identically(tmp_path, dtype):
    built = flat_and_tables([40_000, 1200])
    one = write(*built, tmp_path / "mel.npy", with_(dtype=dtype))
    other = write(*built, tmp_path / "mel.parquet", with_(dtype=dtype, format="parquet"))
    assert one.shape == other.shape == (len(built[2]), 1, 20, N_FRAMES)
    assert one.dtype == other.dtype == dtype
    assert one.tobytes() == other.tobytes()
    assert isinstance(one, np.memmap)


def test_bytes_do_not_depend_on_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(mel, "BATCH", 5)
    monkeypatch.setattr(mel, "PIECE", 2)
    built = flat_and_tables([40_000, 1200, 7777])
    for kind in ("npy", "parquet"):
        found = set()
        for workers in ("1", "2", "3"):
            monkeypatch.setenv("MURMUR_WORKERS", workers)
            write(*built, tmp_path / f"mel.{kind}", with_(format=kind))
            found.add((tmp_path / f"mel.{kind}").read_bytes())
        assert len(found) == 1


@pytest.mark.parametrize("wrap", [False, True])
def test_row_k_is_segment_k(tmp_path, monkeypatch, wrap):
    """In any batch, filled up with zeros or with its own beginning, backwards where the table says."""
    monkeypatch.setattr(mel, "BATCH", 5)
    monkeypatch.setattr(mel, "PIECE", 2)
    flat, signals, segments = flat_and_tables([3456, 300, 2001, 5000])
    segments["reversed"] = np.arange(len(segments)) % 3 == 1
    segments = segments.sample(frac=1, random_state=0)  # the table's order counts, not the recordings'
    found = write(flat, signals, segments, tmp_path / "mel.npy", wrap=wrap)
    offset = dict(zip(signals["recording_id"], signals["offset"], strict=True))
    assert len(found) == len(segments) > 10
    for row, (_, name, start, size, backwards) in zip(found, segments.itertuples(index=False), strict=True):
        x = flat[offset[name] + start :][:size]
        filled = np.tile(x, 4)[:LENGTH] if wrap else np.append(x, np.zeros(LENGTH - size, np.float32))
        filled = filled[::-1] if backwards else filled
        np.testing.assert_allclose(row[0], by_librosa(filled, 2000, OPTIONS), rtol=0, atol=1e-4)


def test_segments_never_hear_the_next_recording(tmp_path):
    flat, signals, segments = flat_and_tables([1300, 1700, 700])
    middle = segments[segments["recording_id"] == "r1"]
    expected = np.array(write(flat, signals, middle, tmp_path / "mel.npy"))
    flat[:1300] = flat[3000:] = np.nan
    assert (write(flat, signals, middle, tmp_path / "mel.npy") == expected).all()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_an_interrupted_write_leaves_no_file_and_the_old_one_whole(tmp_path, monkeypatch, workers, kind):
    calls = []

    def breaks(self, x):
        calls.append(len(x))
        if len(calls) > 3:
            raise RuntimeError("broken off")
        return np.zeros((len(x), 20, N_FRAMES), np.float32)

    monkeypatch.setattr(mel, "BATCH", 2)
    monkeypatch.setattr(mel.LogMel, "__call__", breaks)
    out = tmp_path / f"mel.{kind}"
    for before in ([], [out]):
        for path in before:
            path.write_bytes(b"of an earlier run")
        calls.clear()
        with pytest.raises(RuntimeError, match="broken off"):
            write(*flat_and_tables([40_000]), out, with_(format=kind))
        assert [path for path in tmp_path.iterdir() if path.name.startswith("mel")] == before
    assert out.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_read_names_the_file_that_it_cannot_read(tmp_path, kind):
    path = tmp_path / f"mel.{kind}"

    def refuse():
        with pytest.raises(MurmurError, match=rf"mel\.{kind}: cannot be read .*dvc repro mel"):
            mel.read(path)

    refuse()
    path.write_bytes(b"neither this nor that")
    refuse()
    write(*flat_and_tables([40_000]), path, with_(format=kind))
    made.cut(path)
    refuse()
    tables.write(pd.DataFrame({"stage": [], "item": [], "reason": []}, dtype=str), path, tables.LEFT_OUT)
    refuse()


CIRCOR = Path(os.environ.get("MURMUR_DATA", "nowhere"), "circor", "training_data")


@pytest.mark.skipif(not CIRCOR.is_dir(), reason="MURMUR_DATA names no folder with circor/training_data")
def test_a_real_recording_is_seen_as_by_librosa(tmp_path):
    """From the WAV file to the spectrograms, through the three stages."""
    path = min(CIRCOR.glob("*.wav"))
    info = sf.info(path)
    columns = {
        "recording_id": "r",
        "path": path.name,
        "sample_rate": info.samplerate,
        "n_samples": info.frames,
    }
    table = pd.DataFrame([columns])
    band = Bandpass(order=4, low=25, high=800)
    cleaning = Clean(sample_rate=2000, denoise="none", denoise_smooth_ms=128, bandpass=band, normalise="peak")
    signals = clean(table, CIRCOR, cleaning, tmp_path / "signals.npy")
    segments, _ = segment(signals, 2000, Segment(length=0.5, overlap=0.5, short="drop", min_length=0))
    found = write(np.load(tmp_path / "signals.npy"), signals, segments, tmp_path / "mel.npy")

    y, _ = librosa.load(path, sr=2000)
    y = sosfiltfilt(butter(4, [25, 800], "bandpass", fs=2000, output="sos"), y)
    y = (y / np.abs(y).max()).astype(np.float32)
    expected = [by_librosa(y[start : start + LENGTH], 2000, OPTIONS) for start in segments["start"]]
    assert len(expected) > 10
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-3)
