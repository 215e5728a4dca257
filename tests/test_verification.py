"""`murmur verify` finds each damaged file, and the commands that it prints get the file back."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from murmur.commands.cli import show_messages_on_stderr
from murmur.commands.verification import verify_files
from murmur.errors import MurmurError
from murmur.experiments import integrity
from murmur.experiments.stored_files import compute_hash
from tests import made
from tests.test_reproduction import OUTPUTS, make_project

IDENTITY = [word for key in ("name", "email") for word in ("-c", f"user.{key}=a@b")]


def run(folder, command):
    """Run a command of the shell."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": path, "PYTHONPATH": str(made.ROOT / "src"), "SHELL": "/bin/sh"}
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in git that has run and is pushed to a remote."""
    folder = make_project(tmp_path_factory.mktemp("verify") / "project")
    changes = [
        ("train.sh", "cp data/folds/$1", "sed s/^/p/ data/folds/$1 >"),
        ("dvc.yaml", "> model", "| rev > model"),
    ]
    for name, old, new in changes:  # so that no two outputs have the same content
        path = folder / name
        path.write_text(path.read_text().replace(old, new))
    git = "git " + " ".join(IDENTITY)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (folder / ".gitignore").write_text("/data\n/model\n/.dvc/cache\n/.dvc/tmp\n")
    run(folder, f"git init --quiet && dvc remote add --default store {folder.parent / 'store'}")
    run(folder, f"dvc repro --quiet && git add --all && {git} commit --quiet -m one && dvc push --run-cache")
    return folder


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of it, with a remote of its own."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy/project")
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace(str(finished.parent), str(tmp_path / "copy")))
    return Path()


def flip(path, bit=None):
    """Change one bit of a file; its times stay the same, as if the disk had changed it."""
    status, content = path.stat(), bytearray(path.read_bytes())
    bit = random.Random(str(path)).randrange(8 * len(content)) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def find(*, in_all_objects=True):
    """The paths of what is damaged."""
    return [damage.path for damage in integrity.find_damage(in_all_objects=in_all_objects).damages]


def find_remedies():
    """How to get each damaged file back."""
    damages = integrity.find_damage(in_all_objects=False).damages
    return {damage.path: tuple(damage.remedy) for damage in damages}


def move(path):
    """The command that moves a damaged file."""
    return f"mkdir -p .dvc/tmp/damaged && mv -n {path} .dvc/tmp/damaged/{path.replace('/', '_')}"


def locate(path):
    """The object of a file of the workspace."""
    value = compute_hash(Path(path))
    return Path(".dvc/cache/files/md5", value[:2], value[2:])


def test_one_bit_of_any_file_is_found(project):
    assert find() == []
    Path(".dvc/cache/files/md5/ab").mkdir(exist_ok=True)
    other = Path(".dvc/cache/files/md5/e9/00a1c8c1c9e5d7c5c5c3c2e8a0b5d1")
    other.parent.mkdir(exist_ok=True)
    other.write_text("an object of another commit")
    assert find() == [str(other)]
    other.unlink()
    objects = [path for path in Path(".dvc/cache/files").rglob("*") if path.is_file()]
    assert sum(path.suffix == ".dir" for path in objects) == 1
    outputs = [Path(name) for name in OUTPUTS if name != "dvc.lock"]
    folds = list(Path("data/folds").iterdir())
    for path in (*objects, *outputs, *folds):
        content = path.read_bytes()
        flip(path)
        assert find() == ["data/folds" if path in folds else str(path)], path
        path.chmod(0o644)
        path.write_bytes(content)
    assert find() == []


def test_a_bit_of_the_run_cache_is_found_unless_it_is_only_in_a_size(project):
    runs = [path for path in Path(".dvc/cache/runs").rglob("*") if path.is_file()]
    assert len(runs) == 5
    for path in runs:
        content, draw = path.read_bytes(), random.Random(path.name)
        for _ in range(10):
            bit = draw.randrange(8 * len(content))
            flip(path, bit)
            line = content[: bit // 8].count(b"\n")
            is_found = not integrity._is_run_intact(path)
            assert is_found or content.splitlines()[line].split(b":")[0].strip() in (b"size", b"nfiles"), path
            path.write_bytes(content)


def test_the_commands_get_every_file_back(project, capsys):
    before = {name: Path(name).read_bytes() for name in OUTPUTS}
    model, predictions = locate("model"), locate("data/predictions/1")
    (folder,) = Path(".dvc/cache/files").rglob("*.dir")
    run_entry = next(path for path in Path(".dvc/cache/runs").rglob("*") if path.is_file())
    (Path("../store") / model.relative_to(".dvc/cache")).unlink()
    for path in (model, "model", predictions, folder, "audit.csv", "data/predictions/2", run_entry):
        flip(Path(path))
    Path("data/predictions/1").unlink()
    show_messages_on_stderr()
    with pytest.raises(MurmurError, match=r"^7 of \d\d files \(0\.00 GB\) are damaged; above is how"):
        verify_files(every=False, repair=False)
    shown = re.findall(r"^(\S.*)\n(?:  (.*)\n)?", capsys.readouterr().out, re.MULTILINE)
    repair, of_cache = "murmur verify --repair", "this object of the cache, of"
    assert dict(shown) == {
        f"{model}: {of_cache} model, is damaged; the command for model below gets it": "",
        f"{predictions}: {of_cache} data/predictions/1, is damaged; the remote store has it": (
            f"{repair} && dvc fetch data/predictions/1"
        ),
        f"{folder}: {of_cache} data/folds, is damaged; the workspace has its content": repair,
        "audit.csv: differs from dvc.lock; the last commit has it": (
            f"{move('audit.csv')} && git checkout HEAD -- audit.csv"
        ),
        "data/predictions/2: differs from dvc.lock; the cache has it": (
            f"{move('data/predictions/2')} && dvc checkout data/predictions/2"
        ),
        "model: differs from dvc.lock; its stage makes it again (the remote store does not have it)": (
            f"{repair} && {move('model')} && dvc repro final"
        ),
        f"{run_entry}: this entry of the run-cache is damaged; without it the stage runs, unless "
        "`dvc fetch --run-cache` gets it": "",  # as above
    }
    assert len(find()) == 7, "without --repair nothing is changed"
    run(project, "\n".join(["set -e", *(command for _, command in shown)]))
    assert {name: Path(name).read_bytes() for name in OUTPUTS} == before
    assert find() == [] and model.exists() and predictions.exists() and folder.exists()
    verify_files(every=False, repair=False)
    assert capsys.readouterr().out.splitlines()[-1].endswith(" files (0.00 GB): none is damaged")


def test_no_command_deletes_the_only_copy_of_a_file(project):
    Path("rec.bin").write_text("a recording")
    run(project, "dvc add --quiet rec.bin")
    stored = locate("rec.bin")
    Path("rec.bin").write_text("an edited recording")
    assert find_remedies() == {"rec.bin": ("the cache has it", f"{move('rec.bin')} && dvc checkout rec.bin")}
    run(project, find_remedies()["rec.bin"][1])
    assert Path("rec.bin").read_text() == "a recording"
    assert Path(".dvc/tmp/damaged/rec.bin").read_text() == "an edited recording"
    for path in (stored, Path("rec.bin")):
        flip(path)
    lost = "no stage makes it, and the remote store does not have it: get it from a backup"
    assert find_remedies() == dict.fromkeys([str(stored), "rec.bin"], (lost, ""))
    damaged = [path.read_bytes() for path in (stored, Path("rec.bin"))]
    verify_files(every=False, repair=True)
    assert [path.read_bytes() for path in (stored, Path("rec.bin"))] == damaged
    (damage, _) = integrity.find_damage(in_all_objects=False).damages
    assert damage.path == str(stored), "it stays in the cache, and is found again"


def test_what_the_remote_holds_is_read_before_a_command_removes_a_file(project):
    folder = Path("data/folds")
    stored = [locate(path) for path in sorted(folder.iterdir())]
    in_remote = [Path("../store") / path.relative_to(".dvc/cache") for path in stored]
    for path in (stored[1], folder / "1"):
        flip(path)
    pull = f"murmur verify --repair && {move('data/folds')} && dvc pull data/folds"
    repro = f"murmur verify --repair && {move('data/folds')} && dvc repro split"
    assert find_remedies()["data/folds"] == ("the remote store has it", pull)
    flip(in_remote[1])
    for problem in ("has a damaged copy", "does not have it"):
        expected = (f"its stage makes it again (the remote store {problem})", repro)
        below = ("the command for data/folds below gets it", "")
        assert find_remedies() == {str(stored[1]): below, "data/folds": expected}
        in_remote[1].unlink(missing_ok=True)
    shutil.rmtree("../store")
    missing = f"cannot be read (there is no folder {Path('../store').resolve()})"
    assert find_remedies()["data/folds"] == (f"its stage makes it again (the remote store {missing})", repro)
    config = Path(".dvc/config").read_text()
    Path(".dvc/config").write_text(re.sub("url = .*", "url = ssh://user@127.0.0.1:9/srv", config))
    source, command = find_remedies()["data/folds"]
    assert (
        source.startswith("its stage makes it again (the remote store cannot be read (") and command == repro
    )
    run(project, repro)
    assert find() == []


def test_lost_files_of_a_folder_and_of_its_object_are_named(project):
    (listing,) = Path(".dvc/cache/files").rglob("*.dir")
    content, member = listing.read_bytes(), locate("data/folds/2")
    listing.unlink()
    flip(member)
    assert find() == [str(member), str(listing)]
    verify_files(every=False, repair=True)
    assert find() == [] and listing.read_bytes() == content
    member.unlink()
    member.mkdir()
    assert find() == [str(member)]
    verify_files(every=False, repair=True)
    assert find() == [] and member.read_text() == "2\n"
    Path("data/folds/2").unlink()
    (damage,) = integrity.find_damage(in_all_objects=False).damages
    assert (damage.path, damage.problem) == ("data/folds", "differs from dvc.lock: 2")
    for path in Path("data/folds").iterdir():
        path.unlink()
    (damage,) = integrity.find_damage(in_all_objects=False).damages
    assert (damage.path, damage.problem) == ("data/folds", "differs from dvc.lock: 0, 1, 2 and 1 more")
    Path("data/folds/notes").write_text("of the user")
    run(project, damage.remedy.command)
    assert find() == [] and Path(".dvc/tmp/damaged/data_folds/notes").exists()


def test_a_cut_or_changed_dvc_lock_is_named(project):
    lock = Path("dvc.lock")
    content = lock.read_text()
    cut, value = content[: content.index("  train@3:")], integrity.lock_file.parse_lock(content.encode())
    value = value["stages"]["final"]["outs"][0]["md5"]
    renamed = content.replace("path: model\n", "path: modem\n")
    changed = content.replace(value, f"{value[:-1]}{int(value[-1], 16) ^ 1:x}")
    for k, (damaged, path) in enumerate([(cut, "dvc.lock"), (renamed, "dvc.lock"), (changed, "model")]):
        lock.write_text(damaged)
        copy = f".dvc/tmp/dvc.lock.damaged{k or ''}"
        assert find_remedies()[path][1] == f"cp dvc.lock {copy} && git checkout HEAD -- dvc.lock"
        run(project, find_remedies()[path][1])
        assert lock.read_text() == content and Path(copy).read_text() == damaged
    lock.write_text(content.rstrip())
    with pytest.raises(MurmurError, match=r"^dvc\.lock: is damaged: run `murmur repair`$"):
        find()
    for mark in ("<<<<<<< HEAD", "=======", ">>>>>>> other"):  # solved only in part
        lock.write_text(content.replace("stages:", f"{mark}\nstages:"))
        with pytest.raises(MurmurError, match=r"^dvc\.lock: line 2: a conflict of git: take either side"):
            find()


def test_a_cut_dvc_lock_without_git_is_completed_by_dvc(project):
    shutil.rmtree(".git")
    with pytest.raises(MurmurError, match=r"is not a git repository; without git: dvc config --local core"):
        find()
    run(project, "dvc config --local core.no_scm true")
    content = Path("dvc.lock").read_text()
    lock = integrity.lock_file.parse_lock(content.encode())
    Path("dvc.lock").write_text(content[: content.index("  train@3:")])
    Path("model").unlink()
    check = integrity.find_damage(in_all_objects=False)
    assert check.not_run == ["final"] and {damage.problem for damage in check.damages} == {
        f"has no entry of the stage {name}, which has outputs" for name in ("train@3", "evaluate")
    }
    commands = [damage.remedy.command for damage in check.damages]
    run(project, "\n".join(["set -e", *commands, "dvc repro final"]))
    assert find() == [] and integrity.lock_file.parse_lock(Path("dvc.lock").read_bytes()) == lock
