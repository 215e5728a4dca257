"""Pairs of recordings that may share audio, found by locality-sensitive hashing.

The time is nearly proportional to the number of recordings, because only anchors with equal keys in a hash
table are compared. Signatures are in files, so that memory is needed for some numbers of each recording only.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from murmur import workers

RATE = 2000  # Hz, of the signal
BAND = (25, 200)  # Hz
MAX_FREQUENCY = 250  # Hz
HUM_BAND = 10  # Hz, over which the median amplitude is computed
HUM_RATIO = 8  # times the median amplitude of its band: a larger amplitude is hum
PIECE = 10  # samples; each has at most one anchor
NEIGHBOURHOOD = 100  # pieces before and after an anchor: 0.5 s
RELATIVE_PEAK = 0.8  # an anchor is at least this times the largest value in its neighbourhood
OFFSETS = np.arange(-1500, 1500, 16)  # samples from an anchor to the values of its snippet
GAP = 100  # samples before and after an anchor that are ignored: at their peak many heart sounds are similar
SCALE = 16  # of the stored signals; their values have an RMS of 1
BITS = 128  # of a signature
LAG_TOLERANCE = 8  # samples by which noise may shift an anchor
SHARE = 0.15  # of the anchors that two recordings share, the least that must be similar
SHORTEST = 100  # samples that two recordings share
COLLISIONS = 3  # how often two similar anchors have the same key, on average over all hash tables
MAX_TABLES = 512
PART = 2**25  # anchors of a hash table that are in memory at a time
BLOCK = 2**18  # anchors, or pairs of anchors, that are processed at a time


class Signatures(NamedTuple):
    """The signal and the anchors of a recording.

    Attributes
    ----------
    n_samples : int
        Length of the recording at RATE.
    signal : ndarray of int8, shape [n_values]
        SCALE times the signal at RATE / 2, with equal power in every second.
    positions : ndarray of int, shape [n_anchors]
        Samples at RATE, in order.
    codes : ndarray of uint64, shape [n_anchors, 2]
        BITS bits of each anchor.
    """

    n_samples: int
    signal: np.ndarray
    positions: np.ndarray
    codes: np.ndarray


def compute_signatures(samples: np.ndarray, rate: int) -> Signatures:
    """Compute the signatures of a recording.

    An anchor is a large peak of the signal in BAND. Each bit of its signature is the sign of a random
    projection of the signal around it (random hyperplanes [1]_): the share of equal bits of two signatures is
    an estimate of 1 - arccos(correlation) / pi.

    Parameters
    ----------
    samples : ndarray of float32, shape [n_samples]
        The recording.
    rate : int
        Its sample rate in Hz.

    References
    ----------
    .. [1] Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002.
    """
    x = _filter(samples, rate)
    n_samples = round(len(samples) * RATE / rate)
    x = x[: max(PIECE, n_samples // PIECE * PIECE)].reshape(-1, PIECE)
    power = np.einsum("ij,ij->i", x, x) / PIECE
    x /= np.sqrt(uniform_filter1d(power, RATE // PIECE).clip(0) + 0.01 * power.mean() + 1e-30)[:, None]
    positions = _find_anchors(np.abs(x))
    x = x.ravel()
    snippets = np.pad(x, -OFFSETS[0])[positions[:, None] + (OFFSETS - OFFSETS[0])]
    bits = (snippets * np.sign(x[positions, None])) @ PROJECTIONS > 0
    codes = np.packbits(bits, axis=1).view(np.uint64).reshape(-1, BITS // 64)
    signal = np.rint(SCALE * x[::2]).clip(-127, 127).astype(np.int8)
    return Signatures(n_samples, signal, positions, codes)


def _make_projections() -> np.ndarray:
    """Make random projections of a snippet, shape [n_values, BITS]."""
    projections = np.random.default_rng(0).standard_normal((len(OFFSETS), BITS)).astype(np.float32)
    return projections * (np.abs(OFFSETS) >= GAP)[:, None]


PROJECTIONS = _make_projections()


def _filter(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the signal in BAND at RATE, without hum, raised by 6 dB per octave. It has some more samples."""
    size = scipy.fft.next_fast_len(max(len(samples), rate // 10) + rate // 10, real=True)
    n_resampled = round(size * RATE / rate)
    n = min(size // 2, n_resampled // 2, MAX_FREQUENCY * size // rate) + 1
    spectrum = scipy.fft.rfft(samples - samples.mean(), size)[:n]
    magnitude = np.abs(spectrum)
    width = HUM_BAND * size // rate
    padded = np.pad(magnitude, (0, -n % width), mode="edge").reshape(-1, width)
    median = np.repeat(np.median(padded, axis=1), width)[:n]
    f = np.arange(1, n, dtype=np.float32) * np.float32(rate / size)
    low, high = BAND
    gain = np.zeros(n, np.float32)
    gain[1:] = f / (1 + np.square(np.square(np.square((f - low * high / f) / (high - low)))))
    gain *= np.minimum(1, HUM_RATIO * median / magnitude.clip(1e-30))
    return scipy.fft.irfft(spectrum * gain, n_resampled)


def _find_anchors(magnitude: np.ndarray) -> np.ndarray:
    """Return the samples of the anchors, given the magnitude, shape [n_pieces, PIECE]."""
    peak = np.maximum.reduce(magnitude.T.copy())  # much faster than the maximum over short rows
    is_large = peak >= RELATIVE_PEAK * maximum_filter1d(peak, 2 * NEIGHBOURHOOD + 1)
    is_large &= (peak == maximum_filter1d(peak, 3)) & (peak > np.sqrt(np.mean(np.square(magnitude))))
    pieces = np.flatnonzero(is_large)
    return pieces * PIECE + magnitude[pieces].argmax(axis=1)


class Index(NamedTuple):
    """The signatures of all recordings.

    Attributes
    ----------
    folder : Path
        Has the files `places`, `codes` and `signals`.
    n_samples : ndarray of int, shape [n_recordings]
        As in `Signatures`.
    n_anchors : ndarray of int, shape [n_recordings]
        Of each recording.
    ends : ndarray of int, shape [n_recordings]
        Where the signal of each recording ends in its file.
    """

    folder: Path
    n_samples: np.ndarray
    n_anchors: np.ndarray
    ends: np.ndarray

    def open(self) -> tuple[np.ndarray, np.ndarray]:
        """Open the files. Mapped pages count as memory in use, so they are opened again for each block.

        Returns
        -------
        places : ndarray of int, shape [n_anchors]
            2^32 · number of the recording + position, in order.
        codes : ndarray of uint64, shape [n_anchors, 2]
            As in `Signatures`.
        """
        places = np.memmap(self.folder / "places", np.int64, "r")
        return places, np.memmap(self.folder / "codes", np.uint64, "r").reshape(-1, BITS // 64)

    def read_signal(self, number: int) -> np.ndarray:
        """Read the signal of a recording at RATE / 2, float32."""
        start, end = (int(self.ends[number - 1]) if number else 0), int(self.ends[number])
        return np.fromfile(self.folder / "signals", np.int8, end - start, offset=start).astype(np.float32)


def write_index(signatures: Iterable[Signatures], folder: Path) -> Index:
    """Write the signatures of all recordings into files.

    Parameters
    ----------
    signatures : iterable of Signatures
        Of each recording.
    folder : Path
        An empty folder.

    Returns
    -------
    Index
    """
    sizes = []
    with (
        (folder / "places").open("wb") as places,
        (folder / "codes").open("wb") as codes,
        (folder / "signals").open("wb") as signals,
    ):
        for number, one in enumerate(signatures):
            (one.positions.astype(np.int64) + (number << 32)).tofile(places)
            one.codes.tofile(codes)
            one.signal.tofile(signals)
            sizes.append((one.n_samples, len(one.positions), len(one.signal)))
    n_samples, n_anchors, n_values = np.array(sizes, np.int64).reshape(-1, 3).T
    return Index(folder, n_samples, n_anchors, n_values.cumsum())


def find_candidates(index: Index, correlation: float, min_correlation: float, overlap: float) -> np.ndarray:
    """Find the recordings and lags at which two recordings may share audio.

    Each hash table has keys of other random bits of the signatures. Anchors with the same key in a table and
    similar signatures give the lag at which the audio of two recordings may be the same. At this lag the
    anchors of both are compared.

    Parameters
    ----------
    index : Index
        Of the recordings.
    correlation : float
        The correlation of the audio to find; a lower one needs more tables.
    min_correlation : float
        The least correlation of two similar snippets.
    overlap : float
        The least duration of shared audio in s; half of a recording that is shorter than twice this.

    Returns
    -------
    ndarray of int, shape [n_candidates, 3]
        Numbers of two recordings, the smaller first, and by how many samples at RATE the shared audio begins
        later in the first; sorted.

    References
    ----------
    Indyk and Motwani, Approximate nearest neighbors: towards removing the curse of dimensionality, STOC 1998.
    """
    n_anchors = index.n_anchors.sum()
    if n_anchors < 2:
        return np.empty((0, 3), int)
    n_bits = round(np.clip(1.25 * math.log2(n_anchors) - 2, 1, 32))  # more: fewer collisions, more tables
    share_equal = 1 - math.acos(correlation) / math.pi
    n_tables = min(MAX_TABLES, math.ceil(COLLISIONS / share_equal**n_bits))
    rng = np.random.default_rng(1)
    tables = [rng.choice(BITS, n_bits, replace=False) for _ in range(n_tables)]
    n_parts = math.ceil(n_anchors * workers.count_workers() / PART)
    jobs = [(bits, part) for bits in tables for part in range(n_parts)]
    max_distance = int(BITS * math.acos(min_correlation) / math.pi)
    search = partial(_search_table, index, n_parts, max_distance, overlap)
    found = np.empty((0, 3), int)
    for lags in workers.stream_threads(search, jobs, "comparing"):
        found = _unique_rows([found, lags])
    return found


def _search_table(
    index: Index, n_parts: int, max_distance: int, overlap: float, job: tuple[np.ndarray, int]
) -> np.ndarray:
    """Return the candidates that one part of a hash table gives, as `find_candidates`."""
    found = [np.empty((0, 3), int)]
    size = math.ceil(4 * BLOCK / index.n_anchors.max())
    for first, second in _find_collisions(_sort_keys(index, *job, n_parts)):
        lags = _compute_lags(index, first, second, max_distance)
        parts = (lags[start : start + size] for start in range(0, len(lags), size))
        found += [_check_lags(index, part, max_distance, overlap) for part in parts]
    return _unique_rows(found)


def _sort_keys(index: Index, bits: np.ndarray, part: int, n_parts: int) -> np.ndarray:
    """Return 2^32 · key + number of the anchor, uint64, sorted, for the keys of one part."""
    blocks = []
    for start in range(0, index.n_anchors.sum(), BLOCK):
        codes = index.open()[1][start : start + BLOCK]
        keys = np.zeros(len(codes), np.uint64)
        for bit in bits.tolist():
            keys = keys << np.uint64(1) | codes[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)
        packed = keys << np.uint64(32) | np.arange(start, start + len(codes), dtype=np.uint64)
        blocks.append(packed if n_parts == 1 else packed[keys % np.uint64(n_parts) == part])
    table = np.concatenate(blocks)
    table.sort()
    return table


def _find_collisions(table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the numbers of the anchors that have the same key, at most BLOCK pairs at a time."""
    for start in range(0, len(table) - 1, BLOCK):
        rows, step = np.arange(start, min(start + BLOCK, len(table) - 1)), 1
        while len(rows := rows[(table[rows] ^ table[rows + step]) >> np.uint64(32) == 0]):
            yield table[rows] & np.uint64(2**32 - 1), table[rows + step] & np.uint64(2**32 - 1)
            step += 1
            rows = rows[rows + step < len(table)]


def _compute_lags(index: Index, first: np.ndarray, second: np.ndarray, max_distance: int) -> np.ndarray:
    """Return number, number and lag, each once, of the recordings of similar anchors, shape [n, 3].

    The smaller number is first; lags are rounded to LAG_TOLERANCE.
    """
    places, codes = index.open()
    rows = np.sort(np.stack([first, second]), axis=0).astype(np.int64)
    is_other = places[rows[0]] >> 32 != places[rows[1]] >> 32
    rows = rows[:, is_other]
    rows = rows[:, np.bitwise_count(codes[rows[0]] ^ codes[rows[1]]).sum(axis=1) <= max_distance]
    number, position = np.divmod(places[rows], 2**32)
    lag = np.round((position[0] - position[1]) / LAG_TOLERANCE).astype(np.int64) * LAG_TOLERANCE
    return _unique_rows([np.stack([*number, lag], axis=1)])


def _unique_rows(parts: list[np.ndarray]) -> np.ndarray:
    """Return the different rows of arrays, sorted; faster than `np.unique`."""
    rows = np.concatenate(parts)
    rows = rows[np.lexsort(rows.T[::-1])]
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[is_new]


def _check_lags(index: Index, lags: np.ndarray, max_distance: int, overlap: float) -> np.ndarray:
    """Return the rows of `lags`, as from `_compute_lags`, at which the anchors of both are similar."""
    places, codes = index.open()
    i, j, lag = lags.T
    start, end = np.maximum(0, lag), np.minimum(index.n_samples[i], index.n_samples[j] + lag)
    shorter = np.minimum(index.n_samples[i], index.n_samples[j])
    least = (np.minimum(overlap * RATE, shorter / 2) - LAG_TOLERANCE).clip(SHORTEST)
    lags, start, end = (values[end - start >= least] for values in (lags, start, end))
    i, j, lag = lags.T
    first, n_first = _find_between(places, i, start, end)
    n_shared = np.minimum(n_first, _find_between(places, j, start - lag, end - lag)[1])
    pair = np.repeat(np.arange(len(i)), n_first)
    anchor = np.arange(len(pair)) + (first + n_first - np.cumsum(n_first))[pair]
    expected = places[anchor] + ((j - i) << 32)[pair] - lag[pair]
    other = np.searchsorted(places, expected - LAG_TOLERANCE).clip(max=len(places) - 1)
    is_similar = np.bitwise_count(codes[anchor] ^ codes[other]).sum(axis=1) <= max_distance
    is_similar &= np.abs(places[other] - expected) <= LAG_TOLERANCE
    n_similar = np.bincount(pair[is_similar], minlength=len(i))
    return lags[(n_similar > 0) & (n_similar >= SHARE * n_shared)]


def _find_between(
    places: np.ndarray, number: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first anchor of recordings between two samples, and how many there are."""
    base = number << 32
    first = np.searchsorted(places, base + (start - LAG_TOLERANCE).clip(0))
    return first, np.searchsorted(places, base + end + LAG_TOLERANCE, side="right") - first
