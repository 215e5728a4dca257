"""Where the figures of a report come from: git revision, changes, DVC experiment."""

import subprocess
from pathlib import Path

import pytest

from murmur.experiments.provenance import describe_provenance


def git(*arguments):
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *name, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def write_figures(text):
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/folds.csv").write_text(text)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with committed figures."""
    monkeypatch.chdir(tmp_path)
    git("init", "--initial-branch", "main")
    write_figures("a")
    git("add", "--all")
    git("commit", "-m", "one")


def test_the_revision_and_changes_are_named(repository):
    commit = git("rev-parse", "--short", "HEAD")
    text = describe_provenance("murmur report")
    assert text.startswith("Written 20") and 'by "murmur report";' in text
    assert text.endswith(f"git revision {commit} (main).")
    write_figures("b")
    assert describe_provenance("x").endswith(
        f"git revision {commit} (main) + changes that are not committed."
    )


def test_a_dvc_experiment_with_these_figures_is_named(repository):
    write_figures("b")
    git("commit", "--all", "-m", "as dvc exp run does")
    git("update-ref", "refs/exps/ab/cdef/bold-fish", "HEAD")
    git("reset", "--hard", "HEAD~1")
    assert "DVC experiment" not in describe_provenance("x")
    write_figures("b")
    assert describe_provenance("x").endswith("; DVC experiment bold-fish.")
    write_figures("c")
    assert "DVC experiment" not in describe_provenance("x")


def test_without_git_and_without_a_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write_figures("a")
    assert describe_provenance("x").endswith("git revision unknown (no git repository).")
    git("init")
    assert "git revision none (nothing is committed)" in describe_provenance("x")
    monkeypatch.setenv("PATH", "")
    assert describe_provenance("x").endswith("git revision unknown (no git repository).")
