"""Recordings made worse in known ways, and what the kept weights then say of them."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
from rich.console import Console
from rich.progress import track
from scipy.signal import butter, sosfiltfilt

from murmur import formatting, workers
from murmur.features.chain import compute_features
from murmur.generalisation.trained_models import Folds, TrainedModels, score_models
from murmur.recordings import audio
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS, Card

ORDER = 4  # of the low-pass; forward and backward it counts twice
FULL = 2**15  # steps of 16 bits to full scale


def add_noise(x: np.ndarray, rate: int, snr: float, rng: np.random.Generator) -> np.ndarray:
    """x [n] with white noise up to its Nyquist frequency, `snr` dB below the power of x about its mean."""
    return x + rng.standard_normal(len(x)) * x.std(dtype=np.float64) / 10 ** (snr / 20)


def change_gain(x: np.ndarray, rate: int, db: float, rng: np.random.Generator) -> np.ndarray:
    """x [n] louder by `db`, as 16 bits hold it: rounded, and clipped at full scale."""
    return np.clip(np.round(x * 10 ** (db / 20) * FULL), -FULL, FULL - 1) / FULL


def filter_low_pass(x: np.ndarray, rate: int, hz: float, rng: np.random.Generator) -> np.ndarray:
    """x [n] after a zero-phase Butterworth low-pass, -6 dB at `hz`; as it is if Nyquist is not above."""
    if hz >= rate / 2:
        return x
    sections = butter(ORDER, hz, "lowpass", fs=rate, output="sos")
    return sosfiltfilt(sections, x, padlen=min(3 * (ORDER + 1), len(x) - 1))


def shorten(x: np.ndarray, rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The first `seconds` of x [n]."""
    return x[: round(seconds * rate)]


class Disturbance(NamedTuple):
    """A way to make a recording worse, what its value means, and the values, from mild to severe."""

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
    """Samples [n] at `rate` Hz, changed as `kind` says, float32; every draw comes from (seed, recording).

    The same draws at every value, so that a curve shows the disturbance and not the luck.
    """
    name = int.from_bytes(hashlib.sha256(recording.encode()).digest()[:8], "little")
    return DISTURBANCES[kind].change(x, rate, value, np.random.default_rng([seed, name])).astype(np.float32)


def write_disturbed(
    recordings: pd.DataFrame, raw: Path, out: Path, change: Callable[[np.ndarray, int, str], np.ndarray]
) -> pd.DataFrame:
    """Write each recording, changed, into `out` as WAV of float32; the table with its new paths and facts.

    change: from samples [n], Hz and the recording's id to samples.
    """
    out.mkdir()

    def one(place: tuple[Any, str]) -> audio.AudioFacts:
        recording, new = place
        samples, rate = audio.load_recording(raw, recording)
        changed = change(samples, rate, recording.recording_id)
        wav = BytesIO()  # written to a file, libsndfile would hide why it cannot, such as a full disk
        soundfile.write(wav, changed, rate, format="WAV", subtype="FLOAT")
        (out / new).write_bytes(wav.getvalue())
        return audio.describe(changed, rate)

    paths = [f"{k}.wav" for k in range(len(recordings))]
    places = zip(recordings.itertuples(index=False), paths, strict=True)
    facts = pd.DataFrame(workers.map_threads(one, places, "disturbing"), index=recordings.index)
    return recordings.assign(path=paths, **facts)


def evaluate_robustness(
    models: TrainedModels,
    recordings: pd.DataFrame,
    raw: Path,
    folds: Folds,
    card: Card,
    p: SimpleNamespace,
    kinds: Iterable[str],
) -> pd.DataFrame:
    """The test part of every fold again, disturbed before it is cleaned: a row for a figure of a disturbance.

    Columns: disturbance, value (in `unit`; NaN for undisturbed), unit, metric, mean over runs, low and high
    of the interval over persons, n_units. What is too short for a segment has no answer, as ever.

    Parameters
    ----------
    recordings, raw: the table and the folder of the experiment's recordings.
    folds: by run; only the test parts count.
    p: as of `compute_features`.
    """
    tested = pd.concat([table[table["role"] == "test"] for table in folds.values()])["recording_id"]
    recordings = recordings[recordings["recording_id"].isin(tested)].reset_index(drop=True)
    kinds = sorted({*kinds})
    points = [("", np.nan), *((kind, value) for kind in kinds for value in DISTURBANCES[kind].values)]
    tables = []
    for kind, value in track(points, "disturbances", console=Console(stderr=True)):
        change = partial(_change, kind=kind, value=value, seed=models.seed)
        with tempfile.TemporaryDirectory(prefix="murmur-") as name, redirect_stdout(StringIO()):
            changed = write_disturbed(recordings, raw, Path(name, "raw"), change)
            parquet.write(changed[RECORDINGS.names], Path(name, "recordings.parquet"), RECORDINGS)
            prepared = replace(compute_features(Path(name), p), recordings=changed)
            found = score_models(models, prepared, folds, card, quiet=True)
        rows = [{"metric": m, **row, "n_units": found["units"]} for m, row in found["headline"].items()]
        for under in [kind] if kind else kinds:  # undisturbed is a point of every curve
            unit = DISTURBANCES[under].unit
            tables.append(pd.DataFrame(rows).assign(disturbance=under, value=value, unit=unit))
    columns = ["disturbance", "value", "unit", "metric", "mean", "low", "high", "n_units"]
    return pd.concat(tables, ignore_index=True)[columns]


def _change(x: np.ndarray, rate: int, recording: str, *, kind: str, value: float, seed: int) -> np.ndarray:
    return disturb_samples(x, rate, kind, value, seed, recording) if kind else x


def tabulate(table: pd.DataFrame, metric: str) -> Sequence[tuple[str, ...]]:
    """The rows of a table of one figure: a disturbance, its value, the mean and its interval; head first."""
    rows = [("disturbance", "value", metric, "95 % interval")]
    for row in table[table["metric"] == metric].to_dict("records"):
        value = formatting.format_quantity(row["value"], row["unit"])
        rows.append(
            (
                row["disturbance"],
                value,
                formatting.format_figure(row["mean"]),
                formatting.format_interval(row),
            )
        )
    return rows
