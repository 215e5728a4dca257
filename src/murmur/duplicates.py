"""Recordings that hold the same audio, byte for byte or after a change of gain, sign, start, length or rate.

Public sets hold such copies, even under two patients' names; dealt to both sides of a split they leak.
"""

from functools import cache, partial
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d
from scipy.signal import butter, sosfiltfilt
from threadpoolctl import threadpool_limits

from murmur import audio, workers
from murmur.params import Duplicates

RATE = 1000  # Hz, of the signals compared; anchors are found at twice that
BAND = (25, 200)  # Hz
REACH = 0.5  # s: an anchor is louder than all that lies so near it
SNIPPET = 0.25  # s, before and after the anchor
SLACK = 3  # samples at RATE that noise may move an anchor
SHORT = 3.0  # s: a shorter overlap may hold one anchor only
LINE = 8  # times the usual amplitude around a frequency: what stands out more is hum
SHORTEST = 0.1  # s; what is shorter is compared by its hash only
BLOCK = 2048  # anchors compared at a time

Pair = tuple[int, int, float, float]  # row numbers of two recordings, correlation, lag


class Heard(NamedTuple):
    """What is compared of a recording."""

    signal: np.ndarray  # [n] float32 at RATE
    anchors: np.ndarray  # [anchors] samples at 2 RATE
    snippets: np.ndarray  # [anchors, samples] float32 at RATE / 2, of norm 1


class Block(NamedTuple):
    """The anchors of some recordings: owner [anchors], the row number of each one's recording."""

    owner: np.ndarray
    anchors: np.ndarray
    snippets: np.ndarray


def find(recordings: pd.DataFrame, raw: Path, options: Duplicates) -> pd.DataFrame:
    """Find the pairs of recordings that hold the same audio.

    Every recording is reduced to what a copy keeps: its band of 25 to 200 Hz, tilted up and evenly loud, and
    anchors in it, moments louder than all within 0.5 s. Snippets around the anchors are compared, all with
    all. Where some agree at the same lag, as in Wang's fingerprints (An industrial-strength audio search
    algorithm, ISMIR 2003), the whole stretches that the two recordings share at that lag are compared. What
    two recordings share for less than 2 s may hold no anchor, and is then missed.

    Parameters
    ----------
    recordings: as `tables.RECORDINGS`; their paths are relative to `raw`.
    options: `correlation`, the least normalised cross-correlation (absolute) of all that two recordings
        share; `overlap`, the least they must share, s; of a shorter recording half of it.

    Returns
    -------
    A row a pair, as `tables.DUPLICATES`, sorted: recording_id < twin_id; correlation, absolute; lag, how
    much later the shared sound begins in recording_id than in twin_id, s; identical, where all samples are.

    Raises
    ------
    MurmurError
        As `audio.load_recording`.
    """
    table = recordings.sort_values("recording_id", ignore_index=True)
    heard = workers.threads(
        lambda row: _listen(*audio.load_recording(raw, row)), table.itertuples(index=False), "listening"
    )
    found = {pair: (1.0, 0.0, True) for pair in _identical(table["audio_sha256"])}
    for i, j, correlation, lag in _search(heard, options):
        found.setdefault((i, j), (correlation, lag, False))
    ids = table["recording_id"]
    rows = [(ids[i], ids[j], *found[i, j]) for i, j in sorted(found)]
    kinds = {"recording_id": str, "twin_id": str, "correlation": float, "lag": float, "identical": bool}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def _identical(hashes: pd.Series) -> list[tuple[int, int]]:
    return [pair for rows in hashes.groupby(hashes).indices.values() for pair in combinations(rows, 2)]


def _listen(samples: np.ndarray, rate: int) -> Heard:
    half = round(2 * SNIPPET * RATE)
    if len(samples) < SHORTEST * rate:
        return Heard(np.zeros(0, np.float32), np.zeros(0, int), np.zeros((0, half // 2), np.float32))
    x = _level(_without_hum(soxr.resample(samples - samples.mean(), rate, 2 * RATE)))
    size = np.abs(x)
    highest = size == maximum_filter1d(size, round(4 * REACH * RATE) + 1)
    anchors = np.flatnonzero(highest & (size > np.sqrt(np.mean(size**2))))
    around = anchors[:, None] + np.arange(0, 2 * half, 4)
    snippets = np.pad(x, half)[around] * np.sign(x[anchors, None])
    return Heard(x[::2].copy(), anchors, snippets / np.linalg.norm(snippets, axis=1, keepdims=True))


def _without_hum(x: np.ndarray) -> np.ndarray:
    """x [n] up to 250 Hz without lines in its spectrum: hum of the mains would make recordings alike."""
    spectrum = scipy.fft.rfft(x)[: 1 + len(x) // 8]
    size = np.abs(spectrum)
    usual = median_filter(size, 1 + 5 * len(x) // RATE)  # over 10 Hz
    return scipy.fft.irfft(spectrum * np.minimum(1, LINE * usual / size.clip(1e-30)), len(x))


def _level(x: np.ndarray) -> np.ndarray:
    """x [n] in BAND, tilted up by 6 dB an octave, as loud in any second, so that no click outweighs it."""
    x = np.gradient(sosfiltfilt(_band(), x, padlen=RATE // 10))
    loudness = uniform_filter1d(x**2, 2 * RATE).clip(0)
    return (x / np.sqrt(loudness + 0.01 * np.mean(x**2) + 1e-30)).astype(np.float32)


@cache
def _band() -> np.ndarray:
    return butter(4, BAND, "bandpass", fs=2 * RATE, output="sos")


def _search(heard: list[Heard], options: Duplicates) -> list[Pair]:
    """The pairs that sound alike, first row number below the second. Blocks do not depend on the workers."""
    signals = [one.signal for one in heard]
    block = np.cumsum([len(one.anchors) for one in heard]) // BLOCK
    blocks = [_stack(heard, np.flatnonzero(block == k)) for k in np.unique(block)]
    with threadpool_limits(1):  # a matrix product's last bits depend on its threads
        work = partial(_compare, signals, np.array([len(x) for x in signals]), options)
        pairs = combinations_with_replacement(blocks, 2)
        return [pair for some in workers.stream(work, pairs, "comparing") for pair in some]


def _stack(heard: list[Heard], rows: np.ndarray) -> Block:
    owner = np.repeat(rows, [len(heard[row].anchors) for row in rows])
    anchors, snippets = ([getattr(heard[row], name) for row in rows] for name in ("anchors", "snippets"))
    return Block(owner, np.concatenate(anchors), np.concatenate(snippets))


def _compare(
    signals: list[np.ndarray], lengths: np.ndarray, options: Duplicates, blocks: tuple[Block, Block]
) -> list[Pair]:
    i, j, lag, votes = _agreeing(*blocks, options.correlation)
    shared = np.minimum(lengths[i], lengths[j] + lag) - np.maximum(0, lag)
    least = np.minimum(options.overlap * RATE, np.minimum(lengths[i], lengths[j]) / 2)
    likely = (shared >= least) & ((votes > 1) | (shared < SHORT * RATE))
    best: dict[tuple[int, int], Pair] = {}
    for a, b, near in np.transpose([i, j, lag])[likely].tolist():
        correlation, exact = _correlate(signals[a], signals[b], near)
        if correlation >= options.correlation and ((a, b) not in best or correlation > best[a, b][2]):
            best[a, b] = (a, b, correlation, exact / RATE)
    return list(best.values())


def _agreeing(one: Block, other: Block, least: float) -> tuple[np.ndarray, ...]:
    """Recordings i < j, a lag in samples at RATE, how many of their snippets agree at it: each [found]."""
    alike = one.snippets @ other.snippets.T >= least
    a, b = np.divmod(np.flatnonzero(alike), len(other.owner))
    a, b = a[one.owner[a] < other.owner[b]], b[one.owner[a] < other.owner[b]]
    lag = np.round((one.anchors[a] - other.anchors[b]) / 4).astype(int) * 2  # to 2 ms: noise moves anchors
    order = np.lexsort((lag, other.owner[b], one.owner[a]))
    rows = np.stack([one.owner[a], other.owner[b], lag])[:, order]
    first = np.flatnonzero(np.any(np.diff(rows, prepend=-1), axis=0))
    return *rows[:, first], np.diff(first, append=len(order))


def _correlate(x: np.ndarray, y: np.ndarray, lag: int) -> tuple[float, float]:
    """The normalised cross-correlation (absolute) of all that x [n] and y [m] share, and its lag in samples.

    The best lag within SLACK of `lag` is taken, to a part of a sample: the top of a parabola through it and
    its neighbours. Sounds that agree by less than half at `lag` itself are no copies: 0.
    """
    start, end = max(0, lag + SLACK), min(len(x), len(y) + lag - SLACK)
    u, v = x[start:end], y[start - lag : end - lag]
    if abs(u @ v) <= 0.5 * np.sqrt((u @ u) * (v @ v)):
        return 0.0, float(lag)
    windows = sliding_window_view(y[start - lag - SLACK : end - lag + SLACK], len(u))[::-1]
    c = np.abs(windows @ u) / np.sqrt(np.einsum("ij,ij->i", windows, windows) * (u @ u))
    best = int(c[1:-1].argmax()) + 1
    left, top, right = c[best - 1 : best + 2]
    bend = left - 2 * top + right
    shift = (left - right) / (2 * bend) if bend < 0 else 0.0
    return min(1.0, float(top - (left - right) * shift / 4)), float(lag - SLACK + best + shift)
