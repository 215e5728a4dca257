"""Checks that audio files of other formats than WAV and FLAC are complete.

libsndfile reads a file that is cut short without an error, up to where it ends.
"""

import math
import re
import struct
import zlib
from contextlib import suppress

from murmur.errors import MurmurError
from murmur.recordings.containers import measure_id3, wav
from murmur.recordings.containers.checks import CONVERT, damaged_error

UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF}  # which programs write before they know the length
LINEAR_AIFF = (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64")
FORMAT_FIELDS = (  # of the chunk `fmt ` of a WAV: position and size in bytes
    *((0, 2), (2, 2), (4, 4), (8, 4), (12, 2), (14, 2)),
    *((16, 2), (18, 2), (20, 4), (24, 4), (28, 2), (30, 2)),  # of the extended form
)
W64_FORMAT = b"fmt \xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MP3_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # which may follow the last frame
RATES = (44100, 48000, 32000)  # Hz, of MPEG-1, by code; MPEG-2 has half of them, MPEG-2.5 a quarter
BITRATES = {  # kbit/s of layer III, by code, for MPEG-1 and for MPEG-2 and 2.5
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def check_complete(content: bytes) -> None:
    """Check that a file has the length that its header or its last part implies.

    Parameters
    ----------
    content : bytes
        The whole file: Ogg, MP3, AIFF, AU, CAF, W64, RIFX and RIFF. Other formats are not checked.

    Raises
    ------
    MurmurError
        If the file is cut short. The message does not contain the file's name.

    References
    ----------
    Ogg: RFC 3533. Frames of MP3: ISO/IEC 11172-3 and 13818-3.
    """
    start = content[:24].ljust(24, b"\0")
    if start.startswith(b"OggS"):
        _check_ogg(content)
    elif start.startswith(b"caff"):
        _check_caf(content)
    elif start.startswith(b"riff\x2e\x91\xcf\x11"):
        _check_w64(content)
    elif start.startswith(b".snd"):
        offset, size = struct.unpack(">II", start[4:12])
        if size not in UNKNOWN_SIZES:
            _check_end(content, offset + size)
    elif start.startswith(b"RIFX"):
        _check_rifx(content)
    elif start.startswith((b"FORM", b"RIFF")):
        size = struct.unpack("<I" if start.startswith(b"RIFF") else ">I", start[4:8])[0]
        _check_size(content, size if size in UNKNOWN_SIZES else size + 8)
        if start.startswith(b"FORM"):
            _check_aiff(content)
    elif start.startswith(b"ID3") or re.match(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", start):
        _check_mp3(content)


def _check_size(content: bytes, size: int) -> None:
    if size not in UNKNOWN_SIZES and len(content) < size:
        raise _cut_short(f"it has {len(content)} of {size} bytes")


def _cut_short(reason: str) -> MurmurError:
    return MurmurError(f"cut short: {reason}; fetch the file again")


def _check_end(content: bytes, end: int) -> None:
    """Check that the samples, or the last chunk, end where the file ends."""
    _check_size(content, end)
    if len(content) > end:
        raise damaged_error(f"its header states {end} bytes, the file has {len(content)}")


def _check_rifx(content: bytes) -> None:
    """Check a big-endian WAV as a WAV, after the bytes of all numbers in its header are reversed."""
    header = bytearray(b"RIFF" + content[4:])

    def reverse(at: int, size: int) -> None:
        header[at : at + size] = header[at : at + size][::-1]

    reverse(4, 4)
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from(">4sI", content, position)
        reverse(position + 4, 4)
        if name == b"fmt ":
            for at, n in FORMAT_FIELDS:
                if at + n <= size:
                    reverse(position + 8 + at, n)
        position += 8 + size + size % 2
    with suppress(wav.CodingError):
        wav.locate_samples(bytes(header))


def _check_w64(content: bytes) -> None:
    """Check the size of the file, and the fields of the format as in a WAV."""
    _check_size(content, struct.unpack("<Q", content[16:24].ljust(8, b"\0"))[0])
    at = content[:1024].find(W64_FORMAT)
    if at >= 0:
        with suppress(wav.CodingError):
            wav.parse_format(content[at + 24 : at + 64])


def _check_aiff(content: bytes) -> None:
    """Check that the samples have the size that their number, their bits and the channels imply."""
    chunks: dict[bytes, tuple[bytes, int]] = {}
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack(">4sI", content[position : position + 8])
        chunks.setdefault(name, (content[position + 8 : position + 30], size))
        position += 8 + size + size % 2
    if b"COMM" not in chunks or b"SSND" not in chunks:
        raise _cut_short("it has no samples, or no description of them")
    form, sound = chunks[b"COMM"][0], chunks[b"SSND"][0]
    channels, frames, bits = struct.unpack(">HIH", form[:8].ljust(8, b"\0"))
    coding = form[18:22] if content[8:12] == b"AIFC" else b"NONE"
    offset, block = struct.unpack(">II", sound[:8].ljust(8, b"\0"))
    size, expected = chunks[b"SSND"][1] - 8, offset + frames * channels * math.ceil(bits / 8)
    if coding in LINEAR_AIFF and not block and size != expected:
        raise damaged_error(f"its samples have {size} bytes, its header implies {expected}")


def _check_ogg(content: bytes) -> None:
    """Go from page to page: each has its checksum and the next number, the last one is marked as the last.

    libsndfile leaves out a damaged page without an error.
    """
    position, is_last, numbers = 0, False, dict[int, int]()
    while content[position : position + 4] == b"OggS":
        header = content[position : position + 27].ljust(27, b"\0")
        end = position + 27 + header[26] + sum(content[position + 27 : position + 27 + header[26]])
        if end > len(content):
            raise _cut_short("its last page is incomplete")
        stream, number, checksum = struct.unpack("<III", header[14:26])
        page = content[position : position + 22] + bytes(4) + content[position + 26 : end]
        if _compute_ogg_checksum(page) != checksum:
            raise damaged_error(f"the page at byte {position} does not have its checksum")
        if number != numbers.get(stream, number - 1) + 1:
            raise damaged_error(f"a page is missing before byte {position}")
        numbers[stream], is_last, position = number, bool(header[5] & 4), end
    if not is_last:
        raise _cut_short("its last page is missing")


def _compute_ogg_checksum(page: bytes) -> int:
    """Compute the CRC-32 of RFC 3533: zlib's, but for the order of the bits and the first and last value."""
    reflected = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def _check_caf(content: bytes) -> None:
    """Go from chunk to chunk: the last one ends within the file."""
    position = 8
    while position + 12 <= len(content):
        size = struct.unpack(">q", content[position + 4 : position + 12])[0]
        position = len(content) if size < 0 else position + 12 + size  # -1: to the end of the file
    _check_end(content, position)


def _check_mp3(content: bytes) -> None:
    """Go from frame to frame: the last one ends within the file, and there are as many as the index states.

    A file with a variable bit rate and without an index is refused, because libsndfile would guess its length
    and read a part of it.
    """
    position = measure_id3(content)
    first, sizes = position, []
    while size := _read_frame_size(content[position : position + 4]):
        sizes.append(size)
        position += size
    if not sizes:
        return
    if position > len(content) or (position < len(content) and content[position] == 0xFF):
        raise _cut_short("its last frame is incomplete")
    if (rest := content[position:].lstrip(b"\0")) and not rest.startswith(MP3_TAGS):
        raise MurmurError(f"damaged: no frame at byte {position}, after {len(sizes)} frames; {CONVERT}")
    index = re.search(rb"(?:Xing|Info)(.{8})", content[first : first + sizes[0]], re.DOTALL)
    flags, n_frames = struct.unpack(">II", index[1]) if index else (0, 0)
    if flags & 1 and len(sizes) - 1 < n_frames:
        raise _cut_short(f"it has {len(sizes) - 1} of {n_frames} frames")
    if not index and max(sizes) - min(sizes) > 1:
        raise MurmurError(
            f"an MP3 of variable bit rate without an index, of which only a part would be read; {CONVERT}"
        )


def _read_frame_size(header: bytes) -> int:
    """Return the size of a frame of layer III in bytes; 0 if this is no header of one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3  # version 3: MPEG-1
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    hertz = RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    words = 144 if version == 3 else 72
    return words * 1000 * BITRATES[version == 3][bitrate - 1] // hertz + (header[2] >> 1 & 1)
