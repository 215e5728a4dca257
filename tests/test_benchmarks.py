"""The benchmarks run, and both ways of the features give the same spectrograms."""

import importlib
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from murmur.devices import single_thread
from tests import made


def run(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=made.ROOT, capture_output=True, text=True, **options)


@pytest.fixture
def benchmark(monkeypatch):
    """Import a benchmark; they import each other as scripts of one folder."""
    monkeypatch.syspath_prepend(made.ROOT / "benchmarks")
    monkeypatch.chdir(made.ROOT)
    return importlib.import_module


def compare_features(folder, *options):
    """Compare the features of three recordings with plain code; return what is printed."""
    for k in range(3):
        made.audio(folder / f"{k}.wav", seconds=6 + k)
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = run("benchmarks/preprocess.py", folder, "--repeats", 1, *options, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark_of_the_features_agrees_with_plain_code(tmp_path):
    output = compare_features(tmp_path)
    assert "3 recordings" in output and "ratio" in output


def test_the_profile_has_the_parts_of_images(tmp_path):
    output = compare_features(tmp_path, "--image", "--profile")
    for part in ("hash", "filter", "FFT", "resizing", "all parts", "pipeline", "plain code"):
        assert f"\n{part} " in output


def test_the_roofline_counts_the_operations_of_a_step_as_torch_does(benchmark, monkeypatch, capsys):
    roofline = benchmark("roofline")
    monkeypatch.setattr(roofline, "SECONDS", 0)
    with single_thread():
        loop, step = roofline.prepare_step(roofline.CASES["frames"], "float32")
        with FlopCounterMode(display=False) as counter:
            step()
        rows = roofline.time_operations(loop, step)
    assert sum(row.flop for row in rows.values()) == counter.get_total_flops() > 0
    convolutions = [
        layer for layer in loop.model.modules() if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d))
    ]
    assert sum(row.calls for row in rows.values()) == len(convolutions)
    roofline.print_table(rows, 1.0, 32, roofline.Roof(2e11, 1e10))
    assert {"normalisation", "optimizer", "batch and augmentation"} <= set(rows)
    assert "memory" in (text := capsys.readouterr().out) and max(map(len, text.splitlines())) <= 110


def test_the_benchmark_of_the_training_compares_with_plain_loops(benchmark, monkeypatch, capsys):
    train = benchmark("train")
    monkeypatch.setitem(train.CASES, "frames", train.CASES["frames"]._replace(segments=64))
    with single_thread():
        train.compare("frames", "float32")
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["frames", "murmur,", "plain", "plain", "one", "one"]
    assert all(line.endswith(" x") for line in lines[2:])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_benchmark_of_the_memory_counts_processes_that_outlive_the_command(tmp_path):
    work = "import time\nwhile time.process_time() < 0.2: pass"
    done = run("benchmarks/memory.py", "sh", "-c", f'{sys.executable} -c "{work}" & exit 3')
    assert done.returncode == 3, done.stderr
    assert float(done.stdout.split("processor time ")[1].split()[0]) >= 0.2
