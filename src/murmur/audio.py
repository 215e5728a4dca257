"""Reading a recording, and noticing what is wrong with it before anything is computed from it."""

import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf

from murmur.errors import MurmurError


class Facts(NamedTuple):
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
        If the file is missing, not audio, empty, or shorter than its header promises.
    """
    path, promised = Path(path), 0
    if not path.exists():
        raise MurmurError(f"{path}: no such file")
    try:
        _check_whole(path)
        with sf.SoundFile(path) as sound:
            promised = sound.frames
            kind = "int16" if sound.subtype == "PCM_16" else "float32"
            samples = sound.read(dtype=kind, always_2d=True)
            rate = sound.samplerate
    except (ValueError, MemoryError) as error:  # a FLAC of unknown length claims 2**63 samples
        raise MurmurError(f"{path}: its header promises {promised} samples; encode the file again") from error
    except (sf.LibsndfileError, OSError, TypeError) as error:  # TypeError: soundfile takes .raw as headerless
        raise MurmurError(f"{path}: not readable as audio ({error}); replace the file") from error
    if len(samples) == 0:
        raise MurmurError(f"{path}: holds no samples; replace the file")
    if len(samples) < promised:
        raise MurmurError(f"{path}: cut short: {len(samples)} of {promised} samples; fetch the file again")
    if samples.dtype == np.int16:  # the same floats as libsndfile's, in a third of its time
        samples = samples * np.float32(2**-15)
    return (samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)), rate


def inspect(path: str | Path) -> Facts:
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
    digest = hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes())
    return Facts(rate, len(samples), digest.hexdigest())


def _check_whole(path: Path) -> None:
    """Refuse a WAV whose data chunk ends before its header says: libsndfile would read it without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
            return
        long = 0
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"ds64":  # RF64 (EBU Tech 3306): the length that 32 bits cannot hold
                _, long = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
                length -= 16
            if name == b"data":
                length = long or length
                if length > size - file.tell():
                    raise MurmurError(
                        f"{path}: cut short: its header promises {length} bytes of samples, "
                        f"{size - file.tell()} are there; fetch the file again"
                    )
                return
            file.seek(max(0, length + length % 2), 1)
