"""`murmur repro` runs independent stages side by side, with the results of `dvc repro`."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.lock import FAILED_TO_LOCK_MESSAGE, make_lock

from murmur import files
from murmur.errors import MurmurError
from murmur.experiments import project, repair
from murmur.experiments.repair import repair_project
from tests import made, soak

STAGES = """\
stages:
  split:
    cmd: mkdir -p data/folds && echo 0 > audit.csv && for k in 0 1 2 3; do echo $k > data/folds/$k; done
    params: [seed]
    outs: [data/folds, audit.csv: {cache: false}]
  train:
    matrix: {run: [0, 1, 2, 3]}
    cmd: exec sh train.sh ${item.run}
    deps: [train.sh, "data/folds/${item.run}"]
    outs: ["data/predictions/${item.run}"]
  evaluate:
    cmd: echo workers $MURMUR_WORKERS; cat data/predictions/* > scores.csv
    deps: [data/predictions]
    outs: [scores.csv: {cache: false}]
  final:
    cmd: cat data/predictions/* > model
    deps: [data/predictions]
    outs: [model]
"""
TRAIN = """\
. ./before.sh
echo workers $MURMUR_WORKERS
mkdir -p data/predictions
cp data/folds/$1 data/predictions/$1
"""
FILES = {
    ".dvc/config": "[core]\n    no_scm = True\n    analytics = false\n    check_update = false\n",
    "recipes/one.yaml": "",
    "dvc.yaml": STAGES,
    "params.yaml": "seed: 1\n",
    "train.sh": TRAIN,
}
# What a training does first; it is no dependency. Runs 0 and 1 meet: each waits until the other has begun.
MEET = "touch began_$1; until [ $1 -gt 1 ] || [ -e began_$((1 - $1)) ]; do sleep 0.02; done\n"
FAIL = f"{MEET}[ $1 != 0 ] || exit 3; sleep 0.3\n"
WAIT = "[ $1 = 0 ] || { echo $$ > began_$1; exec sleep 60; }\n"
OUTPUTS = ("dvc.lock", "audit.csv", "scores.csv", "model", *(f"data/predictions/{k}" for k in range(4)))


LOCK = """\
schema: '2.0'
stages:
  split:
    cmd: echo
    outs:
    - path: audit.csv
      hash: md5
      md5: a16c8c98d4a9f6d5bf8a1ae8e5b4b5a1
      size: 2
"""


def make_project(folder, before=""):
    """Make a project of stages that do almost nothing."""
    for name, text in (FILES | {"before.sh": before}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def start(folder, *command):
    variables = {"PYTHONPATH": str(made.ROOT / "src"), "MURMUR_WORKERS": "4", "SHELL": "/bin/sh"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", *command]
    return subprocess.Popen(command, cwd=folder, env=os.environ | variables, **options)


def run(folder, *command):
    """Return the status and the output of a command."""
    process = start(folder, *command)
    return process.communicate(timeout=60)[0], process.returncode


def read_outputs(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The outputs of `dvc repro`."""
    folder = make_project(tmp_path_factory.mktemp("expected"))
    output, status = run(folder, "dvc", "repro")
    assert status == 0, output
    return read_outputs(folder)


def test_stages_run_side_by_side_with_the_outputs_of_dvc(tmp_path, expected):
    folder = make_project(tmp_path, MEET)
    output, status = run(folder, "murmur", "repro", "-j", "2")
    assert status == 0 and output.splitlines()[-1] == "7 ran", output
    assert read_outputs(folder) == expected
    workers = dict(line.split(": workers ") for line in output.splitlines() if ": workers " in line)
    assert workers == dict.fromkeys(("train@0", "train@1", "train@2", "train@3", "evaluate"), "2")


def test_after_a_failed_stage_the_others_finish(tmp_path, expected):
    folder = make_project(tmp_path, FAIL)
    output, status = run(folder, "murmur", "repro", "-j", "2")
    error = "error: stage train@0 failed: failed to run: exec sh train.sh 0, exited with 3"
    assert status == 1 and output.splitlines()[-1] == error
    assert os.listdir(folder / "data/predictions") == ["1"]
    (folder / "before.sh").write_text("")
    output, status = run(folder, "murmur", "repro", "-j", "2")
    assert output.splitlines()[-1] == "5 ran, 1 restored from the run cache, 1 unchanged"
    assert read_outputs(folder) == expected


def start_and_wait(folder):
    """Start `murmur repro`; return it and two process groups when train@0 has ended and two others run."""
    process = start(make_project(folder, WAIT), "murmur", "repro", "-j", "3")
    waiting = {"dvc.lock": "train@0:", "began_1": "\n", "began_2": "\n"}
    end = time.monotonic() + 30
    while not all((folder / k).exists() and v in (folder / k).read_text() for k, v in waiting.items()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, [int((folder / f"began_{k}").read_text()) for k in (1, 2)]


def test_after_sigkill_the_same_command_completes(tmp_path, expected):
    process, groups = start_and_wait(tmp_path)
    process.kill()
    process.communicate()
    for group in groups:
        os.killpg(group, signal.SIGKILL)
    (tmp_path / ".dvc/tmp/rwlock").write_text("")  # as if DVC was writing it
    (tmp_path / "before.sh").write_text("")
    output, status = run(tmp_path, "murmur", "repro", "-j", "2")
    assert status == 0 and read_outputs(tmp_path) == expected, output


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A project in git whose last commit has a dvc.lock."""
    make_project(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir()
    (tmp_path / "dvc.lock").write_text(LOCK)
    identity = ("-c", "user.name=A", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "content", ["", LOCK[:30], LOCK[: LOCK.index("md5:") + 6], LOCK[:-20], LOCK.rstrip(), "- " * 3000]
)
def test_a_cut_lock_file_is_that_of_the_last_commit_again(damaged, content, caplog):
    caplog.set_level("INFO")
    (damaged / "dvc.lock").write_text(content)
    repair_project()
    assert (damaged / "dvc.lock").read_text() == LOCK
    assert caplog.messages[0].startswith(
        "dvc.lock: replaced by that of the last commit; DVC was killed while "
    )
    shutil.rmtree(".git")
    (damaged / "dvc.lock").write_text(content)
    repair_project()
    assert not (damaged / "dvc.lock").exists()


def test_what_is_not_damaged_is_left(damaged):
    later = LOCK.replace("a1", "a2")
    own = files._name_process()
    names = (
        "data/raw.1234abcd.1.part",
        f"data/raw.{own}.part",
        f"data/folder/a.{own[:8]}.4194305.part",
        "data/a.part",
    )
    for name in names:
        (damaged / name).parent.mkdir(parents=True, exist_ok=True)
        (damaged / name).touch()
    (damaged / ".dvc/tmp/rwlock").write_text("{}")
    (damaged / "dvc.lock").write_text(later)
    repair_project()
    assert (damaged / "dvc.lock").read_text() == later
    assert all((damaged / name).exists() for name in (*names, ".dvc/tmp/rwlock"))


def test_a_conflict_in_the_lock_file_is_named_and_left(damaged):
    conflict = LOCK.replace("stages:", "<<<<<<< HEAD\nstages:")
    (damaged / "dvc.lock").write_text(conflict)
    with pytest.raises(MurmurError, match=r"^dvc\.lock: line 2: a conflict of git: take either side"):
        repair_project()
    assert (damaged / "dvc.lock").read_text() == conflict


def test_damaged_records_of_hashes_are_removed(damaged, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(damaged / "site"))
    (damaged / "dvc.lock").unlink()
    assert run(damaged, "dvc", "repro", "split")[1] == 0
    first, *others = sorted((damaged / "site").rglob("cache.db"))
    repair_project()
    assert first.exists(), "it is not damaged"
    first.write_text("damaged")
    output, status = run(damaged, "murmur", "verify")
    expected = r"error: DVC's record of hashes is damaged \(file is not a database\): run `murmur repair`"
    assert status == 1 and re.search(expected, output), output
    repair_project()
    assert not first.exists() and others and all(path.exists() for path in others)
    assert run(damaged, "murmur", "verify")[1] == 0


@pytest.mark.parametrize("content", ["", '{"write": {"/a": {"pid": 12', '{"write": 1}'])
def test_a_cut_list_of_locked_files_and_unfinished_outputs_are_removed(damaged, content):
    (damaged / ".dvc/tmp/rwlock").write_text(content)
    (damaged / f"data/mel.{files._name_machine()}.4194305.part").mkdir(parents=True)
    with subprocess.Popen(["dvc", "60"], executable="/bin/sleep", cwd=damaged) as dvc:
        while psutil.Process(dvc.pid).cmdline() != ["dvc", "60"]:  # it is empty for a moment
            time.sleep(0.01)
        with pytest.raises(
            MurmurError, match=f"DVC still runs in this folder \\(process {dvc.pid}: dvc 60\\)"
        ):
            repair_project()
        dvc.kill()
    assert (damaged / ".dvc/tmp/rwlock").read_text() == content
    repair_project()
    assert os.listdir(damaged / ".dvc/tmp") == [] and os.listdir(damaged / "data") == []


def test_files_that_dvc_no_longer_copies_to_its_cache_are_removed(damaged, monkeypatch, caplog):
    caplog.set_level("INFO")
    folder = damaged / ".dvc/cache/files/md5/13"
    folder.mkdir(parents=True)
    for name in (".lktj8jCyP0gFFAPS_Np63Q.tmp", "9875d52fd77b7fcb8df281fe290e90"):
        (folder / name).write_bytes(bytes(10**6))
    now = time.time()
    monkeypatch.setattr(repair.time, "time", lambda: now)
    repair_project()
    assert len(os.listdir(folder)) == 2
    monkeypatch.setattr(repair.time, "time", lambda: now + repair.MAX_AGE + 1)
    repair_project()
    assert os.listdir(folder) == ["9875d52fd77b7fcb8df281fe290e90"]
    assert caplog.messages == [".dvc/cache: 1 file removed that DVC had not finished (1.0 MB)"]


@pytest.mark.parametrize("has_entry", [True, False])
def test_an_unfinished_entry_of_the_run_cache_is_removed(tmp_path, expected, has_entry):
    """DVC 3.67 takes the newest file of the folder for the entry, and fails ('outs'), or without one."""
    folder = make_project(tmp_path)
    run(folder, "dvc", "repro", "train@0")
    (entry,) = (folder / ".dvc/cache/runs").glob("*/*/*")
    text = entry.read_text()
    (entry.parent / ".lktj8jCyP0gFFAPS_Np63Q.tmp").write_text(text[: text.index("outs:")])
    (folder / "dvc.lock").unlink()
    if not has_entry:
        entry.unlink()
    output, status = run(folder, "murmur", "repro")
    assert status == 0 and read_outputs(folder) == expected, output


def test_a_second_command_names_the_first_and_ctrl_c_ends_all_processes_of_the_first(tmp_path):
    process, groups = start_and_wait(tmp_path)
    output, status = run(tmp_path, "murmur", "repro")
    assert status == 1 and re.fullmatch(
        rf"error: another process works on this project: \S+ repro -j 3 \(process {process.pid}\); wait "
        rf"until it has ended, or stop it with `kill {process.pid}`, then try again\n",
        output,
    )
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "failed" not in output and output.endswith("start it again: finished stages are not repeated\n")
    assert output.splitlines()[-1].startswith("interrupted: this command left no incomplete output; ")
    assert process.returncode == 130
    for group in groups:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_ctrl_c_ends_a_command_that_waits_for_the_lock_of_another_dvc_process(tmp_path):
    (make_project(tmp_path) / ".dvc/tmp").mkdir()
    with make_lock(str(tmp_path / ".dvc/tmp/lock")):
        process = start(tmp_path, "murmur", "repro")
        while not (tmp_path / ".dvc/tmp/btime").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert output.endswith(f"interrupted: this command left no incomplete output; {project.AGAIN}\n")


def test_the_lock_of_dvc_names_the_process(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    Path(".dvc/tmp").mkdir()
    with make_lock(".dvc/tmp/lock"):
        message = project.explain_lock(f"ERROR: {FAILED_TO_LOCK_MESSAGE}\n")
    assert message.startswith(f"another process works on this project: DVC (process {os.getpid()}); wait")
    assert project.explain_lock("ERROR: no\n  file\n") == "ERROR: no file"


IN_A_TEMPORARY_FOLDER = """
import sys
from murmur import interruption
interruption.handle_signals()
from murmur.experiments import project, repair
from murmur.files import temporary_folder
with temporary_folder() as folder:
    for name, text in {{".dvc/config": {config!r}, "dvc.yaml": {stage!r}}}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    project.run_dvc(folder, "repro")
"""
ENDS_LATE = """
stages:
  slow:
    cmd: trap 'sleep 0.2; mkdir -p "$PWD/late"; exit' TERM; echo $$; sleep 15 & wait
"""


def test_a_stage_in_a_temporary_folder_ends_before_the_folder_is_removed(tmp_path):
    code = IN_A_TEMPORARY_FOLDER.format(config=FILES[".dvc/config"], stage=ENDS_LATE)
    variables = {"PYTHONPATH": str(made.ROOT / "src"), "TMPDIR": str(tmp_path)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | variables, **options) as process:
        stage = next(int(line) for line in process.stdout if line.strip().isdecimal())
        process.terminate()  # this process alone
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    line = f"interrupted: this command left no incomplete output; {project.AGAIN}"
    assert output.splitlines()[-1] == line  # the first is that of the shell
    assert not os.listdir(tmp_path)
    assert not psutil.pid_exists(stage) or psutil.Process(stage).status() == psutil.STATUS_ZOMBIE


def test_a_few_kills_of_the_soak(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "OUTPUTS", OUTPUTS)
    monkeypatch.setattr(soak, "SEEDS", (1,))
    soak.soak(make_project(tmp_path / "project"), kills=3, completions=1, seed=0)
