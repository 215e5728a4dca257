"""FLAC files: checks of the header (RFC 9639), and decoding by libsndfile."""

import hashlib
import io
from typing import NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.recordings.containers.checks import CONVERT, check_rate, damaged_error

MAX_SAMPLES = 2**29  # of all channels: 18 hours at 8 kHz. A FLAC of 1 MB can state this many
FRAME_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # by code


class Header(NamedTuple):
    """The content of STREAMINFO (RFC 9639, section 8.2).

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    channels : int
        Number of channels.
    bits : int
        Bits per sample.
    n_samples : int
        Samples of one channel; 0 where the length is unknown.
    md5 : bytes
        MD5 of the samples; zeros where it is unknown.
    """

    rate: int
    channels: int
    bits: int
    n_samples: int
    md5: bytes


def decode(content: bytes) -> tuple[np.ndarray, int]:
    """Decode a FLAC file completely.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    samples : int16 or int32 array, shape [n_samples, n_channels]
        int16 for samples of 16 bits, else int32.
    rate : int
        The sample rate in Hz.

    Raises
    ------
    MurmurError
        If the file is damaged or cut short, or the number or the MD5 of its samples differs from that in its
        header.
    """
    header = _read_header(content)
    try:
        samples = _read_samples(content, "int16" if header.bits == 16 else "int32")
    except sf.LibsndfileError as error:
        raise MurmurError(
            f"not readable as audio (damaged or cut short: {error}); replace the file"
        ) from error
    if len(samples) < header.n_samples:
        raise MurmurError(f"cut short: {len(samples)} of {header.n_samples} samples; fetch the file again")
    width = samples.itemsize
    original = samples.view("u1").reshape(-1, width)[:, width - header.bits // 8 :]
    if hashlib.md5(original.tobytes(), usedforsecurity=False).digest() != header.md5:
        raise damaged_error("its samples are not those of the MD5 in its header")
    return samples, header.rate


def _read_header(content: bytes) -> Header:
    if len(content) < 42 or content[4] & 0x7F != 0:
        raise MurmurError("cut short: it ends within its header; fetch the file again")
    packed = int.from_bytes(content[18:26])
    header = Header(
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        n_samples=packed & (2**36 - 1),
        md5=content[26:42],
    )
    _check_header(header, _read_frame_rate(content))
    return header


def _check_header(header: Header, frame_rate: int) -> None:
    check_rate(header.rate)
    if frame_rate not in (0, header.rate):
        raise damaged_error(f"its header has {header.rate} Hz, its first frame another rate")
    if header.n_samples == 0 or not any(header.md5):
        raise MurmurError(
            "it has no length or no MD5 in its header, like a FLAC that was written to a pipe, so it cannot "
            f"be checked whether it is complete; {CONVERT}"
        )
    if header.bits not in (8, 16, 24):
        raise MurmurError(
            f"not readable as audio: a FLAC of {header.bits} bits, which is not supported; {CONVERT}"
        )
    if (n := header.n_samples * header.channels) > MAX_SAMPLES:
        raise MurmurError(
            f"its header states {n} samples, more than {MAX_SAMPLES}; replace the file, or cut it into pieces"
        )


def _read_samples(content: bytes, dtype: str) -> np.ndarray:
    """Decode in blocks, so that a wrong length in the header allocates no memory."""
    blocks = []
    with sf.SoundFile(io.BytesIO(content)) as sound:
        while len(block := sound.read(2**20, dtype=dtype, always_2d=True)):
            blocks.append(block)
        return np.concatenate(blocks) if blocks else np.empty((0, sound.channels), dtype)


def _read_frame_rate(content: bytes) -> int:
    """Return the rate in the header of the first frame, in Hz; 0 if it has none, -1 if it is invalid."""
    position, last = 4, False
    while not last and position + 4 <= len(content):
        last = content[position] >= 128
        position += 4 + int.from_bytes(content[position + 1 : position + 4])
    frame = content[position : position + 9].ljust(9, b"\0")
    size_code, rate_code = frame[2] >> 4, frame[2] & 15
    if rate_code < len(FRAME_RATES):
        return FRAME_RATES[rate_code]
    rate_field = frame[5 + {6: 1, 7: 2}.get(size_code, 0) :]  # after the frame number 0 and the block size
    number = int.from_bytes(rate_field[:2])
    return {12: 1000 * rate_field[0], 13: number, 14: 10 * number}.get(rate_code, -1)
