"""Kill the pipeline with SIGKILL again and again; the same command must complete it, with the same outputs.

python tests/soak.py [--kills 200] [--completions 20] [--seed 0]

One copy of the project, with a tiny embedded data set, runs undisturbed. In another, each command is killed
with all its processes at a random time, or while DVC writes one of its files; or DVC is killed alone. Then
the same command goes on. When it completes, all outputs are compared with those of the first copy, and it
gets work again: another seed, or an empty cache.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
TINY = {
    "download": {"synthetic": {"patients": 14}, "remote": None},
    "segment": {"overlap": 0.0},
    "split": {"runs": [0, 1], "folds": 2},
    "train": {"epochs": 2, "model": {"width": 4}, "keep_weights": "best"},
    "evaluate": {"draws": 20},
}
COMMANDS = ("murmur repair && dvc repro", "murmur repro -j 2")  # the first is that of `make repro`
SEEDS = (42, 43)
OUTPUTS = ("dvc.lock", "data", "models", "metrics", "plots")
NOT_OUTPUTS = ("data/folder", "data/splits", "data/weights")
FILES = (
    "dvc.lock",
    r"\.dvc/tmp/rwlock$",
    r"\.dvc/tmp/lock$",
    r"\.dvc/tmp/",
    r"\.dvc/cache/",
    r"\.gitignore$",
)
# In the processes of DVC and murmur, not in stages: kill the process group at the N-th opening of a file for
# writing, after a number of characters.
HOOK = """
import builtins, os, re, signal

pattern, nth, characters = os.environ["SOAK"].split(" ")
nth, characters, real_open = int(nth), int(characters), open


def open_and_kill(file, mode="r", *arguments, **options):
    global nth
    stream = real_open(file, mode, *arguments, **options)
    is_written = isinstance(file, (str, os.PathLike)) and set("wxa+") & set(mode)
    if is_written and re.search(pattern, os.fspath(file)):
        nth -= 1
        if nth == 0:
            kill_after(stream, characters)
    return stream


def kill_after(stream, left):
    write = stream.write

    def write_and_kill(text):
        nonlocal left
        done, left = write(text[:left]), left - len(text)
        if left <= 0:
            stream.flush()
            os.killpg(0, 9)
        return done

    if not left:
        os.killpg(0, 9)
    stream.write = write_and_kill


builtins.open = open_and_kill
"""


def start(folder: Path, command: str, hook: str = "") -> subprocess.Popen:
    """Start a command in a session of its own."""
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SHELL": "/bin/sh"}
    paths = [str(folder / "src"), str(ROOT / "src")]
    if hook:
        hooks = folder.parent / "hook"
        hooks.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(HOOK)
        paths.insert(0, str(hooks))
        variables["SOAK"] = hook
    variables["PYTHONPATH"] = ":".join(paths)
    log = (folder.parent / "log.txt").open("w")
    options = {"stdout": log, "stderr": log, "start_new_session": True}
    command = command.replace("murmur", f"{sys.executable} -m murmur")
    return subprocess.Popen(["/bin/sh", "-c", command], cwd=folder, env=os.environ | variables, **options)


def list_session(session: int) -> list[psutil.Process]:
    """List the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            pass
    return found


def kill_session(session: int) -> None:
    """Kill all processes of a session: those that `murmur repro` starts are in other process groups."""
    while processes := list_session(session):
        for process in processes:
            process.kill()
        time.sleep(0.01)


def interrupt(folder: Path, command: str, draw: random.Random, seconds: float) -> tuple[str, int | None]:
    """Run a command and kill it; return where, and its status, None if it was killed."""
    kind = draw.choice(("time", "dvc alone", *FILES))
    hook = ""
    if kind in FILES:
        characters = draw.choice((0, 1, draw.randrange(60), draw.randrange(3000)))
        hook = f"{kind} {draw.randrange(1, 12)} {characters}"
    process = start(folder, command, hook)
    try:
        process.wait(None if hook else draw.random() * draw.uniform(0, seconds))
    except subprocess.TimeoutExpired:
        if kind == "time":
            kill_session(process.pid)
        else:
            kill_dvc(process.pid)
        process.wait()
    killed = process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) or process.returncode < 0
    if hook:
        kill_session(process.pid)
    return kind, None if killed else process.returncode


def kill_dvc(session: int) -> None:
    """Kill the shell and what it started; the processes of stages must end within 3 s."""
    processes = [psutil.Process(session), *psutil.Process(session).children()]
    for process in processes:
        process.kill()
    time.sleep(3)
    if rest := [process.cmdline() for process in list_session(session)]:
        sys.exit(f"3 s after DVC was killed, processes of its stage still run: {rest}")


def read_outputs(folder: Path) -> dict[str, str]:
    """Return the hash of each output."""
    paths = [path for name in OUTPUTS for path in (folder / name, *(folder / name).rglob("*"))]
    names = [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return {
        name: hashlib.md5((folder / name).read_bytes()).hexdigest()
        for name in names
        if not name.startswith(NOT_OUTPUTS)
    }


def write_seed(folder: Path, seed: int) -> None:
    """Write the parameter `seed`."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seed": seed}, sort_keys=False))


def complete(folder: Path, command: str) -> None:
    """Run a command without killing it."""
    if status := start(folder, command).wait():
        sys.exit(f"{command}: status {status}\n{(folder.parent / 'log.txt').read_text()}")


def remove_results(folder: Path) -> None:
    """Remove the cache of DVC, so that all stages run again."""
    for name in (".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)


def soak(folder: Path, kills: int, completions: int, seed: int, commands: tuple[str, ...] = COMMANDS) -> None:
    """Run, kill and compare; print a table of the kills.

    Parameters
    ----------
    folder : Path
        A project of DVC with a parameter `seed` that has not run; beside it a copy is made.
    kills, completions : int
        How many kills and completions, at least.
    seed : int
        Of the random numbers.
    commands : tuple of str
        The commands; each completion has the next one.
    """
    draw, table, n_completed, begin = random.Random(seed), Counter(), 0, time.monotonic()
    undisturbed = folder.with_name("undisturbed")
    shutil.copytree(folder, undisturbed, symlinks=True)
    expected, seconds = {}, 0.0
    for value in SEEDS:
        write_seed(undisturbed, value)
        started = time.monotonic()
        complete(undisturbed, commands[0])
        seconds = max(seconds, time.monotonic() - started)
        expected[value] = read_outputs(undisturbed)
    attempts = kills // completions
    while sum(table.values()) < kills or n_completed < completions:
        value, command = SEEDS[n_completed % len(SEEDS)], commands[n_completed // 2 % len(commands)]
        if n_completed % 4 == 0:
            remove_results(folder)
        write_seed(folder, value)
        for _ in range(attempts):
            kind, status = interrupt(folder, command, draw, seconds)
            if status is None:
                table[kind] += 1
            elif status:
                sys.exit(f"{command}: status {status}\n{(folder.parent / 'log.txt').read_text()}")
        complete(folder, command)
        n_completed += 1
        compare(expected[value], read_outputs(folder))
        print(f"{sum(table.values())} kills, {n_completed} completions: equal outputs", flush=True)
    for kind, n in sorted(table.items()):
        print(f"{n:5d} kills: {kind.replace(chr(92), '').rstrip('$')}")
    print(
        f"{sum(table.values())} kills, {n_completed} completions, 0 repairs by hand, 0 outputs that differ; "
        f"{time.monotonic() - begin:.0f} s"
    )


def compare(expected: dict[str, str], found: dict[str, str]) -> None:
    """Exit if outputs differ."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if names:
        sys.exit(f"outputs differ from those of the undisturbed run: {', '.join(names)}")


def make_project(folder: Path) -> None:
    """Make a copy of the project with a tiny data set, committed."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for section, changes in TINY.items():
        for key, value in changes.items():
            old = params[section].get(key)
            params[section][key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("metrics", "plots"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "dvc.lock").unlink()
    identity = ("-c", "user.name=soak", "-c", "user.email=soak@example.org")
    subprocess.run(["git", *identity, "commit", "-qam", "tiny"], cwd=folder, check=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("kills", 200), ("completions", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        make_project(Path(name, "project"))
        soak(Path(name, "project"), options.kills, options.completions, options.seed)


if __name__ == "__main__":
    main()
