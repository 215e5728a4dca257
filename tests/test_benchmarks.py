"""The benchmark of the features runs, and both of its ways give the same spectrograms."""

import os
import subprocess
import sys

from tests import made


def run_benchmark(folder, *options):
    for k in range(3):
        made.audio(folder / f"{k}.wav", seconds=6 + k)
    command = [sys.executable, made.ROOT / "benchmarks/preprocess.py", folder, "--repeats", "1", *options]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, cwd=made.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark_of_the_features_agrees_with_plain_code(tmp_path):
    output = run_benchmark(tmp_path)
    assert "3 recordings" in output and "ratio" in output


def test_the_profile_has_the_parts_of_images(tmp_path):
    output = run_benchmark(tmp_path, "--image", "--profile")
    for part in ("hash", "filter", "FFT", "resizing", "all parts", "pipeline", "plain code"):
        assert f"\n{part} " in output
