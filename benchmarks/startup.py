"""How long commands, stages and the worker processes of a training take to start.

    python benchmarks/startup.py [REPEATS]

Run it in a project whose pipeline is up to date. Prints the shortest of REPEATS times (by default 5), its
ratio to that of `python -c pass`, and the shortest processor time (without that of worker processes), which
depends less on what else the machine does.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = "import runpy; runpy.run_path('stages/{}.py', run_name='imported')"
WORKER = """
from murmur.training.processes import map_processes
if __name__ == "__main__":
    modules = ["training.fit", "training.run", "features.store", "models.cnn"]
    list(map_processes(abs, [1], 1, [f"murmur.{name}" for name in modules]))
"""
CASES = {
    "python -c pass": ["-c", "pass"],
    "murmur --help": ["-m", "murmur", "--help"],
    **{
        f"stage {path.stem}": ["-c", IMPORT.format(path.stem)] for path in sorted(Path("stages").glob("*.py"))
    },
    "worker of a training": [],
    "dvc repro, nothing to do": ["-m", "dvc", "repro", "--quiet"],
    "murmur repro, nothing to do": ["-m", "murmur", "repro"],
}


def measure(arguments: list[str], repeats: int) -> tuple[float, float]:
    """Return the shortest duration of a Python process, and its shortest processor time, in seconds."""
    durations, times = [], []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        durations.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(durations), min(times)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "worker.py")
        script.write_text(WORKER)
        os.environ |= {"PYTHONPATH": "src", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        plain = None
        print(f"{'':28}{'time':>8}{'ratio':>8}{'processor':>12}")
        for name, arguments in CASES.items():
            measured, processor = measure(arguments or [str(script)], repeats)
            plain = plain or measured
            print(f"{name:28}{measured:6.2f} s{measured / plain:8.1f}{processor:10.2f} s", flush=True)


if __name__ == "__main__":
    main()
