"""Time and memory of each stage as the number of recordings grows.

    PYTHONPATH=src python benchmarks/growth.py [--recordings 50] [--factors 1,4,16,64] [--plot growth.svg]

The recordings are those of CirCor under MURMUR_DATA, else simulated. To have more of them, they are also
played backwards and at other speeds, with other gains and noise: such copies are not duplicates of each
other. Each stage runs in its own process, as in `dvc repro`; the training is one epoch of one run of two
folds. Memory is measured as by benchmarks/memory.py (Linux). The exponent is that of
CPU time = c · recordings^exponent, fitted to the three largest data sets.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import pandas as pd
import psutil
import soundfile as sf
import soxr
import typer
import yaml
from memory import adopt_orphans, collect_orphans, measure_memory

mpl.use("svg")
import matplotlib.pyplot as plt

from murmur.datasets import synthetic
from murmur.files import temporary_folder
from murmur.recordings import audio

ROOT = Path(__file__).parents[1]
RATE = 4000
STAGES = {
    name: [f"stages/{name}.py"]
    for name in ("download", "duplicates", "clean", "segment", "split", "mel", "label")
}
STAGES["train"] = ["stages/train.py", "--run", "0"]
MAX_SPEED = 1.6


def main(
    recordings: Annotated[int, typer.Option(min=10)] = 50,
    factors: str = "1,4,16,64",
    plot: Path | None = None,
) -> None:
    """Run all stages on growing data sets; print time, memory and exponent of each; draw them."""
    sizes = [int(factor) for factor in factors.split(",")]
    parts = []
    with temporary_folder() as scratch:
        sources = list_sources(scratch, recordings)
        for factor in sizes:
            folder = scratch / str(factor)
            make_project(folder, sources, factor, max(sizes))
            parts.append(pd.DataFrame(run_stages(folder)).assign(recordings=len(sources) * factor))
            print(parts[-1].round(2).to_string(index=False), flush=True)
            shutil.rmtree(folder)
    table = pd.concat(parts, ignore_index=True)
    print(summarise(table))
    if plot:
        draw(table, plot)


def list_sources(scratch: Path, n: int) -> list[Path]:
    """Return n recordings."""
    folder = Path(os.environ.get("MURMUR_DATA", "nowhere")) / "circor/training_data"
    if not folder.is_dir():
        folder = scratch / "simulated"
        folder.mkdir()
        synthetic.fetch(synthetic.Options(patients=n, seed=0), folder, None)
    return sorted(folder.glob("*.wav"))[:n]


def make_project(folder: Path, sources: list[Path], factor: int, max_factor: int) -> None:
    """Write a project with `factor` changed copies of each recording, every other one labelled ill."""
    own = folder / "data/own"
    own.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    n_speeds = max(2, -(-max_factor // 2))
    for k, path in enumerate(sources):
        x, rate = audio.load(path)
        for copy in range(factor):
            speed = MAX_SPEED ** (2 * (copy // 2) / (n_speeds - 1) - 1)
            y = soxr.resample(x[:: (-1) ** copy], rate, RATE / speed)
            y = rng.uniform(0.3, 0.9) * y / np.abs(y).max() + 0.002 * rng.standard_normal(len(y))
            name = f"{k}_{copy}"
            sf.write(own / f"{name}.wav", y.clip(-1, 1), RATE, subtype="PCM_16")
            label = "ill" if k % 2 else "well"
            rows.append({"path": f"{name}.wav", "label": label, "patient_id": name, "site": "AV"})
    pd.DataFrame(rows).to_csv(own / "recordings.csv", index=False)
    (folder / "stages").symlink_to(ROOT / "stages")
    params = yaml.safe_load((ROOT / "recipes/default.yaml").read_text(encoding="utf-8"))
    params |= {"dataset": "folder", "positive": ["ill"]}
    params["download"]["folder"]["path"] = "data/own"
    params["split"] |= {"runs": [0], "folds": 2}
    params["train"]["epochs"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (folder / "data/pretrained.json").write_text("{}\n", encoding="utf-8")  # as the stage check


def run_stages(folder: Path) -> Iterator[dict[str, object]]:
    """Run each stage; yield its name, time, and peak memory with its worker processes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    adopt_orphans()
    with (folder / "log").open("w+", encoding="utf-8") as log:
        for name, command in STAGES.items():
            start = time.monotonic()
            before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), 0
            process = psutil.Popen(
                [sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                peak = max(peak, measure_memory())
                time.sleep(0.1)
            if process.returncode:
                log.seek(0)
                sys.exit(f"error: stage {name} failed:\n{log.read()}")
            seconds = time.monotonic() - start
            collect_orphans()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            yield {"stage": name, "seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak / 2**20}


def fit_exponent(table: pd.DataFrame) -> float:
    """Fit CPU time = c · recordings^exponent to the three largest data sets."""
    last = table.sort_values("recordings").tail(3)
    return float(np.polyfit(np.log(last["recordings"]), np.log(last["cpu_seconds"]), 1)[0])


def summarise(table: pd.DataFrame) -> str:
    """Return a table in Markdown: CPU time and peak memory by stage and number of recordings."""
    sizes = sorted(table["recordings"].unique())
    lines = [
        f"| stage | {' | '.join(f'{n:,}' for n in sizes)} | exponent |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for stage, rows in table.groupby("stage", sort=False):
        cells = [f"{row.cpu_seconds:.1f} s, {row.peak_mib:,.0f} MiB" for row in rows.itertuples()]
        exponent = f"{fit_exponent(rows):.2f}" if len(rows) > 1 else ""
        lines.append(f"| {stage} | {' | '.join(cells)} | {exponent} |")
    return "\n".join(lines)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw CPU time and peak memory of each stage over the number of recordings."""
    _, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, column, label in zip(
        axes, ("cpu_seconds", "peak_mib"), ("CPU time (s)", "peak memory (MiB)"), strict=True
    ):
        for stage, rows in table.groupby("stage", sort=False):
            axis.loglog(rows["recordings"], rows[column], marker="o", markersize=3, label=stage)
        axis.set(xlabel="recordings", ylabel=label)
        axis.grid(alpha=0.3)
    axes[1].axhline(2048, color="grey", linestyle="--", linewidth=1)
    axes[0].legend(fontsize=7)
    plt.savefig(path)


if __name__ == "__main__":
    typer.run(main)
