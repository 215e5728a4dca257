"""What kind of file some bytes are, and where the samples lie in them. A file's name decides nothing.

WAV (RIFF, RF64 and BW64) and FLAC are read; of both it can be checked that they are whole. Any other kind is
refused by its name.
"""

import hashlib
import io
import re
import struct
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError

READ = (b"fLaC", b"RIFF", b"RF64", b"BW64")
LOWEST_RATE, HIGHEST_RATE = 100, 768_000  # Hz
MOST_CHANNELS = 64
MOST_SAMPLES = 2**29  # of all channels: 18 hours at 8 kHz. A FLAC of 1 MB may hold this many
CONVERT = "convert it, for example `ffmpeg -i FILE new.wav`"

KINDS = {  # what a file of another kind begins with
    rb"RIFX": "a big-endian WAV (RIFX)",
    rb"riff\x2e\x91\xcf\x11": "a W64",
    rb"FORM....AIF[FC]": "an AIFF",
    rb"\.snd": "an AU",
    rb"OggS": "an Ogg",
    rb"caff": "a CAF",
    rb"....ftyp": "an MP4 or M4A",
    rb"wvpk": "a WavPack",
    rb"MAC ": "a Monkey's Audio",
    rb"#!AMR": "an AMR",
    rb"NIST_1A": "a NIST SPHERE",
    rb"\x1a\x45\xdf\xa3": "a Matroska or WebM",
    rb"\x30\x26\xb2\x75": "a WMA",
    rb"\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]": "an AAC",
    rb"\xff[\xe2-\xff]|ID3": "an MP3",
}
OTHERS = {
    rb"version https://git-lfs": ("a Git LFS pointer", "fetch the file: `git lfs pull`"),
    rb"PK\x03\x04": ("a ZIP archive", "unpack it, or replace the file"),
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!": ("a packed file", "unpack it, or replace the file"),
    rb"\s*(?i:<!doctype|<html|<\?xml)": ("a web page", "replace the file"),
}
CODINGS = {
    **{0x01: "PCM", 0x03: "floats", 0x06: "A-law", 0x07: "mu-law"},
    **{0x02: "ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC"},
    **{0x160: "WMA", 0x161: "WMA", 0x1610: "AAC", 0x674F: "Vorbis", 0xF1AC: "FLAC"},
}
SUBTYPES = {  # libsndfile's name, by format tag and bits a sample
    **{(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32"},
    **{(3, 32): "FLOAT", (3, 64): "DOUBLE", (6, 8): "ALAW", (7, 8): "ULAW"},
}
EXTENSIBLE, SUBFORMAT = 0xFFFE, bytes.fromhex("000000001000800000aa00389b71")
# Sizes written before the length is known, to a pipe: Python and GStreamer, SoX, arecord, Oboe, ffmpeg.
UNKNOWN = {0, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}
NAME = re.compile(rb"[ -~]{4}")  # of a chunk
SLACK = 16  # bytes by which writers of a right data size get the size of the RIFF wrong
FLAC_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # by code


class Format(NamedTuple):
    """What the `fmt` chunk of a WAV says."""

    rate: int  # Hz
    channels: int
    frame: int  # bytes of one sample of all channels
    subtype: str  # libsndfile's name


def decode(file: BinaryIO) -> tuple[np.ndarray, int]:
    """The samples [n, channels] of a whole WAV or FLAC, as int16, int32 or float32, and its rate in Hz.

    Integers fill their type: full scale is 2^15 or 2^31.

    Raises
    ------
    MurmurError
        Saying what is wrong, and what to do: another kind of file, damaged, or cut short.
    """
    head = file.read(1024)
    if not head.startswith((*READ, b"ID3")):
        raise MurmurError(_other(head))
    content = _without_id3(head + file.read())
    if content.startswith(b"fLaC"):
        return _decode_flac(content)
    if content[8:12] == b"WAVE":
        return _decode_wav(content)
    raise MurmurError(_other(content))


def _without_id3(content: bytes) -> bytes:
    """Skip an ID3v2 tag in front of WAV or FLAC, where some taggers put it."""
    if len(content) < 10 or not content.startswith(b"ID3"):
        return content
    size = sum(byte << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    rest = content[10 + size :]
    return rest if rest.startswith(READ) else content


def _other(content: bytes) -> str:
    for magic, kind in KINDS.items():
        if re.match(magic, content, re.DOTALL):
            return f"not readable as audio: {kind} file, and only WAV and FLAC are read; {CONVERT}"
    for magic, (kind, remedy) in OTHERS.items():
        if re.match(magic, content):
            return f"not readable as audio ({kind}); {remedy}"
    what = "neither WAV nor FLAC" if content else "an empty file"
    return f"not readable as audio ({what}); replace the file"


def _decode_wav(content: bytes) -> tuple[np.ndarray, int]:
    form, start, size = locate(content)
    if not size:
        return np.empty((0, form.channels), np.float32), form.rate
    kind = "int16" if form.subtype == "PCM_16" else "float32"
    how = {"samplerate": form.rate, "channels": form.channels, "subtype": form.subtype, "endian": "LITTLE"}
    return sf.read(io.BytesIO(content[start : start + size]), -1, 0, None, kind, True, format="RAW", **how)


def locate(content: bytes) -> tuple[Format, int, int]:
    """Where the samples of a WAV lie: its format, their first byte, and how many bytes they have.

    The sizes in the header must agree with the file and with each other. A length that is unknown, as in a
    WAV from a pipe, reaches to the end of the file.

    Raises
    ------
    MurmurError
        If they do not, or the samples are coded in a way that is not read.
    """
    chunks, start = _chunks_before_samples(content)
    if b"fmt " not in chunks:
        raise _damaged("its samples are not described before they begin")
    form = _format(chunks[b"fmt "])
    riff, size = (struct.unpack_from("<I", content, place)[0] for place in (4, start - 4))
    if not content.startswith(b"RIFF"):
        riff, size = _sizes_of_64_bits(chunks.get(b"ds64", b""), size, form.frame)
    return form, start, _size(content, riff, start, size, form.frame)


def _chunks_before_samples(content: bytes) -> tuple[dict[bytes, bytes], int]:
    """By name, and the place of the first sample."""
    chunks: dict[bytes, bytes] = {}
    place = 12
    while len(content) >= place + 8:
        name, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if name == b"data":
            return chunks, place
        if not NAME.fullmatch(name):
            raise _damaged("what should be a chunk before its samples is none")
        if name in chunks and name in (b"fmt ", b"ds64"):
            raise _damaged("its samples are described twice")
        chunks[name] = content[place : place + size]
        place += size + size % 2
    if place == len(content) == struct.unpack_from("<I", content, 4)[0] + 8:
        raise MurmurError("holds no samples; replace the file")
    raise MurmurError("cut short: it ends before its samples; fetch the file again")


def _sizes_of_64_bits(chunk: bytes, size: int, frame: int) -> tuple[int, int]:
    """The sizes of the whole and of the samples, which 32 bits may not hold (EBU Tech 3306)."""
    if len(chunk) < 24:
        raise _damaged("it has no sizes of 64 bits, as an RF64 must")
    riff, long, samples = struct.unpack_from("<QQQ", chunk)
    if size not in (long, 0xFFFFFFFF):
        raise _damaged("its sizes of 32 and of 64 bits disagree")
    return riff, long - (long == samples * frame + 1)  # ffmpeg counts the byte of padding


def _damaged(why: str) -> MurmurError:
    return MurmurError(f"damaged: {why}; replace the file")


def _format(chunk: bytes) -> Format:
    if len(chunk) < 16:
        raise _damaged(f"its format chunk has {len(chunk)} bytes of 16")
    tag, channels, rate, byte_rate, frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == SUBFORMAT:
        valid, tag = struct.unpack_from("<H4xH", chunk, 18)
        if valid > bits:
            raise _damaged(f"{valid} bits of {bits} are in use")
    subtype = SUBTYPES.get((tag, bits))
    if subtype is None:
        coding = CODINGS.get(tag, f"coding {tag:#06x}") + (f" of {bits} bits" if bits else "")
        raise MurmurError(f"not readable as audio: a WAV of {coding}, which is not read; {CONVERT}")
    if not 1 <= channels <= MOST_CHANNELS:
        raise _damaged(f"it has {channels} channels")
    _check_rate(rate)
    if frame != channels * bits // 8:
        raise _damaged(f"{channels} channels of {bits} bits contradict its block align of {frame} bytes")
    if byte_rate != rate * frame:
        raise _damaged(f"{rate} Hz of {frame} bytes contradict its byte rate of {byte_rate}")
    return Format(rate, channels, frame, subtype)


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise _damaged(f"its rate is {rate} Hz, not within {LOWEST_RATE} to {HIGHEST_RATE} Hz")


def _size(content: bytes, riff: int, start: int, size: int, frame: int) -> int:
    """Bytes of samples from `start`: as the header says, which must fit the file."""
    there, end = len(content) - start, start + size
    if there == 0 == size:
        return 0
    unknown = size in UNKNOWN and (size == 0 or size > there)
    if unknown and (riff in UNKNOWN or riff + 8 == end):
        if there % frame:
            raise MurmurError("cut short: it ends within a sample; fetch the file again")
        return there
    words = f"its header promises {size} bytes of samples, {there} are there"
    if size > there:
        raise MurmurError(f"cut short: {words}; fetch the file again")
    if riff + 8 > len(content) + SLACK and riff not in UNKNOWN:
        raise MurmurError(f"cut short: {len(content)} of {riff + 8} bytes are there; fetch the file again")
    if size % frame:
        raise _damaged(f"{size} bytes of samples are no multiple of {frame}, the bytes of one")
    padded = size % 2 == 1 and content[end : end + 1] == b"\0"
    if not (_are_chunks(content, end) or (padded and _are_chunks(content, end + 1))):
        closed = riff + 8 in (end, end + size % 2)  # what follows is no part of the RIFF: padding, or a tag
        if not closed or (content[end:].strip(b"\0") and content[end : end + 3] != b"TAG"):
            raise _damaged(words)
    return size


def _are_chunks(content: bytes, place: int) -> bool:
    """Whether only chunks beside the samples follow, to the end."""
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        if not NAME.fullmatch(name) or name in (b"data", b"fmt ", b"RIFF"):
            return False
        place += 8 + size
        if place < len(content):
            place += size % 2
    return place == len(content)


def _decode_flac(content: bytes) -> tuple[np.ndarray, int]:
    """By libsndfile; the length and the MD5 of the samples in STREAMINFO (RFC 9639) must be theirs."""
    if len(content) < 42 or content[4] & 0x7F != 0:
        raise MurmurError("cut short: it ends within its header; fetch the file again")
    packed, promised_md5 = int.from_bytes(content[18:26]), content[26:42]
    rate, bits, promised = packed >> 44, (packed >> 36 & 31) + 1, packed & (2**36 - 1)
    _check_rate(rate)
    if _frame_rate(content) not in (0, rate):
        raise _damaged(f"its header has {rate} Hz, its first frame another rate")
    if promised == 0 or not any(promised_md5):
        raise MurmurError(
            "it has no length or no MD5 in its header, as a FLAC from a pipe, so that nothing tells whether "
            "it is whole; encode the file again, for example `ffmpeg -i FILE new.flac`"
        )
    if bits not in (8, 16, 24):
        raise MurmurError(f"not readable as audio: a FLAC of {bits} bits, which is not read; {CONVERT}")
    channels = (packed >> 41 & 7) + 1
    if promised * channels > MOST_SAMPLES:
        raise MurmurError(
            f"its header promises {promised * channels} samples, more than {MOST_SAMPLES}; replace the file, "
            "or cut it into pieces"
        )
    try:
        samples = _all_samples(content, "int16" if bits == 16 else "int32")
    except sf.LibsndfileError as error:
        raise MurmurError(
            f"not readable as audio (damaged or cut short: {error}); replace the file"
        ) from error
    if len(samples) < promised:
        raise MurmurError(f"cut short: {len(samples)} of {promised} samples; fetch the file again")
    width = samples.itemsize
    original = samples.view("u1").reshape(-1, width)[:, width - bits // 8 :]
    if hashlib.md5(original.tobytes(), usedforsecurity=False).digest() != promised_md5:
        raise _damaged("its samples are not those of the MD5 in its header")
    return samples, rate


def _all_samples(content: bytes, kind: str) -> np.ndarray:
    """In blocks: memory is taken for what is there, not for what the header promises."""
    blocks = []
    with sf.SoundFile(io.BytesIO(content)) as sound:
        while len(block := sound.read(2**20, dtype=kind, always_2d=True)):
            blocks.append(block)
        return np.concatenate(blocks) if blocks else np.empty((0, sound.channels), kind)


def _frame_rate(content: bytes) -> int:
    """The rate that the first frame of a FLAC has in its header, Hz; 0 where it has none."""
    place, last = 4, False
    while not last and place + 4 <= len(content):
        last = content[place] >= 128
        place += 4 + int.from_bytes(content[place + 1 : place + 4])
    head = content[place : place + 9].ljust(9, b"\0")
    size, code = head[2] >> 4, head[2] & 15
    field = head[5 + {6: 1, 7: 2}.get(size, 0) :]  # after the number of the frame, 0, and its length
    if code < len(FLAC_RATES):
        return FLAC_RATES[code]
    number = int.from_bytes(field[:2])
    return {12: 1000 * field[0], 13: number, 14: 10 * number}.get(code, -1)
