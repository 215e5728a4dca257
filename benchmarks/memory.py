"""Memory and processor time of a command and all its child processes (Linux).

    python benchmarks/memory.py [--file FILE] COMMAND...
    python benchmarks/memory.py --file data/mel/array.npy dvc repro --single-item --force train@0

Prints the peak memory, in which memory that processes share is counted once (proportional set size), and the
share of the time of all processor cores that the processes used. Memory is measured five times a second, or
less often, so that the measurement takes at most 10 % of one core, which the processes could otherwise use. A
peak that lasts for less than half a second can be missed.

With FILE also how much of this file was in memory as a memory map, measured less often: the proportional set
size summed over the processes, in which each page is counted once, beside the sum in which a page is counted
for each process that uses it. Copies of the content in other memory are part of the peak memory only.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil

INTERVAL = 0.2  # s
SHARE = 0.1  # of one core that the measurement takes at most
FILE_SHARE = 0.02  # of one core, for the measurement of the file
PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h


def measure_memory() -> int:
    """Return the memory of all descendants of this process, in bytes."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def measure_file(path: Path) -> tuple[int, int, int]:
    """Return the proportional and the resident set size of a memory map, and the number of its processes."""
    maps = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            maps += [m for m in process.memory_maps() if m.path == str(path.resolve())]
    return sum(m.pss for m in maps), sum(m.rss for m in maps), len(maps)


def adopt_orphans() -> None:
    """Make descendants whose parent ends children of this process, so that their time is counted."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def collect_orphans(seconds: float = 10.0) -> None:
    """Wait for descendants that outlive the command, such as the process that starts the workers."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def run_command(arguments: list[str], path: Path | None) -> tuple[int, float, int, tuple[int, int, int]]:
    """Run a command; return its exit status, seconds, peak memory, and the largest values of the file."""
    adopt_orphans()
    start = next_file = time.monotonic()
    peak, file = 0, (0, 0, 0)
    command = subprocess.Popen(arguments)
    while command.poll() is None:
        used = time.process_time()
        peak = max(peak, measure_memory())
        pause = max(INTERVAL, (time.process_time() - used) / SHARE)
        if path and time.monotonic() >= next_file:
            used = time.process_time()
            file = max(file, measure_file(path))
            next_file = time.monotonic() + max(1.0, (time.process_time() - used) / FILE_SHARE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(pause)
    seconds = time.monotonic() - start
    collect_orphans()
    return command.returncode, seconds, peak, file


def main() -> None:
    if sys.platform != "linux":
        sys.exit("memory.py reads /proc, which only Linux has")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--file", type=Path, help="a file that the processes use as a memory map")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    status, seconds, peak, (pss, rss, n) = run_command(arguments.command, arguments.file)
    usage, cores = resource.getrusage(resource.RUSAGE_CHILDREN), len(os.sched_getaffinity(0))
    used = usage.ru_utime + usage.ru_stime
    print(f"peak memory {peak / 2**20:,.0f} MiB, {seconds:.0f} s")
    print(f"processor time {used:.1f} s: {used / (seconds * cores):.1%} of {cores} cores")
    if arguments.file:
        size = arguments.file.stat().st_size
        print(f"{arguments.file}, {size / 2**20:.1f} MiB: at most {pss / 2**20:.1f} MiB in memory; ", end="")
        print(f"{rss / 2**20:.1f} MiB if each page is counted for each of {n} processes", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
