"""The benchmark of the features runs, and both of its ways give the same spectrograms."""

import os
import subprocess
import sys

from tests import made


def test_the_benchmark_of_the_features_agrees_with_plain_code(tmp_path):
    for k in range(3):
        made.audio(tmp_path / f"{k}.wav", seconds=6 + k)
    command = [sys.executable, made.ROOT / "benchmarks/preprocess.py", tmp_path, "--repeats", "1"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, cwd=made.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 recordings" in done.stdout and "ratio" in done.stdout
