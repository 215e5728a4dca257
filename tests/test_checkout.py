"""A checkout with other shells, line ends, left-over files, errors of git, and environments."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from murmur.commands.recipes import use_recipe
from murmur.errors import MurmurError
from murmur.experiments import project
from tests import made

SHELLS = [shell for name in ("sh", "bash", "dash", "zsh", "tcsh", "fish") if (shell := shutil.which(name))]
LEFT_OVER_FILES = (
    *(".DS_Store", "._a.wav", "Thumbs.db", "desktop.ini", "a.csv~", ".a.csv.swp", ".#a", "#a#", "~$a.xlsx"),
    *(".~lock.a.csv#", ".directory", ".idea/a.xml", ".ipynb_checkpoints/a", "@eaDir/a", "__pycache__/a.pyc"),
)


def git(*arguments, check=True):
    author = [f"user.{key}=a@b" for key in ("name", "email")]
    options = [part for setting in author for part in ("-c", setting)]
    return subprocess.run(["git", *options, *arguments], check=check, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def list_commands():
    stages = yaml.safe_load((made.ROOT / "dvc.yaml").read_text())["stages"]
    return [stage.get("do", stage)["cmd"] for stage in stages.values()]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stage_runs_in_any_shell(folder, shell):
    Path("python").write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    Path("python").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
    for command in list_commands():
        command = command.replace("${item}", "--run 3")
        done = subprocess.run([shell, "-c", command], env=environment, capture_output=True, text=True)
        assert done.stdout.startswith("src stages/"), done.stderr


def test_murmur_runs_stages_whatever_the_login_shell_is(folder, monkeypatch):
    Path("dvc.yaml").write_text("stages: {a: {cmd: echo 1 > a, outs: [a]}}")
    Repo.init(no_scm=True)
    monkeypatch.setenv("SHELL", "/usr/sbin/nologin")
    project.run_dvc(folder, "repro", "--quiet")
    assert Path("a").read_text() == "1\n"


def test_files_of_file_managers_and_editors_rerun_no_stage(folder):
    made.folder(folder / "own")
    Path("dvc.yaml").write_text("stages: {a: {cmd: cp -r own raw, deps: [own], outs: [raw]}}")
    Repo.init(no_scm=True)
    shutil.copy(made.ROOT / ".dvcignore", ".")
    with Repo() as repo:
        repo.reproduce()
    for name in LEFT_OVER_FILES:
        for path in (Path("own", name), Path("raw", name)):
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
    with Repo() as repo:
        assert repo.status() == {}
    made.audio(folder / "own/e.wav")
    with Repo() as repo:
        assert list(repo.status()) == ["a"]


def test_a_clone_with_other_line_ends_has_the_same_bytes(folder):
    git("init", "--quiet", "one")
    os.chdir("one")
    shutil.copy(made.ROOT / ".gitattributes", ".")
    files = {
        "a.py": b"x = 1\n",
        "a.csv": b"a,b\n1,2\n",
        "dos.csv": b"a,b\r\n1,2\r\n",
        "a.png": b"\x89PNG\r\n\n",
    }
    for name, content in files.items():
        Path(name).write_bytes(content)
    git("-c", "core.autocrlf=true", "add", ".")
    git("commit", "--quiet", "-m", "all")
    git("-c", "core.autocrlf=true", "clone", "--quiet", ".", "../two")
    assert {name: Path("../two", name).read_bytes() for name in files} == files


def test_errors_of_git_are_shown_with_a_remedy(folder, monkeypatch):
    with pytest.raises(
        MurmurError, match=r"^git: not a git repository .*; make one: git init && git add --all"
    ):
        project.find_commit("HEAD")
    git("init", "--quiet", "one")
    os.chdir("one")
    no_commit = (
        r"^HEAD: neither a git revision nor a DVC experiment; nothing is committed here yet: git init &&"
    )
    with pytest.raises(MurmurError, match=no_commit):
        project.find_commit("HEAD")
    for k in "12":
        Path("a").write_text(k)
        git("add", "a")
        git("commit", "--quiet", "-m", k)
    git("clone", "--quiet", "--depth", "1", f"file://{folder}/one", "../shallow")
    with pytest.raises(MurmurError, match=r"HEAD~2: neither .* experiment; fetch it, with its history; exp"):
        project.find_commit("HEAD~2")
    git("config", "core.bare", "true")
    with pytest.raises(MurmurError, match=r"^git: this operation must be run in a work tree$"):
        project.run_git("status", "--porcelain")
    git("config", "core.bare", "false")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for call in (
        lambda: project.read_revision("HEAD", ["a"]),
        lambda: list(project.read_kept_versions(Path("a"))),
    ):
        with pytest.raises(MurmurError, match=r"git: detected dubious ownership .* --add safe.directory "):
            call()
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    os.chdir("../shallow")
    with pytest.raises(
        MurmurError, match=r"HEAD~1: neither .* this clone is shallow: git fetch --unshallow; exp"
    ):
        project.find_commit("HEAD~1")
    assert project.read_revision("HEAD", ["a"])[1] == {"a": "2"}
    with pytest.raises(MurmurError, match=r"HEAD \(\w{7}\): no b: run it with this version of murmur"):
        project.read_revision("HEAD", ["b"])


@pytest.fixture
def unpacked(folder):
    """The project as unpacked from a ZIP file, without .git; its params.yaml is not that of a recipe."""
    for name in ("dvc.yaml", "Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(made.ROOT / name, ".")
    Path("params.yaml").write_text((made.ROOT / "params.yaml").read_text() + "# mine\n")
    shutil.copytree(made.ROOT / "recipes", "recipes")
    return folder


def test_use_without_git_reports_that_uncommitted_changes_are_unknown(unpacked):
    before = Path("params.yaml").read_bytes()
    words = (
        "^params.yaml may have changes that are not committed; without git this is unknown. git: not a "
        "git repository .*; make one: git init && .*. Or rename params.yaml, then try again$"
    )
    with pytest.raises(MurmurError, match=words):
        use_recipe("circor_cnn")
    assert Path("params.yaml").read_bytes() == before
    git("init")
    git("add", "--all")
    git("commit", "-m", "all")
    use_recipe("circor_cnn")


STUB = """\
#!/bin/sh
# a Python that writes down its arguments and makes the programs that the installation then calls
echo "$(basename $0)" "$@" >> calls
env >> environment
case "$*" in
  *"-m venv"*)
    rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python
    echo "command = $0 $* $PWD/.venv" > .venv/pyvenv.cfg;;
  *"-m pip"*) cp "$0" .venv/bin/uv;;
esac
"""
MAKE = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(*arguments, **environment):
    """Run make with a stub as Python 3.11; return its exit status, its errors and the stub's arguments."""
    Path("python3.11").write_text(STUB)
    Path("python3.11").chmod(0o755)
    for name in ("calls", "environment"):
        Path(name).write_text("")
    environment = {"PATH": f"{Path.cwd()}:/usr/bin:/bin"} | environment
    done = subprocess.run([shutil.which("make"), *arguments], env=environment, capture_output=True, text=True)
    calls = [line for line in Path("calls").read_text().splitlines() if " -I " not in line]
    return done.returncode, done.stderr, calls


@MAKE
def test_make_repro_without_a_git_repository_fails_before_the_installation(unpacked):
    code, message, calls = make("repro")
    assert code and calls == [] and not Path(".venv").exists()
    assert message.startswith(
        f"error: {unpacked} is not a git repository, which DVC needs: git init && git add --all"
    )
    assert "printf '[core]\\n    no_scm = true\\n' > .dvc/config.local\n" in message
    assert make("repository")[0] and not make("setup")[0]
    Path(".dvc").mkdir()
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert not make("repository")[0]
    shutil.rmtree(".dvc")
    git("init")
    assert not make("repository")[0]
    assert not make("repository", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")[0]  # accepted by DVC


@MAKE
def test_make_installs_once_and_again_if_the_environment_has_changed(unpacked):
    code, _, calls = make("setup")
    assert not code and calls[0] == "python3.11 -m venv --clear .venv" and len(calls) == 4
    assert calls[1] == "python -m pip install --no-user --quiet uv"
    assert make("setup")[2] == []
    Path(".venv/ready").unlink()  # interrupted
    assert len(make("setup")[2]) == 4 and make("setup")[2] == []
    other = Path(".venv/bin/python")
    other.write_text(STUB + "exit 1\n")  # of another version
    assert len(make("setup")[2]) == 4 and make("setup")[2] == []
    Path(".venv/pyvenv.cfg").write_text(
        "command = python3.11 -m venv --clear /other/.venv\n"
    )  # the folder was moved
    assert len(make("setup")[2]) == 4


def test_make_newest_installs_without_the_lock_in_a_folder_of_its_own():
    text = (made.ROOT / "Makefile").read_text(encoding="utf-8").partition("\nnewest:")[2]
    assert "requirements" not in text and text.count("pip install") == 2 and ".venv" not in text
    assert "--group dev --editable ." in text and text.endswith(" $(PYTEST)\n")


@MAKE
def test_make_refuses_another_python_in_one_line(unpacked):
    Path("other").write_text("#!/bin/sh\nexit 1\n")
    Path("other").chmod(0o755)
    for python in (f"{unpacked}/other", "/nix"):
        code, message, calls = make("setup", f"PYTHON={python}")
        assert code and calls == [] and not Path(".venv").exists()
        first, *remedies = message.splitlines()
        assert first == (
            f"error: {python} does not exist or is not Python 3.11, for which requirements.txt is made. "
            "Install it:"
        )
        assert remedies[0].endswith("sudo apt install python3.11 python3.11-venv")
        assert "make PYTHON=/path/to/python3.11 (with uv: make PYTHON=$(uv python find 3.11))" in remedies[3]


@MAKE
def test_make_names_what_is_missing_before_the_installation(unpacked):
    tools = ("sh", "awk", "grep", "env", "df", "uname", "mkdir", "rm", "cp", "basename", "touch")
    Path("bin").mkdir()
    for tool in tools:
        Path("bin", tool).symlink_to(shutil.which(tool))
    path = f"{unpacked}:{unpacked}/bin"
    for target in ("repro", "test"):
        code, message, calls = make(target, PATH=path)
        assert code and calls == [] and message.startswith("error: git is not installed, which DVC needs: ")
    assert not make("setup", PATH=path)[0]
    shutil.rmtree(".venv")
    Path(".venv").symlink_to("/nix")
    code, message, calls = make("setup")
    assert code and calls == [] and "error: .venv is a link to a folder that does not exist" in message
    Path(".venv").unlink()
    Path("no_venv").write_text(STUB + 'case "$*" in *ensurepip*) exit 1;; esac\n')
    Path("no_venv").chmod(0o755)
    code, message, calls = make("setup", f"PYTHON={unpacked}/no_venv")
    assert code and calls == [] and "sudo apt install python3.11-venv" in message


@MAKE
def test_make_repro_ends_with_the_result_or_with_the_error_of_dvc(unpacked):
    git("init")
    assert not make("setup")[0]
    for name, script in {"dvc": "exit $STATUS", "murmur": 'echo "$@" in "$PATH" >> shown'}.items():
        Path(".venv/bin", name).write_text(f"#!/bin/sh\n{script}\n")
        Path(".venv/bin", name).chmod(0o755)
    code, message, _ = make("repro", STATUS="0", HOME=str(unpacked), XDG_CONFIG_HOME=str(unpacked))
    assert not code and "note: git does not know your name, which 'dvc exp run' needs" in message
    repair = f"repair in {unpacked}/.venv/bin:{unpacked}:/usr/bin:/bin\n"
    shown = f"{repair}show in {unpacked}:/usr/bin:/bin\n"  # with the PATH of the user, not that of make
    assert Path("shown").read_text() == shown
    git("config", "user.name", "A")
    git("config", "user.email", "a@b")
    code, message, _ = make("repro", STATUS="1")
    assert code and "note" not in message and Path("shown").read_text() == shown + repair


@MAKE
def test_make_lists_its_targets(unpacked):
    done = subprocess.run(["make", "--no-print-directory"], capture_output=True, text=True, check=True)
    names = [line.split()[1] for line in done.stdout.splitlines()[:-1]]
    names_in_order = [
        "setup",
        "repro",
        "accept",
        "report",
        "test",
        "audit",
        "soak",
        "lint",
        "check",
        "docs",
        "lock",
        "newest",
    ]
    assert names == names_in_order
    assert not Path(".venv").exists()


@MAKE
def test_the_environment_chooses_where_to_download_from_but_not_where_to_install(unpacked):
    bad = "PIP_USER PIP_TARGET PYTHONHOME PYTHONPATH UV_PYTHON UV_SYSTEM_PYTHON UV_RESOLUTION"
    good = "PIP_INDEX_URL UV_INDEX_URL UV_CACHE_DIR HTTPS_PROXY MURMUR_DATA"
    names = dict.fromkeys([*bad.split(), *good.split()], "1")
    assert make("setup", SHELL="/usr/sbin/nologin", **names)[0] == 0
    lines = Path("environment").read_text().splitlines()
    assert not {f"{name}=1" for name in bad.split()} & set(lines)
    assert {"SHELL=/bin/sh", *(f"{name}=1" for name in good.split())} <= set(lines)


@MAKE
@pytest.mark.parametrize("name", ["a b ü", "a b'c"])
def test_make_works_in_a_folder_whose_name_has_spaces_quotes_and_letters_beyond_ascii(unpacked, name):
    shutil.copytree(unpacked, unpacked / name)
    os.chdir(unpacked / name)
    assert len(make("setup")[2]) == 4
    assert make("setup") == (0, "", [])
