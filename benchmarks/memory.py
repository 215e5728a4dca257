"""Peak memory of a command and all its child processes (Linux).

    python benchmarks/memory.py dvc repro --single-item train@0

Memory that processes share is counted once (proportional set size, measured five times a second).
"""

import contextlib
import subprocess
import sys
import time

import psutil


def measure_memory(process: psutil.Process) -> int:
    """Return the memory of a process and its descendants, in bytes."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for descendant in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += descendant.memory_full_info().pss
    return total


def main() -> None:
    start, peak = time.monotonic(), 0
    command = subprocess.Popen(sys.argv[1:])
    process = psutil.Process(command.pid)
    while command.poll() is None:
        peak = max(peak, measure_memory(process))
        time.sleep(0.2)
    print(f"peak memory {peak / 2**20:,.0f} MiB, {time.monotonic() - start:.0f} s", flush=True)
    sys.exit(command.returncode)


if __name__ == "__main__":
    main()
