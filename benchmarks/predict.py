"""Speed, start and memory of `murmur predict`, compared with plain code: same recordings, same model.

    PYTHONPATH=src python benchmarks/predict.py [FOLDER of WAV files] [--model models/murmur] [--repeats 3]

The plain code predicts one file after another, as in a notebook: librosa.load, scipy's sosfiltfilt,
librosa's melspectrogram and power_to_db for each segment, the torch network for the segments of a file. It
has no checks of the quality, no patients, no output, and its imports are not timed; those of `murmur predict`
are. Without FOLDER the recordings are those of CirCor in the folder MURMUR_DATA, or simulated.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import librosa
import numpy as np
import soundfile
import torch
import typer
from plain_features import compute_log_mel
from preprocess import default_folder
from scipy.signal import butter, sosfiltfilt

from murmur import workers
from murmur.inference.loading import load_model
from murmur.training.classifier import Inputs

TOLERANCE = 0.02  # of a probability: librosa resamples and rounds differently
LOAD = "from murmur.commands.cli import main; main()"


def main(
    folder: Annotated[Path | None, typer.Argument()] = None,
    model: Annotated[Path, typer.Option()] = Path("models/murmur"),
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Time `murmur predict` and plain code on the WAV files of FOLDER."""
    with tempfile.TemporaryDirectory() as name:
        raw = folder or default_folder(Path(name))
        paths = sorted(raw.rglob("*.wav"))
        seconds = sum(soundfile.info(path).duration for path in paths)
        print(
            f"{len(paths)} recordings, {seconds / 3600:.2f} h; {workers.count_workers()} workers", flush=True
        )
        command_time, predictions = min(time_command(raw, model) for _ in range(repeats))
        plain_time, expected = predict_plainly(paths, model)
        start_time, _ = min(time_command(paths[0], model) for _ in range(repeats))
        print(f"plain code      {plain_time:7.2f} s  {seconds / plain_time:8,.0f} x real time")
        print(f"murmur predict  {command_time:7.2f} s  {seconds / command_time:8,.0f} x real time")
        print(f"ratio           {plain_time / command_time:7.2f}")
        print(f"one recording   {start_time:7.2f} s, start included")
        peak = peak_memory()
        samples, rate = soundfile.read(paths[0])
        hour = Path(name, "hour.wav")
        soundfile.write(hour, np.resize(samples, 3600 * rate), rate)
        hour_time, _ = time_command(hour, model)
        print(f"one hour at {rate} Hz  {hour_time:.1f} s")
        print(f"peak memory: {peak:.0f} MiB for all recordings, {peak_memory():.0f} MiB for the hour")
    pairs = [(expected[path], p) for path, p in json.loads(predictions).items() if path in expected]
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    print(f"{len(pairs)} recordings; largest difference of a probability {difference:.4f}")
    if not difference <= TOLERANCE:
        sys.exit("error: the probabilities of murmur predict and of the plain code differ")


def time_command(path: Path, model: Path) -> tuple[float, str]:
    """Run the command; return its time, and as JSON the mean probabilities of each recording's segments."""
    start = time.perf_counter()
    command = [sys.executable, "-c", LOAD, "predict", path, "--model", model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 3, 4):
        sys.exit(done.stderr)
    recordings = [r for patient in json.loads(done.stdout)["patients"] for r in patient["recordings"]]
    means = {
        r["path"]: np.mean([list(s["probabilities"].values()) for s in r["segments"]], axis=0).tolist()
        for r in recordings
        if r["segments"]
    }
    return seconds, json.dumps(means)


def predict_plainly(paths: list[Path], model: Path) -> tuple[float, dict[str, np.ndarray]]:
    """Predict files with librosa, scipy and torch; return the time, and the mean probabilities by file."""
    loaded = load_model(model)
    p, (network, *_) = loaded.info.params, loaded.network.classifiers
    rate, length, band = p.clean.sample_rate, round(p.segment.length * p.clean.sample_rate), p.clean.bandpass
    step, temperature = round(length * (1 - p.segment.overlap)), loaded.info.decisions["segment"].temperature
    sections = butter(band.order, [band.low, band.high], "bandpass", fs=rate, output="sos")
    means = {}
    start = time.perf_counter()
    for path in paths:
        y, _ = librosa.load(path, sr=rate)
        y = sosfiltfilt(sections, y)
        if p.clean.normalise != "none":
            y = y / (np.abs(y).max() if p.clean.normalise == "peak" else np.sqrt(np.mean(y**2)))
        y = y.astype(np.float32)
        starts = range(0, max(1, len(y) - length + step), step)
        pieces = [
            np.append(y[k : k + length], np.zeros(max(0, k + length - len(y)), np.float32)) for k in starts
        ]
        pieces = [x for x, k in zip(pieces, starts, strict=True) if len(y) - k >= p.segment.min_length * rate]
        x = torch.from_numpy(np.stack([compute_log_mel(piece, rate, p.mel) for piece in pieces]))[:, None]
        with torch.no_grad():
            logits = network(*Inputs(x, None).take(torch.arange(len(x))))
        means[str(path)] = (logits.softmax(1).log() / temperature).softmax(1).mean(0).numpy()
    return time.perf_counter() - start, means


def peak_memory() -> float:
    """Return the highest memory of the child processes until now, MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


if __name__ == "__main__":
    typer.run(main)
