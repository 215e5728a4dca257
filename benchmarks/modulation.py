"""A support vector machine on modulation spectra beside the network of the experiment, on the same folds.

    PYTHONPATH=src python benchmarks/modulation.py

A modulation spectrum is how strongly the power of a frequency band varies at each rate. It resembles
scattering coefficients of the second order, but is not a scattering transform. This program needs the outputs
of `dvc repro` on a data set with the classes of CirCor.

References
----------
Andén & Mallat, Deep Scattering Spectrum, IEEE Transactions on Signal Processing 62, 2014.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import signal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from murmur import formatting, sections
from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.evaluation.metrics import compute_count_metrics, confusion_matrix

CLASSES = list(CIRCOR_WEIGHTS)
WINDOW, HOP = 0.064, 0.016  # s, of the spectrogram
BANDS = np.geomspace(25, 800, 17)  # Hz, edges
RATES = np.geomspace(0.5, 30, 13)  # Hz, edges of the bands of modulation
LENGTH = 4.0  # s, window of the modulation spectrum
METRICS = ("weighted_accuracy_official", "uar", "recall_Present", "recall_Unknown", "recall_Absent")


def compute_modulation_spectrum(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean and SD of the level of each band, and the logarithm of its power of modulation at each rate."""
    window, hop = int(WINDOW * rate), int(HOP * rate)
    f, _, power = signal.spectrogram(samples, rate, nperseg=window, noverlap=window - hop)
    level = np.log(pool(power, f, BANDS) + 1e-10)
    n = min(int(LENGTH / HOP), level.shape[1])
    g, modulation = signal.welch(level, rate / hop, nperseg=n, nfft=4 * int(LENGTH / HOP))
    strength = np.log(pool(modulation.T, g, RATES) + 1e-10)
    return np.concatenate([level.mean(1), level.std(1), strength.ravel()])


def pool(values: np.ndarray, axis: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average the rows of `values`, at the positions `axis`, between each two edges."""
    centre = np.sqrt(edges[1:] * edges[:-1])
    members = [
        (axis >= low) & (axis < high) | (axis == axis[np.abs(axis - middle).argmin()])
        for low, high, middle in zip(edges[:-1], edges[1:], centre, strict=True)
    ]
    return np.stack([values[rows].mean(axis=0) for rows in members])


def predict_patients(x: np.ndarray, recordings: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """The class of each patient, predicted by the machine of the fold in which the patient is tested.

    The probabilities of a patient are the means over the recordings, weighted as in the metric.
    """
    y, predictions = pd.Index(CLASSES).get_indexer(recordings["label"]), []
    official = [CIRCOR_WEIGHTS[c] * CIRCOR_PATIENTS[c] for c in CLASSES]
    weights = dict(enumerate(official / np.bincount(y)))
    for _, table in folds.groupby("fold"):
        test = recordings["recording_id"].isin(table.loc[table["role"] == "test", "recording_id"]).to_numpy()
        machine = CalibratedClassifierCV(SVC(class_weight=weights), ensemble=False)
        model = make_pipeline(StandardScaler(), machine).fit(x[~test], y[~test])
        p = pd.DataFrame(model.predict_proba(x[test]), columns=CLASSES)
        predictions.append(p.groupby(recordings.loc[test, "patient_id"].to_numpy()).mean())
    p = pd.concat(predictions)
    odds = p * list(weights.values())
    truth = recordings.drop_duplicates("patient_id").set_index("patient_id")["patient_label"]
    return pd.DataFrame({"predicted": odds.idxmax(axis=1), "truth": truth.loc[p.index]})


def score(table: pd.DataFrame) -> dict[str, float]:
    """The metrics of predicted classes."""
    number = {c: k for k, c in enumerate(CLASSES)}
    counts = confusion_matrix(table["truth"].map(number), table["predicted"].map(number), len(CLASSES))
    values = compute_count_metrics(counts, CLASSES, ["Present"])
    return {name: float(values[name]) for name in METRICS}


def main() -> None:
    p = sections.load("clean", "split")
    recordings = pd.read_parquet("data/recordings.parquet")
    places = pd.read_parquet("data/signals.parquet").set_index("recording_id").loc[recordings["recording_id"]]
    samples = np.load("data/signals.npy", mmap_mode="r")
    x = np.stack(
        [
            compute_modulation_spectrum(samples[start : start + n], p.clean.sample_rate)
            for start, n in zip(places["offset"], places["n_samples"], strict=True)
        ]
    )
    runs = pd.read_csv("metrics/runs.csv").query("level == 'patient'")
    folds = [pd.read_parquet(Path(f"data/folds/run_{run}.parquet")) for run in runs["run"]]
    machine = pd.DataFrame([score(predict_patients(x, recordings, table)) for table in folds])
    rows = [["mean over runs", *METRICS]]
    for name, table in (("modulation spectra, SVM", machine), ("network", runs)):
        rows.append([name, *(formatting.format_figure(table[metric].mean()) for metric in METRICS)])
    print(f"{x.shape[1]} figures of each recording; runs {formatting.join_sorted(runs['run'])}, by patient")
    print(formatting.format_table(rows))


if __name__ == "__main__":
    main()
