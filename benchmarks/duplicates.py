"""Speed and recall of the search for duplicates, compared with a plain cross-correlation.

    PYTHONPATH=src python benchmarks/duplicates.py [--recordings 5000] [--seconds 20]

The recordings are excerpts of CirCor and BMD-HS under MURMUR_DATA, else of simulated recordings. To have
enough of them, they are also resampled to other speeds: audio at another speed is not a duplicate. Some
excerpts are copied, 40 with each kind of change. The search must find the copies whose highest correlation at
all lags is at least `duplicates.correlation`. The plain method is the cross-correlation by FFT of all pairs
at all lags, on the same signals that the search compares; its time is extrapolated from some pairs.
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

from murmur import sections, workers
from murmur.datasets import _checksums, synthetic
from murmur.recordings import audio, duplicates
from murmur.sections.duplicates import Duplicates

RATE = 4000
N_COPIES = 40  # of each kind
SPEEDS = (1, 0.8, 1.25, 0.87, 1.15, 0.93, 1.07, 0.75, 1.33)


def quieter(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return 0.2 * x, RATE


def inverted(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return -x, RATE


def delayed(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return x[int(rng.uniform(0.02, 0.3) * len(x)) :], RATE


def half(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    start = int(rng.uniform(0, 0.5) * len(x))
    return x[start : start + len(x) // 2], RATE


def at_44100_hz(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return soxr.resample(x, RATE, 44100), 44100


def at_2000_hz(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return soxr.resample(x, RATE, 2000), 2000


def noisy(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Add white noise 20 dB below the recording."""
    return x + 0.1 * x.std() * rng.standard_normal(len(x)), RATE


def all_at_once(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return at_2000_hz(-0.3 * noisy(delayed(x, rng)[0], rng)[0], rng)


def noisy_part(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Cut 2 to 4 s at 8 kHz, as in Yaseen's data set, with noise in the band of heart sounds and an echo."""
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
    delayed,
    half,
    at_44100_hz,
    at_2000_hz,
    noisy,
    all_at_once,
    noisy_part,
)


def main(
    recordings: Annotated[int, typer.Option(min=2 * N_COPIES * len(KINDS))] = 5000,
    seconds: Annotated[float, typer.Option(min=2)] = 20,
) -> None:
    """Add copies and search; print time, memory, recall by kind, false positives and the plain method."""
    options = sections.load("duplicates").duplicates
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name)
        table, copies = write_recordings(raw, recordings, seconds)
        print(f"{len(table)} recordings of {seconds:g} s; {workers.count_workers()} workers", flush=True)
        memory, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
        found = duplicates.find_pairs(table, raw, options)
        search, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"search     {search:10.1f} s, {cpu:.1f} s of one processor")
        print(f"peak memory {peak_memory():9.0f} MiB, {memory:.0f} of them before the search")
        all_pairs = len(table) * (len(table) - 1) / 2 / workers.count_workers()
        similar = [
            pair for pair in copies if correlate_at_all_lags(raw, options, *pair) >= options.correlation
        ]
        plain, prepared = (seconds * all_pairs for seconds in time_plain_method(table[:100], raw))
    print(f"plain method {plain:8.1f} s, {plain / search:.0f} x as long; extrapolated from 1000 pairs")
    print(f"  with precomputed transforms {prepared:7.1f} s, {prepared / search:.0f} x as long")
    pairs = {frozenset(pair) for pair in found[["recording_id", "twin_id"]].to_numpy()}
    for kind in KINDS:
        is_found = [pair in pairs for pair in similar if copies[pair] is kind]
        print(f"{kind.__name__:12} {sum(is_found):3d} of {len(is_found)} found")
    false = pairs - copies.keys()
    print(f"{len(false)} false positives", *map(sorted, false), sep="\n  ")


def write_recordings(raw: Path, n: int, seconds: float) -> tuple[pd.DataFrame, dict[frozenset[str], Kind]]:
    """Write n recordings into `raw`; return the columns that the search reads, and the pairs of copies."""
    rng, copies = np.random.default_rng(0), {}
    n_copies = N_COPIES * len(KINDS)
    for k, x in enumerate(cut_excerpts(n - n_copies, seconds)):
        sf.write(raw / f"{k}.wav", x, RATE, subtype="PCM_16")
        if k < n_copies:
            kind = KINDS[k % len(KINDS)]
            sf.write(raw / f"{k}_copy.wav", *kind(x, rng), subtype="PCM_16")
            copies[frozenset((f"{k}.wav", f"{k}_copy.wav"))] = kind
    names = sorted(path.name for path in raw.glob("*.wav"))
    facts = pd.DataFrame(audio.inspect_file(raw / name) for name in names)
    return facts.assign(recording_id=names, path=names), copies


def cut_excerpts(n: int, seconds: float) -> Iterator[np.ndarray]:
    """Yield n excerpts of at most `seconds` at RATE, from all recordings at one speed after the other."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = list({_checksums.file_sha256(path): path for path in list_sources(Path(scratch))}.values())
        size = round(seconds * RATE)
        remaining = n
        for speed in SPEEDS:
            for path in np.random.default_rng(1).permutation(np.array(sources, dtype=object)):
                x, rate = audio.load(path)
                x = soxr.resample(x, rate, RATE / speed) * np.float32(0.9)
                for start in range(0, max(1, len(x) - size // 2), size):
                    if remaining == 0:
                        return
                    remaining -= 1
                    yield x[start : start + size]
    sys.exit(f"error: only {n - remaining} excerpts; choose fewer --recordings")


def list_sources(scratch: Path) -> list[Path]:
    base = Path(os.environ.get("MURMUR_DATA", "nowhere"))
    if files := [*base.glob("circor/training_data/*.wav"), *base.glob("bmd_hs/train/*.wav")]:
        return sorted(files)
    synthetic.fetch(synthetic.Options(patients=300, seed=0), scratch, None)
    return sorted(scratch.glob("*.wav"))


def time_plain_method(table: pd.DataFrame, raw: Path) -> tuple[float, float]:
    """Return the seconds per pair in one thread, with transforms per pair and with precomputed ones."""
    signals = [duplicates._compute_fingerprint(*audio.load(raw / path)).signal for path in table["path"]]
    pairs = [(k % len(signals), (k * 7 + 1) % len(signals)) for k in range(1000)]
    start = time.perf_counter()
    for i, j in pairs:
        np.abs(scipy.signal.correlate(signals[i], signals[j], method="fft")).argmax()
    middle = time.perf_counter()
    size = scipy.fft.next_fast_len(2 * max(map(len, signals)), real=True)
    spectra = [scipy.fft.rfft(x, size) for x in signals]
    start_prepared = time.perf_counter()
    for i, j in pairs:
        np.abs(scipy.fft.irfft(spectra[i] * spectra[j].conj(), size)).argmax()
    return (middle - start) / len(pairs), (time.perf_counter() - start_prepared) / len(pairs)


def correlate_at_all_lags(raw: Path, options: Duplicates, *names: str) -> float:
    """Return the largest correlation (absolute) of two recordings at all lags with enough overlap."""
    signals = (duplicates._compute_fingerprint(*audio.load(raw / name)).signal for name in names)
    x, y = (soxr.resample(signal, 1, 2) for signal in signals)  # lags in half samples
    lags = scipy.signal.correlation_lags(len(x), len(y))
    start, end = np.maximum(0, lags), np.minimum(len(x), len(y) + lags)
    sums = [np.append(0, np.cumsum(np.square(z, dtype=float))) for z in (x, y)]
    energies = (sums[0][end] - sums[0][start]) * (sums[1][end - lags] - sums[1][start - lags])
    c = np.abs(scipy.signal.correlate(x, y, method="fft")) / np.sqrt(energies + 1e-9)
    min_overlap = min(2 * options.overlap * duplicates.RATE, min(len(x), len(y)) / 2)
    return float(c[end - start >= min_overlap].max())


def peak_memory() -> float:
    """Return the peak memory of this process in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    typer.run(main)
