"""WAV and FLAC give the same samples; files of other kinds and damaged files are refused by name."""

import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from murmur.errors import MurmurError
from murmur.recordings import audio
from murmur.recordings.containers import flac
from tests import fuzz_audio, made

X = made.noise()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "PCM_32"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_16"}),
        ("a.wav", {"format": "RF64", "subtype": "PCM_16"}),
        ("a.flac", {"subtype": "PCM_16"}),
        ("a.flac", {"subtype": "PCM_24"}),
        ("A.WAV", {"subtype": "PCM_16"}),
        ("A.FLAC", {"subtype": "PCM_16"}),
    ],
)
def test_samples_and_hash_do_not_depend_on_the_file_format(tmp_path, name, options):
    plain = audio.inspect_file(made.audio(tmp_path / "plain.wav", X, subtype="PCM_16"))
    path = made.audio(tmp_path / name, X, **options)
    samples, rate = audio.load(path)
    assert samples.dtype == np.float32 and rate == made.RATE
    np.testing.assert_array_equal(samples, X)
    assert audio.inspect_file(path) == plain
    assert audio.inspect_file(made.audio(tmp_path / "b.wav", X[::-1])).audio_sha256 != plain.audio_sha256


@pytest.mark.parametrize("options", [{"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"subtype": "PCM_24"}])
def test_channels_are_averaged_and_the_rate_is_returned(tmp_path, options):
    other = made.noise(seed=1)
    path = made.audio(tmp_path / "stereo.wav", np.stack([X, other], axis=1), 44100, **options)
    samples, rate = audio.load(path)
    assert rate == 44100 and samples.dtype == np.float32
    np.testing.assert_allclose(samples, (X + other) / 2, atol=1e-7)
    twice = audio.inspect_file(made.audio(tmp_path / "twice.wav", np.stack([X, X], axis=1), **options))
    assert twice == audio.inspect_file(made.audio(tmp_path / "once.wav", X))


def test_eight_bits_are_read(tmp_path):
    coarse = np.round(X * 128).clip(-128, 127) / np.float32(128)
    path = made.audio(tmp_path / "a.wav", coarse, subtype="PCM_U8")
    np.testing.assert_array_equal(audio.load(path)[0], coarse)
    assert audio.inspect_file(path) == audio.inspect_file(
        made.audio(tmp_path / "b.wav", coarse, subtype="PCM_16")
    )


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
def test_other_chunks_are_skipped(tmp_path, chunks):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(*chunks))
    np.testing.assert_array_equal(audio.load(path)[0], X)
    made.cut(path, riff(*chunks).index(DATA[1]) + len(DATA[1]) - 2)
    with pytest.raises(
        MurmurError, match=r"a\.wav: cut short: its header states 4000 bytes.*, the file has 3998"
    ):
        audio.load(path)


@pytest.mark.parametrize(
    "options", [{}, {"format": "WAVEX"}, {"format": "RF64"}, {"format": "FLAC"}], ids=str
)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, options):
    path = made.audio(tmp_path / "a.wav", made.noise(9000), subtype="PCM_16", **options)
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 211), len(whole) - 2]:
        path.write_bytes(whole[:at])
        with pytest.raises(MurmurError, match=r"a\.wav: .*; (fetch|replace|encode) the file"):
            audio.load(path)


def write_too_large_a_size(path):
    path.write_bytes(riff(FMT, DATA).replace(b"data\xa0\x0f", b"data\xff\xff"))


def replace_sample(value, at):
    return np.where(np.arange(len(X)) == at, value, X)


def flac_of_unknown_length(path):
    """Write a FLAC as an encoder writes it to a pipe: STREAMINFO has 0 samples."""
    made.audio(path, X, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b""), "not readable as audio"),
        (lambda p: p.write_text("path,label\n" * 50), "not readable as audio"),
        (lambda p: p.write_bytes(riff(FMT)), "not readable as audio|holds no samples"),
        (lambda p: p.write_bytes(riff(FMT, (b"data", b""))), "holds no samples; replace"),
        (lambda p: p.mkdir(), "not readable as audio"),
        (lambda p: None, "no such file"),
        (write_too_large_a_size, "states 65535"),
        (flac_of_unknown_length, "convert it"),
        (lambda p: made.audio(p, replace_sample(np.nan, at=7), subtype="FLOAT"), "sample 7 is not a fin"),
        (lambda p: made.audio(p, replace_sample(np.inf, at=9), subtype="FLOAT"), "sample 9 is not a fin"),
        (
            lambda p: made.audio(p, replace_sample(3e38, at=5), subtype="FLOAT"),
            r"sample 5 is 3e\+38, which no",
        ),
        (lambda p: made.audio(p, replace_sample(-1e300, at=5), subtype="DOUBLE"), "sample 5 is not a finite"),
        (lambda p: made.audio(p, np.zeros(50)), "silent: all 50 samples are 0; replace"),
        (lambda p: made.audio(p, np.full(50, 0.25)), "silent: all 50 samples are 0.25"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(tmp_path, make, words):
    make(tmp_path / "a.wav")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/a\.wav: .*({words})"):
        audio.inspect_file(tmp_path / "a.wav")


OTHER_KINDS = [
    (b"\xff\xfb\x50\xc4" + bytes(200), "an MP3 file"),
    (b"\xff\xf3\x40\xc4" + bytes(200), "an MP3 file"),
    (b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + b"\xff\xfb\x50\xc4" + bytes(200), "an MP3 file"),
    (b"\xff\xf1\x50\x80" + bytes(200), "an AAC file"),
    (b"FORM\0\0\x04\xa8AIFF" + bytes(200), "an AIFF file"),
    (b"FORM\n\0\x04\xa8AIFC" + bytes(200), "an AIFF file"),
    (b".snd" + bytes(200), "an AU file"),
    (b"riff\x2e\x91\xcf\x11" + bytes(200), "a W64 file"),
    (b"RIFX\0\0\x04\xa8WAVE" + bytes(200), r"a big-endian WAV \(RIFX\) file"),
    (b"OggS\0\x02" + bytes(40) + b"\x7fFLAC" + bytes(200), "an Ogg file"),
    (b"caff" + bytes(200), "a CAF file"),
    (b"\0\0\0\x20ftypM4A " + bytes(200), "an MP4 or M4A file"),
    (b"RIFF\0\x04\0\0AVI " + bytes(200), "an AVI"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    (b"PK\x03\x04" + bytes(200), "a ZIP archive"),
    (b"\x1f\x8b\x08" + bytes(200), "a packed file"),
    (b"\n<!DOCTYPE html><html>", "a web page"),
    (b"Not found", "neither WAV nor FLAC"),
    (b"\0", "neither WAV nor FLAC"),
    (b"", "an empty file"),
]


def test_a_flac_that_would_need_too_much_memory_is_refused(tmp_path, monkeypatch):
    path = made.audio(tmp_path / "a.flac", X, format="FLAC")
    monkeypatch.setattr(flac, "MAX_SAMPLES", 100)
    with pytest.raises(MurmurError, match=r"/a\.flac: .*more than 100"):
        audio.load(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw"])
@pytest.mark.parametrize(("content", "kind"), OTHER_KINDS)
def test_another_kind_is_recognised_by_its_content_not_by_its_name(tmp_path, content, kind, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MurmurError, match=rf"/{name}: not readable as audio[^\n]*{kind}[^\n]*; [^\n]*$"):
        audio.load(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "options"), [("w64", {}), ("aiff", {}), ("au", {}), ("caf", {}), ("ogg", {})]
)
def test_complete_files_of_other_kinds_are_refused(tmp_path, kind, options):
    path = made.audio(tmp_path / f"a.{kind}", X)
    with pytest.raises(
        MurmurError, match=r"not readable as audio: an? .*; convert it: ffmpeg -i \S*/a\.wav \S*/a_new\.wav$"
    ):
        audio.load(path.rename(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "convert it: ffmpeg -i {0}/a.m4a {0}/a.wav"),
        ("a b's.mp3", b"ID3\x04", """convert it: ffmpeg -i '{0}/a b'"'"'s.mp3' '{0}/a b'"'"'s.wav'"""),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST", "an AVI file; .*convert it: ffmpeg -i {0}/a.avi {0}/a.wav"),
        (
            "a.ogg",
            b"unknown",
            "neither WAV nor FLAC.; if it is audio, convert it: ffmpeg -i {0}/a.ogg {0}/a.wav",
        ),
        ("a.wav", b"unknown", "neither WAV nor FLAC.; replace the file"),
    ],
)
def test_the_command_that_converts_a_file_has_its_name(tmp_path, name, content, command):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MurmurError, match=command.format(tmp_path) + "$"):
        audio.load(tmp_path / name)


def fmt(coding=1, channels=1, rate=made.RATE, byte_rate=None, frame=2, bits=16, more=b""):
    byte_rate = rate * frame if byte_rate is None else byte_rate
    return b"fmt ", struct.pack("<HHIIHH", coding, channels, rate, byte_rate, frame, bits) + more


GUID = b"\x16\0\x10\0\x04\0\0\0\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (fmt(channels=2), "its block align of 2 bytes contradicts its channels .2. and bits .16."),
        (fmt(channels=0), "it has 0 channels"),
        (fmt(channels=1025, frame=2050), "it has 1025 channels"),
        (fmt(frame=4), "its block align of 4 bytes contradicts its channels .1. and bits .16."),
        (fmt(frame=0), "its block align of 0 bytes contradicts"),
        (fmt(bits=24), "its block align of 2 bytes contradicts its channels .1. and bits .24."),
        (fmt(rate=8000, byte_rate=8000), "8000 Hz of 2 bytes contradict its byte rate of 8000"),
        (fmt(byte_rate=0), ".*contradict its byte rate of 0"),
        (fmt(rate=0), "its rate is 0 Hz, not within 100 to 768000 Hz"),
        (fmt(rate=1), "its rate is 1 Hz"),
        (fmt(rate=2**31 - 1, byte_rate=2**32 - 2), "its rate is 2147483647 Hz"),
        (fmt(bits=12), "a WAV of PCM of 12 bits, which is not supported"),
        (fmt(bits=20), "its block align of 2 bytes contradicts its channels .1. and bits .20."),
        (fmt(bits=64, frame=8), "a WAV of PCM of 64 bits"),
        (fmt(coding=3), "a WAV of floats of 16 bits"),
        (fmt(coding=0x55, bits=0, frame=1), "a WAV of MP3, which is not supported"),
        (fmt(coding=0x11, bits=4, frame=1024), "a WAV of IMA ADPCM of 4 bits"),
        (fmt(coding=0x1234), "a WAV of coding 0x1234 of 16 bits"),
        (fmt(coding=0xFFFE), "a WAV of coding 0xfffe of 16 bits"),
        (fmt(coding=0xFFFE, more=GUID.replace(b"\xaa", b"\xab")), "a WAV of coding 0xfffe"),
        (fmt(coding=0xFFFE, more=GUID.replace(b"\x16\0\x10", b"\x16\0\x14")), "20 bits of 16 are in use"),
        ((b"fmt ", fmt()[1][:14]), "its format chunk has 14 bytes of 16"),
    ],
)
def test_contradictory_fields_of_a_wav_are_refused(tmp_path, form, words):
    (tmp_path / "a.wav").write_bytes(riff(form, DATA))
    with pytest.raises(MurmurError, match=rf"/a\.wav: (damaged|not readable as audio): {words}.*; "):
        audio.load(tmp_path / "a.wav")


def test_longer_format_chunks_are_read(tmp_path):
    path = tmp_path / "a.wav"
    for form in (fmt(more=b"\0\0"), fmt(coding=0xFFFE, more=GUID), fmt(more=b"\x16\0" + bytes(22))):
        path.write_bytes(riff(form, DATA))
        np.testing.assert_array_equal(audio.load(path)[0], X)


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW"])
def test_a_law_and_mu_law_are_read(tmp_path, subtype):
    path = made.audio(tmp_path / "a.wav", X, subtype=subtype)
    samples, _ = audio.load(path)
    np.testing.assert_allclose(samples, X, atol=0.02)
    made.cut(path, path.stat().st_size - 1)
    with pytest.raises(MurmurError, match="cut short"):
        audio.load(path)


HEAD = riff(FMT)[12:]


def with_sizes(riff_size, data_size, content=DATA[1], kind=b"RIFF"):
    return (
        struct.pack("<4sI4s", kind, riff_size, b"WAVE")
        + HEAD
        + struct.pack("<4sI", b"data", data_size)
        + content
    )


UNKNOWN = 0xFFFFFFFF


@pytest.mark.parametrize(
    "content",
    [
        with_sizes(UNKNOWN, UNKNOWN),  # ffmpeg
        with_sizes(0, UNKNOWN),
        with_sizes(0, 0),
        with_sizes(36, 0),  # GStreamer
        with_sizes(0x7FFFF024, 0x7FFFF000),  # SoX
        with_sizes(0x80000024, 0x80000000),  # arecord
        with_sizes(0x7FFFFFFF, 0x7FFFFFFF),  # Oboe
        with_sizes(0, 4000),
        with_sizes(4044, 4000),  # the size of the whole file
        with_sizes(4028, 4000),  # without the data chunk's header
        with_sizes(4036, 4000, DATA[1] + bytes(512)),
        with_sizes(4036, 4000, DATA[1] + b"TAG" + b"a" * 125),
        with_sizes(4036, 4000, DATA[1] + b"LIST\x05\0\0\0INFOx"),
        with_sizes(4049, 4000, DATA[1] + b"LIST\x05\0\0\0INFOx"),  # without its padding byte
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + riff(FMT, DATA),
    ],
    ids=str,
)
def test_a_wav_of_unknown_or_slightly_wrong_length_is_read_to_the_end(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(audio.load(tmp_path / "a.wav")[0], X)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_sizes(4036, 800), "damaged: its header states 800 bytes of samples, the file has 4000"),
        (with_sizes(836, 800), "damaged: its header states 800 bytes of samples, the file has 4000"),
        (with_sizes(4036, 800, bytes(4000)), "damaged: its header states 800 bytes"),
        (with_sizes(4036, 3998), "damaged: its header states 3998 bytes of samples, the file has 4000"),
        (with_sizes(4034, 3998), "damaged: its header states 3998 bytes of samples, the file has 4000"),
        (with_sizes(4036, 0), "damaged: its header states 0 bytes of samples, the file has 4000"),
        (
            with_sizes(4036, UNKNOWN),
            "cut short: its header states 4294967295 bytes of samples, the file has 4000",
        ),
        (with_sizes(UNKNOWN, UNKNOWN, DATA[1][:-1]), "cut short: it ends within a sample"),
        (with_sizes(4036, 3999, DATA[1][:-1]), "damaged: 3999 bytes of samples are not a multiple of 2"),
        (with_sizes(5000, 4000), "cut short: it has 4044 of 5008 bytes"),
        (
            riff(FMT, DATA) + riff(FMT, DATA),
            "damaged: its header states 4000 bytes of samples, the file has 8044",
        ),
        (riff(FMT, DATA, DATA), "damaged: its header states 4000 bytes of samples, the file has 8008"),
        (riff(DATA, FMT), "damaged: its samples are not described before they begin"),
        (riff(FMT, FMT, DATA), "damaged: its samples are described twice"),
        (riff(FMT, (b"\0\0\0\0", b""), DATA), "damaged: there is no valid chunk"),
        (with_sizes(UNKNOWN, UNKNOWN, kind=b"RF64"), "damaged: it has no sizes of 64 bits"),
        (riff(FMT, (b"data", b"")), "holds no samples"),
    ],
    ids=str,
)
def test_wrong_sizes_in_a_wav_are_refused(tmp_path, content, words):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/a\.wav: {words}[^\n]*; (fetch|replace) the file"):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
@pytest.mark.parametrize("padding", [0, 1])  # ffmpeg includes it in the size
def test_sizes_of_64_bits_are_read(tmp_path, kind, padding):
    samples = (np.round(X[:1999] * 128) + 128).astype("u1")
    long = struct.pack("<QQQI", 1999 + 81, 1999 + padding, 1999, 0)
    body = riff((b"ds64", long), fmt(frame=1, bits=8), (b"data", samples.tobytes()))
    at = body.index(b"data") + 4
    path = tmp_path / "a.wav"
    path.write_bytes(kind + b"\xff" * 4 + body[8:at] + b"\xff" * 4 + body[at + 4 :])
    np.testing.assert_array_equal(audio.load(path)[0], (samples - np.float32(128)) / 128)
    path.write_bytes(kind + b"\xff" * 4 + body[8:at] + b"\x09\0\0\0" + body[at + 4 :])
    with pytest.raises(MurmurError, match="damaged: its sizes of 32 and of 64 bits disagree"):
        audio.load(path)


def flac_with_header(path, total=None, rate=None, md5=None):
    """Return the bytes of a FLAC with another length, rate or MD5 in its header."""
    content = bytearray(made.audio(path, X, format="FLAC").read_bytes())
    packed = int.from_bytes(content[18:26], "big")
    total = packed % 2**36 if total is None else total
    packed = packed >> 36 << 36 | total
    packed = packed % 2**44 | (packed >> 44 if rate is None else rate) << 44
    content[18:26] = packed.to_bytes(8, "big")
    content[26:42] = content[26:42] if md5 is None else md5
    return bytes(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"total": 1000}, "damaged: its samples are not those of the MD5 in its header; replace"),
        ({"total": 3000}, "; (replace|fetch) the file"),
        ({"total": 2**36 - 1}, "; (replace|fetch) the file"),
        (
            {"total": 0},
            "no length or no MD5 in its header, like a FLAC that was written to a pipe.*; convert it",
        ),
        (
            {"md5": bytes(16)},
            "no length or no MD5 in its header, like a FLAC that was written to a pipe.*; convert it",
        ),
        ({"md5": b"1" * 16}, "damaged: its samples are not those of the MD5"),
        ({"rate": 4001}, "damaged: its header has 4001 Hz, its first frame another rate; replace"),
        ({"rate": 1}, "damaged: its rate is 1 Hz, not within"),
    ],
)
def test_a_flac_with_a_wrong_header_is_refused(tmp_path, changes, words):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_with_header(path, **changes))
    with pytest.raises(MurmurError, match=rf"/a\.flac: .*{words}"):
        audio.load(path)


@pytest.mark.parametrize("rate", [100, 4000, 6000, 8000, 9999, 11025, 44100, 65540, 192000])
def test_a_flac_of_any_rate_and_with_tags_is_read(tmp_path, rate):
    path = made.audio(tmp_path / "a.flac", X, rate)
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + path.read_bytes() + b"TAG" + bytes(125))
    samples, found = audio.load(path)
    np.testing.assert_array_equal(samples, X)
    assert found == rate


@pytest.mark.parametrize("options", [{"format": "FLAC"}, {"format": "WAV"}, {"format": "RF64"}], ids=str)
def test_a_flipped_bit_in_a_header_is_refused_or_does_not_change_the_samples(tmp_path, options):
    path = made.audio(tmp_path / "a.bin", X[:200], subtype="PCM_16", **options)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for at in range(len(whole) - 400 if options["format"] != "FLAC" else 60):
        content = bytearray(whole)
        content[at] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            samples, rate = audio.load(path)
        except MurmurError:
            continue
        np.testing.assert_array_equal(samples, X[:200])
        assert rate == made.RATE


def test_floats_on_the_scale_of_integers_are_read(tmp_path):
    path = made.audio(tmp_path / "a.wav", replace_sample(2.0**31, at=5), subtype="FLOAT")
    assert audio.inspect_file(path).n_samples == len(X) and audio.load(path)[0][5] == 2**31


def test_the_error_for_a_flac_that_libsndfile_refuses_is_the_same_each_time(tmp_path):
    """`download` writes it to a table, which DVC compares."""
    path = made.audio(tmp_path / "a.flac", X)
    content = bytearray(path.read_bytes())
    content[20] ^= 0b1000  # five channels instead of one
    path.write_bytes(content)
    words = r"a\.flac: not readable as audio \(damaged or cut short: [A-Za-z .:]+\); replace the file$"
    with pytest.raises(MurmurError, match=words):
        audio.load(path)


def test_a_sample_of_the_damaged_files_is_refused_or_gives_the_right_samples(tmp_path):
    """`make soak` reads thousands."""
    files = fuzz_audio.make_good_files(tmp_path)
    faults, counts = fuzz_audio.check_cases(1, range(162), files, tmp_path)
    assert not faults
    assert counts.total() == 162 and set(counts) == {mutate.__name__ for mutate in fuzz_audio.MUTATIONS}


def described(path, **changes):
    facts = audio.inspect_file(path)._replace(**changes)
    return SimpleNamespace(path=path.name, **facts._asdict())


def test_a_recording_that_the_table_describes_is_read(tmp_path):
    path = made.audio(tmp_path / "a.wav", X)
    samples, rate = audio.load_recording(tmp_path, described(path))
    np.testing.assert_array_equal(samples, X)
    assert rate == made.RATE


@pytest.mark.parametrize(("samples", "rate"), [(X[:1500], made.RATE), (X, 2000), (X * 0.5, made.RATE)])
def test_a_recording_that_differs_from_the_table_is_refused(tmp_path, samples, rate):
    row = described(made.audio(tmp_path / "a.wav", X))
    made.audio(tmp_path / "a.wav", samples, rate)
    facts = rf"the table has 2000 samples at 4000 Hz, .*, the file {len(samples)} samples at {rate} Hz, "
    with pytest.raises(
        MurmurError, match=rf"/a\.wav: not the recording .*: {facts}.*`dvc repro -f download`.*docs/cache\.md"
    ):
        audio.load_recording(tmp_path, row)


def test_one_flipped_bit_is_detected(tmp_path):
    path = made.audio(tmp_path / "a.wav", X)
    row, content = described(path), bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(MurmurError, match="not the recording that the table describes"):
        audio.load_recording(tmp_path, row)


def test_a_pipe_and_a_name_that_is_too_long_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(MurmurError, match="not a regular file"):
        audio.load(tmp_path / "a.wav")
    for name in ("a" * 5000, "a\0"):
        with pytest.raises(MurmurError, match=r"no such file|not readable as audio"):
            audio.load(tmp_path / name)


def test_headerless_audio_is_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(MurmurError, match=r"a\.raw: not readable as audio"):
        audio.load(tmp_path / "a.raw")
