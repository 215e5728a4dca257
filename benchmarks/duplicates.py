"""How fast the search for duplicates is and what it finds, against the plain way, on copies planted for it.

    PYTHONPATH=src python benchmarks/duplicates.py [--recordings 5000] [--seconds 20]

Recordings are pieces of CirCor and BMD-HS under MURMUR_DATA, else of simulated recordings, played at many
speeds, since there are not enough of them: a sound at another speed is no copy. Some are copied, 40 in each
way; those that correlate at `duplicates.correlation` or more, at the best of all lags, are to be found. The
plain way is the cross-correlation of all pairs at all lags by FFT, on the very signals that the search
compares; it is timed on some pairs and reckoned up to all.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import scipy.fft
import scipy.signal
import soundfile as sf
import soxr
import typer

from murmur import params, workers
from murmur.datasets import _checksums, synthetic
from murmur.recordings import audio, duplicates
from murmur.sections.duplicates import Duplicates

RATE = 4000
EACH = 40  # copies of each kind
SPEEDS = (1, 0.8, 1.25, 0.87, 1.15, 0.93, 1.07, 0.75, 1.33)


def quieter(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return 0.2 * x, RATE


def inverted(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return -x, RATE


def later(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return x[int(rng.uniform(0.02, 0.3) * len(x)) :], RATE


def half(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    start = int(rng.uniform(0, 0.5) * len(x))
    return x[start : start + len(x) // 2], RATE


def at_44100_hz(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return soxr.resample(x, RATE, 44100), 44100


def at_2000_hz(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return soxr.resample(x, RATE, 2000), 2000


def noisy(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """White noise 20 dB below the recording."""
    return x + 0.1 * x.std() * rng.standard_normal(len(x)), RATE


def all_at_once(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return at_2000_hz(-0.3 * noisy(later(x, rng)[0], rng)[0], rng)


def noisy_part(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """2 to 4 s at 8 kHz, as in Yaseen's set, with noise of the heart sounds' band and an echo."""
    n = round(rng.uniform(2.05, 4) * RATE)
    start = int(rng.uniform(0, max(1, len(x) - n)))
    part = x[start : start + n]
    noise = scipy.signal.lfilter(
        *scipy.signal.butter(2, (25, 200), "bandpass", fs=RATE), rng.standard_normal(n)
    )
    noise = noise[: len(part)] / noise.std()
    echo = np.append(np.zeros(60), part[:-60])  # 15 ms later
    return soxr.resample(
        part + rng.uniform(0.05, 0.25) * (part.std() * noise + echo), RATE, 2 * RATE
    ) / 2, 2 * RATE


Kind = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, int]]
KINDS: tuple[Kind, ...] = (
    quieter,
    inverted,
    later,
    half,
    at_44100_hz,
    at_2000_hz,
    noisy,
    all_at_once,
    noisy_part,
)


def main(
    recordings: Annotated[int, typer.Option(min=2 * EACH * len(KINDS))] = 5000,
    seconds: Annotated[float, typer.Option(min=2)] = 20,
) -> None:
    """Plant copies, search; print time, memory, recall of each kind, false alarms, the plain way's time."""
    options = params.load("duplicates").duplicates
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name)
        table, planted = build(raw, recordings, seconds)
        print(f"{len(table)} recordings of {seconds:g} s; {workers.count_workers()} workers", flush=True)
        before, start, busy = peak_memory(), time.perf_counter(), time.process_time()
        found = duplicates.find_pairs(table, raw, options)
        ours, busy = time.perf_counter() - start, time.process_time() - busy
        print(f"search     {ours:10.1f} s, {busy:.1f} s of one processor")
        print(f"peak memory {peak_memory():9.0f} MiB, {before:.0f} of them before the search")
        all_pairs = len(table) * (len(table) - 1) / 2 / workers.count_workers()
        copies = [pair for pair in planted if at_all_lags(raw, options, *pair) >= options.correlation]
        plain, kept = (seconds * all_pairs for seconds in plain_way(table[:100], raw))
    print(f"plain way  {plain:10.1f} s, {plain / ours:.0f} x as long; reckoned from 1000 pairs")
    print(f"  with the transforms kept {kept:10.1f} s, {kept / ours:.0f} x as long")
    pairs = {frozenset(pair) for pair in found[["recording_id", "twin_id"]].to_numpy()}
    for kind in KINDS:
        there = [pair in pairs for pair in copies if planted[pair] is kind]
        print(f"{kind.__name__:12} {sum(there):3d} of {len(there)} found")
    false = pairs - planted.keys()
    print(f"{len(false)} false alarms", *map(sorted, false), sep="\n  ")


def build(raw: Path, n: int, seconds: float) -> tuple[pd.DataFrame, dict[frozenset[str], Kind]]:
    """Write n recordings into `raw`: their table, as much of it as the search reads, and what is a copy."""
    rng, planted = np.random.default_rng(0), {}
    copies = EACH * len(KINDS)
    for k, x in enumerate(pieces(n - copies, seconds)):
        sf.write(raw / f"{k}.wav", x, RATE, subtype="PCM_16")
        if k < copies:
            kind = KINDS[k % len(KINDS)]
            sf.write(raw / f"{k}_copy.wav", *kind(x, rng), subtype="PCM_16")
            planted[frozenset((f"{k}.wav", f"{k}_copy.wav"))] = kind
    names = sorted(path.name for path in raw.glob("*.wav"))
    facts = pd.DataFrame(audio.inspect(raw / name) for name in names)
    return facts.assign(recording_id=names, path=names), planted


def pieces(n: int, seconds: float) -> Iterator[np.ndarray]:
    """n stretches of at most that many seconds, at RATE, from recordings at one speed after another."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = list({_checksums.file_sha256(path): path for path in source_files(Path(scratch))}.values())
        size = round(seconds * RATE)
        left = n
        for speed in SPEEDS:
            for path in np.random.default_rng(1).permutation(np.array(sources, dtype=object)):
                x, rate = audio.load(path)
                x = soxr.resample(x, rate, RATE / speed) * np.float32(0.9)
                for start in range(0, max(1, len(x) - size // 2), size):
                    if left == 0:
                        return
                    left -= 1
                    yield x[start : start + size]
    sys.exit(f"error: {n - left} pieces; --recordings must be fewer")


def source_files(scratch: Path) -> list[Path]:
    base = Path(os.environ.get("MURMUR_DATA", "nowhere"))
    if found := [*base.glob("circor/training_data/*.wav"), *base.glob("bmd_hs/train/*.wav")]:
        return sorted(found)
    synthetic.fetch(synthetic.Options(patients=300, seed=0), scratch, None)
    return sorted(scratch.glob("*.wav"))


def plain_way(table: pd.DataFrame, raw: Path) -> tuple[float, float]:
    """Seconds for one pair, in one thread: transforms made for each pair, or made before and kept."""
    signals = [duplicates._listen(*audio.load(raw / path)).signal for path in table["path"]]
    pairs = [(k % len(signals), (k * 7 + 1) % len(signals)) for k in range(1000)]
    start = time.perf_counter()
    for i, j in pairs:
        np.abs(scipy.signal.correlate(signals[i], signals[j], method="fft")).argmax()
    middle = time.perf_counter()
    size = scipy.fft.next_fast_len(2 * max(map(len, signals)), real=True)
    spectra = [scipy.fft.rfft(x, size) for x in signals]
    kept = time.perf_counter()
    for i, j in pairs:
        np.abs(scipy.fft.irfft(spectra[i] * spectra[j].conj(), size)).argmax()
    return (middle - start) / len(pairs), (time.perf_counter() - kept) / len(pairs)


def at_all_lags(raw: Path, options: Duplicates, *names: str) -> float:
    """The largest correlation (absolute) of all that two recordings share, of all lags where it is enough."""
    heard = (duplicates._listen(*audio.load(raw / name)).signal for name in names)
    x, y = (soxr.resample(signal, 1, 2) for signal in heard)  # lags to half a sample
    lags = scipy.signal.correlation_lags(len(x), len(y))
    start, end = np.maximum(0, lags), np.minimum(len(x), len(y) + lags)
    sums = [np.append(0, np.cumsum(np.square(z, dtype=float))) for z in (x, y)]
    energies = (sums[0][end] - sums[0][start]) * (sums[1][end - lags] - sums[1][start - lags])
    c = np.abs(scipy.signal.correlate(x, y, method="fft")) / np.sqrt(energies + 1e-9)
    least = min(2 * options.overlap * duplicates.RATE, min(len(x), len(y)) / 2)
    return float(c[end - start >= least].max())


def peak_memory() -> float:
    """MiB, of this process so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    typer.run(main)
