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
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d
from scipy.signal import butter, sosfiltfilt
from threadpoolctl import threadpool_limits

from murmur import workers
from murmur.recordings import audio
from murmur.sections.duplicates import Duplicates

RATE = 1000  # Hz, of the signals compared; anchors are found at twice that
BAND = (25, 200)  # Hz
REACH = 0.5  # s before and after an anchor, to compare its loudness with
LOUD = 0.8  # times the largest value within REACH that an anchor has at least; 1: it is the largest
NEXT = 0.005  # s: an anchor is the largest value so near it
SNIPPET = 0.75  # s, before and after the anchor
STEP = 16  # samples at 2 RATE from one sample of a snippet to the next
AGREE = 0.75  # times the least correlation of two recordings: the least of two snippets of theirs
SLACK = 5  # samples at RATE that noise may move an anchor
TOGETHER = 2  # samples at RATE: votes for lags that differ by no more are votes for one lag
SHORT = 3.0  # s: a shorter overlap may hold one anchor only
LINE = 8  # times the usual amplitude around a frequency: what stands out more is hum
SHORTEST = 0.1  # s; what is shorter is compared by its hash only
BLOCK = 2048  # anchors compared at a time

Pair = tuple[int, int, float, float]  # row numbers of two recordings, correlation, lag


class Fingerprint(NamedTuple):
    """What is compared of a recording."""

    signal: np.ndarray  # [n] float32 at RATE
    anchors: np.ndarray  # [anchors] samples at 2 RATE
    snippets: np.ndarray  # [anchors, samples] float32, of norm 1
    loudest: np.ndarray  # [anchors] bool: the largest value within REACH


class Block(NamedTuple):
    """The anchors of some recordings: owner [anchors], the row number of each one's recording."""

    owner: np.ndarray
    anchors: np.ndarray
    snippets: np.ndarray
    loudest: np.ndarray


def find_pairs(recordings: pd.DataFrame, raw: Path, options: Duplicates) -> pd.DataFrame:
    """Find the pairs of recordings that hold the same audio.

    Every recording is reduced to what a copy keeps: its band of 25 to 200 Hz, tilted up and evenly loud, and
    anchors in it, moments almost as loud as all within 0.5 s. Snippets of 1.5 s around the anchors are
    compared, the loudest with all. Where some agree at the same lag, as in Wang's fingerprints (An
    industrial-strength audio search algorithm, ISMIR 2003), the whole stretches that the two recordings share
    at that lag are compared, and these decide. So no pair below `correlation` is reported. Of pairs that
    share 2 s or more and correlate at 0.9 or more it finds 99.6 % (made of real recordings, against the
    comparison at all lags), of those at 0.98 or more all; of pairs that share less, 96 %.

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
    heard = workers.map_threads(
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


def _listen(samples: np.ndarray, rate: int) -> Fingerprint:
    half = round(2 * SNIPPET * RATE)
    offsets = np.arange(0, 2 * half, STEP)
    if len(samples) < SHORTEST * rate:
        none = np.zeros(0, np.float32)
        return Fingerprint(none, none.astype(int), np.zeros((0, len(offsets)), np.float32), none.astype(bool))
    x = _level(_without_hum(soxr.resample(samples - samples.mean(), rate, 2 * RATE)))
    size = np.abs(x)
    largest = maximum_filter1d(size, round(4 * REACH * RATE) + 1)
    peak = size == maximum_filter1d(size, round(4 * NEXT * RATE) + 1)
    anchors = np.flatnonzero(peak & (size >= LOUD * largest) & (size > np.sqrt(np.mean(size**2))))
    snippets = np.pad(x, half)[anchors[:, None] + offsets] * np.sign(x[anchors, None])
    snippets /= np.linalg.norm(snippets, axis=1, keepdims=True)
    return Fingerprint(x[::2].copy(), anchors, snippets, size[anchors] == largest[anchors])


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


def _search(heard: list[Fingerprint], options: Duplicates) -> list[Pair]:
    """The pairs that sound alike, first row number below the second. Blocks do not depend on the workers."""
    signals = [one.signal for one in heard]
    block = np.cumsum([len(one.anchors) for one in heard]) // BLOCK
    blocks = [_stack(heard, np.flatnonzero(block == k)) for k in np.unique(block)]
    with threadpool_limits(1):  # a matrix product's last bits depend on its threads
        work = partial(_compare, signals, np.array([len(x) for x in signals]), options)
        pairs = combinations_with_replacement(blocks, 2)
        return [pair for some in workers.stream_threads(work, pairs, "comparing") for pair in some]


def _stack(heard: list[Fingerprint], rows: np.ndarray) -> Block:
    owner = np.repeat(rows, [len(heard[row].anchors) for row in rows])
    fields = ([getattr(heard[row], name) for row in rows] for name in Block._fields[1:])
    return Block(owner, *map(np.concatenate, fields))


def _compare(
    signals: list[np.ndarray], lengths: np.ndarray, options: Duplicates, blocks: tuple[Block, Block]
) -> list[Pair]:
    i, j, lag, votes = _agreeing(*blocks, AGREE * options.correlation)
    shared = np.minimum(lengths[i], lengths[j] + lag) - np.maximum(0, lag)
    least = np.minimum(options.overlap * RATE, np.minimum(lengths[i], lengths[j]) / 2).clip(3 * SLACK)
    likely = (shared >= least) & ((votes > 1) | (shared < SHORT * RATE))
    best: dict[tuple[int, int], Pair] = {}
    for a, b, near in np.transpose([i, j, lag])[likely].tolist():
        correlation, exact = _correlate(signals[a], signals[b], near)
        if correlation >= options.correlation and ((a, b) not in best or correlation > best[a, b][2]):
            best[a, b] = (a, b, correlation, exact / RATE)
    return list(best.values())


def _agreeing(one: Block, other: Block, least: float) -> tuple[np.ndarray, ...]:
    """Recordings i < j, a lag in samples at RATE, how many of their snippets agree at it: each [found].

    Of two snippets one lies at the loudest moment around; noise may make another moment the loudest.
    """
    found = [
        _alike(one, other, np.flatnonzero(one.loudest), np.arange(len(other.owner)), least),
        _alike(one, other, np.flatnonzero(~one.loudest), np.flatnonzero(other.loudest), least),
    ]
    a, b = np.concatenate(found, axis=1)
    rows = np.stack([one.owner[a], other.owner[b], one.anchors[a] - other.anchors[b]])
    rows = rows[:, np.lexsort(rows[::-1])]
    steps = np.diff(rows, prepend=-1)
    first = np.flatnonzero((steps[0] != 0) | (steps[1] != 0) | (steps[2] > 2 * TOGETHER))
    votes = np.diff(first, append=rows.shape[1])
    i, j, lag = rows[:, first + votes // 2]
    return i, j, lag // 2, votes


def _alike(one: Block, other: Block, rows: np.ndarray, columns: np.ndarray, least: float) -> np.ndarray:
    """The anchors [2, found] of the two blocks whose snippets correlate, by pairs of `rows` and `columns`."""
    alike = one.snippets[rows] @ other.snippets[columns].T >= least
    a, b = np.divmod(np.flatnonzero(alike), len(columns))
    pair = np.stack([rows[a], columns[b]])
    return pair[:, one.owner[pair[0]] < other.owner[pair[1]]]


def _correlate(x: np.ndarray, y: np.ndarray, lag: int) -> tuple[float, float]:
    """The normalised cross-correlation (absolute) of all that x [n] and y [m] share, and its lag in samples.

    The best lag within SLACK of `lag` is taken, to a part of a sample: the top of a parabola through it and
    its neighbours.
    """
    start, end = max(0, lag + SLACK), min(len(x), len(y) + lag - SLACK)
    u, v = x[start:end], y[start - lag - SLACK : end - lag + SLACK]
    squares = v.astype(float) ** 2
    energy = squares[: len(u)].sum() + np.cumsum(np.append(0, squares[len(u) :] - squares[: 2 * SLACK]))
    c = (np.abs(np.correlate(v, u, "valid")) / np.sqrt((energy * (u @ u)).clip(1e-30)))[::-1]
    best = int(c.argmax())
    if best in (0, 2 * SLACK):  # the top lies beyond
        return float(c[best]), float(lag - SLACK + best)
    left, top, right = c[best - 1 : best + 2].tolist()
    bend = left - 2 * top + right
    shift = (left - right) / (2 * bend) if bend < 0 else 0.0
    return min(1.0, top - (left - right) * shift / 4), lag - SLACK + best + shift
