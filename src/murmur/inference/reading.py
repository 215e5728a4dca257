"""Reading of recordings of any format for predictions."""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.inference.completeness import check_complete
from murmur.recordings import audio, containers
from murmur.recordings.containers import flac, wav
from murmur.recordings.containers.checks import (
    CONVERT,
    OTHER_SUFFIXES,
    check_rate,
    describe_error,
    name_files,
)

MAX_HOURS = 3
MAX_SAMPLES = 2**29  # of one channel; 2 GiB of memory. 3 hours at 48 kHz are less
BLOCK = 2**20  # samples of all channels
FORMATS = "WAV, FLAC, OGG, MP3, AIFF, WFDB records and the other formats of libsndfile are read"
UNKNOWN = "not readable as audio (of no known format); name an audio file"
SIGNATURES = re.compile(  # the first bytes of audio files
    rb"fLaC|RF64|BW64|RIF[FX]....WAVE|FORM....(AIF[FC]|8SVX)|\.snd|OggS|caff|riff\x2e\x91\xcf\x11|NIST_1A|ID3"
    rb"|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
    re.DOTALL,
)
UTF16 = b"\xff\xfe"  # the first bytes of such a text


class _Stream(NamedTuple):
    """The samples of a file before they are read.

    Attributes
    ----------
    rate : int
        Sample rate, Hz.
    n_samples : int
        Samples of one channel, at most.
    blocks : iterator of ndarray, shape (n, channels)
        Each is decoded when it is needed.
    """

    rate: int
    n_samples: int
    blocks: Iterator[np.ndarray]


class _MappedFile(mmap.mmap):
    """A file as bytes that are not all in memory."""

    def startswith(self, prefix: bytes | tuple[bytes, ...]) -> bool:
        return self[:16].startswith(prefix)


def read_any(source: str | Path | bytes, name: str | None = None) -> tuple[np.ndarray, int]:
    """Read a recording of any format that libsndfile or wfdb reads, as one channel.

    WAV and FLAC files and WFDB records give the same samples as in the pipeline.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content. Its format is recognised by the content, that of a WFDB record by the ending
        .hea of its header.
    name : str, optional
        Name of the file that has this content, for error messages.

    Returns
    -------
    samples : ndarray, shape (n,), float32
        The mean of all channels.
    rate : int
        Sample rate, Hz.

    Raises
    ------
    MurmurError
        If the file is missing, of no known format, empty, damaged or cut short, longer than `MAX_HOURS` or
        `MAX_SAMPLES`, or has a sample that `audio.check_numbers` refuses.

    Notes
    -----
    The file is read in blocks, so the memory in use is little more than that of `samples`.
    """
    if isinstance(source, bytes):
        with _name_errors(Path(name or "recording")):
            return _read(BytesIO(source), source)
    path = Path(source)
    with _name_errors(path):
        path = find_audio_file(path)
    with _name_errors(path):
        _check_is_file(path)
    if path.suffix == ".hea":
        samples, rate = audio.load(path)  # finite numbers: WFDB records hold integers
        with _name_errors(path):
            _check_length(len(samples), rate)
        return samples, rate
    with _name_errors(path), path.open("rb") as file, _map_file(file) as content:
        return _read(file, content)


def find_audio_file(path: Path) -> Path:
    """Return the file to read of a WFDB record.

    Parameters
    ----------
    path : Path
        The header, the bare name or the signal file of a record; or any other file.

    Returns
    -------
    Path
        The WAV or FLAC file that the header names, if it names one; else the header; `path` for other files.
    """
    header = audio.find_header(path) or path
    if header.suffix != ".hea" or not header.is_file():
        return header
    lines = [line.split() for line in header.read_text(encoding="utf-8", errors="replace").splitlines()]
    names = {line[0] for line in lines[1:] if line and re.search(r"\.(wav|flac)$", line[0], re.IGNORECASE)}
    return header.with_name(Path(names.pop()).name) if len(names) == 1 else header


def is_audio(path: Path) -> bool:
    """Return whether a file has the name or the first bytes of audio; it may still be unreadable.

    Of a WFDB record, only a header that names no WAV or FLAC file counts as audio.
    """
    is_named = path.suffix.lower() in {".wav", ".flac"} or bool(OTHER_SUFFIXES.match(path.suffix))
    if not path.exists():  # a broken link
        return is_named
    if not path.is_file() or path.suffix == ".hea":
        return path.is_file() and find_audio_file(path) == path
    if is_named:
        return True
    with path.open("rb") as file:
        return bool(SIGNATURES.match(file.read(16)))


def read_length(path: Path) -> tuple[int, int]:
    """Return the sample rate (Hz) and the number of samples of one channel, without decoding them.

    The number is an estimate for some MP3 files.

    Raises
    ------
    MurmurError
        As `read_any`, for what is found without decoding.
    """
    path = find_audio_file(path)
    if path.suffix == ".hea":
        samples, rate = read_any(path)
        return rate, len(samples)
    with _name_errors(path):
        _check_is_file(path)
        with path.open("rb") as file, _map_file(file) as content:
            stream = _open_stream(file, cast("bytes", content))
            return stream.rate, stream.n_samples


@contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Add the name of the file to each error, and make a `MurmurError` of it."""
    try:
        yield
    except MurmurError as error:
        raise MurmurError(f"{path}: {name_files(str(error), path)}") from error
    except (sf.LibsndfileError, OSError, ValueError, MemoryError) as error:  # ValueError: NUL in the name
        reason = describe_error(error)
        raise MurmurError(f"{path}: not readable as audio ({reason}); replace the file") from error


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise MurmurError("no such file; check its name")
    if path.is_dir():
        raise MurmurError("a folder; name an audio file")
    if not path.is_file():  # reading a named pipe would wait for a writer
        raise MurmurError("not readable as audio (not a regular file); name an audio file")


def _map_file(file: BinaryIO) -> "_MappedFile | nullcontext[bytes]":
    is_empty = not file.read(1)
    file.seek(0)
    return nullcontext(b"") if is_empty else _MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read(file: BinaryIO, content: "bytes | _MappedFile") -> tuple[np.ndarray, int]:
    """Read all blocks of a file as one channel."""
    stream = _open_stream(file, cast("bytes", content))
    _check_length(stream.n_samples, stream.rate)
    samples, n = np.empty(stream.n_samples, np.float32), 0
    for block in stream.blocks:
        mixed = audio.mix_channels(block)
        audio.check_numbers(mixed, n)
        samples[n : n + len(mixed)] = mixed
        n += len(mixed)
    if not n:
        raise MurmurError("holds no samples; replace the file")
    return samples[:n], stream.rate


def _check_length(n_samples: int, rate: int) -> None:
    if n_samples > min(MAX_HOURS * 3600 * rate, MAX_SAMPLES):
        raise MurmurError(
            f"longer than {MAX_HOURS} hours or {MAX_SAMPLES} samples ({n_samples / rate / 3600:.3g} hours at "
            f"{rate} Hz); cut it into pieces"
        )


def _open_stream(file: BinaryIO, content: bytes) -> _Stream:
    audio_part = containers.skip_id3(content)
    if audio_part is not content:
        file, content = BytesIO(audio_part), audio_part
    if content[:4] == b"fLaC":
        header = flac.read_header(content)
        blocks = flac.decode_blocks(file, header, BLOCK // header.channels)
        return _Stream(header.rate, header.n_samples, blocks)
    if content[:4] in (b"RIFF", b"RF64", b"BW64") and content[8:12] == b"WAVE":
        try:
            form, start, size = wav.locate_samples(content)
        except wav.CodingError:
            return _open_other(file, content)
        return _Stream(form.rate, size // form.frame, _read_wav(file, form, start, size))
    return _open_other(file, content)


def _read_wav(file: BinaryIO, form: wav.Format, start: int, size: int) -> Iterator[np.ndarray]:
    step = BLOCK // form.channels * form.frame
    file.seek(start)
    for position in range(0, size, step):
        yield wav.decode_samples(file.read(min(step, size - position)), form)


def _open_other(file: BinaryIO, content: bytes) -> _Stream:
    """Open a file by libsndfile."""
    if content[:2] == UTF16:  # libsndfile takes this for MPEG layer I
        raise MurmurError(UNKNOWN)
    check_complete(content)
    try:
        sound = sf.SoundFile(file)
    except sf.LibsndfileError as error:
        raise MurmurError(_explain_failure(content[:1024])) from error
    check_rate(sound.samplerate)
    return _Stream(sound.samplerate, sound.frames, _read_other(sound))


def _read_other(sound: sf.SoundFile) -> Iterator[np.ndarray]:
    n_samples = 0
    with sound:
        while len(block := sound.read(BLOCK // sound.channels, "float32", always_2d=True)):
            n_samples += len(block)
            yield block
        is_estimate = sound.subtype.startswith("MPEG")
        if n_samples < sound.frames and not is_estimate:
            raise MurmurError(
                f"cut short or damaged: {n_samples} of {sound.frames} samples; fetch the file again"
            )


def _explain_failure(start: bytes) -> str:
    """Write the message for a file that libsndfile does not open."""
    if SIGNATURES.match(start):
        return f"not readable as audio (damaged, or of a coding that is not supported); {CONVERT}"
    return containers.explain_other_kind(start, FORMATS, UNKNOWN)
