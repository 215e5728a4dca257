"""The search finds copies of every kind with their lag; other recordings, clicks and hum are not reported."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import soxr

from murmur.datasets import synthetic
from murmur.errors import MurmurError
from murmur.recordings import audio, candidates, duplicates
from murmur.sections.duplicates import Duplicates
from murmur.tables import parquet
from murmur.tables.duplicates import DUPLICATES
from tests import made

RATE = synthetic.SAMPLE_RATE
OPTIONS = Duplicates(correlation=0.9, overlap=1.0)
real = pytest.mark.skipif(
    "MURMUR_DATA" not in os.environ, reason="set MURMUR_DATA to a folder that holds bmd_hs and pascal"
)


@pytest.fixture(autouse=True, scope="module")
def unchecked_hashes():
    """Do not check hashes: the tables of these tests set them to define which recordings are identical."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "load_recording", lambda raw, recording: audio.load(raw / recording.path))
        yield


def heart(number, rate=75.0, site="MV"):
    """Simulate a person's recording of 10 to 15 s: float [n] at 4 kHz, below 0.5."""
    visit = synthetic.make_visit(5, number)._replace(rate=rate)
    return synthetic.simulate_recording(5, visit, site) / 2**16


def search(root, sounds, *, options=OPTIONS, order=1, hashes=None, kind=".wav"):
    """Write {recording_id: samples or (samples, rate)} with 16 bits, and find the duplicates."""
    for name, sound in sounds.items():
        made.audio(
            root / f"{name}{kind}", *(sound if isinstance(sound, tuple) else (sound,)), subtype="PCM_16"
        )
    ids = list(sounds)[::order]
    table = pd.DataFrame({"recording_id": ids, "path": [f"{i}{kind}" for i in ids]}, dtype=str)
    table["audio_sha256"] = [(hashes or {}).get(i, i) for i in ids]
    return duplicates.find_pairs(table, root, options)


def pair_ids(pairs):
    return list(zip(pairs["recording_id"], pairs["twin_id"], strict=True))


def noise(x, below, seed=0):
    return x + 10 ** (-below / 20) * x.std() * np.random.default_rng(seed).standard_normal(len(x))


KINDS = {
    "unchanged": (lambda x: x, 0),
    "quieter": (lambda x: 0.1 * x, 0),
    "inverted": (lambda x: -x, 0),
    "later": (lambda x: x[4321:], 4321 / RATE),
    "half": (lambda x: x[13001 : 13001 + len(x) // 2], 13001 / RATE),
    "2 s": (lambda x: x[13001 : 13001 + 2 * RATE], 13001 / RATE),
    "44100 Hz": (lambda x: (soxr.resample(x, RATE, 44100), 44100), 0),
    "2000 Hz": (lambda x: (soxr.resample(x, RATE, 2000), 2000), 0),
    "noisy": (lambda x: noise(x, 20), 0),
    "rising gain": (lambda x: x * np.linspace(0.2, 1, len(x)), 0),
    "all at once": (lambda x: (soxr.resample(noise(-0.3 * x[9999:], 20), RATE, 44100), 44100), 9999 / RATE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_found_among_other_recordings(tmp_path, kind):
    change, lag = KINDS[kind]
    others = {f"other_{k}": heart(k) for k in range(6)}
    pairs = search(tmp_path, others | {"a": heart(7), "b": change(heart(7))})
    assert pair_ids(pairs) == [("a", "b")] and not pairs["identical"].any()
    assert pairs["lag"][0] == pytest.approx(lag, abs=0.0005)
    assert pairs["correlation"][0] > 0.95


def test_other_persons_with_the_same_heart_rate_are_not_duplicates(tmp_path):
    sounds = {f"{k}_{site}": heart(k, site=site) for k in range(12) for site in ("AV", "MV")}
    assert search(tmp_path, sounds).empty


def test_three_copies_are_three_pairs_with_consistent_lags(tmp_path):
    x = heart(7)
    pairs = search(tmp_path, {"c": x[8001:], "a": x[:-4000], "b": -x[4003:]})
    assert pair_ids(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    ab, ac, bc = pairs["lag"]
    assert (ab, ac, bc) == pytest.approx((4003 / RATE, 8001 / RATE, 3998 / RATE), abs=0.0005)
    reversed_pair = search(tmp_path, {"a": x[8001:], "b": x})
    assert reversed_pair["lag"][0] == pytest.approx(-8001 / RATE, abs=0.0005)


def test_identical_recordings_are_found_by_their_hash(tmp_path):
    hashes = {"a": "same", "c": "same", "d": "same"}
    sounds = {"a": heart(1), "b": heart(1)[RATE:], "c": heart(1), "d": made.noise(50), "e": heart(2)}
    pairs = search(tmp_path, sounds, hashes=hashes, kind=".flac")
    assert pair_ids(pairs) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("c", "d")]
    assert pairs["identical"].tolist() == [False, True, True, False, True]
    assert set(pairs[pairs["identical"]][["correlation", "lag"]].itertuples(index=False)) == {(1.0, 0.0)}
    parquet.write(pairs, tmp_path / "pairs.parquet", DUPLICATES)
    pd.testing.assert_frame_equal(parquet.read(tmp_path / "pairs.parquet", DUPLICATES), pairs)


def sounds_with_copies():
    sounds = {f"h{k}": heart(k) for k in range(8)}
    return sounds | {f"copy{k}": noise(heart(k)[1000 * k :], 25) for k in (2, 3, 5)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    found = search(tmp_path_factory.mktemp("raw"), sounds_with_copies())
    assert pair_ids(found) == [("copy2", "h2"), ("copy3", "h3"), ("copy5", "h5")]
    return found


@pytest.mark.parametrize("order", [1, -1])
def test_the_result_does_not_depend_on_workers_rows_or_blocks(
    tmp_path, expected, workers, order, monkeypatch
):
    found = search(tmp_path, sounds_with_copies(), order=order)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    monkeypatch.setattr(candidates, "BLOCK", 500)
    monkeypatch.setattr(candidates, "PART", 300)
    monkeypatch.setattr(duplicates, "N_CACHED", 1)
    found = search(tmp_path, sounds_with_copies(), order=order)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_recordings_with_clicks_are_not_duplicates(tmp_path):
    sounds = {}
    for k in range(4):
        x = 0.02 * np.random.default_rng(k).standard_normal(10 * RATE)
        x[(3 + k) * RATE : (3 + k) * RATE + 40] += 0.9 * np.hanning(40)
        sounds[f"r{k}"] = x
    assert search(tmp_path, sounds).empty


def test_recordings_with_mains_hum_are_not_duplicates(tmp_path):
    hum = {}
    for k in range(12):
        x = heart(k)
        tone = np.sin(2 * np.pi * (50 + 0.01 * k) * np.arange(len(x)) / RATE + k)
        hum[f"r{k}"] = (x + 4 * x.std() * tone) / 3
    assert search(tmp_path, hum).empty


def test_recordings_with_silence_are_not_duplicates(tmp_path):
    quiet = np.zeros(5 * RATE)
    sounds = {f"r{k}": np.concatenate([quiet, heart(k), quiet]) for k in range(4)}
    assert search(tmp_path, sounds).empty
    anchors = duplicates._compute_fingerprint(np.float32(sounds["r0"]), RATE).anchors / (2 * duplicates.RATE)
    assert anchors.min() >= 5 and anchors.max() <= len(sounds["r0"]) / RATE - 5
    sounds["r4"] = np.concatenate([quiet[: 3 * RATE], heart(2)])
    assert pair_ids(search(tmp_path, sounds)) == [("r2", "r4")]


def test_short_recordings_are_compared(tmp_path):
    x = heart(3)
    sounds = {"a": x[8000:9200], "b": -x[8000:9200], "c": x[: RATE // 100], "d": x[5:9], "e": x[100:102]}
    assert pair_ids(search(tmp_path, sounds)) == [("a", "b")]
    assert search(tmp_path, {}).columns.tolist() == DUPLICATES.names


@pytest.mark.parametrize(("overlap", "found"), [(1.0, True), (3.0, False)])
def test_a_smaller_overlap_is_not_reported(tmp_path, overlap, found):
    x = heart(3)
    middle = len(x) // 2
    sounds = {"a": x[: middle + RATE], "b": x[middle - RATE :]}  # 2 s in common
    pairs = search(tmp_path, sounds, options=Duplicates(correlation=0.9, overlap=overlap))
    assert pair_ids(pairs) == [("a", "b")] * found
    if found:
        assert pairs["lag"][0] == pytest.approx((middle - RATE) / RATE, abs=0.001)


@pytest.mark.parametrize(("start", "found"), [(1.0, True), (2.0, False)])
def test_half_of_a_short_recording_must_be_shared(tmp_path, start, found):
    x, start = heart(4, rate=150.0), round(start * RATE)
    sounds = {"a": x[: 3 * RATE], "b": x[start : start + 3 * RATE], "c": heart(5)}
    pairs = search(tmp_path, sounds, options=Duplicates(correlation=0.9, overlap=10.0))
    assert pair_ids(pairs) == [("a", "b")] * found


def test_the_lag_with_the_highest_correlation_is_reported(tmp_path, monkeypatch):
    for module in (candidates, duplicates):
        monkeypatch.setattr(module, "HUM_RATIO", np.inf)  # the spectrum of a loop consists of lines
    beats = np.tile(heart(4)[: round(0.8 * RATE)], 12)
    x = noise(beats, 30)
    pairs = search(tmp_path, {"a": x, "b": 0.5 * x})
    assert pairs["lag"][0] == pytest.approx(0, abs=0.001) and pairs["correlation"][0] > 0.999


@pytest.mark.parametrize(("correlation", "found"), [(0.7, True), (0.95, False)])
def test_a_smaller_correlation_is_not_reported(tmp_path, correlation, found):
    sounds = {"a": heart(3), "b": noise(heart(3), 3)}
    pairs = search(tmp_path, sounds, options=Duplicates(correlation=correlation, overlap=1.0))
    assert pair_ids(pairs) == [("a", "b")] * found


@pytest.mark.parametrize("delay", [0.0, 0.25, -0.4, 1.3, -2.2])
def test_delays_of_a_fraction_of_a_sample_are_measured(delay):
    time = np.arange(3000.0)

    def sound(t):
        rng = np.random.default_rng(0)
        return sum(
            np.sin(2 * np.pi * (f * t + p))
            for f, p in zip(rng.uniform(0.02, 0.1, 9), rng.random(9), strict=True)
        )

    x, y = sound(time), -0.5 * sound(time[:2000] + 500 + delay)
    correlation, lag = duplicates._correlate(x, y, 500)
    assert lag == pytest.approx(500 + delay, abs=0.02) and correlation == pytest.approx(1, abs=0.005)
    shared = np.corrcoef(x[500:2500], noise(y, 0))[0, 1]
    if delay == 0:
        assert duplicates._correlate(x, noise(y, 0), 500)[0] == pytest.approx(abs(shared), abs=0.01)


def test_a_maximum_outside_the_range_of_lags_is_not_extrapolated():
    x = np.sin(0.2 * np.arange(3000)) + 0.001 * np.arange(3000) % 1
    for coarse in range(490, 511):
        correlation, lag = duplicates._correlate(x, x[500:2500] * 0.5, coarse)
        correlations = [
            at_lag(x, x[500:2500], coarse + k)
            for k in range(-duplicates.LAG_TOLERANCE, duplicates.LAG_TOLERANCE + 1)
        ]
        assert (
            correlation == pytest.approx(max(correlations), abs=0.01)
            and abs(lag - coarse) <= duplicates.LAG_TOLERANCE
        )


def test_copies_with_different_largest_values_are_found(tmp_path):
    x = heart(0)[1000:13000]  # 3 s
    first = duplicates._compute_fingerprint(np.float32(x), RATE)
    distance = np.abs(np.arange(len(x))[:, None] - 2 * first.anchors[first.is_largest]).min(1) / RATE
    y = x * (1 - 0.15 * np.exp(-((distance / 0.004) ** 2)))  # 15 % softer there for a few ms
    second = duplicates._compute_fingerprint(np.float32(y), RATE)
    assert at_lag(first.signal, second.signal, 0) > 0.98
    assert (first.snippets[first.is_largest] @ second.snippets[second.is_largest].T).max() < 0.8
    assert pair_ids(search(tmp_path, {"a": x, "b": y, "c": heart(1)})) == [("a", "b")]


def at_lag(x, y, lag):
    """Compute the correlation (absolute) of the overlap of x [n] and y [m] at a lag."""
    start, end = max(0, lag), min(len(x), len(y) + lag)
    u, v = x[start:end].astype(float), y[start - lag : end - lag].astype(float)
    return abs(u @ v) / np.sqrt((u @ u) * (v @ v))


def max_correlation(x, y, min_overlap):
    """Compute the largest correlation of x and y at all lags with enough overlap (samples)."""
    lags = scipy.signal.correlation_lags(len(x), len(y))
    start, end = np.maximum(0, lags), np.minimum(len(x), len(y) + lags)
    sums = [np.append(0, np.cumsum(np.square(z, dtype=float))) for z in (x, y)]
    energies = (sums[0][end] - sums[0][start]) * (sums[1][end - lags] - sums[1][start - lags])
    c = np.abs(scipy.signal.correlate(x, y, method="fft")) / np.sqrt(energies + 1e-9)
    return c[end - start >= min_overlap].max()


@pytest.mark.parametrize("correlation", [0.9, 0.8])
def test_the_search_finds_the_same_pairs_as_a_comparison_at_all_lags(tmp_path, correlation):
    options = Duplicates(correlation=correlation, overlap=2.0)
    rng, sounds = np.random.default_rng(3), []
    for k in range(24):  # 4 s, and their last 2 to 3 s with 1 s more and noise
        x, start = heart(k), 4 * int(rng.integers(RATE // 4, RATE // 2))
        sounds += [x[: 4 * RATE], noise(x[start : 5 * RATE], rng.uniform(2, 9), seed=k)]
    fingerprints = [duplicates._compute_fingerprint(np.float32(x), RATE) for x in sounds]
    truth = {
        (i, j): max_correlation(fingerprints[i].signal, fingerprints[j].signal, 2000)
        for i, j in combinations(range(len(sounds)), 2)
    }
    pairs = search(tmp_path, {f"{k:02}": x for k, x in enumerate(sounds)}, options=options)
    rows = zip(pairs["recording_id"], pairs["twin_id"], pairs["correlation"], strict=True)
    found = {(int(i), int(j)): value for i, j, value in rows}
    copies = {pair for pair, value in truth.items() if value >= correlation}
    assert len(copies) > 12 and set(found) == copies
    assert all(value == pytest.approx(truth[pair], abs=0.02) for pair, value in found.items())


def test_a_missing_file_is_named(tmp_path):
    table = pd.DataFrame({"recording_id": ["a"], "path": ["a.wav"], "audio_sha256": ["a"]})
    with pytest.raises(MurmurError, match=r"a\.wav: no such file"):
        duplicates.find_pairs(table, tmp_path, OPTIONS)


IN_BMD_HS = [
    ("MD_001_sit_Pul", "MD_001_sit_Tri"),
    ("MD_021_sup_Aor", "MD_021_sup_Pul"),
    ("MS_012_sit_Tri", "MS_012_sup_Aor"),
]


@real
def test_the_copies_in_bmd_hs_are_found_by_hash_and_by_correlation(tmp_path):
    recordings, *_ = made.download("bmd_hs", tmp_path / "raw", task="disease", remote="private")
    pairs = duplicates.find_pairs(recordings, tmp_path / "raw", OPTIONS)
    assert pair_ids(pairs) == IN_BMD_HS and pairs["identical"].all()
    without_hashes = recordings.assign(audio_sha256=recordings["recording_id"])
    pairs = duplicates.find_pairs(without_hashes, tmp_path / "raw", OPTIONS)
    assert pair_ids(pairs) == IN_BMD_HS and not pairs["identical"].any()


@real
def test_pascal_has_recordings_of_one_person_under_two_numbers():
    raw = Path(os.environ["MURMUR_DATA"]) / "pascal" / "set_b"
    names = sorted(p.name for p in raw.glob("normal__1[04][36]_*.wav"))
    table = pd.DataFrame({"recording_id": names, "path": names, "audio_sha256": names})
    pairs = duplicates.find_pairs(table, raw, OPTIONS)
    found = {tuple(n.removeprefix("normal__").removesuffix(".wav") for n in pair) for pair in pair_ids(pairs)}
    first, second = "103_1305031931979", "146_1306778707532"
    assert found == {
        (f"{first}_{a}", f"{second}_{b}") for a, b in [("B", "D1"), ("D1", "D2"), ("D2", "D4"), ("D3", "D3")]
    }
    assert (pairs["correlation"] > 0.99).all()
