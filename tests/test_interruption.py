"""Ctrl-C and other signals end a stage or command with all its workers, without incomplete files."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from murmur import interruption
from tests import made

START = """
import os, signal, sys, time
from pathlib import Path
from murmur import interruption
if __name__ == "__main__":
    interruption.handle_signals()
"""
WRITE = """
from murmur.files import atomic_write, temporary_folder
with atomic_write("out") as part, temporary_folder() as folder:
    part.mkdir()
    (part / "file").write_text("new")
    (folder / "file").write_text("new")
    print(folder, flush=True)
    {wait}
"""
SLEEP = "time.sleep(60)"
LONG_CALL = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2 * 10**8)"
THREADS = "from murmur import workers; workers.map_threads(time.sleep, [60] * 9, 'waiting', 3)"
LINES = {
    "command.py": "interrupted: this command left no incomplete output; run it again\n",
    "stages/made.py": "interrupted: stage made left no incomplete output; "
    "the finished stages are kept, and the same command goes on with this one\n",
}


def test_the_line_names_what_is_kept(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stages/download.py"])
    monkeypatch.setenv("DVC_STAGE", "download")
    assert interruption._describe("parts are kept") == (
        LINES["stages/made.py"].replace("made", "download").strip() + "; parts are kept"
    )


def start(folder, code, name="command.py", **environment):
    script = folder / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(START + code)
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src"), "TMPDIR": str(folder)} | environment
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([sys.executable, script], cwd=folder, env=environment, **options)


def end(process, number=signal.SIGINT):
    """Send a signal to all processes, as Ctrl-C does; return what the program printed on standard error.

    The streams end when all processes that inherited them have ended.
    """
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    return errors


@pytest.mark.parametrize("wait", [SLEEP, LONG_CALL, THREADS], ids=["main thread", "C library", "threads"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_leaves_the_earlier_output_and_no_other_file(tmp_path, wait, number):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_text("old")
    with start(tmp_path, WRITE.format(wait=wait), "stages/made.py") as process:
        process.stdout.readline()
        begin = time.monotonic()
        assert end(process, number).endswith(LINES["stages/made.py"])
    assert time.monotonic() - begin < 5
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out", tmp_path / "stages"]
    assert (tmp_path / "out/file").read_text() == "old"


def test_repeated_signals_and_a_closed_terminal_end_a_command_too(tmp_path):
    with start(tmp_path, WRITE.format(wait=SLEEP)) as process:
        process.stdout.readline()
        for _ in range(3):
            os.kill(process.pid, signal.SIGHUP)
        assert end(process, signal.SIGHUP) == LINES["command.py"]
    assert os.listdir(tmp_path) == ["command.py"]


def test_a_signal_that_nohup_ignores_remains_ignored(tmp_path):
    code = "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.1)"
    (tmp_path / "nohup.py").write_text(f"import signal; signal.signal(signal.SIGHUP, 1)\n{START}{code}")
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    assert subprocess.run([sys.executable, tmp_path / "nohup.py"], env=environment).returncode == 0


WORKERS = """
from murmur.training.processes import map_processes
if __name__ == "__main__":
    print(flush=True)
    for _ in map_processes(time.sleep, [0, 60, 60], 2, {modules}):
        print(flush=True)
"""


def start_workers(tmp_path, n_lines, modules):
    """Start `WORKERS`, and wait until it has printed `n_lines` lines and works on what follows."""
    process = start(tmp_path, WORKERS.format(modules=modules))
    for _ in range(n_lines):
        process.stdout.readline()
    time.sleep(0.4)
    return process


@pytest.mark.parametrize(
    ("n_lines", "modules"), [(1, ["murmur.training.fit"]), (2, [])], ids=["import", "work"]
)
def test_ctrl_c_ends_the_worker_processes_without_tracebacks(tmp_path, n_lines, modules):
    with start_workers(tmp_path, n_lines, modules) as process:
        begin = time.monotonic()
        assert end(process) == LINES["command.py"]
    assert time.monotonic() - begin < 5
    assert os.listdir(tmp_path) == ["command.py"]


@pytest.mark.parametrize(
    ("n_lines", "modules"), [(1, ["murmur.training.fit"]), (2, [])], ids=["import", "work"]
)
def test_sigkill_ends_the_worker_processes_too(tmp_path, n_lines, modules):
    with start_workers(tmp_path, n_lines, modules) as process:
        begin = time.monotonic()
        process.kill()
        process.communicate(timeout=20)  # until all processes that inherited the streams have ended
    assert time.monotonic() - begin < 3


def test_a_killed_worker_process_is_noticed_at_once(tmp_path):
    with start(tmp_path, WORKERS.format(modules=[])) as process:
        for _ in range(2):
            process.stdout.readline()
        begin = time.monotonic()
        server = next(p for p in psutil.Process(process.pid).children() if p.children())
        server.children()[0].kill()
        _, errors = process.communicate(timeout=20)
    assert "BrokenProcessPool" in errors and time.monotonic() - begin < 3


def test_a_failed_item_ends_the_worker_processes_at_once(tmp_path):
    code = WORKERS.format(modules=[]).replace("[0, 60, 60]", "['x', 60, 60]")
    begin = time.monotonic()
    with start(tmp_path, code) as process:
        _, errors = process.communicate(timeout=20)
    assert "TypeError" in errors and time.monotonic() - begin < 15
    assert "_process_worker" in errors.rpartition("Traceback")[2], "the worker's traceback is the last"


READY = "print('ready', flush=True)\n"
# DVC is killed before the stage handles signals
LATE = f"import os, time\nparent = os.getppid()\n{READY}while os.getppid() == parent: time.sleep(0.02)\n"


# as `murmur tune` starts DVC: the parent of the stage, here a shell, goes on
BY_A_COMMAND = """
os.environ["MURMUR_STARTED_BY"] = str(os.getpid())
stage = ["sh", "-c", f"{' '.join(stage)}; :"]
"""


@pytest.mark.parametrize(
    ("variable", "begin", "change"),
    [
        ("DVC_STAGE", START + READY, ""),
        ("DVC_STAGE", LATE + START, ""),
        ("DVC_STAGE", START + READY, BY_A_COMMAND),
        ("OTHER", START + READY, ""),
    ],
    ids=["stage", "stage that begins", "stage of a command", "other"],
)
def test_a_stage_ends_when_dvc_or_its_command_is_killed(tmp_path, variable, begin, change):
    command = f"stage = [sys.executable, 'stages/made.py']\n{change}"
    code = f"{command}\nimport subprocess; subprocess.Popen(stage); {SLEEP}"
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/made.py").write_text(f"{begin}time.sleep(1.2)\nprint('done')")
    with start(tmp_path, code, **{variable: "made"}) as process:
        process.stdout.readline()
        process.kill()
        process.wait()
        output, errors = process.communicate(timeout=10)
    expected = ("", LINES["stages/made.py"]) if variable == "DVC_STAGE" else ("done\n", "")
    assert (output, errors) == expected


@pytest.mark.parametrize("path", sorted((made.ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_handles_signals_before_its_slow_imports(path: Path):
    _, first, second, *_ = ast.parse(path.read_text(encoding="utf-8")).body
    assert ast.unparse(first) == "from murmur import interruption"
    assert ast.unparse(second.body) == "interruption.handle_signals()"
