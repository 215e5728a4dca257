"""Every container gives the same samples; every broken file is noticed, by name."""

import struct

import numpy as np
import pytest

from murmur import audio
from murmur.errors import MurmurError
from tests import made

X = made.noise()


@pytest.mark.parametrize(
    "name, how",
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "PCM_32"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_16"}),
        ("a.wav", {"format": "RF64", "subtype": "PCM_16"}),
        ("a.w64", {"subtype": "PCM_16"}),
        ("a.flac", {"subtype": "PCM_16"}),
        ("a.flac", {"subtype": "PCM_24"}),
        ("A.WAV", {"subtype": "PCM_16"}),
        ("A.FLAC", {"subtype": "PCM_16"}),
    ],
)
def test_the_container_changes_nothing(tmp_path, name, how):
    plain = audio.inspect(made.audio(tmp_path / "plain.wav", X, subtype="PCM_16"))
    path = made.audio(tmp_path / name, X, **how)
    samples, rate = audio.load(path)
    assert samples.dtype == np.float32 and rate == made.RATE
    np.testing.assert_array_equal(samples, X)
    assert audio.inspect(path) == plain
    assert audio.inspect(made.audio(tmp_path / "b.wav", X[::-1])).audio_sha256 != plain.audio_sha256


@pytest.mark.parametrize("how", [{"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"subtype": "PCM_24"}])
def test_channels_are_averaged_and_the_rate_is_told(tmp_path, how):
    other = made.noise(seed=1)
    path = made.audio(tmp_path / "stereo.wav", np.stack([X, other], axis=1), 44100, **how)
    samples, rate = audio.load(path)
    assert rate == 44100 and samples.dtype == np.float32
    np.testing.assert_allclose(samples, (X + other) / 2, atol=1e-7)
    twice = audio.inspect(made.audio(tmp_path / "twice.wav", np.stack([X, X], axis=1), **how))
    assert twice == audio.inspect(made.audio(tmp_path / "once.wav", X))


def test_eight_bits(tmp_path):
    coarse = np.round(X * 128).clip(-128, 127) / np.float32(128)
    path = made.audio(tmp_path / "a.wav", coarse, subtype="PCM_U8")
    np.testing.assert_array_equal(audio.load(path)[0], coarse)
    assert audio.inspect(path) == audio.inspect(made.audio(tmp_path / "b.wav", coarse, subtype="PCM_16"))


def riff(*chunks):
    body = b"".join(
        struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


FMT = (b"fmt ", struct.pack("<HHIIHH", 1, 1, made.RATE, 2 * made.RATE, 2, 16))
DATA = (b"data", np.round(X * 2**15).astype("<i2").tobytes())


@pytest.mark.parametrize(
    "chunks",
    [
        (FMT, (b"LIST", b"INFOISFT\x05\0\0\0Lavf\0\0"), DATA),
        (FMT, (b"LIST", b"INFOICMT\x03\0\0\0odd"), DATA),
        ((b"JUNK", b"odd"), FMT, (b"note", b"x"), DATA),
        (FMT, DATA, (b"id3 ", b"after"), (b"LIST", b"more")),
    ],
    ids=["LIST", "odd", "odd odd", "after"],
)
def test_chunks_beside_the_samples(tmp_path, chunks):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(*chunks))
    np.testing.assert_array_equal(audio.load(path)[0], X)
    made.cut(path, riff(*chunks).index(DATA[1]) + len(DATA[1]) - 2)
    with pytest.raises(
        MurmurError, match=r"a\.wav: cut short: its header promises 4000 bytes.* 3998 are there"
    ):
        audio.load(path)


@pytest.mark.parametrize("how", [{}, {"format": "WAVEX"}, {"format": "RF64"}, {"format": "FLAC"}], ids=str)
def test_cut_anywhere_is_noticed(tmp_path, how):
    path = made.audio(tmp_path / "a.wav", made.noise(9000), subtype="PCM_16", **how)
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 211), len(whole) - 2]:
        path.write_bytes(whole[:at])
        with pytest.raises(MurmurError, match=r"a\.wav: .*; (fetch|replace|encode) the file"):
            audio.load(path)


def promise_more(path):
    path.write_bytes(riff(FMT, DATA).replace(b"data\xa0\x0f", b"data\xff\xff"))


def with_one(odd, at):
    return np.where(np.arange(len(X)) == at, odd, X)


def flac_of_unknown_length(path):
    """As a FLAC encoder leaves it that writes to a pipe: STREAMINFO says 0 samples."""
    made.audio(path, X, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: p.write_bytes(b""), "not readable as audio"),
        (lambda p: p.write_text("path,label\n" * 50), "not readable as audio"),
        (lambda p: p.write_bytes(riff(FMT)), "not readable as audio|holds no samples"),
        (lambda p: p.write_bytes(riff(FMT, (b"data", b""))), "holds no samples; replace"),
        (lambda p: p.mkdir(), "not readable as audio"),
        (lambda p: None, "no such file"),
        (promise_more, "promises 65535"),
        (flac_of_unknown_length, "encode the file again"),
        (lambda p: made.audio(p, with_one(np.nan, at=7), subtype="FLOAT"), "sample 7 is not a fin"),
        (lambda p: made.audio(p, with_one(np.inf, at=9), subtype="FLOAT"), "sample 9 is not a fin"),
        (lambda p: made.audio(p, np.zeros(50)), "silent: all 50 samples are 0; replace"),
        (lambda p: made.audio(p, np.full(50, 0.25)), "silent: all 50 samples are 0.25"),
    ],
)
def test_what_is_wrong_is_told_with_the_name(tmp_path, make, words):
    make(tmp_path / "a.wav")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/a\.wav: .*({words})"):
        audio.inspect(tmp_path / "a.wav")


def test_headerless_audio_is_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(MurmurError, match=r"a\.raw: not readable as audio"):
        audio.load(tmp_path / "a.raw")
