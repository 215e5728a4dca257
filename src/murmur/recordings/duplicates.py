"""Search for recordings that share audio: identical, or after a change of gain, sign, start, length or rate.

Public data sets hold such copies, even as recordings of two patients. If a split assigns them to two sides,
the test data leak into the training data.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import soxr
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d
from scipy.signal import butter, sosfiltfilt
from threadpoolctl import threadpool_limits

from murmur import cluster, workers
from murmur.files import temporary_folder
from murmur.recordings import audio, candidates
from murmur.recordings.candidates import BAND, HUM_RATIO, RELATIVE_PEAK
from murmur.sections.duplicates import Duplicates

RATE = 1000  # Hz, of the signals that are compared; anchors are found at 2 RATE
NEIGHBOURHOOD = 0.5  # s before and after an anchor in which it is one of the largest values
ANCHOR_DISTANCE = 0.005  # s: an anchor is the largest value within this distance
SNIPPET = 0.75  # s before and after an anchor
STEP = 16  # samples at 2 RATE between two values of a snippet
SNIPPET_TOLERANCE = 0.75  # times `correlation`: the least correlation of two snippets of a pair
LAG_TOLERANCE = 5  # samples at RATE by which noise may shift an anchor
LAG_BIN = 2  # samples at RATE: lags that differ by no more are counted as one lag
SHORT_OVERLAP = 3.0  # s: a shorter overlap may contain only one anchor
MIN_DURATION = 0.1  # s; shorter recordings are compared by their hash only
N_CACHED = 64  # fingerprints that are in memory
LEAST_SEARCHED = 0.9  # correlation below which candidates would miss pairs

Match = tuple[float, float]  # correlation, lag in s


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


def find_pairs(recordings: pd.DataFrame, raw: Path, options: Duplicates) -> pd.DataFrame:
    """Find the pairs of recordings that share audio.

    `murmur.recordings.candidates` finds the pairs that may share audio. Each recording of such a pair is
    reduced to a fingerprint: its band of 25 to 200 Hz with equalised loudness, and anchors, which are the
    largest values within 0.5 s and those almost as large. Snippets of 1.5 s around the anchors are compared;
    of two snippets, one must be at a largest value. Where snippets agree at one lag, as in [1]_, all the
    audio that the two recordings share at that lag is compared, and only this correlation decides.

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
    No pair below `correlation` is reported. With a `correlation` of 0.9 the search finds all of 356 copies of
    real recordings with the changes of benchmarks/duplicates.py, and 365 of 368 noisy parts of 2 to 4 s whose
    highest cross-correlation is 0.9 or more. With a lower `correlation` than `LEAST_SEARCHED` all pairs are
    compared, which takes time and memory that grow with the number of pairs.

    References
    ----------
    .. [1] Wang, An industrial-strength audio search algorithm, ISMIR 2003.
    """
    table = recordings.sort_values("recording_id", ignore_index=True)
    rows = list(table.itertuples(index=False))
    identical = set(_find_identical(table["audio_sha256"]))

    def load(row: Any) -> tuple[np.ndarray, int]:
        return audio.load_recording(raw, row)

    with threadpool_limits(1):  # the last bits of a matrix product depend on the number of threads
        fingerprint: Callable[[int], Fingerprint]
        if options.correlation < LEAST_SEARCHED:
            fingerprints = cluster.map_recordings(
                lambda row: _compute_fingerprint(*load(row)), rows, "computing fingerprints"
            )
            fingerprint, found = fingerprints.__getitem__, list(combinations(range(len(rows)), 2))
        else:
            fingerprint = lru_cache(N_CACHED)(lambda i: _compute_fingerprint(*load(rows[i])))
            found = _find_candidates(rows, load, options)
        similar = [pair for pair in found if pair not in identical]
        matches = workers.map_threads(
            lambda pair: _match(fingerprint(pair[0]), fingerprint(pair[1]), options), similar, "correlating"
        )
    pairs = dict.fromkeys(identical, (1.0, 0.0, True))
    pairs |= {pair: (*match, False) for pair, match in zip(similar, matches, strict=True) if match}
    ids = table["recording_id"]
    table_rows = [(ids[i], ids[j], *pairs[i, j]) for i, j in sorted(pairs)]
    dtypes = {"recording_id": str, "twin_id": str, "correlation": float, "lag": float, "identical": bool}
    return pd.DataFrame(table_rows, columns=list(dtypes)).astype(dtypes)


def _find_identical(hashes: pd.Series) -> list[tuple[int, int]]:
    groups = hashes.groupby(hashes).indices.values()
    return [pair for rows in groups for pair in combinations(rows.tolist(), 2)]


def _find_candidates(
    rows: list[Any], load: Callable[[Any], tuple[np.ndarray, int]], options: Duplicates
) -> list[tuple[int, int]]:
    """Find the pairs of recordings that may share audio: row numbers, the smaller first."""
    with temporary_folder() as folder:
        signatures = cluster.stream_recordings(
            lambda row: candidates.compute_signatures(*load(row)), rows, "computing signatures"
        )
        index = candidates.write_index(signatures, folder)
        least = SNIPPET_TOLERANCE * options.correlation
        found = candidates.find_candidates(index, options.correlation, least, options.overlap).tolist()

        def is_similar(candidate: tuple[int, int, int]) -> bool:
            i, j, lag = candidate
            return _correlate(index.read_signal(i), index.read_signal(j), lag // 2)[0] >= least

        checks = workers.map_threads(is_similar, found, "checking")
    return sorted({(i, j) for (i, j, _), check in zip(found, checks, strict=True) if check})


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


def _match(x: Fingerprint, y: Fingerprint, options: Duplicates) -> Match | None:
    """Return the match with the highest correlation, at the lags at which snippets are similar."""
    min_overlap = min(options.overlap * RATE, min(len(x.signal), len(y.signal)) / 2)
    matches = []
    for lag, votes in _find_lags(x, y, SNIPPET_TOLERANCE * options.correlation):
        overlap = min(len(x.signal), len(y.signal) + lag) - max(0, lag)
        if overlap >= max(min_overlap, 3 * LAG_TOLERANCE) and (votes > 1 or overlap < SHORT_OVERLAP * RATE):
            correlation, exact_lag = _correlate(x.signal, y.signal, lag)
            matches.append((correlation, exact_lag / RATE))
    best = max(matches, key=itemgetter(0), default=(0.0, 0.0))
    return best if matches and best[0] >= options.correlation else None


def _find_lags(x: Fingerprint, y: Fingerprint, min_correlation: float) -> list[tuple[int, int]]:
    """Return the lags in samples at RATE at which snippets are similar, each with their number.

    Of two similar snippets one is at a largest value; noise may have moved the largest value of the other.
    """
    is_similar = x.snippets @ y.snippets.T >= min_correlation
    a, b = np.nonzero(is_similar & (x.is_largest[:, None] | y.is_largest))
    lags = np.sort(x.anchors[a] - y.anchors[b])
    start = np.flatnonzero(np.diff(lags, prepend=-np.inf) > 2 * LAG_BIN)
    votes = np.diff(start, append=len(lags))
    return list(zip((lags[start + votes // 2] // 2).tolist(), votes.tolist(), strict=True))


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
