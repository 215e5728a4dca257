"""Speed of clean, segment and mel, compared with plain code: same recordings, same parameters.

    PYTHONPATH=src python benchmarks/preprocess.py [FOLDER of WAV files] [--repeats 3]

The plain code processes one file after another, as in a notebook: librosa.load, scipy's sosfiltfilt, and
librosa's melspectrogram and power_to_db for each segment. It writes no files; the pipeline writes its files.
Imports are not timed. Without FOLDER the recordings are those of CirCor in the folder MURMUR_DATA, or
simulated.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import librosa
import numpy as np
import pandas as pd
import typer
from scipy.signal import butter, sosfiltfilt
from threadpoolctl import threadpool_limits

from murmur import sections, workers
from murmur.datasets import synthetic
from murmur.features import store
from murmur.features.chain import compute_features
from murmur.recordings import audio
from murmur.sections.mel import Mel
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS

TOLERANCE = {"float16": 0.0625, "float32": 0.001}  # of the values; for float16 one step at 80 dB


def main(
    folder: Annotated[Path | None, typer.Argument()] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Time the pipeline and plain code on the WAV files of FOLDER, and compare their spectrograms."""
    p = sections.load("clean", "segment", "mel", "train")
    p.clean = p.clean.model_copy(update={"denoise": None})  # not in the plain code
    p.mel = p.mel.model_copy(update={"format": "npy", "image": None, "normalise": "none", "edges": "zeros"})
    p.train = p.train.model_copy(update={"features": "mel"})
    p.segment = p.segment.model_copy(update={"first": None, "first_of": [], "mirror": False})
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        raw = folder or default_folder(out)
        if raw != out / "raw":
            (out / "raw").symlink_to(raw.resolve())
        recordings = describe(raw)
        seconds = (recordings["n_samples"] / recordings["sample_rate"]).sum()
        print(
            f"{len(recordings)} recordings, {seconds / 3600:.2f} h; {workers.count_workers()} workers",
            flush=True,
        )

        few = recordings[: len(recordings) // 10 + 1]
        run_pipeline(few, p, out)
        peak_of_few = peak_memory()
        segments, _ = run_pipeline(recordings, p, out)
        peak = peak_memory()

        pipeline_time, plain_time = np.inf, np.inf
        for _ in range(repeats):
            start = time.perf_counter()
            with threadpool_limits(1):  # faster than two BLAS threads
                expected = compute_plainly(recordings, segments, raw, p)
            middle = time.perf_counter()
            _, spectrograms = run_pipeline(recordings, p, out)
            plain_time = min(plain_time, middle - start)
            pipeline_time = min(pipeline_time, time.perf_counter() - middle)
        difference = max(np.abs(a - np.float32(b)).max() for a, b in zip(expected, spectrograms, strict=True))

    print(f"plain code {plain_time:7.2f} s  {seconds / plain_time:8,.0f} x real time")
    print(f"pipeline   {pipeline_time:7.2f} s  {seconds / pipeline_time:8,.0f} x real time")
    print(f"ratio      {plain_time / pipeline_time:7.2f}")
    print(f"peak memory: {peak_of_few:.0f} MiB after {len(few)} recordings, {peak:.0f} MiB after all")
    tolerance = TOLERANCE[p.mel.dtype]
    print(f"{len(expected)} spectrograms; largest difference {difference:.4f}, tolerance {tolerance}")
    if not difference <= tolerance:
        sys.exit("error: the spectrograms of the pipeline and of the plain code differ")


def run_pipeline(recordings: pd.DataFrame, p: SimpleNamespace, data: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Compute segments and spectrograms with the functions of the stages."""
    parquet.write(recordings, data / "recordings.parquet", RECORDINGS)
    prepared = compute_features(data, p)
    return prepared.segments, store.read_array(prepared.features)[:, 0]


def compute_plainly(
    recordings: pd.DataFrame, segments: pd.DataFrame, raw: Path, p: SimpleNamespace
) -> list[np.ndarray]:
    """Compute the spectrogram of each segment with librosa and scipy; the positions are the pipeline's."""
    rate, length, band = p.clean.sample_rate, round(p.segment.length * p.clean.sample_rate), p.clean.bandpass
    positions = dict(list(segments.groupby("recording_id")[["start", "n_samples"]]))
    if band:
        sections = butter(band.order, [band.low, band.high], "bandpass", fs=rate, output="sos")
    spectrograms = []
    for name, path in zip(recordings["recording_id"], recordings["path"], strict=True):
        y, _ = librosa.load(raw / path, sr=rate)
        if band:
            y = sosfiltfilt(sections, y)
        if p.clean.normalise != "none":
            y = y / (np.abs(y).max() if p.clean.normalise == "peak" else np.sqrt(np.mean(y**2)))
        y = y.astype(np.float32)
        for start, size in positions[name].to_numpy() if name in positions else ():
            piece = y[start : start + size]
            fill = np.resize(piece, length - size) if p.segment.short == "wrap" else np.zeros(length - size)
            spectrograms.append(compute_log_mel(np.append(piece, fill.astype(np.float32)), rate, p.mel))
    return spectrograms


def compute_log_mel(x: np.ndarray, rate: int, options: Mel) -> np.ndarray:
    """Compute the spectrogram [mels, frames] of x [n] with librosa."""
    sizes = options.model_dump(include={"n_mels", "n_fft", "win_length", "hop_length"})
    power = librosa.feature.melspectrogram(y=x, sr=rate, fmin=options.f_min, fmax=options.f_max, **sizes)
    reference = np.max if options.reference == "max" else options.reference
    db = librosa.power_to_db(power, ref=reference, top_db=options.top_db if options.scale == "db" else None)
    return (db if options.scale == "db" else db * np.log(10) / 10).astype(options.dtype)


def default_folder(scratch: Path) -> Path:
    """Return the folder of CirCor's recordings, or, without one, of simulated recordings."""
    circor = Path(os.environ.get("MURMUR_DATA", "nowhere"), "circor", "training_data")
    if circor.is_dir():
        return circor
    raw = scratch / "raw"
    raw.mkdir()
    return synthetic.fetch(synthetic.Options(patients=60, seed=0), raw, None)


def describe(raw: Path) -> pd.DataFrame:
    """Make the recordings table of the WAV files in a folder."""
    paths = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.wav"))
    if not paths:
        sys.exit(f"error: {raw}: no WAV files")
    facts = pd.DataFrame(audio.inspect_file(raw / path) for path in paths)
    names = {"patient_id": paths, "person_id": paths, "recording_id": paths, "path": paths}
    unused = dict.fromkeys(("site", "label", "patient_label", "source"), "")
    optional = dict.fromkeys(set(RECORDINGS.names) - {*facts, *names, *unused})
    return facts.assign(**names, **unused, **optional)[RECORDINGS.names]


def peak_memory() -> float:
    """Return the peak memory of this process so far, MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    typer.run(main)
