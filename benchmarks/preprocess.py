"""How fast clean, segment and mel are, against the plain way: same recordings, same parameters, in one run.

    PYTHONPATH=src python benchmarks/preprocess.py [FOLDER of WAV files] [--repeats 3]

The plain way is a notebook's, one file at a time: librosa.load, scipy's sosfiltfilt, and librosa's
melspectrogram and power_to_db for each segment. It writes nothing; the pipeline writes its files. Imports
are not timed. Without FOLDER: CirCor under MURMUR_DATA, else simulated recordings.
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

from murmur import params, workers
from murmur.datasets import synthetic
from murmur.features import store
from murmur.features.chain import compute_features
from murmur.recordings import audio
from murmur.sections.mel import Mel
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS

ALLOWED = {"float16": 0.0625, "float32": 0.001}  # how far two values may lie apart; one step of float16


def main(
    folder: Annotated[Path | None, typer.Argument()] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Time both ways on the WAV files of FOLDER and compare what they compute."""
    p = params.load("clean", "segment", "mel", "train")
    p.clean = p.clean.model_copy(update={"denoise": None})  # the plain way has none of these
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
        pipeline(few, p, out)
        peak_of_few = peak_memory()
        segments, _ = pipeline(recordings, p, out)
        peak = peak_memory()

        ours, plain = np.inf, np.inf
        for _ in range(repeats):
            start = time.perf_counter()
            with threadpool_limits(1):  # a second BLAS thread only gets in its way
                expected = plain_way(recordings, segments, raw, p)
            middle = time.perf_counter()
            _, spectrograms = pipeline(recordings, p, out)
            plain, ours = min(plain, middle - start), min(ours, time.perf_counter() - middle)
        apart = max(np.abs(a - np.float32(b)).max() for a, b in zip(expected, spectrograms, strict=True))

    print(f"plain way  {plain:7.2f} s  {seconds / plain:8,.0f} x real time")
    print(f"pipeline   {ours:7.2f} s  {seconds / ours:8,.0f} x real time")
    print(f"ratio      {plain / ours:7.2f}")
    print(f"peak memory: {peak_of_few:.0f} MiB after {len(few)} recordings, {peak:.0f} MiB after all")
    print(f"{len(expected)} spectrograms, at most {apart:.4f} apart; allowed: {ALLOWED[p.mel.dtype]}")
    if not apart <= ALLOWED[p.mel.dtype]:
        sys.exit("error: the two ways do not agree")


def pipeline(recordings: pd.DataFrame, p: SimpleNamespace, data: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Compute the features as the stages do."""
    parquet.write(recordings, data / "recordings.parquet", RECORDINGS)
    prepared = compute_features(data, p)
    return prepared.segments, store.read_array(prepared.features)[:, 0]


def plain_way(
    recordings: pd.DataFrame, segments: pd.DataFrame, raw: Path, p: SimpleNamespace
) -> list[np.ndarray]:
    """The spectrogram of each segment; where to cut is taken from the pipeline."""
    rate, length, band = p.clean.sample_rate, round(p.segment.length * p.clean.sample_rate), p.clean.bandpass
    pieces = {name: rows for name, rows in segments.groupby("recording_id")[["start", "n_samples"]]}
    if band:
        sections = butter(band.order, [band.low, band.high], "bandpass", fs=rate, output="sos")
    found = []
    for name, path in zip(recordings["recording_id"], recordings["path"], strict=True):
        y, _ = librosa.load(raw / path, sr=rate)
        if band:
            y = sosfiltfilt(sections, y)
        if p.clean.normalise != "none":
            y = y / (np.abs(y).max() if p.clean.normalise == "peak" else np.sqrt(np.mean(y**2)))
        y = y.astype(np.float32)
        for start, size in pieces[name].to_numpy() if name in pieces else ():
            piece = y[start : start + size]
            fill = np.resize(piece, length - size) if p.segment.short == "wrap" else np.zeros(length - size)
            found.append(log_mel(np.append(piece, fill.astype(np.float32)), rate, p.mel))
    return found


def log_mel(x: np.ndarray, rate: int, options: Mel) -> np.ndarray:
    """The spectrogram [mels, frames] of x [n], by librosa."""
    sizes = options.model_dump(include={"n_mels", "n_fft", "win_length", "hop_length"})
    power = librosa.feature.melspectrogram(y=x, sr=rate, fmin=options.f_min, fmax=options.f_max, **sizes)
    reference = np.max if options.reference == "max" else options.reference
    db = librosa.power_to_db(power, ref=reference, top_db=options.top_db if options.scale == "db" else None)
    return (db if options.scale == "db" else db * np.log(10) / 10).astype(options.dtype)


def default_folder(scratch: Path) -> Path:
    """CirCor, where it lies, else simulated recordings."""
    circor = Path(os.environ.get("MURMUR_DATA", "nowhere"), "circor", "training_data")
    if circor.is_dir():
        return circor
    raw = scratch / "raw"
    raw.mkdir()
    return synthetic.fetch(synthetic.Options(patients=60, seed=0), raw, None)


def describe(raw: Path) -> pd.DataFrame:
    """The columns of the recordings table that the stages read."""
    paths = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.wav"))
    if not paths:
        sys.exit(f"error: {raw}: no WAV files")
    facts = pd.DataFrame(audio.inspect(raw / path) for path in paths)
    names = {"patient_id": paths, "person_id": paths, "recording_id": paths, "path": paths}
    unused = dict.fromkeys(("site", "label", "patient_label", "source"), "")
    optional = dict.fromkeys(("role", "sex", "age_group", "quality"))
    return facts.assign(**names, **unused, **optional)[RECORDINGS.names]


def peak_memory() -> float:
    """MiB, of this process so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    typer.run(main)
