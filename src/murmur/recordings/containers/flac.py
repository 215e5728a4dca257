"""FLAC files: checks of the header (RFC 9639), and decoding by libsndfile."""

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.recordings.containers.checks import CONVERT, check_rate, damaged_error, describe_error

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
    header = read_header(content)
    return np.concatenate([*decode_blocks(io.BytesIO(content), header)]), header.rate


def decode_blocks(file: BinaryIO, header: Header, size: int = 2**20) -> Iterator[np.ndarray]:
    """Decode a FLAC file in blocks, so that a wrong length in the header allocates no memory.

    Parameters
    ----------
    file : binary file
        Open for reading, at its start.
    header : Header
        From `read_header`.
    size : int
        Samples of one channel in a block.

    Yields
    ------
    int16 or int32 array, shape [size, n_channels]
        As `decode`. The last block may be shorter.

    Raises
    ------
    MurmurError
        As `decode`; at the end, if the number or the MD5 of the samples differs.
    """
    md5, n_samples = hashlib.md5(usedforsecurity=False), 0
    try:
        with sf.SoundFile(file) as sound:
            while len(block := sound.read(size, "int16" if header.bits == 16 else "int32", True)):
                original = block.view("u1").reshape(-1, block.itemsize)[:, -(header.bits // 8) :]
                md5.update(original.tobytes())
                n_samples += len(block)
                yield block
    except sf.LibsndfileError as error:
        raise MurmurError(
            f"not readable as audio (damaged or cut short: {describe_error(error)}); replace the file"
        ) from error
    if n_samples < header.n_samples:
        raise MurmurError(f"cut short: {n_samples} of {header.n_samples} samples; fetch the file again")
    if md5.digest() != header.md5:
        raise damaged_error("its samples are not those of the MD5 in its header")


def read_header(content: bytes) -> Header:
    """Read and check STREAMINFO.

    Raises
    ------
    MurmurError
        If it is damaged, has no length or no MD5, or states more samples than `MAX_SAMPLES`.
    """
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
