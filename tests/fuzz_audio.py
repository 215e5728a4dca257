"""Damaged audio files, made by mutation of good ones, against the functions that read recordings.

    python -m tests.fuzz_audio --cases 10000 --seed 0

Each case is read as by `download` (`audio.inspect_file`, and in groups `_inspect_recordings` with both values
of `on_bad`) and as by `murmur predict` (`read_any`, `read_length`). A mutation knows what it has changed, and
so what is right: see `Expected`. With $MURMUR_DATA, files of real data sets are among the good ones.
"""

import argparse
import faulthandler
import io
import os
import re
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile as sf

from murmur.errors import MurmurError
from murmur.inference.reading import read_any, read_length
from murmur.recordings import audio
from murmur.recordings.containers.wav import SUBTYPES
from murmur.recordings.download import _inspect_recordings
from tests import made

MEMORY = 100 * 2**20  # bytes by which one case may raise the peak of the process
SECONDS = 60  # after which a case counts as a hang; the process ends with a traceback
GROUP = 100  # cases that `_inspect_recordings` reads together
REMEDY = re.compile(r"; (if it is audio, )?(replace|fetch|convert|encode|cut|name|correct|resample|add|lower|"
                    r"unpack|store|write|give|if these)\b")  # fmt: skip


class Expected(Enum):
    """What is right for a case. For all but the first two, an error is right too."""

    REFUSED = "an error"
    SAME = "the same samples and rate"
    REFUSED_OR_SAME = "an error, or the same samples and rate"
    CHANGED = "the same number of samples and rate: other samples cannot be noticed without a checksum"
    PREFIX = "the first samples, at the same rate: the header states no length"
    ANY = "samples: the header has this fact only once, so that another value cannot be noticed"


class Field(NamedTuple):
    """A field of a header: its name, and its first byte and the one after its last."""

    name: str
    start: int
    end: int


class Good(NamedTuple):
    """A good file.

    Attributes
    ----------
    kind : str
        wav, adpcm (a WAV), flac, aiff, au, caf, w64, ogg, mp3 or hea.
    content : bytes
        The file; of a WFDB record the header.
    fields : list of Field
        Of its header.
    data : Field
        Where its samples are.
    samples : ndarray
        As they are read.
    rate : int
        Hz.
    frame : int
        Bytes of one sample of all channels.
    options : str
        How it was made.
    signal : bytes
        The signal file of a WFDB record.
    """

    kind: str
    content: bytes
    fields: list[Field]
    data: Field
    samples: np.ndarray
    rate: int
    frame: int
    options: str
    signal: bytes = b""


class Case(NamedTuple):
    """A damaged file, and what is right for it."""

    content: bytes
    expected: Expected
    signal: bytes = b""
    name: str = ""


HAS_CHECKSUM = {"flac", "ogg", "hea"}
IN_PIPELINE = {"wav", "flac", "hea"}
ONCE = {  # fields whose value nothing else in the file repeats
    "au": {"encoding", "rate", "channels", "offset"},
    "aiff": {"rate"},
    "caf": {"rate", "flags", "format", "data.size", "edits"},
    "w64": {"tag"},
    "hea": {"text"},
    "mp3": {"frame"},
    "adpcm": {"tag", "channels", "rate", "byte_rate", "align", "bits", "extra", "valid_bits"},
}


def list_layout(start: int, *sizes: tuple[str, int]) -> list[Field]:
    """List fields that follow each other."""
    fields = []
    for name, size in sizes:
        fields.append(Field(name, start, start + size))
        start += size
    return fields


FMT = [("tag", 2), ("channels", 2), ("rate", 4), ("byte_rate", 4), ("align", 2), ("bits", 2), ("extra", 2)]
FMT += [("valid_bits", 2), ("mask", 4), ("subformat", 2), ("guid", 14)]


def find_wav_fields(content: bytes) -> tuple[list[Field], Field]:
    fields, position, data = list_layout(0, ("riff", 4), ("riff.size", 4), ("form", 4)), 12, None
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        fields += list_layout(position, (f"{name.decode()}.id", 4), (f"{name.decode()}.size", 4))
        position += 8
        if name == b"data":
            size = min(size, len(content) - position)
            data = Field("data", position, position + size)
        elif name == b"fmt ":
            fields += [f for f in list_layout(position, *FMT) if f.end <= position + size]
        elif name == b"ds64":
            size_of_data = struct.unpack_from("<Q", content, position + 8)[0]
            at = content.index(b"data") + 8
            data = Field("data", at, at + size_of_data)
            fields += list_layout(position, ("long.riff", 8), ("long.data", 8), ("long.samples", 8))
        if name == b"data" and data is not None:
            position = data.start
            size = data.end - data.start
        position += size + size % 2
    assert data is not None
    return fields, data


def find_flac_fields(content: bytes) -> tuple[list[Field], Field]:
    fields, position, last = [Field("id", 0, 4)], 4, False
    while not last:
        last, size = content[position] >= 128, int.from_bytes(content[position + 1 : position + 4])
        fields += list_layout(position, ("block", 1), ("block.size", 3))
        if position == 4:
            info = ("blocksize", 4), ("framesize", 6), ("facts", 8), ("md5", 16)
            fields += list_layout(8, *info)
        position += 4 + size
    return [*fields, Field("frame", position, position + 16)], Field("data", position, len(content))


def find_other_fields(kind: str, content: bytes) -> tuple[list[Field], Field]:
    start, end = 0, len(content)
    if kind == "au":
        names = ("id", 4), ("offset", 4), ("size", 4), ("encoding", 4), ("rate", 4), ("channels", 4)
        fields, start = list_layout(0, *names), struct.unpack_from(">I", content, 4)[0]
    elif kind == "aiff":
        at, start = content.index(b"COMM"), content.index(b"SSND") + 16
        names = ("COMM", 4), ("COMM.size", 4), ("channels", 2), ("frames", 4), ("bits", 2), ("rate", 10)
        fields = list_layout(0, ("FORM", 4), ("size", 4), ("AIFF", 4)) + list_layout(at, *names)
        fields += list_layout(start - 16, ("SSND", 4), ("SSND.size", 4))
        end = start - 8 + struct.unpack_from(">I", content, start - 12)[0]
    elif kind == "caf":
        at, start = content.index(b"desc"), content.index(b"data") + 16
        names = ("desc", 4), ("desc.size", 8), ("rate", 8), ("format", 4), ("flags", 4), ("packet", 4)
        fields = list_layout(at, *names, ("frames", 4), ("channels", 4), ("bits", 4))
        fields += [Field("caff", 0, 8), *list_layout(start - 16, ("data", 4), ("data.size", 8), ("edits", 4))]
        end = start - 4 + struct.unpack_from(">q", content, start - 12)[0]
    elif kind == "w64":
        at, start = content.index(b"fmt "), content.index(b"data") + 24
        fields = list_layout(0, ("riff", 16), ("size", 8), ("wave", 16), ("fmt", 16), ("fmt.size", 8))
        fields += list_layout(at + 24, *FMT[:6]) + list_layout(start - 24, ("data", 16), ("data.size", 8))
        end = start - 24 + struct.unpack_from("<Q", content, start - 8)[0]
    elif kind == "ogg":
        pages = [m.start() for m in re.finditer(b"OggS", content)]
        names = (
            ("id", 4),
            ("version", 1),
            ("flags", 1),
            ("granule", 8),
            ("serial", 4),
            ("page", 4),
            ("crc", 4),
        )
        fields = [field for at in pages for field in list_layout(at, *names)]
    elif kind == "mp3":
        starts = [m.start() for m in re.finditer(re.escape(content[:2]), content)]
        fields = [Field("frame", at, at + 4) for at in starts]
    else:
        fields = [Field("text", m.start(), m.end()) for m in re.finditer(rb"\S+", content)]
    return fields, Field("data", start, end)


def read_good(kind: str, content: bytes, frame: int, options: str, signal: bytes = b"") -> Good:
    """Describe a good file; what it should give is read by libsndfile itself."""
    if kind == "hea":
        samples, rate = np.frombuffer(signal, "<i2") / np.float32(2**15), made.RATE
    else:
        samples, rate = sf.read(io.BytesIO(content), dtype="float32", always_2d=True)
        samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    find = {"wav": find_wav_fields, "adpcm": find_wav_fields, "flac": find_flac_fields}.get(kind)
    fields, data = find(content) if find else find_other_fields(kind, content)
    return Good(kind, content, fields, data, samples, rate, frame, options, signal)


def encode(samples: np.ndarray, rate: int, form: str, subtype: str) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


WIDTHS = {"PCM_S8": 1, "PCM_U8": 1, "ALAW": 1, "ULAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
WIDTHS |= {"DOUBLE": 8}
MADE = [
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")),
    *(("WAVEX", s) for s in ("PCM_16", "PCM_24", "FLOAT")),
    *(("RF64", s) for s in ("PCM_16", "PCM_U8")),
    *(("FLAC", s) for s in ("PCM_S8", "PCM_16", "PCM_24")),
    *((form, "PCM_16") for form in ("AIFF", "AU", "CAF", "W64")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM")),
]


def make_good_files(folder: Path) -> list[Good]:
    """Write files of every format that is read, with one and two channels, and records of WFDB."""
    files = []
    for number, (form, subtype) in enumerate(MADE):
        for channels in (1, 2):
            n = 40_000 if form == "OGG" else 1201  # several pages
            x = made.noise(n * channels, number).reshape(-1, channels)
            rate = 8000 if form == "OGG" else 44100 if form == "MP3" else made.RATE
            content = encode(x, rate, form, subtype)
            kind = "wav" if form in ("WAV", "WAVEX", "RF64") else form.lower()
            kind = "adpcm" if subtype == "IMA_ADPCM" else kind
            frame = channels * WIDTHS.get(subtype, 1)
            files.append(read_good(kind, content, frame, f"{form} {subtype} {channels}"))
    plain = files[2]  # 16 bits
    notes = b"LIST\5\0\0\0INFOx\0"
    content = plain.content[:36] + notes + plain.content[36:] + notes
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    files.append(read_good("wav", content, 2, "WAV with notes"))
    at = plain.data.start
    piped = plain.content[:4] + b"\xff" * 4 + plain.content[8 : at - 4] + b"\xff" * 4 + plain.content[at:]
    fields, data = find_wav_fields(piped)
    files.append(plain._replace(content=piped, fields=fields, data=data, options="WAV from a pipe"))
    values = np.random.default_rng(0).integers(-9000, 9000, (1201, 1))
    header = made.record(folder / "r.hea", values)
    content, signal = header.read_bytes(), header.with_suffix(".dat").read_bytes()
    files.append(read_good("hea", content, 2, "WFDB 16", signal))
    return files


def find_real_files(root: Path, number: int = 4) -> list[Good]:
    """Read the smallest recordings of each data set, and write them as FLAC too."""
    files = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        paths = sorted(folder.rglob("*.wav"), key=lambda path: (path.stat().st_size, path))
        for path in paths[:number]:
            content = path.read_bytes()
            info = sf.info(path)
            frame = info.channels * WIDTHS[info.subtype]
            files.append(read_good("wav", content, frame, f"real {path.name}"))
            samples, rate = sf.read(path, dtype="int16", always_2d=True)
            flac = encode(samples, rate, "FLAC", "PCM_16")
            files.append(read_good("flac", flac, frame, f"real {path.name} as FLAC"))
    return files


Mutation = Callable[[np.random.Generator, Good], Case | None]


def pick(rng: np.random.Generator, items: list) -> object:
    return items[rng.integers(len(items))]


def judge_field(good: Good, field: Field, content: bytes) -> Expected:
    """Return what is right after a change of one field."""
    if content == good.content:
        return Expected.SAME
    if field.name in ("tag", "subformat") and good.kind == "wav":
        bits = next(f for f in good.fields if f.name == "bits")
        pair = struct.unpack_from("<H", content, field.start)[0], content[bits.start]
        return Expected.CHANGED if pair in SUBTYPES else Expected.REFUSED_OR_SAME
    return Expected.ANY if field.name in ONCE.get(good.kind, ()) else Expected.REFUSED_OR_SAME


def has_length(good: Good) -> bool:
    return good.options != "WAV from a pipe"


def cut(rng: np.random.Generator, good: Good) -> Case:
    """Cut a file at a field of its header or within its samples."""
    field = pick(rng, [*good.fields, good.data])
    at = min(int(rng.integers(field.start, field.end + 1)), len(good.content) - 1)
    if good.kind == "hea":
        return Case(good.content[:at], Expected.ANY, good.signal)
    if at >= good.data.end:
        return Case(good.content[:at], Expected.REFUSED_OR_SAME)
    is_prefix = not has_length(good) and at > good.data.start
    return Case(good.content[:at], Expected.PREFIX if is_prefix else Expected.REFUSED)


def flip_field(rng: np.random.Generator, good: Good) -> Case:
    """Flip a bit of a field of the header."""
    field, content = pick(rng, good.fields), bytearray(good.content)
    content[rng.integers(field.start, min(field.end, len(content)))] ^= 1 << rng.integers(8)
    return Case(bytes(content), judge_field(good, field, bytes(content)), good.signal)


def set_field(rng: np.random.Generator, good: Good) -> Case:
    """Write another value into a field of the header."""
    field, order = pick(rng, good.fields), pick(rng, ["little", "big"])
    size = field.end - field.start
    old = int.from_bytes(good.content[field.start : field.end], order)
    values = [0, 1, 2, 3, 256**size - 1, 256**size // 2, 256**size // 2 - 1, old - 1, old + 1, 2 * old]
    values += [old // 2, old + 44, old - 8, int.from_bytes(rng.bytes(size))]
    value = pick(rng, values) % 256**size
    content = good.content[: field.start] + value.to_bytes(size, order) + good.content[field.end :]
    return Case(content, judge_field(good, field, content), good.signal)


def set_fields(rng: np.random.Generator, good: Good) -> Case:
    """Write random bytes into several fields, which then may agree by chance."""
    content = bytearray(good.content)
    for _ in range(rng.integers(2, 5)):
        field = pick(rng, good.fields)
        content[field.start : field.end] = rng.bytes(field.end - field.start)
    return Case(bytes(content), Expected.ANY, good.signal)


def flip_sample(rng: np.random.Generator, good: Good) -> Case:
    """Flip a bit of a sample."""
    if good.kind == "hea":
        signal = bytearray(good.signal)
        signal[rng.integers(len(signal))] ^= 1 << rng.integers(8)
        return Case(good.content, Expected.REFUSED, bytes(signal))
    content = bytearray(good.content)
    content[rng.integers(good.data.start, good.data.end)] ^= 1 << rng.integers(8)
    return Case(bytes(content), judge_samples(good))


def judge_samples(good: Good) -> Expected:
    if good.kind in HAS_CHECKSUM:
        return Expected.REFUSED_OR_SAME
    return Expected.ANY if good.kind == "mp3" else Expected.CHANGED


def overwrite_samples(rng: np.random.Generator, good: Good) -> Case | None:
    """Overwrite a block of samples with zeros, with noise, or with an earlier block."""
    if good.kind == "hea":
        return None
    size = good.frame * int(rng.integers(1, 60))
    at = int(rng.integers(good.data.start, good.data.end - size))
    block = pick(rng, [bytes(size), rng.bytes(size), good.content[good.data.start :][:size]])
    return Case(good.content[:at] + block + good.content[at + size :], judge_samples(good))


def change_length(rng: np.random.Generator, good: Good) -> Case | None:
    """Remove a block of samples, or insert one. The header states another length."""
    size = int(rng.integers(1, 60))
    at = int(rng.integers(good.data.start, good.data.end - size)) if good.kind != "hea" else 100
    content = good.signal or good.content
    if not any(content[-size:]):  # zeros after the stated end count as padding
        return None
    inserted = content[:at] + rng.bytes(size) + content[at:]
    content = pick(rng, [inserted, content[:at] + content[at + size :]])
    if good.kind == "hea":
        return Case(good.content, Expected.REFUSED, content)
    is_known = has_length(good) and good.kind in ("wav", "flac", "ogg")
    return Case(content, Expected.REFUSED if is_known else Expected.ANY)


TAILS = [b"\0" * 512, b"TAG".ljust(128, b"x"), b"<html><body>404 Not Found</body></html>", b"\xff" * 99, b"x"]


def append(rng: np.random.Generator, good: Good) -> Case:
    """Append what does not belong to the file, or the file itself."""
    tail = pick(rng, [*TAILS, rng.bytes(int(rng.integers(1, 300))), good.content])
    if good.kind == "hea":
        return Case(good.content, Expected.REFUSED, good.signal + tail)
    is_known = has_length(good) and good.kind in IN_PIPELINE
    return Case(good.content + tail, Expected.REFUSED_OR_SAME if is_known else Expected.ANY)


def change_chunk(rng: np.random.Generator, good: Good) -> Case | None:
    """Repeat, remove or move a chunk of a WAV, with the right size of the file or with the old one."""
    if good.kind != "wav" or not has_length(good):
        return None
    names = [f for f in good.fields if f.name.endswith(".id")]
    chunk = pick(rng, names)
    after = [f.start for f in names if f.start > chunk.start]
    end = min(after, default=len(good.content))
    part, rest = good.content[chunk.start : end], good.content[: chunk.start] + good.content[end:]
    what = pick(rng, ["repeat", "remove", "move"])
    content = {"repeat": good.content[:end] + part + good.content[end:], "remove": rest, "move": rest + part}[
        what
    ]
    if rng.random() < 0.5 and content[:4] == b"RIFF":
        content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    is_needed = chunk.name in ("fmt .id", "data.id", "ds64.id")
    if content == good.content:
        return Case(content, Expected.SAME)
    if what == "move" and chunk.name == "data.id":
        return Case(content, Expected.REFUSED_OR_SAME)
    return Case(content, Expected.REFUSED if is_needed else Expected.REFUSED_OR_SAME)


def change_padding(rng: np.random.Generator, good: Good) -> Case | None:
    """Insert a byte before a chunk of a WAV, or remove the byte there."""
    if good.kind != "wav" or not has_length(good):
        return None
    at = pick(rng, [f.start for f in good.fields if f.name.endswith(".id")] + [len(good.content)])
    inserted = good.content[:at] + b"\0" + good.content[at:]
    content = pick(rng, [inserted, good.content[: at - 1] + good.content[at:]])
    return Case(content, Expected.REFUSED_OR_SAME)


def write_no_number(rng: np.random.Generator, good: Good) -> Case | None:
    """Write a sample that is not a finite number, or far beyond full scale, into a WAV of floats."""
    kind = next((k for k in ("FLOAT", "DOUBLE") if k in good.options), None)
    if kind is None:
        return None
    form = {"FLOAT": "<f", "DOUBLE": "<d"}[kind]
    size = struct.calcsize(form)
    at = good.data.start + size * int(rng.integers((good.data.end - good.data.start) // size))
    value = struct.pack(form, pick(rng, [np.nan, np.inf, -np.inf, 3e38, -1e30]))
    return Case(good.content[:at] + value + good.content[at + size :], Expected.REFUSED)


def write_header(rng: np.random.Generator, good: Good) -> Case | None:
    """Write a WAV whose fields agree with each other, with a rate or a number of channels that cannot be."""
    if good.kind != "wav" or "riff" in good.options:
        return None
    by_name = {f.name: f for f in good.fields}
    align = struct.unpack_from("<H", good.content, by_name["align"].start)[0]
    rate, channels = pick(rng, [(0, 1), (1, 1), (99, 1), (768_001, 1), (2**31, 1), (2**32 - 1, 1), (8000, 0)])
    content = bytearray(good.content)
    struct.pack_into("<I", content, by_name["rate"].start, rate)
    struct.pack_into("<I", content, by_name["byte_rate"].start, rate * align % 2**32)
    if channels == 0:
        struct.pack_into("<H", content, by_name["channels"].start, 0)
        struct.pack_into("<H", content, by_name["align"].start, int(pick(rng, [0, align])))
    return Case(bytes(content), Expected.REFUSED)


def empty_samples(rng: np.random.Generator, good: Good) -> Case | None:
    """Write a WAV without samples, or with equal ones only."""
    if good.kind != "wav" or not has_length(good) or "RF64" in good.options:
        return None
    content = good.content[: good.data.start]
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:-4] + bytes(4)
    return Case(content, Expected.REFUSED)


OTHER = [
    b"",
    b"\0" * 5000,
    b"\xff" * 5000,
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    b"PK\3\4" + bytes(200),
    b"\x1f\x8b\x08" + bytes(200),
    b"%PDF-1.7\n" + bytes(200),
    b"\x89PNG\r\n\x1a\n" + bytes(200),
    b'{"error": "not found"}',
    b"patient,label\n1,Present\n" * 40,
    "heart sounds".encode("utf-16") * 40,
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
]
STARTS = [
    *(b"RIFF\0\1\0\0WAVE", b"RIFF\0\1\0\0WAVEfmt \x10\0\0\0", b"RF64\xff\xff\xff\xffWAVEds64"),
    *(b"RIFX\0\0\1\0WAVE", b"fLaC\0\0\0\x22", b"FORM\0\0\1\0AIFF", b"FORM\0\0\1\0AIFC", b"OggS\0\2"),
    *(b".snd\0\0\0\x18", b"caff\0\1\0\0desc", b"ID3\4\0\0", b"\xff\xfb\x90\xc0", b"riff\x2e\x91\xcf\x11"),
    b"NIST_1A\n   1024\n",
]


def replace_content(rng: np.random.Generator, good: Good) -> Case:
    """Write something else under the name of a recording, such as a web page or random bytes."""
    start = pick(rng, [b"", *STARTS])
    random = start + rng.bytes(int(rng.integers(1, 3000)))
    return Case(
        pick(rng, [pick(rng, OTHER), random]), Expected.REFUSED, name=pick(rng, ["a.wav", "a.flac", "a.mp3"])
    )


def rename(rng: np.random.Generator, good: Good) -> Case:
    """Give a good file another name."""
    name = "a.hea" if good.kind == "hea" else pick(rng, ["a.wav", "a.flac", "a.mp3", "a.bin", "a b'\"ä.wav"])
    return Case(good.content, Expected.SAME, good.signal, name)


MUTATIONS: list[Mutation] = [
    *(cut, cut, flip_field, flip_field, set_field, set_field, set_fields, flip_sample, overwrite_samples),
    *(change_length, append, change_chunk, change_padding, write_no_number, write_header, empty_samples),
    *(replace_content, rename),
]


def make_case(seed: int, number: int, files: list[Good]) -> tuple[str, Good, Case]:
    """Return the name of the mutation, the good file and the case with this number."""
    rng = np.random.default_rng([seed, number])
    mutations, case = [MUTATIONS[number % len(MUTATIONS)]] * 50, None
    while case is None:  # the mutation may not apply to this file, or with --kind to no file
        good, mutate = pick(rng, files), mutations.pop() if mutations else pick(rng, MUTATIONS)
        case = mutate(rng, good)
    return mutate.__name__, good, case


def write_case(folder: Path, number: int, good: Good, case: Case) -> Path:
    """Write the file, or the two files of a record, into a folder of its own, and return the one to read."""
    path = folder / str(number) / (case.name or f"r.{good.kind}")
    path.parent.mkdir()
    path.write_bytes(case.content)
    if good.kind == "hea" and not (case.name and case.expected == Expected.REFUSED):
        path.with_name("r.dat").write_bytes(case.signal)
    return path


Result = tuple[np.ndarray, int] | MurmurError


def read(function: Callable[[Path], tuple[np.ndarray, int]], path: Path) -> Result:
    try:
        return function(path)
    except MurmurError as error:
        return error


def inspect(path: Path) -> tuple[np.ndarray, int]:
    audio.inspect_file(path)
    return audio.load(path)


def find_fault(result: Result, good: Good, expected: Expected, path: Path) -> str | None:
    """Return what is wrong about the result of a case."""
    if isinstance(result, MurmurError):
        if expected is Expected.SAME:
            return f"refused: {result}"
        return find_fault_of_message(str(result), path)
    samples, rate = result
    if expected is Expected.REFUSED:
        return f"accepted: {len(samples)} samples at {rate} Hz"
    if not np.isfinite(samples).all():
        return "accepted with a sample that is not a finite number"
    if expected is Expected.ANY:
        return None
    if rate != good.rate:
        return f"accepted at {rate} Hz instead of {good.rate} Hz"
    if expected is Expected.PREFIX:
        return (
            None if np.array_equal(samples, good.samples[: len(samples)]) else "other samples than the first"
        )
    if len(samples) != len(good.samples):
        return f"accepted with {len(samples)} samples of {len(good.samples)}"
    is_same = expected is Expected.CHANGED or np.array_equal(samples, good.samples)
    return None if is_same else "accepted with other samples"


def find_fault_of_message(message: str, path: Path) -> str | None:
    if not message.startswith(f"{path.parent}/"):
        return f"the message does not name the file: {message}"
    text = message.removeprefix(str(path))
    if "\n" in text.replace(str(path), "") or " object at 0x" in text or "allocate" in text:
        return f"the message is not one clear line: {message}"
    return None if REMEDY.search(text) else f"the message does not state what to do: {message}"


def check_case(path: Path, good: Good, expected: Expected) -> list[str]:
    """Read a case as download and predict do; return what is wrong."""
    imported, read_result, length = read(inspect, path), read(read_any, path), read(read_length, path)
    in_pipeline = expected if good.kind in IN_PIPELINE or expected is Expected.ANY else Expected.REFUSED
    faults = [
        (name, find_fault(result, good, how, path))
        for name, result, how in (("download", imported, in_pipeline), ("predict", read_result, expected))
    ]
    if isinstance(length, MurmurError):
        faults.append(("read_length", find_fault_of_message(str(length), path)))
    elif not isinstance(read_result, MurmurError) and good.kind != "mp3":
        n = len(read_result[0])
        faults.append(("read_length", None if length[::-1] == (n, read_result[1]) else f"{length}, not {n}"))
    if not isinstance(imported, MurmurError):
        is_same = not isinstance(read_result, MurmurError) and np.array_equal(imported[0], read_result[0])
        faults.append(("predict", None if is_same else f"differs from download: {read_result}"))
    return [f"{name}: {fault}" for name, fault in faults if fault]


def check_group(folder: Path, paths: list[Path]) -> list[str]:
    """Read many cases as download does, with both values of on_bad; return what is wrong."""
    names = [str(path.relative_to(folder)) for path in paths]
    table = pd.DataFrame({"recording_id": names, "path": names})
    kept, left_out = _inspect_recordings(table, folder, {}, "leave_out")
    expected = {name: str(error) for name, path in zip(names, paths, strict=True)
                if isinstance(error := read(inspect, path), MurmurError)}  # fmt: skip
    faults = []
    if dict(left_out) != expected or list(kept["path"]) != [name for name in names if name not in expected]:
        faults.append("on_bad leave_out: other recordings or reasons than one by one")
    try:
        _inspect_recordings(table, folder, {}, "error")
        faults.append("on_bad error: no error")
    except MurmurError as error:
        if not all(message in str(error) for message in expected.values()):
            faults.append("on_bad error: a damaged recording is not named")
    return faults


def check_cases(seed: int, numbers: range, files: list[Good], folder: Path) -> tuple[list[str], Counter]:
    """Make and read cases; return a line for each fault, and how often each mutation was accepted."""
    faults, counts, paths = [], Counter(), []
    for number in numbers:
        name, good, case = make_case(seed, number, files)
        path = write_case(folder, number, good, case)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            found = check_case(path, good, case.expected)
        except Exception as error:  # any other exception is a fault, which must not end the run
            found = [f"crash: {type(error).__name__}: {error}"]
        faulthandler.cancel_dump_traceback_later()
        growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if growth > MEMORY:
            found.append(f"took {growth / 2**20:.0f} MiB more memory")
        faults += [
            f"case {number}, {name} of {good.options}, expected {case.expected.name}: {f}" for f in found
        ]
        counts[name] += 1
        paths.append(path)
        if len(paths) == GROUP or number == numbers[-1]:
            faults += [f"cases to {number}: {fault}" for fault in check_group(folder, paths)]
            paths = []
    return faults, counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to repeat one")
    parser.add_argument("--kind", help="only of files of this kind, such as wav, flac or ogg")
    options = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory(prefix="fuzz_audio_") as folder:  # remains after a hang or crash
        sys.exit(run(options, Path(folder)))


def run(options: argparse.Namespace, folder: Path) -> bool:
    """Check all cases and print the faults; return whether there are any."""
    began, files = time.monotonic(), make_good_files(folder)
    if data := os.environ.get("MURMUR_DATA"):
        files += find_real_files(Path(data))
    files = [good for good in files if options.kind in (None, good.kind)]
    faults, counts = [], Counter()
    for first in range(options.first, options.first + options.cases, GROUP):
        with tempfile.TemporaryDirectory(dir=folder) as part:
            last = min(first + GROUP, options.first + options.cases)
            more, more_counts = check_cases(options.seed, range(first, last), files, Path(part))
        faults, counts = faults + more, counts + more_counts
        print("\n".join(more), end="\n" if more else "", flush=True)
    seconds = time.monotonic() - began
    print(f"{counts.total()} cases of {len(files)} files in {seconds:.0f} s: {len(faults)} faults")
    print(", ".join(f"{name} {n}" for name, n in counts.items()))
    return bool(faults)


if __name__ == "__main__":
    main()
