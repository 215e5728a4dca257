"""murmur compare: reading from git, from a DVC experiment and from the workspace, and the output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from murmur.commands.cli import show_messages_on_stderr
from murmur.commands.comparison import compare_revisions
from murmur.errors import MurmurError
from tests import made
from tests.test_comparison import UP, A, B, texts


def git(*arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(*arguments, **changes):
    for path, text in texts(*arguments, **changes).items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)


def experiment(name, base, *arguments, **changes):
    """What `dvc exp run` leaves: a commit on no branch and a ref to it; the workspace is put back."""
    write(*arguments, **changes)
    git("commit", "--quiet", "-am", name)
    commit = git("rev-parse", "HEAD")
    git("reset", "--quiet", "--hard", base)
    base = git("rev-parse", base)
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)
    return commit


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two commits, in a folder of the repository: without metrics, then with A's; the workspace has B's."""
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("recipes").mkdir()
    Path("dvc.yaml").write_text("stages: {}\n")
    git("init", "--quiet", "..")
    git("add", ".")
    git("commit", "--quiet", "-m", "none")
    write(A)
    git("add", ".")
    git("commit", "--quiet", "-m", "A")
    write(B)
    return folder


def compare(capsys, *arguments, **options):
    compare_revisions(*arguments, as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_head_against_the_workspace_by_default(project, capsys):
    result = compare(capsys)
    head = git("rev-parse", "--short=7", "HEAD")
    assert (result["a"]["name"], result["b"]["name"]) == (f"HEAD ({head})", "workspace")
    assert result["metrics"]["uar"]["difference"] == pytest.approx(UP.mean())
    assert compare(capsys, "workspace", "HEAD")["metrics"]["uar"]["difference"] == pytest.approx(-UP.mean())
    assert result["level"] == "patient" and result["rope"] == 0.01


def test_figures_of_an_earlier_params_yaml_give_a_note(project, capsys):
    show_messages_on_stderr()
    Path("params.yaml").write_text("seed: 0\n")
    stages = {
        stage: {"params": {"params.yaml": {"seed": 0}}} for stage in ("download", "duplicates", "evaluate")
    }
    Path("dvc.lock").write_text(json.dumps({"stages": stages}))
    compare_revisions()
    assert capsys.readouterr().err == ""
    Path("params.yaml").write_text("seed: 1\n")
    compare_revisions()
    assert "note: the figures are of an earlier run: params.yaml: seed" in capsys.readouterr().err
    compare_revisions("HEAD", "HEAD")
    assert capsys.readouterr().err == ""


def test_an_experiment_is_found_by_name_and_by_commit(project, capsys):
    git("checkout", "--quiet", ".")
    commit = experiment("loud-hare", "HEAD", A + 0.1 + UP)
    experiment("loud-hart", "HEAD", A)
    git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    by_name, by_commit = (compare(capsys, "HEAD", name) for name in ("loud-hare", commit[:9]))
    assert by_name["b"]["name"] == f"loud-hare ({commit[:7]})"
    assert by_name["metrics"] == by_commit["metrics"]
    assert by_name["metrics"]["uar"]["b"] == pytest.approx((A + 0.1 + UP).mean())
    with pytest.raises(
        MurmurError, match=r"hare: neither a git revision nor .*; .* here: loud-hare, loud-hart$"
    ):
        compare_revisions("hare")


def test_one_name_of_two_experiments_is_refused(project):
    git("checkout", "--quiet", ".")
    commits = [experiment("twin", base, np.full(10, k / 9)) for k, base in enumerate(("HEAD", "HEAD~1"))]
    with pytest.raises(MurmurError, match=f"twin: several have this name.*{min(commits)}, {max(commits)}"):
        compare_revisions("twin")


def test_a_saved_experiment_is_found(project, capsys):
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    git("add", ".dvc/config")
    git("commit", "--quiet", "-m", "dvc")
    for key, value in {"user.name": "a", "user.email": "a@b"}.items():
        git("config", key, value)
    saved = [sys.executable, "-m", "dvc", "exp", "save", "--quiet", "--name", "kept"]
    subprocess.run(saved, check=True)
    git("checkout", "--quiet", ".")
    result = compare(capsys, "workspace", "kept")
    assert result["metrics"]["uar"]["difference"] == pytest.approx(UP.mean())


def test_a_missing_revision_or_file_is_named(project):
    with pytest.raises(MurmurError, match=r"nix: neither a git revision nor a DVC experiment; .* here: none"):
        compare_revisions("HEAD", "nix")
    old = r"HEAD~1 \(.{7}\): no metrics/folds.csv: run it with this version of murmur and commit metrics/"
    with pytest.raises(MurmurError, match=old):
        compare_revisions("HEAD~1")
    Path("metrics/details.json").unlink()
    with pytest.raises(MurmurError, match=r"workspace: no metrics/details.json: make it with `dvc repro`"):
        compare_revisions()


def test_the_options_choose_metrics_level_and_rope(project, capsys):
    compare_revisions(metric=["brier", "uar"], level="segment", rope=0.5, md=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**no difference: brier is the same in every fold**"
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert rows == ["| metric", "| ---", "| brier (lower is better)", "| uar"]
    assert "- segment level, mean of 10 folds of 2 runs; worse, better: B by more than 0.5" in "".join(lines)
    compare_revisions()
    assert capsys.readouterr().out.startswith("no significant difference: uar differs by +0.022 [")


def test_the_command_prints_json_or_one_line_of_error(project):
    def murmur(*arguments):
        environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
        command = [sys.executable, "-m", "murmur", "compare", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    done = murmur("HEAD", "workspace", "--metric", "uar", "--json")
    assert done.returncode == 0 and list(json.loads(done.stdout)["metrics"]) == ["uar"]
    done = murmur("--metric", "uwr")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: A (HEAD (") and "there are uar, brier" in done.stderr
