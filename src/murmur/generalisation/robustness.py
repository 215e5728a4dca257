"""Robustness of the trained models to noise, gain, a narrower band and shorter recordings."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
from scipy.signal import butter, sosfiltfilt

from murmur import formatting, progress, workers
from murmur.features.chain import compute_features
from murmur.files import temporary_folder
from murmur.generalisation.trained_models import Folds, TrainedModels, score_models
from murmur.recordings import audio
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS, DatasetCard

ORDER = 4  # of the low-pass filter, which is applied forwards and backwards
FULL_SCALE = 2**15  # in steps of 16 bits
COLUMNS = ["disturbance", "value", "unit", "metric", "mean", "low", "high", "n_units"]


def add_noise(x: np.ndarray, rate: int, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise at a signal-to-noise ratio.

    Parameters
    ----------
    x : float array, shape [n]
        Samples; the signal's power is that of its deviation from the mean.
    rate : int
        Sample rate in Hz (not used).
    snr : float
        Signal-to-noise ratio in dB.
    rng : Generator
        Draws the noise.
    """
    return x + rng.standard_normal(len(x)) * x.std(dtype=np.float64) / 10 ** (snr / 20)


def change_gain(x: np.ndarray, rate: int, db: float, rng: np.random.Generator) -> np.ndarray:
    """Amplify x [n] by `db`, round to 16 bits and clip at full scale; `rate` and `rng` are not used."""
    return np.clip(np.round(x * 10 ** (db / 20) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def filter_low_pass(x: np.ndarray, rate: int, hz: float, rng: np.random.Generator) -> np.ndarray:
    """Apply a zero-phase Butterworth low-pass filter.

    Parameters
    ----------
    x : float array, shape [n]
        Samples.
    rate : int
        Sample rate in Hz. If half of it is at most `hz`, nothing is filtered.
    hz : float
        The frequency with a gain of -6 dB.
    rng : Generator
        Not used.
    """
    if hz >= rate / 2:
        return x
    sections = butter(ORDER, hz, "lowpass", fs=rate, output="sos")
    return sosfiltfilt(sections, x, padlen=min(3 * (ORDER + 1), len(x) - 1))


def shorten(x: np.ndarray, rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return the first `seconds` of x [n] at `rate` Hz; `rng` is not used."""
    return x[: round(seconds * rate)]


class Disturbance(NamedTuple):
    """A kind of disturbance.

    Attributes
    ----------
    change : function
        From samples [n], sample rate in Hz, value and random generator to samples.
    unit : str
        Of the value.
    values : tuple of float
        From mild to severe.
    """

    change: Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]
    unit: str
    values: tuple[float, ...]


DISTURBANCES = {
    "noise": Disturbance(add_noise, "dB SNR", (30, 20, 10, 5, 0)),
    "gain": Disturbance(change_gain, "dB", (20, 10, -10, -20, -40)),
    "band": Disturbance(filter_low_pass, "Hz", (600, 400, 200, 100)),
    "length": Disturbance(shorten, "s", (10, 5, 3, 2)),
}


def disturb_samples(
    x: np.ndarray, rate: int, kind: str, value: float, seed: int, recording: str
) -> np.ndarray:
    """Disturb the samples of a recording.

    The random draws depend on seed and recording but not on the value, so that a curve over the values shows
    the disturbance and not chance.

    Parameters
    ----------
    x : float array, shape [n]
        Samples.
    rate : int
        Sample rate in Hz.
    kind : str
        A key of `DISTURBANCES`.
    value : float
        In the unit of the disturbance.
    seed : int
        Of the experiment.
    recording : str
        The id of the recording.

    Returns
    -------
    float32 array
    """
    name = int.from_bytes(hashlib.sha256(recording.encode()).digest()[:8], "little")
    return DISTURBANCES[kind].change(x, rate, value, np.random.default_rng([seed, name])).astype(np.float32)


def write_disturbed(
    recordings: pd.DataFrame, raw: Path, out: Path, change: Callable[[np.ndarray, int, str], np.ndarray]
) -> pd.DataFrame:
    """Write each recording, changed, as a WAV file of float32.

    Parameters
    ----------
    recordings : DataFrame
        As `murmur.tables.recordings`.
    raw, out : Path
        The folder of the recordings, and a new folder for the changed ones.
    change : function
        From samples [n], sample rate in Hz and recording id to samples.

    Returns
    -------
    DataFrame
        The table of the changed recordings.
    """
    out.mkdir()

    def write(job: tuple[Any, str]) -> audio.AudioFacts:
        recording, name = job
        samples, rate = audio.load_recording(raw, recording)
        changed = change(samples, rate, recording.recording_id)
        wav = BytesIO()  # libsndfile does not report why it cannot write a file, for example to a full disk
        soundfile.write(wav, changed, rate, format="WAV", subtype="FLOAT")
        (out / name).write_bytes(wav.getvalue())
        return audio.compute_facts(changed, rate)

    paths = [f"{k}.wav" for k in range(len(recordings))]
    jobs = zip(recordings.itertuples(index=False), paths, strict=True)
    facts = pd.DataFrame(workers.map_threads(write, jobs, "disturbing"), index=recordings.index)
    return recordings.assign(path=paths, **facts)


def evaluate_robustness(
    models: TrainedModels,
    recordings: pd.DataFrame,
    raw: Path,
    folds: Folds,
    card: DatasetCard,
    p: SimpleNamespace,
    kinds: Iterable[str],
) -> pd.DataFrame:
    """Score the models on the test parts of their folds, disturbed before cleaning.

    A recording that becomes too short for a segment has no probabilities, as always.

    Parameters
    ----------
    models : TrainedModels
        The models.
    recordings, raw : DataFrame, Path
        The table and the folder of the experiment's recordings.
    folds : dict of int to DataFrame
        By run; only their test rows count.
    card : DatasetCard
        Of the experiment.
    p : namespace
        As in `features.chain.compute_features`.
    kinds : iterable of str
        Keys of `DISTURBANCES`.

    Returns
    -------
    DataFrame
        disturbance, value (NaN: not disturbed), unit, metric, mean over runs, low and high of the interval
        over persons, n_units.
    """
    tested = pd.concat([table[table["role"] == "test"] for table in folds.values()])["recording_id"]
    recordings = recordings[recordings["recording_id"].isin(tested)].reset_index(drop=True)
    kinds = sorted({*kinds})
    points = [("", np.nan), *((kind, value) for kind in kinds for value in DISTURBANCES[kind].values)]
    tables = []
    for kind, value in progress.track(points, "disturbances"):
        change = partial(_change, kind=kind, value=value, seed=models.seed)
        with temporary_folder() as folder, _without_notes():
            changed = write_disturbed(recordings, raw, folder / "raw", change)
            parquet.write(changed[RECORDINGS.names], folder / "recordings.parquet", RECORDINGS)
            prepared = replace(compute_features(folder, p), recordings=changed)
            result = score_models(models, prepared, folds, card)
        rows = [{"metric": m, **row, "n_units": result["units"]} for m, row in result["headline"].items()]
        for curve in [kind] if kind else kinds:  # the undisturbed point is part of every curve
            unit = DISTURBANCES[curve].unit
            tables.append(pd.DataFrame(rows).assign(disturbance=curve, value=value, unit=unit))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _change(x: np.ndarray, rate: int, recording: str, *, kind: str, value: float, seed: int) -> np.ndarray:
    return disturb_samples(x, rate, kind, value, seed, recording) if kind else x


@contextmanager
def _without_notes() -> Iterator[None]:
    """Show no notes and no progress of the library: each step runs again for each disturbance."""
    logger = logging.getLogger("murmur")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def make_rows(table: pd.DataFrame, metric: str) -> Sequence[tuple[str, ...]]:
    """Return the rows of a table for the terminal: disturbance, value, mean and interval of one metric.

    Parameters
    ----------
    table : DataFrame
        From `evaluate_robustness`.
    metric : str
        Which of its metrics.

    Returns
    -------
    sequence of tuple of str
        The head first.
    """
    rows = [("disturbance", "value", metric, "95 % interval")]
    for row in table[table["metric"] == metric].to_dict("records"):
        value = formatting.format_quantity(row["value"], row["unit"])
        mean, interval = formatting.format_figure(row["mean"]), formatting.format_interval(row)
        rows.append((row["disturbance"], value, mean, interval))
    return rows
