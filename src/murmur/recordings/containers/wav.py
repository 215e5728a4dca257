"""WAV files (RIFF, RF64 and BW64): checks of the header, and decoding."""

import io
import math
import re
import struct
from typing import NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.recordings.containers.checks import CONVERT, check_rate, damaged_error

MAX_CHANNELS = 1024  # as libsndfile
CODINGS = {  # format tag: name
    0x01: "PCM",
    0x03: "floats",
    0x06: "A-law",
    0x07: "mu-law",
    0x02: "ADPCM",
    0x11: "IMA ADPCM",
    0x31: "GSM 6.10",
    0x50: "MPEG",
    0x55: "MP3",
    0xFF: "AAC",
    0x160: "WMA",
    0x161: "WMA",
    0x1610: "AAC",
    0x674F: "Vorbis",
    0xF1AC: "FLAC",
}
SUBTYPES = {  # (format tag, bits per sample): libsndfile's name
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
LINEAR = (0x01, 0x03, 0x06, 0x07)  # format tags whose samples all have the same size
EXTENSIBLE, SUBFORMAT = 0xFFFE, bytes.fromhex("000000001000800000aa00389b71")
# Sizes that programs write before they know the length: Python and GStreamer, SoX, arecord, Oboe, ffmpeg.
UNKNOWN_SIZES = {0, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}
CHUNK_NAME = re.compile(rb"[ -~]{4}")
RIFF_TOLERANCE = 16  # bytes: programs that write the right data size may write a RIFF size that is this wrong


class CodingError(MurmurError):
    """The samples of a WAV are not linear: they are compressed, for example."""


class Format(NamedTuple):
    """The content of a WAV's `fmt` chunk.

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    channels : int
        Number of channels.
    frame : int
        Bytes of one sample of all channels.
    subtype : str
        libsndfile's name of the sample format.
    """

    rate: int
    channels: int
    frame: int
    subtype: str


def decode(content: bytes) -> tuple[np.ndarray, int]:
    """Decode a WAV: (samples [n_samples, n_channels] int16 or float32, sample rate in Hz)."""
    form, start, size = locate_samples(content)
    return decode_samples(content[start : start + size], form), form.rate


def decode_samples(content: bytes, form: Format) -> np.ndarray:
    """Decode samples of a WAV, or some of them, to int16 or float32, shape [n_samples, n_channels]."""
    if not content:
        return np.empty((0, form.channels), np.float32)
    if form.subtype == "PCM_16":
        return np.frombuffer(content, "<i2").astype(np.int16, copy=False).reshape(-1, form.channels)
    raw = {"samplerate": form.rate, "channels": form.channels, "subtype": form.subtype, "endian": "LITTLE"}
    return sf.read(io.BytesIO(content), -1, 0, None, "float32", True, format="RAW", **raw)[0]


def locate_samples(content: bytes) -> tuple[Format, int, int]:
    """Find the samples of a WAV.

    The sizes in the header must agree with each other and with the file. If the header does not state the
    length, as in a WAV that was written to a pipe, the samples extend to the end of the file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    form : Format
        The sample format.
    start : int
        The position of the first sample in `content`, in bytes.
    size : int
        The size of all samples in bytes.

    Raises
    ------
    MurmurError
        If the sizes contradict each other.
    CodingError
        If the sample format is not supported.
    """
    chunks, start = _read_chunks(content)
    if b"fmt " not in chunks:
        raise damaged_error("its samples are not described before they begin")
    riff, size = (struct.unpack_from("<I", content, position)[0] for position in (4, start - 4))
    try:
        form = parse_format(chunks[b"fmt "])
    except CodingError:
        _check_size(content, riff, start, size, 1)
        raise
    if not content.startswith(b"RIFF"):
        riff, size = _parse_64_bit_sizes(chunks.get(b"ds64", b""), size, form.frame)
    return form, start, _check_size(content, riff, start, size, form.frame)


def _read_chunks(content: bytes) -> tuple[dict[bytes, bytes], int]:
    """Return the chunks before the samples, by name, and the position of the first sample."""
    chunks: dict[bytes, bytes] = {}
    position = 12
    while len(content) >= position + 8:
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"data":
            return chunks, position
        if not CHUNK_NAME.fullmatch(name):
            raise damaged_error("there is no valid chunk where one is expected before its samples")
        if name in chunks and name in (b"fmt ", b"ds64"):
            raise damaged_error("its samples are described twice")
        chunks[name] = content[position : position + size]
        position += size + size % 2
    if position == len(content) == struct.unpack_from("<I", content, 4)[0] + 8:
        raise MurmurError("holds no samples; replace the file")
    raise MurmurError("cut short: it ends before its samples; fetch the file again")


def _parse_64_bit_sizes(chunk: bytes, size: int, frame: int) -> tuple[int, int]:
    """Return the sizes of the file and of the samples from a `ds64` chunk (EBU Tech 3306), in bytes."""
    if len(chunk) < 24:
        raise damaged_error("it has no sizes of 64 bits, which an RF64 must have")
    riff, long, samples = struct.unpack_from("<QQQ", chunk)
    if size not in (long, 0xFFFFFFFF):
        raise damaged_error("its sizes of 32 and of 64 bits disagree")
    return riff, long - (long == samples * frame + 1)  # ffmpeg includes the padding byte


def parse_format(chunk: bytes) -> Format:
    """Read and check the content of a `fmt` chunk.

    Raises
    ------
    MurmurError
        If its fields contradict each other.
    CodingError
        If the sample format is not supported.
    """
    if len(chunk) < 16:
        raise damaged_error(f"its format chunk has {len(chunk)} bytes of 16")
    tag, channels, rate, byte_rate, frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == SUBFORMAT:
        valid_bits, tag = struct.unpack_from("<H4xH", chunk, 18)
        if valid_bits > bits:
            raise damaged_error(f"{valid_bits} bits of {bits} are in use")
    if not 1 <= channels <= MAX_CHANNELS:
        raise damaged_error(f"it has {channels} channels")
    check_rate(rate)
    if tag in LINEAR and frame != channels * math.ceil(bits / 8):
        raise damaged_error(
            f"its block align of {frame} bytes contradicts its channels ({channels}) and bits ({bits})"
        )
    if tag in LINEAR and byte_rate != rate * frame:
        raise damaged_error(f"{rate} Hz of {frame} bytes contradict its byte rate of {byte_rate}")
    subtype = SUBTYPES.get((tag, bits))
    if subtype is None:
        coding = CODINGS.get(tag, f"coding {tag:#06x}") + (f" of {bits} bits" if bits else "")
        raise CodingError(f"not readable as audio: a WAV of {coding}, which is not supported; {CONVERT}")
    return Format(rate, channels, frame, subtype)


def _check_size(content: bytes, riff: int, start: int, size: int, frame: int) -> int:
    """Return the size of the samples in bytes, after a check of the header's sizes against the file."""
    available, end = len(content) - start, start + size
    if available == 0 == size:
        return 0
    unknown = size in UNKNOWN_SIZES and (size == 0 or size > available)
    if unknown and (riff in UNKNOWN_SIZES or riff + 8 == end):
        if available % frame:
            raise MurmurError("cut short: it ends within a sample; fetch the file again")
        return available
    comparison = f"its header states {size} bytes of samples, the file has {available}"
    if size > available:
        raise MurmurError(f"cut short: {comparison}; fetch the file again")
    if riff + 8 > len(content) + RIFF_TOLERANCE and riff not in UNKNOWN_SIZES:
        raise MurmurError(f"cut short: it has {len(content)} of {riff + 8} bytes; fetch the file again")
    if size % frame:
        raise damaged_error(f"{size} bytes of samples are not a multiple of {frame}, the bytes of one")
    if not _is_valid_end(content, end, size, riff):
        raise damaged_error(comparison)
    return size


def _is_valid_end(content: bytes, end: int, size: int, riff: int) -> bool:
    """Whether only other chunks, padding or a tag follow the samples, which end at `end`."""
    padded = size % 2 == 1 and content[end : end + 1] == b"\0"
    if _are_chunks(content, end) or (padded and _are_chunks(content, end + 1)):
        return True
    riff_ends_here = riff + 8 in (end, end + size % 2)
    return riff_ends_here and (not content[end:].strip(b"\0") or content[end : end + 3] == b"TAG")


def _are_chunks(content: bytes, position: int) -> bool:
    """Whether everything from `position` to the end consists of chunks that hold no samples."""
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        if not CHUNK_NAME.fullmatch(name) or name in (b"data", b"fmt ", b"RIFF"):
            return False
        position += 8 + size
        if position < len(content):
            position += size % 2
    return position == len(content)
