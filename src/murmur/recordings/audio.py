"""Reading of recordings. Damaged files are found here, before anything is computed from them."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.recordings import containers
from murmur.recordings.containers import wfdb_records
from murmur.recordings.containers.checks import describe_error, name_files

LARGEST = 2**31  # the full scale of samples that were stored as integers of 32 bits


class AudioFacts(NamedTuple):
    """The properties of a recording's audio.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    n_samples : int
        Samples of one channel.
    audio_sha256 : str
        SHA-256 of the decoded samples, which does not depend on the file format.
    """

    sample_rate: int
    n_samples: int
    audio_sha256: str


def load(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a WAV or FLAC file as one channel, the mean of all channels, or the signal of a WFDB record.

    Parameters
    ----------
    path : path-like
        The file; of a WFDB record the header, with the ending .hea.

    Returns
    -------
    samples : ndarray of float32, shape [n_samples]
        In the range [-1, 1].
    rate : int
        The sample rate in Hz.

    Raises
    ------
    MurmurError
        If the file is missing, of another format, empty, damaged or cut short.
    """
    path = Path(path)
    try:
        if header := find_header(path):
            raise MurmurError(f"not the header of the WFDB record; name the header, {header.name}")
        if not path.exists():
            raise MurmurError("no such file")
        if not path.is_file():  # reading a named pipe would wait for a writer
            raise MurmurError("not readable as audio (not a regular file); replace the file")
        samples, rate = wfdb_records.read_record(path) if path.suffix == ".hea" else _decode(path)
    except (sf.LibsndfileError, OSError, ValueError, MemoryError) as error:  # ValueError: NUL in the name
        reason = describe_error(error)
        raise MurmurError(f"{path}: not readable as audio ({reason}); replace the file") from error
    except MurmurError as error:
        raise MurmurError(f"{path}: {name_files(str(error), path)}") from error
    if len(samples) == 0:
        raise MurmurError(f"{path}: holds no samples; replace the file")
    return mix_channels(samples), rate


def find_header(path: Path) -> Path | None:
    """Return the header of a WFDB record of which `path` is the bare name or the signal file."""
    is_part = path.suffix == ".dat" or (not path.suffix and not path.is_file())
    header = path.with_suffix(".hea")
    return header if is_part and header.is_file() else None


def _decode(path: Path) -> tuple[np.ndarray, int]:
    with path.open("rb") as file:
        return containers.decode(file)


def mix_channels(samples: np.ndarray) -> np.ndarray:
    """Return the mean of all channels, shape [n_samples], float32, in the range [-1, 1].

    Parameters
    ----------
    samples : ndarray of int16, int32 or float32, shape [n_samples, n_channels]
        Integers are scaled to the full range of their type.
    """
    samples = _to_float(samples)
    if samples.shape[1] == 1:
        return samples[:, 0]
    with np.errstate(invalid="ignore", over="ignore"):  # `check_numbers` reports what is not finite
        return samples.mean(axis=1)


def _to_float(samples: np.ndarray) -> np.ndarray:
    """Scale integers to [-1, 1]: the same floats as libsndfile's, in a third of its time."""
    if samples.dtype == np.int16:
        return samples * np.float32(2**-15)
    if samples.dtype == np.int32:
        return samples.astype(np.float32) * np.float32(2**-31)
    return samples


def load_recording(raw: Path, recording: Any) -> tuple[np.ndarray, int]:
    """Read a recording as `load` does, and check that it is the one that the table describes.

    Parameters
    ----------
    raw : Path
        The folder of the recordings.
    recording : named tuple
        A row of `murmur.tables.recordings.RECORDINGS`; its `path` is relative to `raw`.

    Returns
    -------
    samples : ndarray of float32, shape [n_samples]
        In the range [-1, 1].
    rate : int
        The sample rate in Hz.

    Raises
    ------
    MurmurError
        As `load`, and if the rate, the number of samples or their hash differs from the table's.
    """
    path = raw / recording.path
    samples, rate = load(path)
    expected = AudioFacts(*(getattr(recording, name) for name in AudioFacts._fields))
    actual = compute_facts(samples, rate)
    if actual != expected:
        raise MurmurError(
            f"{path}: not the recording that the table describes: the table has {_format_facts(expected)}, "
            f"the file {_format_facts(actual)}; run `dvc repro -f download`; if that does not help, DVC's "
            "cache is damaged: see docs/cache.md"
        )
    return samples, rate


def compute_facts(samples: np.ndarray, rate: int) -> AudioFacts:
    """Compute the properties of samples.

    Parameters
    ----------
    samples : ndarray of float32, shape [n_samples]
        One channel.
    rate : int
        The sample rate in Hz.

    Returns
    -------
    AudioFacts
        Rate, length and hash.
    """
    content = np.ascontiguousarray(samples, "<f4").data
    return AudioFacts(rate, len(samples), hashlib.sha256(content).hexdigest())


def inspect_file(path: str | Path) -> AudioFacts:
    """Read a file once and compute the properties of its audio.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    AudioFacts
        Rate, length and hash.

    Raises
    ------
    MurmurError
        As `load` and `check_numbers`, and if all samples are equal (silence).
    """
    samples, rate = load(path)
    try:
        check_numbers(samples)
    except MurmurError as error:
        raise MurmurError(f"{path}: {error}") from error
    if samples.max() == samples.min():
        raise MurmurError(f"{path}: silent: all {len(samples)} samples are {samples[0]:g}; replace the file")
    return compute_facts(samples, rate)


def check_numbers(samples: np.ndarray, first: int = 0) -> None:
    """Raise a `MurmurError` if a sample is not a finite number, or beyond `LARGEST`.

    Parameters
    ----------
    samples : ndarray of float32, shape [n_samples]
        One channel, or a part of it.
    first : int
        The position of the first sample, for the message.
    """
    is_wrong = ~(np.abs(samples) <= LARGEST)  # also of NaN
    if not is_wrong.any():
        return
    k = int(is_wrong.argmax())
    reason = (
        f"is {samples[k]:.3g}, which no scale of audio has"
        if np.isfinite(samples[k])
        else "is not a finite number"
    )
    raise MurmurError(f"sample {first + k} {reason}; replace the file")


def _format_facts(facts: AudioFacts) -> str:
    return f"{facts.n_samples} samples at {facts.sample_rate} Hz, SHA-256 {facts.audio_sha256[:8]}"
