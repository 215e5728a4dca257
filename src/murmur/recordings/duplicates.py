"""Search for recordings that share audio: identical, or after a change of gain, sign, start, length or rate.

Public data sets hold such copies, even as recordings of two patients. If a split assigns them to two sides,
the test data leak into the training data.
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

from murmur import cluster, workers
from murmur.recordings import audio
from murmur.sections.duplicates import Duplicates

RATE = 1000  # Hz, of the signals that are compared; anchors are found at 2 RATE
BAND = (25, 200)  # Hz
NEIGHBOURHOOD = 0.5  # s before and after an anchor in which it is one of the largest values
RELATIVE_PEAK = 0.8  # an anchor is at least this times the largest value in its neighbourhood
ANCHOR_DISTANCE = 0.005  # s: an anchor is the largest value within this distance
SNIPPET = 0.75  # s before and after an anchor
STEP = 16  # samples at 2 RATE between two values of a snippet
SNIPPET_TOLERANCE = 0.75  # times `correlation`: the least correlation of two snippets of a pair
LAG_TOLERANCE = 5  # samples at RATE by which noise may shift an anchor
LAG_BIN = 2  # samples at RATE: lags that differ by no more are counted as one lag
SHORT_OVERLAP = 3.0  # s: a shorter overlap may contain only one anchor
HUM_RATIO = 8  # times the median amplitude around a frequency: a larger amplitude is hum
MIN_DURATION = 0.1  # s; shorter recordings are compared by their hash only
BLOCK = 2048  # anchors that are compared at a time

Pair = tuple[int, int, float, float]  # row numbers of two recordings, correlation, lag in s


class Fingerprint(NamedTuple):
    """The features of a recording that are compared.

    Attributes
    ----------
    signal : ndarray of float32, shape [n_samples]
        The filtered signal at RATE.
    anchors : ndarray of int, shape [n_anchors]
        Samples at 2 RATE.
    snippets : ndarray of float32, shape [n_anchors, n_values]
        The signal around each anchor, with norm 1.
    is_largest : ndarray of bool, shape [n_anchors]
        Whether the anchor is the largest value in its neighbourhood.
    """

    signal: np.ndarray
    anchors: np.ndarray
    snippets: np.ndarray
    is_largest: np.ndarray


class Block(NamedTuple):
    """The anchors of several recordings, as in `Fingerprint`.

    Attributes
    ----------
    recording : ndarray of int, shape [n_anchors]
        The row number of each anchor's recording.
    anchors, snippets, is_largest : ndarray
        As in `Fingerprint`.
    """

    recording: np.ndarray
    anchors: np.ndarray
    snippets: np.ndarray
    is_largest: np.ndarray


def find_pairs(recordings: pd.DataFrame, raw: Path, options: Duplicates) -> pd.DataFrame:
    """Find the pairs of recordings that share audio.

    Every recording is reduced to a fingerprint: its band of 25 to 200 Hz with equalised loudness, and
    anchors, which are the largest values within 0.5 s and those almost as large. Snippets of 1.5 s around the
    anchors are compared; of two snippets, one must be at a largest value. Where snippets agree at one lag, as
    in [1]_, all the audio that the two recordings share at that lag is compared, and only this correlation
    decides.

    Parameters
    ----------
    recordings : DataFrame
        As `murmur.tables.recordings.RECORDINGS`; the paths are relative to `raw`.
    raw : Path
        The folder of the recordings.
    options : Duplicates
        `correlation`: the least normalised cross-correlation (absolute) of the shared audio. `overlap`: the
        least duration of shared audio in s; half of a recording that is shorter than twice this.

    Returns
    -------
    DataFrame
        As `murmur.tables.duplicates.DUPLICATES`, one row per pair, sorted: recording_id < twin_id;
        correlation (absolute); lag, by how many s the shared audio begins later in recording_id than in
        twin_id; identical, whether all samples are equal.

    Raises
    ------
    MurmurError
        As `audio.load_recording`.

    Notes
    -----
    No pair below `correlation` is reported. Compared with the cross-correlation at all lags, the search finds
    99.6 % of the pairs that share 2 s or more and correlate at 0.9 or more (copies of real recordings), all
    pairs at 0.98 or more, and 96 % of the pairs that share less than 2 s.

    References
    ----------
    .. [1] Wang, An industrial-strength audio search algorithm, ISMIR 2003.
    """
    table = recordings.sort_values("recording_id", ignore_index=True)
    fingerprints = cluster.map_recordings(
        lambda row: _compute_fingerprint(*audio.load_recording(raw, row)),
        table.itertuples(index=False),
        "computing fingerprints",
    )
    pairs = dict.fromkeys(_find_identical(table["audio_sha256"]), (1.0, 0.0, True))
    for i, j, correlation, lag in _search(fingerprints, options):
        pairs.setdefault((i, j), (correlation, lag, False))
    ids = table["recording_id"]
    rows = [(ids[i], ids[j], *pairs[i, j]) for i, j in sorted(pairs)]
    dtypes = {"recording_id": str, "twin_id": str, "correlation": float, "lag": float, "identical": bool}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def _find_identical(hashes: pd.Series) -> list[tuple[int, int]]:
    return [pair for rows in hashes.groupby(hashes).indices.values() for pair in combinations(rows, 2)]


def _compute_fingerprint(samples: np.ndarray, rate: int) -> Fingerprint:
    half_width = round(2 * SNIPPET * RATE)
    offsets = np.arange(0, 2 * half_width, STEP)
    if len(samples) < MIN_DURATION * rate:
        empty = np.zeros(0, np.float32)
        snippets = np.zeros((0, len(offsets)), np.float32)
        return Fingerprint(empty, empty.astype(int), snippets, empty.astype(bool))
    x = _equalise(_remove_hum(soxr.resample(samples - samples.mean(), rate, 2 * RATE)))
    anchors, is_largest = _find_anchors(np.abs(x))
    snippets = np.pad(x, half_width)[anchors[:, None] + offsets] * np.sign(x[anchors, None])
    snippets /= np.linalg.norm(snippets, axis=1, keepdims=True)
    return Fingerprint(x[::2].copy(), anchors, snippets, is_largest)


def _find_anchors(magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the anchors of a signal at 2 RATE, and whether each is the largest in its neighbourhood."""
    largest = maximum_filter1d(magnitude, round(4 * NEIGHBOURHOOD * RATE) + 1)
    is_peak = magnitude == maximum_filter1d(magnitude, round(4 * ANCHOR_DISTANCE * RATE) + 1)
    is_large = (magnitude >= RELATIVE_PEAK * largest) & (magnitude > np.sqrt(np.mean(magnitude**2)))
    anchors = np.flatnonzero(is_peak & is_large)
    return anchors, magnitude[anchors] == largest[anchors]


def _remove_hum(x: np.ndarray) -> np.ndarray:
    """Return x [n] up to 250 Hz without spectral lines: mains hum would make different recordings similar."""
    spectrum = scipy.fft.rfft(x)[: 1 + len(x) // 8]
    magnitude = np.abs(spectrum)
    median = median_filter(magnitude, 1 + 5 * len(x) // RATE)  # over 10 Hz
    return scipy.fft.irfft(spectrum * np.minimum(1, HUM_RATIO * median / magnitude.clip(1e-30)), len(x))


def _equalise(x: np.ndarray) -> np.ndarray:
    """Return x [n] in BAND, raised by 6 dB per octave, with equal power in every second, also at a click."""
    x = np.gradient(sosfiltfilt(_design_bandpass(), x, padlen=RATE // 10))
    power = uniform_filter1d(x**2, 2 * RATE).clip(0)
    return (x / np.sqrt(power + 0.01 * np.mean(x**2) + 1e-30)).astype(np.float32)


@cache
def _design_bandpass() -> np.ndarray:
    return butter(4, BAND, "bandpass", fs=2 * RATE, output="sos")


def _search(fingerprints: list[Fingerprint], options: Duplicates) -> list[Pair]:
    """Find pairs with similar audio, the smaller row number first.

    The blocks do not depend on the number of workers, so neither does the result.
    """
    signals = [fingerprint.signal for fingerprint in fingerprints]
    lengths = np.array([len(signal) for signal in signals])
    number = np.cumsum([len(fingerprint.anchors) for fingerprint in fingerprints]) // BLOCK
    blocks = [_stack(fingerprints, np.flatnonzero(number == k)) for k in np.unique(number)]
    with threadpool_limits(1):  # the last bits of a matrix product depend on the number of threads
        work = partial(_compare_blocks, signals, lengths, options)
        block_pairs = combinations_with_replacement(blocks, 2)
        results = workers.stream_threads(work, block_pairs, "comparing")
        return [pair for pairs in results for pair in pairs]


def _stack(fingerprints: list[Fingerprint], rows: np.ndarray) -> Block:
    recording = np.repeat(rows, [len(fingerprints[row].anchors) for row in rows])
    fields = ([getattr(fingerprints[row], name) for row in rows] for name in Block._fields[1:])
    return Block(recording, *map(np.concatenate, fields))


def _compare_blocks(
    signals: list[np.ndarray], lengths: np.ndarray, options: Duplicates, blocks: tuple[Block, Block]
) -> list[Pair]:
    """Find the pairs between two blocks, each with its highest correlation."""
    i, j, lag, votes = _find_candidates(*blocks, SNIPPET_TOLERANCE * options.correlation)
    overlap = np.minimum(lengths[i], lengths[j] + lag) - np.maximum(0, lag)
    min_overlap = np.minimum(options.overlap * RATE, np.minimum(lengths[i], lengths[j]) / 2)
    is_candidate = overlap >= min_overlap.clip(3 * LAG_TOLERANCE)
    is_candidate &= (votes > 1) | (overlap < SHORT_OVERLAP * RATE)
    best: dict[tuple[int, int], Pair] = {}
    for a, b, coarse_lag in np.transpose([i, j, lag])[is_candidate].tolist():
        correlation, exact_lag = _correlate(signals[a], signals[b], coarse_lag)
        if correlation >= options.correlation and ((a, b) not in best or correlation > best[a, b][2]):
            best[a, b] = (a, b, correlation, exact_lag / RATE)
    return list(best.values())


def _find_candidates(first: Block, second: Block, min_correlation: float) -> tuple[np.ndarray, ...]:
    """Find recordings with similar snippets, and count the similar snippets at each lag.

    Of two similar snippets one is at a largest value; noise may have moved the largest value of the other.

    Returns
    -------
    i, j, lag, votes : ndarray of int, shape [n_candidates]
        Row numbers i < j, the lag in samples at RATE, and how many snippets agree at this lag.
    """
    all_second = np.arange(len(second.recording))
    similar = [
        _match_snippets(first, second, np.flatnonzero(first.is_largest), all_second, min_correlation),
        _match_snippets(
            first,
            second,
            np.flatnonzero(~first.is_largest),
            np.flatnonzero(second.is_largest),
            min_correlation,
        ),
    ]
    a, b = np.concatenate(similar, axis=1)
    lags = first.anchors[a] - second.anchors[b]
    rows = np.stack([first.recording[a], second.recording[b], lags])
    rows = rows[:, np.lexsort(rows[::-1])]
    steps = np.diff(rows, prepend=-1)
    start = np.flatnonzero((steps[0] != 0) | (steps[1] != 0) | (steps[2] > 2 * LAG_BIN))
    votes = np.diff(start, append=rows.shape[1])
    i, j, lag = rows[:, start + votes // 2]
    return i, j, lag // 2, votes


def _match_snippets(
    first: Block, second: Block, rows: np.ndarray, columns: np.ndarray, min_correlation: float
) -> np.ndarray:
    """Return the anchors [2, n] of similar snippets among `rows` of `first` and `columns` of `second`."""
    is_similar = first.snippets[rows] @ second.snippets[columns].T >= min_correlation
    a, b = np.divmod(np.flatnonzero(is_similar), len(columns))
    anchors = np.stack([rows[a], columns[b]])
    return anchors[:, first.recording[anchors[0]] < second.recording[anchors[1]]]


def _correlate(x: np.ndarray, y: np.ndarray, lag: int) -> tuple[float, float]:
    """Compute the normalised cross-correlation (absolute) of all the audio that two signals share.

    The lag with the highest correlation within LAG_TOLERANCE of `lag` is chosen and refined to a fraction of
    a sample by a parabola through the highest value and its neighbours.

    Parameters
    ----------
    x : ndarray, shape [n]
        The first signal.
    y : ndarray, shape [m]
        The second signal.
    lag : int
        By how many samples the shared audio begins later in x.

    Returns
    -------
    correlation : float
        0 to 1.
    lag : float
        In samples.
    """
    start, end = max(0, lag + LAG_TOLERANCE), min(len(x), len(y) + lag - LAG_TOLERANCE)
    u, v = x[start:end], y[start - lag - LAG_TOLERANCE : end - lag + LAG_TOLERANCE]
    squares = v.astype(float) ** 2
    changes = np.append(0, squares[len(u) :] - squares[: 2 * LAG_TOLERANCE])
    energy = squares[: len(u)].sum() + np.cumsum(changes)
    c = (np.abs(np.correlate(v, u, "valid")) / np.sqrt((energy * (u @ u)).clip(1e-30)))[::-1]
    best = int(c.argmax())
    if best in (0, 2 * LAG_TOLERANCE):  # the maximum is outside
        return float(c[best]), float(lag - LAG_TOLERANCE + best)
    left, top, right = c[best - 1 : best + 2].tolist()
    curvature = left - 2 * top + right
    shift = (left - right) / (2 * curvature) if curvature < 0 else 0.0
    return min(1.0, top - (left - right) * shift / 4), lag - LAG_TOLERANCE + best + shift
