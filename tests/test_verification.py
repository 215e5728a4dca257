"""`murmur verify` finds each damaged file, and the commands that it prints get the file back."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from murmur.commands.cli import show_messages_on_stderr
from murmur.commands.verification import verify_files
from murmur.errors import MurmurError
from murmur.experiments import integrity
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


def find():
    """The paths of what is damaged."""
    return [damage.path for damage in integrity.find_damage(in_all_objects=True).damages]


def locate(path):
    """The object of a file of the workspace."""
    value = integrity.compute_hash(Path(path))
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
    shown = dict(zip(*[iter(capsys.readouterr().out.splitlines())] * 2, strict=True))
    verify, runs_it = "  murmur verify --repair", "  # runs the stage: no remote has it"
    assert shown == {
        f"{model}: this object of the cache, of model, is damaged": f"{verify} && dvc repro final{runs_it}",
        f"{predictions}: this object of the cache, of data/predictions/1, is damaged": (
            f"{verify} && dvc fetch train@1  # from the remote store"
        ),
        f"{folder}: this object of the cache, of data/folds, is damaged": f"{verify}  # from the workspace",
        "model: differs from dvc.lock": f"  rm -rf model && dvc repro final{runs_it}",
        "audit.csv: differs from dvc.lock": "  rm -rf audit.csv && git checkout HEAD -- audit.csv",
        "data/predictions/2: differs from dvc.lock": (
            "  rm -rf data/predictions/2 && dvc checkout data/predictions/2"
        ),
        f"{run_entry}: this entry of the run-cache is damaged": (
            f"{verify}  # then dvc fetch --run-cache; or the stage runs again"
        ),
    }
    assert len(find()) == 7, "without --repair nothing is changed"
    with pytest.raises(MurmurError):
        verify_files(every=False, repair=True)
    commands = [line.removeprefix(verify).removeprefix(" &&") for line in shown.values()]
    run(project, "set -e\n" + "\n".join(commands))
    assert {name: Path(name).read_bytes() for name in OUTPUTS} == before
    assert find() == [] and model.exists() and predictions.exists() and folder.exists()
    verify_files(every=False, repair=False)
    assert capsys.readouterr().out.splitlines()[-1].endswith(" files (0.00 GB): none is damaged")


def test_a_damaged_dvc_lock_is_named_with_the_remedy(project):
    Path("dvc.lock").write_text("stages: [")
    with pytest.raises(MurmurError, match=r"dvc\.lock.*; if dvc\.lock is damaged: git checkout dvc\.lock$"):
        find()
