"""Decoding of audio files, which are recognised by their first bytes, not by their names.

WAV (RIFF, RF64 and BW64) and FLAC are decoded, because it can be checked that such a file is complete.
Files of other kinds are refused with a message that names the kind.
"""

import re
from typing import BinaryIO

import numpy as np

from murmur.errors import MurmurError
from murmur.recordings.containers import flac, wav
from murmur.recordings.containers.checks import CONVERT, UNKNOWN

SIGNATURES = (b"fLaC", b"RIFF", b"RF64", b"BW64")
OTHER_AUDIO = {  # first bytes, as a regular expression: kind
    rb"RIFX": "a big-endian WAV (RIFX)",
    rb"riff\x2e\x91\xcf\x11": "a W64",
    rb"FORM....AIF[FC]": "an AIFF",
    rb"\.snd": "an AU",
    rb"OggS": "an Ogg",
    rb"caff": "a CAF",
    rb"....ftyp": "an MP4 or M4A",
    rb"RIFF....AVI ": "an AVI",
    rb"\x00\x00\x01[\xba\xb3]": "an MPEG video",
    rb"FLV\x01": "a Flash video",
    rb"wvpk": "a WavPack",
    rb"MAC ": "a Monkey's Audio",
    rb"#!AMR": "an AMR",
    rb"NIST_1A": "a NIST SPHERE",
    rb"\x1a\x45\xdf\xa3": "a Matroska or WebM",
    rb"\x30\x26\xb2\x75": "a WMA",
    rb"\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]": "an AAC",
    rb"\xff[\xe2-\xff]|ID3": "an MP3",
}
OTHER_FILES = {  # first bytes, as a regular expression: kind, what to do
    rb"version https://git-lfs": ("a Git LFS pointer", "fetch the file: `git lfs pull`"),
    rb"PK\x03\x04": ("a ZIP archive", "unpack it, or replace the file"),
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!": ("a packed file", "unpack it, or replace the file"),
    rb"\s*(?i:<!doctype|<html|<\?xml)": ("a web page", "replace the file"),
}


def decode(file: BinaryIO) -> tuple[np.ndarray, int]:
    """Decode a complete WAV or FLAC file.

    Parameters
    ----------
    file : binary file
        Open for reading, at its start.

    Returns
    -------
    samples : ndarray of int16, int32 or float32, shape [n_samples, n_channels]
        Integers are scaled to the full range of their type: full scale is 2^15 or 2^31.
    rate : int
        The sample rate in Hz.

    Raises
    ------
    MurmurError
        If the file is of another kind, damaged or cut short. The message does not contain the file's name.
    """
    start = file.read(1024)
    if not start.startswith((*SIGNATURES, b"ID3")):
        raise MurmurError(explain_other_kind(start))
    content = skip_id3(start + file.read())
    if content.startswith(b"fLaC"):
        return flac.decode(content)
    if content[8:12] == b"WAVE":
        return wav.decode(content)
    raise MurmurError(explain_other_kind(content))


def skip_id3(content: bytes) -> bytes:
    """Remove an ID3v2 tag that precedes WAV or FLAC: some programs write one there."""
    if not (n_bytes := measure_id3(content)):
        return content
    audio = content[n_bytes:]
    return audio if audio.startswith(SIGNATURES) else content


def measure_id3(content: bytes) -> int:
    """Return the length of the ID3v2 tag with which a file begins, in bytes; 0 if there is none."""
    if len(content) < 10 or content[:3] != b"ID3":
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))


def explain_other_kind(
    content: bytes, formats: str = "WAV, FLAC and WFDB records are read", unknown: str = UNKNOWN
) -> str:
    """Write the message for a file of another kind.

    Parameters
    ----------
    content : bytes
        The start of the file.
    formats : str
        What the message states for an audio file of another format.
    unknown : str
        The message for a file of no known kind.
    """
    for signature, kind in OTHER_AUDIO.items():
        if re.match(signature, content, re.DOTALL):
            return f"not readable as audio: {kind} file; {formats}; {CONVERT}"
    for signature, (kind, remedy) in OTHER_FILES.items():
        if re.match(signature, content):
            return f"not readable as audio ({kind}); {remedy}"
    return unknown if content else "not readable as audio (an empty file); replace the file"
