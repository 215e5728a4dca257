"""Spectrograms against librosa's, and the files they are written to."""

import os
from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from scipy.signal import butter, sosfiltfilt

from murmur.errors import MurmurError
from murmur.features import mel, mel_scale, store
from murmur.features.cleaning import clean_recordings
from murmur.features.segmentation import cut_segments
from murmur.recordings import audio
from murmur.sections.clean import Bandpass, Clean
from murmur.sections.mel import Image, Mel
from murmur.sections.segment import Segment
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
from tests import made

OPTIONS = Mel(
    n_mels=20,
    n_fft=256,
    win_length=128,
    hop_length=50,
    f_min=25,
    f_max=800,
    edges="zeros",
    scale="db",
    reference="max",
    top_db=80,
    fill="floor",
    normalise="none",
    image=None,
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
        pad_mode={"zeros": "constant", "reflect": "reflect"}[o.edges],
    )
    if o.scale == "ln_plus":
        return np.log(power + 2**-23)
    reference = np.max if o.reference == "max" else o.reference
    if o.scale == "db":
        return librosa.power_to_db(power, ref=reference, top_db=o.top_db)
    return librosa.power_to_db(power, ref=reference, top_db=None) * np.log(10) / 10


def one_window(rate, options):
    return mel.LogMel(rate, options, *options.windows[0])


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize(
    ("rate", "changes"),
    [
        (2000, {}),
        (2000, {"win_length": 256}),
        (2000, {"win_length": 101}),
        (2000, {"win_length": 1}),
        (2000, {"n_fft": 255}),
        (2000, {"hop_length": 77}),
        (2000, {"hop_length": 500}),
        (2000, {"f_min": 0, "f_max": 1000, "n_mels": 12}),
        (2000, {"scale": "ln"}),
        (2000, {"scale": "ln", "reference": 1.0}),
        (2000, {"edges": "reflect"}),
        (2000, {"edges": "reflect", "n_fft": 255, "hop_length": 77}),
        (2000, {"scale": "ln_plus", "edges": "reflect"}),
        (2000, {"scale": "ln_plus"}),
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
    found = one_window(rate, options)(x)
    assert found.shape == (5, options.n_mels, mel.n_frames(LENGTH, options))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"scale": "ln"}, {"reference": 1.0}, {"top_db": None}, {"scale": "ln_plus"}]
)
def test_silent_frames_are_those_of_librosa(changes):
    x = np.zeros((1, LENGTH), np.float32)
    x[0, :100] = 1  # frames with sound and frames without
    expected = by_librosa(x[0], 2000, with_(**changes))
    np.testing.assert_allclose(one_window(2000, with_(**changes))(x)[0], expected, atol=1e-3)


@pytest.mark.parametrize("level", [0, 0.25, 1e-8])
@pytest.mark.parametrize("edges", ["zeros", "reflect"])
@pytest.mark.parametrize(
    ("changes", "floor"),
    [
        ({}, -80),
        ({"top_db": 40}, -40),
        ({"reference": 1.0}, -100),
        ({"scale": "ln_plus"}, np.log(2**-23)),
        ({"scale": "ln", "reference": 1.0}, np.log(1e-10)),
        ({"scale": "ln"}, None),
        ({"top_db": None}, None),
    ],
)
def test_a_silent_segment_has_the_lowest_value_of_the_scale(changes, floor, edges, level):
    loud = np.sign(np.sin(np.arange(LENGTH))).astype(np.float32)
    loud[LENGTH // 2 :] = 0
    options = with_(edges=edges, **changes)
    sound, silence = one_window(2000, options)(np.stack([loud, np.full(LENGTH, level, np.float32)]))
    assert (silence == silence[0, 0]).all() and silence.max() <= sound.min()
    assert floor is None or silence[0, 0] == pytest.approx(floor, abs=1e-4)
    assert (one_window(2000, options)(loud[None])[0] == sound).all()


@pytest.mark.parametrize(("rate", "f_min", "f_max", "n_mels"), [(2000, 25, 800, 40), (16000, 0, 8000, 64)])
def test_bank_is_that_of_librosa(rate, f_min, f_max, n_mels):
    options = with_(f_min=f_min, f_max=f_max, n_mels=n_mels, n_fft=512)
    bank = librosa.filters.mel(sr=rate, n_fft=512, n_mels=n_mels, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel.mel_bank(rate, options), bank, atol=1e-8)
    edges = librosa.mel_frequencies(n_mels=n_mels + 2, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel_scale.mel_frequencies(options), edges)


def test_bands_without_a_bin_are_an_error_that_counts_them():
    with pytest.raises(MurmurError, match=r"mel\.n_mels 100: \d+ bands hold no FFT bin; take fewer"):
        one_window(2000, with_(n_mels=100, n_fft=128))


WINDOWS = {"n_fft": 512, "win_length": [100, 200, 400], "hop_length": [40, 100, 200]}


def three_windows(**changes):
    """Their channels of loud and quiet noise, and librosa's spectrogram of each, of other lengths."""
    options = with_(**WINDOWS, **changes)
    x = noise(3 * LENGTH).reshape(3, LENGTH) * np.array([[1], [0.1], [3]], np.float32)
    windows = zip(options.win_length, options.hop_length, strict=True)
    alone = [options.model_copy(update={"win_length": w, "hop_length": h}) for w, h in windows]
    return mel.make_transform(2000, options)(x), [[by_librosa(row, 2000, o) for o in alone] for row in x]


@pytest.mark.parametrize(
    ("changes", "spare"),
    [
        ({}, lambda log: -80),
        ({"fill": "max"}, lambda log: 0),  # as once published
        ({"reference": 1.0}, lambda log: log.max() - 80),
        ({"reference": 1.0, "fill": "max"}, np.max),
        ({"top_db": None}, np.min),
        ({"scale": "ln"}, np.min),
        ({"scale": "ln_plus"}, np.min),
        ({"scale": "ln_plus", "fill": "max"}, np.max),
    ],
)
def test_each_window_is_a_channel_and_the_shorter_are_filled_up(changes, spare):
    found, expected = three_windows(**changes)
    assert found.shape == (3, 3, 20, 26)
    for channels, logs in zip(found, expected, strict=True):
        assert [log.shape[1] for log in logs] == [26, 11, 6]
        for channel, log in zip(channels, logs, strict=True):
            n = log.shape[1]
            np.testing.assert_allclose(channel[:, :n], log, rtol=0, atol=1e-3)
            np.testing.assert_allclose(channel[:, n:], spare(log), rtol=0, atol=1e-3)


@pytest.mark.parametrize("fill", ["floor", "max"])
@pytest.mark.parametrize(
    ("changes", "floor"), [({}, -80), ({"reference": 1.0}, -100), ({"top_db": None}, None)]
)
def test_the_channels_of_a_silent_segment_are_filled_up_with_the_same_value(changes, floor, fill):
    (silence,) = mel.make_transform(2000, with_(**WINDOWS, fill=fill, **changes))(
        np.zeros((1, LENGTH), np.float32)
    )
    for channel in silence:
        assert (channel == channel[0, 0]).all() and channel[0, 0] == pytest.approx(floor or channel[0, 0])


def test_a_list_of_one_window_is_that_window(tmp_path):
    built = flat_and_tables([5000])
    one = write(*built, tmp_path / "one.npy", with_(win_length=[128], hop_length=[50]))
    assert one.tobytes() == write(*built, tmp_path / "mel.npy").tobytes()


def test_frames_are_those_of_the_finest_hop():
    for length in (999, 1000, 1001):
        for n_fft in (255, 256):
            options = with_(n_fft=n_fft, win_length=[99, 128], hop_length=[61, 50])
            found = mel.make_transform(2000, options)(noise(length)[None])
            assert found.shape[3] == mel.n_frames(length, options)


def test_minmax_brings_each_channel_of_each_segment_to_0_and_1():
    found, expected = three_windows(normalise="minmax", fill="max")
    np.testing.assert_allclose(found.min(axis=(2, 3)), 0)
    np.testing.assert_allclose(found.max(axis=(2, 3)), 1)
    for channels, logs in zip(found, expected, strict=True):
        for channel, log in zip(channels, logs, strict=True):
            scaled = (log - log.min()) / (log.max() - log.min())
            np.testing.assert_allclose(channel[:, : log.shape[1]], scaled, atol=1e-4)


def test_minmax_of_silence_is_0():
    x = np.zeros((1, LENGTH), np.float32)
    assert (mel.make_transform(2000, with_(normalise="minmax"))(x) == 0).all()


@pytest.mark.parametrize("colours", ["grey", "viridis", "magma"])
@pytest.mark.parametrize("size", [16, 64])
def test_images_are_matplotlib_s_colours_resized(colours, size):
    x = noise(2 * LENGTH).reshape(2, LENGTH)
    found = mel.make_transform(2000, with_(image=Image(size=size, colours=colours)))(x)
    assert found.shape == (2, 3, size, size) and found.dtype == np.uint8
    for image, row in zip(found, x, strict=True):
        log = by_librosa(row, 2000, OPTIONS)
        painted = plt.get_cmap(colours)(plt.Normalize()(log), bytes=True)[..., :3]
        resized = PIL.Image.fromarray(painted).resize((size, size), PIL.Image.Resampling.BILINEAR)
        difference = np.abs(image.transpose(1, 2, 0).astype(int) - np.asarray(resized))
        assert difference.max() <= 6 and difference.mean() < 1  # matplotlib has 256 steps of 1/256, not 1/255


def test_the_first_row_of_an_image_is_the_lowest_band():
    tone = np.sin(2 * np.pi * 60 * np.arange(LENGTH) / 2000).astype(np.float32)
    (image,) = mel.make_transform(2000, with_(image=Image(size=20, colours="grey")))(tone[None])
    brightness = image[0].mean(axis=1)
    assert brightness[:3].max() == brightness.max() and brightness[-1] < 0.5 * brightness.max()


def test_images_of_grey_are_the_same_in_all_colours_and_silence_is_dark():
    options = with_(image=Image(size=12, colours="grey"))
    (image,) = mel.make_transform(2000, options)(noise(LENGTH)[None])
    assert (image == image[0]).all() and image.max() > 200
    assert (mel.make_transform(2000, options)(np.zeros((1, LENGTH), np.float32)) == 0).all()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_images_and_channels_are_written_as_they_are(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(mel, "BATCH", 5)
    monkeypatch.setattr(mel, "PIECE", 2)
    flat, signals, segments = flat_and_tables([5000, 2001])
    segments["reversed"] = np.arange(len(segments)) % 2 == 1
    offset = dict(zip(signals["recording_id"], signals["offset"], strict=True))
    x = np.zeros((len(segments), LENGTH), np.float32)
    for row, (_, name, start, size, backwards) in zip(x, segments.itertuples(index=False), strict=True):
        row[:size] = flat[offset[name] + start :][:size]
        row[:] = row[::-1].copy() if backwards else row
    images = with_(format=kind, image=Image(size=24, colours="magma"))
    for options, dtype in ((images, "uint8"), (with_(format=kind, dtype="float16", **WINDOWS), "float16")):
        found = write(flat, signals, segments, tmp_path / f"mel.{kind}", options)
        assert found.dtype == dtype and found.shape[0] == len(segments)
        assert (found == mel.make_transform(2000, options)(x).astype(dtype)).all()


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_spectrograms_without_anything_to_learn_are_refused(tmp_path, kind):
    options = with_(format=kind, top_db=1e-9, dtype="float16")
    with pytest.raises(MurmurError, match=r"mel: all spectrograms hold the one number .*mel\.top_db"):
        write(*flat_and_tables([3000]), tmp_path / f"mel.{kind}", options)
    assert not list(tmp_path.glob("mel*"))


def test_an_array_that_the_disk_cannot_hold_is_refused_before_any_is_made(tmp_path, monkeypatch):
    free = store.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(mel.workers, "stream_threads", lambda *_: pytest.fail("made"))
    with pytest.raises(MurmurError, match=r"5 arrays of 1 x 20 x 21 take 0\.0 GB and 0\.0 GB are free; free"):
        write(*flat_and_tables([3000]), tmp_path / "mel.npy")


def flat_and_tables(sizes):
    """Recordings of so many samples, one after another, and segments that overlap and end short."""
    names = [f"r{k}" for k in range(len(sizes))]
    offsets = np.cumsum([0, *sizes[:-1]])
    signals = pd.DataFrame({"recording_id": names, "offset": offsets, "n_samples": sizes})
    return noise(sum(sizes)), signals, cut(signals)


def cut(signals, short="pad"):
    whole = {"length": LENGTH / 2000, "overlap": 0.5, "min_length": 0, "first": None, "first_of": []}
    labels = pd.Series("ill", index=signals["recording_id"])
    return cut_segments(signals, labels, 2000, Segment(**whole, short=short, mirror=False))[0]


def write(flat, signals, segments, out, options=OPTIONS, wrap=False):
    samples = out.with_name("signals.npy")
    np.save(samples, flat)
    mel.compute_spectrograms(
        signals, samples, segments, rate=2000, length=LENGTH, wrap=wrap, options=options, out=out
    )
    return store.read_array(out)


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
            store.read_array(path)

    refuse()
    path.write_bytes(b"neither this nor that")
    refuse()
    write(*flat_and_tables([40_000]), path, with_(format=kind))
    made.cut(path)
    refuse()
    parquet.write(pd.DataFrame({"stage": [], "item": [], "reason": []}, dtype=str), path, LEFT_OUT)
    refuse()


CIRCOR = Path(os.environ.get("MURMUR_DATA", "nowhere"), "circor", "training_data")


@pytest.mark.skipif(not CIRCOR.is_dir(), reason="MURMUR_DATA names no folder with circor/training_data")
def test_a_real_recording_is_seen_as_by_librosa(tmp_path):
    """From the WAV file to the spectrograms, through the three stages."""
    path = min(CIRCOR.glob("*.wav"))
    table = pd.DataFrame([audio.inspect(path)]).assign(recording_id="r", path=path.name)
    band = Bandpass(order=4, low=25, high=800)
    cleaning = Clean(sample_rate=2000, denoise=None, bandpass=band, normalise="peak")
    signals = clean_recordings(table, CIRCOR, cleaning, tmp_path / "signals.npy")
    segments = cut(signals, short="drop")
    found = write(np.load(tmp_path / "signals.npy"), signals, segments, tmp_path / "mel.npy")

    y, _ = librosa.load(path, sr=2000)
    y = sosfiltfilt(butter(4, [25, 800], "bandpass", fs=2000, output="sos"), y)
    y = (y / np.abs(y).max()).astype(np.float32)
    expected = [by_librosa(y[start : start + LENGTH], 2000, OPTIONS) for start in segments["start"]]
    assert len(expected) > 10
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-3)
