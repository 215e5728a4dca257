"""The limits beyond which no class is predicted: how often real and disturbed recordings are beyond them.

    MURMUR_DATA=/some/dir PYTHONPATH=src python benchmarks/familiarity.py

MURMUR_DATA holds CirCor, PASCAL and BMD-HS. Prints the heart rate against CirCor's annotations, the quality
score with noise, and the share of recordings that are unlike those of another source or have no regular heart
sounds. If the current experiment was trained on CirCor (`dvc exp run -S dataset=circor -S 'split.runs=[0]'`),
also how often its models are right for recordings within and beyond the limits.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soxr
import typer
from scipy.signal import butter, sosfiltfilt
from sklearn.metrics import roc_auc_score

from murmur import sections
from murmur.experiments import current
from murmur.features.chain import PreparedRecordings, compute_features
from murmur.features.cleaning import clean_signal
from murmur.generalisation import external_validation, robustness, trained_models
from murmur.inference.checks import MAX_CLIPPED, MIN_SCORE
from murmur.inference.familiarity import Reference, compute_distance, describe_signal, fit_reference
from murmur.inference.quality import WINDOW, Quality, measure_quality
from murmur.params.yaml_files import read_yaml
from murmur.recordings import audio
from murmur.recordings.download import import_recordings
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from murmur.tables.signals import SIGNALS

TASKS = {"circor": "murmur", "pascal": "sound", "bmd_hs": "disease"}
CLASSES = {"normal": "Absent", "murmur": "Present", "N": "Absent", "AS": "Present", "MR": "Present"}
NAMES = {"circor": "CirCor", "set_a": "PASCAL set A", "set_b": "PASCAL set B", "bmd_hs": "BMD-HS"}
EVERY = 4  # only each fourth recording of CirCor is disturbed
PERSONS = 14  # of a small data set
SNR = (30, 20, 10, 0, -10)  # dB
GAINS = (0, 20, 30, 40, 50)  # dB
CLIPPED_EDGES = (-1, 0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1)
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


class Measured(NamedTuple):
    """The recordings of a data set, in the order of their table, and what was measured of each."""

    prepared: PreparedRecordings
    raw: Path
    source: np.ndarray
    person: np.ndarray
    figures: np.ndarray
    quality: list[Quality]
    is_irregular: np.ndarray

    @property
    def table(self) -> pd.DataFrame:
        """The table of the recordings."""
        return self.prepared.recordings


def main() -> None:
    """Measure all recordings, then print each table."""
    p = sections.load("clean", "segment", "mel", "embed", "train")
    with tempfile.TemporaryDirectory() as name:
        sets = {dataset: measure(Path(name) / dataset, dataset, p) for dataset in TASKS}
        print_quality(sets["circor"], p)
        print_flagged(sets)
        print_small(sets["circor"])
        print_disturbed(sets["circor"], p)
        if read_yaml("params.yaml")["dataset"] == "circor":
            print_models(sets)
            print_clipping(sets["circor"], p, Path(name))


def measure(folder: Path, dataset: str, p: SimpleNamespace) -> Measured:
    """Import a data set, compute its features, and measure its recordings."""
    folder.mkdir()
    download = sections.load("download").download.model_copy(update={"remote": "private", "limit": None})
    keys: dict[str, Any] = {"dataset": dataset, "task": TASKS[dataset], "class_map": {}, "positive": None}
    table, *_ = import_recordings(**keys, download=download, raw=folder / "raw")
    parquet.write(table, folder / "recordings.parquet", RECORDINGS)
    prepared = compute_features(folder, p)
    samples = np.load(folder / "signals.npy", mmap_mode="r")
    places = parquet.read(folder / "signals.parquet", SIGNALS)
    signals = [samples[k : k + n] for k, n in zip(places["offset"], places["n_samples"], strict=True)]
    rate, raw = p.clean.sample_rate, folder / "raw"
    quality = [
        measure_quality(audio.load(raw / path)[0], signal, rate)
        for path, signal in zip(table["path"], signals, strict=True)
    ]
    pairs = zip(quality, signals, strict=True)
    return Measured(
        prepared=prepared,
        raw=raw,
        source=np.array([name[:5] if dataset == "pascal" else dataset for name in table["recording_id"]]),
        person=table["person_id"].fillna(table["recording_id"]).to_numpy(str),
        figures=np.array([describe_signal(signal, rate) for signal in signals]),
        quality=quality,
        is_irregular=np.array([q.score < MIN_SCORE and len(x) >= WINDOW * rate for q, x in pairs]),
    )


def is_beyond(figures: np.ndarray, reference: Reference) -> np.ndarray:
    """Return which recordings are beyond the limit of a reference."""
    return np.array([compute_distance(row, reference) > reference.limit for row in figures])


def is_beyond_as_new(figures: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Return which recordings are beyond the limit of a reference fitted without a fifth of the persons."""
    part = np.unique(person, return_inverse=True)[1] // 3 % 5  # other parts than those of fit_reference
    flags = np.zeros(len(figures), bool)
    for k in range(5):
        reference = fit_reference(figures[part != k], person[part != k])
        flags[part == k] = is_beyond(figures[part == k], reference)
    return flags


def print_quality(circor: Measured, p: SimpleNamespace) -> None:
    """Compare the heart rate with the annotations, and the score with the label Unknown and with noise."""
    base = Path(os.environ["MURMUR_DATA"]) / "circor/training_data"
    annotated = np.array([read_heart_rate(base / f"{name}.tsv") for name in circor.table["recording_id"]])
    rate = np.array([q.heart_rate or np.nan for q in circor.quality])
    is_given = np.isfinite(rate) & np.isfinite(annotated)
    is_close = np.abs(rate[is_given] / annotated[is_given] - 1) <= 0.05
    score = np.array([q.score for q in circor.quality])
    is_unknown = (circor.table["label"] == "Unknown").to_numpy()
    print(f"heart rate given for {is_given.mean():.1%} of CirCor; within 5 %: {is_close.mean():.1%} of them")
    print(f"ROC-AUC of the score for the label Unknown: {roc_auc_score(is_unknown, -score):.3f}")
    print(f"no regular heart sounds, label Unknown: {circor.is_irregular[is_unknown].mean():.1%}")
    for snr in SNR:
        scores = [q.score for q, _ in measure_changed(circor, p, disturb("noise", snr))]
        print(f"quality score, white noise at {snr} dB SNR: median {np.median(scores):.2f}")


def read_heart_rate(path: Path) -> float:
    """Return 60 s / the median time between annotated S1; NaN with fewer than three."""
    start, _, sound = np.loadtxt(path, ndmin=2).T
    periods = np.diff(start[sound == 1])
    periods = periods[(periods > 0.25) & (periods < 2)]
    return 60 / float(np.median(periods)) if len(periods) > 2 else np.nan


def disturb(kind: str, value: float) -> Change:
    """Return a disturbance of `murmur robustness`."""
    change = robustness.DISTURBANCES[kind].change
    return lambda x, rate, rng: change(x, rate, value, rng)


def measure_changed(circor: Measured, p: SimpleNamespace, change: Change) -> list[tuple[Quality, np.ndarray]]:
    """Return quality and figures of each fourth recording, changed before cleaning."""
    results = []
    for k, path in enumerate(circor.table["path"][::EVERY]):
        x, rate = audio.load(circor.raw / path)
        x = np.asarray(change(x, rate, np.random.default_rng(k)), np.float32)
        signal = clean_signal(x, rate, p.clean, -(-len(x) * p.clean.sample_rate // rate))
        quality = measure_quality(x, signal, p.clean.sample_rate)
        results.append((quality, describe_signal(signal, p.clean.sample_rate)))
    return results


def print_flagged(sets: Mapping[str, Measured]) -> None:
    """Print the share of each source that is unlike each other source, and without regular heart sounds."""
    figures, source, person, is_irregular = (
        np.concatenate([getattr(s, name) for s in sets.values()])
        for name in ("figures", "source", "person", "is_irregular")
    )
    print(f"\n{'training data':14}", *(f"{name:>14}" for name in NAMES.values()))
    for home, name in NAMES.items():
        is_home = source == home
        reference = fit_reference(figures[is_home], person[is_home])
        shares = [
            is_beyond_as_new(figures[is_home], person[is_home]).mean()
            if other == home
            else is_beyond(figures[source == other], reference).mean()
            for other in NAMES
        ]
        print(f"{name:14}", *(f"{share:14.1%}" for share in shares))
    print(f"{'not regular':14}", *(f"{is_irregular[source == other].mean():14.1%}" for other in NAMES))
    clipped = np.concatenate([[q.clipped > MAX_CLIPPED for q in s.quality] for s in sets.values()])
    print(f"{'clipped':14}", *(f"{clipped[source == other].mean():14.1%}" for other in NAMES))


def print_small(circor: Measured) -> None:
    """Print the share of the other persons of CirCor that is beyond the limit of a few persons."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(50):
        chosen = rng.choice(np.unique(circor.person), PERSONS, replace=False)
        is_chosen = np.isin(circor.person, chosen)
        reference = fit_reference(circor.figures[is_chosen], circor.person[is_chosen])
        shares.append(is_beyond(circor.figures[~is_chosen], reference).mean())
    low, high = np.percentile(shares, [5, 95])
    ends = f"{low:.1%}-{high:.1%} of 50 draws"
    print(f"training data of {PERSONS} persons of CirCor: {np.mean(shares):.1%} of the others ({ends})")


def print_disturbed(circor: Measured, p: SimpleNamespace) -> None:
    """Print the share of disturbed and of other recordings that is beyond the limits."""
    reference = fit_reference(circor.figures, circor.person)
    print(f"\n{'':28} {'unlike':>8} {'irregular':>9} {'clipped':>8} {'any':>8}")
    for name, change in CHANGES.items():
        measured = measure_changed(circor, p, change)
        unlike = is_beyond(np.array([figures for _, figures in measured]), reference)
        irregular = np.array([quality.score < MIN_SCORE for quality, _ in measured])
        clipped = np.array([quality.clipped > MAX_CLIPPED for quality, _ in measured])
        columns = (unlike, irregular, clipped, unlike | irregular | clipped)
        print(f"{name:28}", *(f"{column.mean():8.1%}" for column in columns))


def telephone(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    band = (300, min(3400, 0.45 * rate))
    return sosfiltfilt(butter(4, band, "bandpass", fs=rate, output="sos"), x)


def hum(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add 50, 100 and 150 Hz."""
    t = np.arange(len(x)) / rate
    return x + x.std() * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3))


def sine(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * rng.uniform(60, 400) * np.arange(len(x)) / rate)


def clicks(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Replace the recording by silence with two clicks per second at random times."""
    y = np.zeros(len(x))
    y[rng.integers(0, len(x), 2 * len(x) // rate)] = 1
    return y


def speech(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Replace the recording by voiced syllables of random loudness, with pauses."""
    t = np.arange(len(x)) / rate
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase + k) * np.exp(-(((k * 150 - 500) / 400) ** 2)) for k in range(1, 10))
    syllables = np.arange(0, len(x) / rate + 1, 0.12)
    loudness = np.interp(t, syllables, rng.standard_normal(len(syllables))).clip(0)
    return voice * loudness + 0.01 * rng.standard_normal(len(x))


def music(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Replace the recording by three notes per second."""
    y, t = np.zeros(len(x)), np.arange(rate // 3) / rate
    for start in range(0, len(x) - len(t), len(t)):
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        notes = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2, 3, 4))
        y[start : start + len(t)] = notes * np.exp(-3 * t)
    return y


def white_noise(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(x))


def faster(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return soxr.resample(x, 3, 2)


def slower(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return soxr.resample(x, 2, 3)


CHANGES: dict[str, Change] = {
    "undisturbed": disturb("gain", 0),
    "white noise, 10 dB SNR": disturb("noise", 10),
    "white noise, 0 dB SNR": disturb("noise", 0),
    "low-pass 400 Hz": disturb("band", 400),
    "low-pass 200 Hz": disturb("band", 200),
    "telephone, from 300 Hz": telephone,
    "mains hum, 0 dB SNR": hum,
    "gain 30 dB, clipped": disturb("gain", 30),
    "gain 40 dB, clipped": disturb("gain", 40),
    "played at 1.5 x speed": faster,
    "played at 0.67 x speed": slower,
    "only white noise": white_noise,
    "only speech-like sound": speech,
    "only music-like sound": music,
    "only a sine": sine,
    "only clicks": clicks,
}


def print_models(sets: Mapping[str, Measured]) -> None:
    """Print how often the models of the current experiment are right, within and beyond the limits."""
    experiment = current.load_experiment()
    circor = sets["circor"]
    reference = fit_reference(circor.figures, circor.person)
    parts = []
    for measured in sets.values():
        if measured is circor:
            unlike = is_beyond_as_new(measured.figures, measured.person)
        else:
            unlike = is_beyond(measured.figures, reference)
        flags = {"source": measured.source, "unlike": unlike, "irregular": measured.is_irregular}
        table = measured.table[["recording_id"]].assign(**flags)
        parts.append(predict_recordings(experiment, measured, measured is circor).merge(table))
    print_rightness(pd.concat(parts))


def predict_recordings(e: current.CurrentExperiment, measured: Measured, is_own: bool) -> pd.DataFrame:
    """Return true and predicted class of each recording by each model that was not trained on it."""
    card = external_validation.restrict_classes(e.card, CLASSES.values())
    label = measured.table["label"].map(lambda label: CLASSES.get(label, label))
    recordings = measured.table.assign(label=label, patient_label=label)[label.isin(card.classes)]
    names = recordings["recording_id"]
    if is_own:
        folds = {run: fold[fold["recording_id"].isin(names)] for run, fold in e.folds.items()}
    else:
        folds = external_validation.make_test_folds(recordings, e.models.weights)
    prepared = replace(measured.prepared, recordings=recordings)
    predictions = pd.concat(trained_models.predict(e.models, prepared, folds, card).values())
    segments = prepared.segments[["segment_id", "recording_id"]]
    predictions = predictions.merge(segments, left_on="unit_id", right_on="segment_id")
    columns = [f"p_{c}" for c in card.classes]
    means = predictions.groupby(["run", "fold", "recording_id"])[columns].mean().reset_index()
    means["predicted"] = means[columns].idxmax(axis=1).str.removeprefix("p_")
    return means.merge(recordings[["recording_id", "label"]])


def print_rightness(table: pd.DataFrame) -> None:
    """Print accuracy and unweighted average recall (UAR) of the recordings beyond and within the limits."""
    table = table.assign(is_right=table["predicted"] == table["label"])
    table["either"] = table["unlike"] | table["irregular"]
    others = table[table["source"] != "circor"].assign(source="the other three")
    print(
        "\nrecordings of the models' classes; beyond the limits: share of all and of the wrong predictions,"
    )
    print("accuracy and UAR beyond / within")
    for source, part in pd.concat([table, others]).groupby("source", sort=False):
        for check in ("unlike", "irregular", "either"):
            beyond, within = part[part[check]], part[~part[check]]
            of_wrong = part[check][~part["is_right"]].mean()
            accuracy = f"{beyond['is_right'].mean():.3f} / {within['is_right'].mean():.3f}"
            uar = f"{compute_uar(beyond):.3f} / {compute_uar(within):.3f}"
            head = f"{NAMES.get(str(source), source):16} {part['recording_id'].nunique():4} {check:10}"
            print(f"{head} {part[check].mean():7.1%} {of_wrong:7.1%} {accuracy:>14} {uar:>14}")


def print_clipping(circor: Measured, p: SimpleNamespace, folder: Path) -> None:
    """Print how often the models are right for amplified recordings, by the fraction of clipped samples."""
    experiment, parts = current.load_experiment(), []
    for db in GAINS:
        data = folder / f"gain_{db}"
        data.mkdir()
        amplify = partial(robustness.change_gain, db=db, rng=np.random.default_rng(0))
        table = robustness.write_disturbed(
            circor.table, circor.raw, data / "raw", lambda x, rate, _, change=amplify: change(x, rate)
        )
        parquet.write(table, data / "recordings.parquet", RECORDINGS)
        samples = [audio.load(data / "raw" / path)[0] for path in table["path"]]
        clipped = [measure_quality(x, x[:0], 1).clipped for x in samples]
        prepared = compute_features(data, p)
        predictions = predict_recordings(experiment, circor._replace(prepared=prepared), True)
        parts.append(predictions.merge(table[["recording_id"]].assign(clipped=clipped)))
    results = pd.concat(parts)
    results["is_right"] = results["predicted"] == results["label"]
    print(f"\nCirCor with a gain of {', '.join(map(str, GAINS))} dB\nclipped           n  accuracy    UAR")
    for interval, part in results.groupby(pd.cut(results["clipped"], CLIPPED_EDGES), observed=True):
        bounds = f"{max(0, interval.left):.0%}-{interval.right:.0%}"
        print(f"{bounds:14} {len(part):5} {part['is_right'].mean():8.3f} {compute_uar(part):8.3f}")


def compute_uar(table: pd.DataFrame) -> float:
    """Return the mean over classes of the share that is predicted rightly."""
    return float(table.groupby("label")["is_right"].mean().mean())


if __name__ == "__main__":
    typer.run(main)
