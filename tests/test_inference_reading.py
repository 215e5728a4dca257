"""Recordings of any format are read as the pipeline reads them; files that are no audio get one line."""

import io
import os
import tracemalloc

import numpy as np
import pytest
import soundfile as sf

from murmur.errors import MurmurError
from murmur.inference import reading
from murmur.inference.reading import read_any
from murmur.recordings import audio
from tests import made

X = made.noise(9000)
LOSSLESS = {
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("W64", "PCM_16"),
    ("NIST", "PCM_16"),
}
LOSSY = {("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM")}


def encode(samples=X, rate=8000, form="WAV", subtype="PCM_16", **options):
    """The content of an audio file."""
    file = io.BytesIO()
    sf.write(file, samples, rate, format=form, subtype=subtype, **options)
    return file.getvalue()


def channels(n, seed=0):
    """Samples [9000, n] that 16 bits hold exactly."""
    return made.noise(9000 * n, seed).reshape(-1, n)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 64])
@pytest.mark.parametrize(
    "options", [{"subtype": "PCM_16"}, {"subtype": "PCM_24"}, {"subtype": "FLOAT"}], ids=str
)
def test_wav_has_exactly_the_samples_of_the_pipeline(tmp_path, monkeypatch, n, options):
    monkeypatch.setattr(reading, "BLOCK", 1000)
    path = made.audio(tmp_path / "a.wav", channels(n), **options)
    expected, rate = audio.load(path)
    for source in (path, str(path), path.read_bytes()):
        samples, actual = read_any(source)
        assert actual == rate and samples.dtype == np.float32
        np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize("options", [{"subtype": "PCM_16"}, {"subtype": "PCM_24"}], ids=str)
def test_flac_has_exactly_the_samples_of_the_pipeline(tmp_path, monkeypatch, options):
    monkeypatch.setattr(reading, "BLOCK", 1000)
    path = made.audio(tmp_path / "a.flac", channels(3), **options)
    np.testing.assert_array_equal(read_any(path)[0], audio.load(path)[0])
    path.write_bytes(b"ID3\4\0\0\0\0\0\3abc" + path.read_bytes())
    np.testing.assert_array_equal(read_any(path)[0], audio.load(path)[0])
    made.cut(path)
    with pytest.raises(MurmurError, match=r"a\.flac: .*(damaged or cut short|cut short)"):
        read_any(path)


@pytest.mark.parametrize(("form", "subtype"), sorted(LOSSLESS))
def test_other_formats_are_recognised_by_their_content(tmp_path, form, subtype):
    (tmp_path / "a.wav").write_bytes(encode(channels(2), form=form, subtype=subtype))
    samples, rate = read_any(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_array_equal(samples, channels(2).mean(axis=1))


@pytest.mark.parametrize(("form", "subtype"), sorted(LOSSY))
def test_lossy_formats_have_nearly_the_samples(form, subtype):
    tone = np.sin(2 * np.pi * 200 * np.arange(16000) / 8000).astype(np.float32) / 2
    samples, rate = read_any(encode(tone, form=form, subtype=subtype))
    assert rate == 8000 and abs(len(samples) - len(tone)) < 600
    np.testing.assert_allclose(samples[2000:12000], tone[2000:12000], atol=0.05)


@pytest.mark.parametrize(("form", "subtype"), sorted((LOSSLESS | LOSSY) - {("NIST", "PCM_16")}))
def test_a_file_that_is_cut_anywhere_is_refused(form, subtype):
    whole = encode(form=form, subtype=subtype)
    for at in [0, 1, 3, 5, 11, *range(20, len(whole), len(whole) // 20), len(whole) - 1]:
        with pytest.raises(MurmurError, match=r"^a\.x: .*; (fetch|replace|name|convert)"):
            read_any(whole[:at], "a.x")


def make_mp3(codes, *, tail=b""):
    """An MP3 of silent frames (MPEG-1, 44100 Hz) without an index, with these codes of the bit rate."""
    sizes = {9: 417, 11: 626}
    frames = [bytes([0xFF, 0xFB, code << 4, 0xC0]).ljust(sizes[code], b"\0") for code in codes]
    return b"ID3\4\0\0\0\0\0\3abc" + b"".join(frames) + tail


def test_an_mp3_without_an_index_is_read_if_its_bit_rate_is_constant():
    samples, rate = read_any(make_mp3([9] * 10, tail=b"TAG".ljust(128)))
    assert rate == 44100 and 9 * 1152 <= len(samples) <= 10 * 1152
    with pytest.raises(MurmurError, match=r"a\.mp3: an MP3 of variable bit rate without an index"):
        read_any(make_mp3([9] * 5 + [11] * 5), "a.mp3")
    with pytest.raises(MurmurError, match="its last frame is incomplete"):
        read_any(make_mp3([9] * 10)[:-2])


def test_frames_that_are_missing_at_the_end_of_an_mp3_are_found():
    whole = encode(made.noise(40000), form="MP3", subtype="MPEG_LAYER_III")
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == whole[:2]]
    with pytest.raises(MurmurError, match=r"cut short: it has \d+ of \d+ frames"):
        read_any(whole[: starts[-1]])


def flip(content, at, bit=0):
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_with_a_damaged_or_missing_page_is_refused(subtype):
    """Libsndfile leaves out the page and reads the rest."""
    whole = encode(made.noise(40_000), form="OGG", subtype=subtype)
    pages = [at for at in range(len(whole)) if whole[at : at + 4] == b"OggS"]
    middle = pages[len(pages) // 2 : len(pages) // 2 + 2]
    assert len(pages) > 4 and len(read_any(whole)[0]) >= 39_000
    with pytest.raises(
        MurmurError, match=f"damaged: the page at byte {middle[0]} does not have its checksum"
    ):
        read_any(flip(whole, middle[0] + 500))
    with pytest.raises(MurmurError, match=f"damaged: a page is missing before byte {middle[0]}; replace"):
        read_any(whole[: middle[0]] + whole[middle[1] :])


def put(content, name, at, value):
    """Write bytes at a distance from a name."""
    start = content.index(name) + at
    return content[:start] + value + content[start + len(value) :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            put(encode(form="AIFF"), b"COMM", 8, b"\0\2"),
            "have 18000 bytes, its header implies 36000; replace",
        ),
        (put(encode(form="AIFF"), b"COMM", 10, b"\0\0\0\x09"), "have 18000 bytes, its header implies 18;"),
        (
            put(encode(form="AU"), b".snd", 8, b"\0\0\0\x64"),
            "its header states 124 bytes, the file has 18024",
        ),
        (encode(form="CAF") + bytes(20), r"damaged: its header states \d+ bytes, the file has"),
        (
            put(encode(form="W64"), b"fmt ", 28, b"\x41"),
            "8001 Hz of 2 bytes contradict its byte rate of 16000",
        ),
        (
            put(encode(), b"fmt ", 22, b"\x14"),
            "its block align of 2 bytes contradicts its channels .1. and bits .20.",
        ),
        (put(encode(endian="BIG"), b"fmt ", 22, b"\0\x14"), "its block align of 2 bytes contradicts"),
        (
            encode(endian="BIG")[:-2],
            "cut short: its header states 18000 bytes of samples, the file has 17998",
        ),
        (put(encode(subtype="IMA_ADPCM"), b"data", 4, b"\x10\0"), "damaged: its header states 16 bytes"),
        (
            flip(make_mp3([9] * 10), 13 + 5 * 417, 7),
            "damaged: no frame at byte 2098, after 5 frames; convert",
        ),
    ],
    ids=["channels", "frames", "AU", "CAF", "W64", "20 bits", "RIFX", "cut RIFX", "ADPCM", "MP3"],
)
def test_fields_that_contradict_each_other_or_the_file_are_refused(content, words):
    """Libsndfile reads a part of the samples, or at another rate."""
    with pytest.raises(MurmurError, match=words):
        read_any(content)


NOT_AUDIO = {
    "text": (b"heart sounds\n" * 50, "of no known format"),
    "utf-16": ("heart sounds".encode("utf-16") * 50, "of no known format"),
    "empty": (b"", "an empty file"),
    "zeros": (bytes(5000), "of no known format"),
    "html": (b"<!doctype html>", "a web page"),
    "m4a": (
        b"\0\0\0\x20ftypM4A " + bytes(99),
        "an MP4 or M4A file; WAV, .* are read; convert it: ffmpeg -i .*a.wav .*a_new.wav",
    ),
    "frames": (b"\xff\xfb" * 999, "damaged, or of a coding that is not supported"),
    "no samples": (encode(X[:0]), "holds no samples"),
}


@pytest.mark.parametrize("content", NOT_AUDIO)
def test_what_is_no_audio_gets_one_line(tmp_path, content):
    (path := tmp_path / "a.wav").write_bytes(NOT_AUDIO[content][0])
    for source in (path, path.read_bytes()):
        with pytest.raises(MurmurError, match=rf"a\.wav: .*{NOT_AUDIO[content][1]}") as caught:
            read_any(source, "a.wav")
        assert "\n" not in str(caught.value)


def test_what_is_no_file_gets_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in {
        "": "a folder",
        "pipe.wav": "not a regular file",
        "b.wav": "no such file",
        "\0": "no such file",
    }.items():
        with pytest.raises(MurmurError, match=reason):
            read_any(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["WAV", "AIFF"])
def test_a_sample_that_is_no_number_is_named(monkeypatch, form, value):
    monkeypatch.setattr(reading, "BLOCK", 1000)
    samples = channels(2)
    samples[4321, 1] = value
    with pytest.raises(MurmurError, match=r"a\.x: sample 4321 is not a finite number"):
        read_any(encode(samples, form=form, subtype="FLOAT"), "a.x")


def test_rates_and_lengths_have_limits(monkeypatch):
    assert read_any(encode(rate=100))[1] == 100 and read_any(encode(rate=768_000))[1] == 768_000
    for form in ("WAV", "AU"):
        with pytest.raises(MurmurError, match="its rate is 50 Hz"):
            read_any(encode(rate=50, form=form))
    monkeypatch.setattr(reading, "MAX_HOURS", 1 / 3600)
    assert len(read_any(encode(X[:8000]))[0]) == 8000
    for form in ("WAV", "FLAC", "AU"):
        with pytest.raises(MurmurError, match=r"longer than .* \(0\.000278 hours at 8000 Hz\); cut it"):
            read_any(encode(X[:8001], form=form))


def test_two_hundred_channels_take_little_memory(tmp_path):
    path = made.audio(tmp_path / "a.wav", np.tile(made.noise(40000)[:, None], 200))
    tracemalloc.start()
    samples, _ = read_any(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(samples, made.noise(40000), atol=1e-6)
    assert peak < 12e6  # the file has 16 MB, all channels as floats have 32 MB


def test_wfdb_records_are_read_by_any_of_their_names(tmp_path):
    values = (X[:, None] * 2**15).astype(int)
    made.record(tmp_path / "a.hea", values)
    for name in ("a.hea", "a", "a.dat"):
        samples, rate = read_any(tmp_path / name)
        assert rate == made.RATE
        np.testing.assert_array_equal(samples, X)


def test_the_header_of_a_wav_leads_to_it(tmp_path):
    """As in CirCor."""
    made.audio(tmp_path / "1_AV.wav", X)
    header = tmp_path / "1_AV.hea"
    header.write_text("1_AV 1 4000 9000\n1_AV.wav 16+44 1(0)/mV 16 0 0 0 0 AV\n")
    np.testing.assert_array_equal(read_any(header)[0], X)
    (tmp_path / "1_AV.wav").unlink()
    with pytest.raises(MurmurError, match=r"1_AV\.wav: no such file"):
        read_any(header)
