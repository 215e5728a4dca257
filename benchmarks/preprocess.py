"""Speed of clean, segment and mel, compared with plain code: same recordings, same parameters.

    PYTHONPATH=src python benchmarks/preprocess.py [FOLDER of WAV files] [--repeats 3]
    ... --image                  # the parameters of the recipe pascal_vgg16, without noise reduction
    ... --denoise                # with noise reduction, in the pipeline and in the plain code
    ... --published [--denoise]  # compared with published code, which reduces noise and writes PNG files
    ... --profile                # CPU time of each part alone

The plain code processes one file after another, as in a notebook: librosa.load, scipy's sosfiltfilt, and
librosa's melspectrogram and power_to_db for each segment. It writes no files; the pipeline writes its files.
The published code also reduces noise and draws a PNG file of each segment; it is timed on a few recordings.
Imports are not timed. Without FOLDER the recordings are those of CirCor in MURMUR_DATA, or simulated.
"ratio" is that of the wall times; that of the CPU times does not depend on the number of workers.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import features_profile
import numpy as np
import pandas as pd
import typer
from plain_features import compute_plainly, draw_pictures
from threadpoolctl import threadpool_limits

from murmur import sections, workers
from murmur.datasets import synthetic
from murmur.experiments import recipes
from murmur.features import store
from murmur.features.chain import compute_features
from murmur.recordings import audio
from murmur.sections.clean import Clean, Denoise
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS

# Of the values: for float16 one step at 80 dB; for the colours of images (uint8) a few neighbouring colours.
TOLERANCE = {"float16": 0.0625, "float32": 0.001, "uint8": 8}
DENOISE = Denoise(n_fft=1024, time_smooth_ms=128, frequency_smooth_hz=500)  # as the recipe pascal_vgg16
N_PUBLISHED = 10  # recordings on which the published code is timed


class Duration(NamedTuple):
    """Duration of a computation: by the clock, and CPU time of all threads; s."""

    wall: float
    cpu: float


def main(
    folder: Annotated[Path | None, typer.Argument()] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    image: bool = False,
    denoise: bool = False,
    published: bool = False,
    profile: bool = False,
) -> None:
    """Time the pipeline and plain code on the WAV files of FOLDER, and compare their spectrograms."""
    p = choose_params(image, denoise)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        raw = folder or default_folder(out)
        if raw != out / "raw":
            (out / "raw").symlink_to(raw.resolve())
        recordings = describe(raw)
        n = workers.count_workers()
        print(f"{len(recordings)} recordings, {measure(recordings) / 3600:.2f} h; {n} workers", flush=True)
        segments = compare_memory(recordings, p, out)
        if published:
            compare_with_published(recordings, segments, p, out, repeats)
        elif profile:
            profile_parts(recordings, segments, p, out, repeats)
        else:
            compare_with_plain(recordings, segments, p, out, repeats)


def choose_params(image: bool, denoise: bool) -> SimpleNamespace:
    """Read the parameters, without what the plain code does not do."""
    p = sections.load("clean", "segment", "mel", "train")
    if image:
        recipe = recipes.read_recipe("pascal_vgg16")
        p.clean, p.mel = Clean(**recipe["clean"]), Mel(**recipe["mel"])
        p.segment = Segment(**recipe["segment"])
    p.clean = p.clean.model_copy(update={"denoise": DENOISE if denoise else None})
    plain = {"format": "npy", "normalise": "none", "edges": "zeros"} | ({} if image else {"image": None})
    p.mel = p.mel.model_copy(update=plain)
    p.train = p.train.model_copy(update={"features": "mel"})
    p.segment = p.segment.model_copy(update={"first": None, "first_of": [], "mirror": False})
    return p


def compare_memory(recordings: pd.DataFrame, p: SimpleNamespace, out: Path) -> pd.DataFrame:
    """Run the pipeline on a tenth and on all; print the peak memory of each, return the segments."""
    few = recordings[: len(recordings) // 10 + 1]
    run_pipeline(few, p, out)
    peak_of_few = peak_memory()
    segments, _ = run_pipeline(recordings, p, out)
    peak = peak_memory()
    print(f"peak memory: {peak_of_few:.0f} MiB after {len(few)} recordings, {peak:.0f} MiB after all")
    return segments


def compare_with_plain(
    recordings: pd.DataFrame, segments: pd.DataFrame, p: SimpleNamespace, out: Path, repeats: int
) -> None:
    """Compare the time and the spectrograms of the pipeline with those of the plain code."""
    plainly = partial(run_plainly, recordings, segments, out / "raw", p)
    pipeline = partial(run_pipeline, recordings, p, out)
    unchecked = partial(run_unchecked, recordings, p, out)
    times, (expected, (_, spectrograms), _) = time_alternately([plainly, pipeline, unchecked], repeats, out)
    seconds = measure(recordings)
    for name, duration in zip(("plain code", "pipeline", "without hashes"), times, strict=True):
        print_duration(name, duration, seconds)
    plain, ours, ours_unchecked = times
    print(f"ratio {plain.wall / ours.wall:.2f}, without the hashes {plain.wall / ours_unchecked.wall:.2f}")
    print(f"ratio of the CPU times {plain.cpu / ours.cpu:.2f}")
    pairs = zip(expected, spectrograms, strict=True)
    difference = max(np.abs(np.float32(a) - np.float32(b)).max() for a, b in pairs)
    tolerance = TOLERANCE[spectrograms.dtype.name]
    print(f"{len(expected)} spectrograms; largest difference {difference:.4f}, tolerance {tolerance}")
    if not difference <= tolerance:
        sys.exit("error: the spectrograms of the pipeline and of the plain code differ")


def compare_with_published(
    recordings: pd.DataFrame, segments: pd.DataFrame, p: SimpleNamespace, out: Path, repeats: int
) -> None:
    """Compare the time of the pipeline with that of published code, which always reduces noise."""
    few = recordings[:: -(-len(recordings) // N_PUBLISHED)]
    options = SimpleNamespace(**vars(p) | {"clean": p.clean.model_copy(update={"denoise": DENOISE})})
    draw = partial(draw_pictures, segments=segments, raw=out / "raw", p=options, out=out / "pictures")
    draw(few[:1], axes=True)  # fonts are read only once
    drawings = [partial(draw, few, axes=True), partial(draw, few, axes=False)]
    published, _ = time_alternately(drawings, 1, out)
    (ours,), _ = time_alternately([partial(run_pipeline, recordings, p, out)], repeats, out)
    scale = measure(recordings) / measure(few)
    print_duration("pipeline", ours, measure(recordings))
    for name, duration in zip(("published code", "without axes"), published, strict=True):
        print_duration(name, duration, measure(few))
        print(f"ratio {duration.wall * scale / ours.wall:,.0f}, of the CPU times", end=" ")
        print(f"{duration.cpu * scale / ours.cpu:,.0f}")
    reduces = "with" if p.clean.denoise else "without"
    print(
        f"published code: on {len(few)} recordings, extrapolated; pipeline: on all, {reduces} noise reduction"
    )


def profile_parts(
    recordings: pd.DataFrame, segments: pd.DataFrame, p: SimpleNamespace, out: Path, repeats: int
) -> None:
    """Print the CPU time of each part alone, of the pipeline and of the plain code."""
    measured = [features_profile.measure_parts(recordings, segments, out, p) for _ in range(repeats)]
    plainly = partial(run_plainly, recordings, segments, out / "raw", p)
    (plain, ours), _ = time_alternately([plainly, partial(run_pipeline, recordings, p, out)], repeats, out)
    parts = type(measured[0])({name: min(times[name] for times in measured) for name in measured[0]})
    seconds = measure(recordings)
    features_profile.print_profile(parts, seconds, ours.cpu, plain.cpu, workers.count_workers())


def time_alternately(
    functions: list[Callable[[], Any]], repeats: int, data: Path
) -> tuple[list[Duration], list[Any]]:
    """Call the functions in turn: the shortest durations of each, and their last results.

    Before each call the outputs in the folder `data` are removed, as DVC does before a stage.
    """
    best = [Duration(np.inf, np.inf)] * len(functions)
    for _ in range(repeats):
        results = []
        for k, function in enumerate(functions):
            (data / "signals.npy").unlink(missing_ok=True)
            shutil.rmtree(data / "mel", ignore_errors=True)
            wall, cpu = time.perf_counter(), time.process_time()
            results.append(function())
            taken = time.perf_counter() - wall, time.process_time() - cpu
            best[k] = Duration(*map(min, best[k], taken))
    return best, results


def print_duration(name: str, duration: Duration, seconds: float) -> None:
    """Print the duration of a computation on `seconds` of audio."""
    speed = f"{seconds / duration.wall:8,.0f} x real time"
    print(f"{name:14} {duration.wall:7.2f} s  {speed}  {duration.cpu:7.2f} s of CPU time")


def measure(recordings: pd.DataFrame) -> float:
    """Return the length of all recordings together, s."""
    return (recordings["n_samples"] / recordings["sample_rate"]).sum()


def run_plainly(*arguments: Any) -> list[np.ndarray]:
    """Run the plain code with one BLAS thread, which is faster than two."""
    with threadpool_limits(1):
        return compute_plainly(*arguments)


def run_unchecked(*arguments: Any) -> tuple[pd.DataFrame, np.ndarray]:
    """Run the pipeline without the check of each recording against its hash in the table."""
    with patch.object(audio, "load_recording", lambda raw, recording: audio.load(raw / recording.path)):
        return run_pipeline(*arguments)


def run_pipeline(recordings: pd.DataFrame, p: SimpleNamespace, data: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Compute segments and spectrograms with the functions of the stages."""
    parquet.write(recordings, data / "recordings.parquet", RECORDINGS)
    prepared = compute_features(data, p)
    array = store.read_array(prepared.features)
    return prepared.segments, array if p.mel.image else array[:, 0]


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
