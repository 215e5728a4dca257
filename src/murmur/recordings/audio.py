"""Reading a recording, and noticing what is wrong with it before anything is computed from it."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError
from murmur.recordings import containers


class AudioFacts(NamedTuple):
    """What the audio itself tells."""

    sample_rate: int  # Hz
    n_samples: int  # of one channel
    audio_sha256: str


def load(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a recording as one channel: (samples [n] float32 in [-1, 1], sample rate in Hz).

    Channels are averaged.

    Raises
    ------
    MurmurError
        If the file is missing, not WAV or FLAC, empty, damaged, or shorter than its header promises.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise MurmurError("no such file")
        if not path.is_file():  # a named pipe would be waited for
            raise MurmurError("not readable as audio (not a regular file); replace the file")
        with path.open("rb") as file:
            samples, rate = containers.decode(file)
    except (sf.LibsndfileError, OSError, ValueError, MemoryError) as error:  # ValueError: a null in the name
        raise MurmurError(f"{path}: not readable as audio ({error}); replace the file") from error
    except MurmurError as error:
        raise MurmurError(f"{path}: {error}") from error
    if len(samples) == 0:
        raise MurmurError(f"{path}: holds no samples; replace the file")
    if samples.dtype == np.int16:  # the same floats as libsndfile's, in a third of its time
        samples = samples * np.float32(2**-15)
    elif samples.dtype == np.int32:
        samples = samples.astype(np.float32) * np.float32(2**-31)
    return (samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)), rate


def load_recording(raw: Path, recording: Any) -> tuple[np.ndarray, int]:
    """Read a recording of the table as `load`, and check that it is the one the table describes.

    recording: with the columns `path`, relative to `raw`, and those of `Facts`: a row of `tables.RECORDINGS`.

    Raises
    ------
    MurmurError
        As `load`, and if the rate, the number of samples, or the samples are others.
    """
    path = raw / recording.path
    samples, rate = load(path)
    found, facts = (
        describe(samples, rate),
        AudioFacts(*(getattr(recording, name) for name in AudioFacts._fields)),
    )
    if found != facts:
        raise MurmurError(
            f"{path}: not the recording that the table describes: there {_told(facts)}, here {_told(found)}; "
            "run `dvc repro -f download`; if that does not help, DVC's cache is damaged: see README.md"
        )
    return samples, rate


def describe(samples: np.ndarray, rate: int) -> AudioFacts:
    """What samples [n] float32 at `rate` Hz are. The hash is the same in any container."""
    return AudioFacts(
        rate, len(samples), hashlib.sha256(np.ascontiguousarray(samples, "<f4").data).hexdigest()
    )


def inspect(path: str | Path) -> AudioFacts:
    """Read a recording once and say what it holds.

    The hash is of the decoded samples, so that the same audio in another container has the same hash.

    Raises
    ------
    MurmurError
        As `load`, and if a sample is not a number or all samples are the same (silence).
    """
    samples, rate = load(path)
    if not np.isfinite(samples).all():
        where = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise MurmurError(f"{path}: sample {where} is not a finite number; replace the file")
    if samples.max() == samples.min():
        raise MurmurError(f"{path}: silent: all {len(samples)} samples are {samples[0]:g}; replace the file")
    return describe(samples, rate)


def _told(facts: AudioFacts) -> str:
    return f"{facts.n_samples} samples at {facts.sample_rate} Hz, SHA-256 {facts.audio_sha256[:8]}"
