"""murmur experiments: what is listed, in which order, and that test scores are shown only on request."""

import csv
import io
import json
from pathlib import Path

import pytest

from murmur.commands import cli
from murmur.commands.trials import list_experiments
from murmur.errors import MurmurError
from murmur.experiments import project as of_project
from murmur.experiments import trials
from murmur.experiments.project import DvcExperiment
from murmur.params.yaml_files import format_yaml
from tests.test_comparison_command import git

PARAMS = {
    "dataset": "synthetic",
    "task": "murmur",
    "class_map": {},
    "positive": None,
    "seed": 0,
    "download": {"limit": None, "synthetic": {"patients": 60}, "folder": {"path": "data/own"}},
    "mel": {"n_mels": 32},
    "split": {"runs": [0, 1]},
    "train": {"lr": 0.004, "model": {"name": "cnn", "width": 8}},
    "evaluate": {"level": "patient", "thresholds": None},
}
OLD = {
    "weighted_accuracy_official": 0.9,
    "interval_low": 0.8,
    "interval_high": 0.95,
    "uar": 0.7,
    "leaky": False,
}


def summary(validation, test=0.5, metric="weighted_accuracy_official", **changes):
    scores = {metric: test, "interval_low": 0.4, "interval_high": 0.6, "uar": 0.1}
    return {"validation": {metric: validation}, "test": scores, "leaky": False} | changes


def write(figures, **changes):
    params = json.loads(json.dumps(PARAMS))
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = params
        for name in sections:
            section = section[name]
        section[last] = value
    Path("metrics").mkdir(exist_ok=True)
    Path("params.yaml").write_text(format_yaml(params))
    Path("metrics/summary.json").write_text(json.dumps(figures))
    lock = {"stages": {name: {} for name in ("download", "duplicates", "evaluate")}}
    Path("dvc.lock").write_text(json.dumps(lock))


def experiment(name, figures, base="HEAD", **changes):
    """What `dvc exp run` leaves: a commit on no branch and a reference to it; the workspace is restored."""
    write(figures, **changes)
    git("commit", "--quiet", "--allow-empty", "-am", name)
    commit = git("rev-parse", "HEAD")
    git("reset", "--quiet", "--hard", "HEAD~1")
    base = git("rev-parse", base)
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)
    return commit


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli.show_messages_on_stderr()
    git("init", "--quiet")
    write(OLD)
    git("add", ".")
    git("commit", "--quiet", "-m", "of an older version")
    write(summary(0.7))
    git("commit", "--quiet", "-am", "head")


def run(capsys, **options):
    list_experiments(**options)
    return capsys.readouterr()


def rows(text):
    return [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_experiments_are_sorted_by_validation_and_show_only_changed_parameters(project, capsys):
    head = git("rev-parse", "--short=7", "HEAD")
    experiment("low-hare", summary(0.65, test=0.99), train__lr=0.01)
    experiment("top-hare", summary(0.8, test=0.01, leaky=True), mel__n_mels=64, train__lr=0.002)
    experiment("bare", summary(None), train__model={"name": "tiny", "hidden": 8})
    table = [
        ["weighted_accuracy_official by patient: synthetic (murmur)"],
        ["experiment", "validation", "changed parameters"],
        ["top-hare", "0.800 LEAKY", "mel.n_mels=64, train.lr=0.002"],
        [f"HEAD {head}", "0.700"],
        ["low-hare", "0.650", "train.lr=0.01"],
        ["bare", "-", "train.model={name: tiny, hidden: 8}"],
    ]
    printed = run(capsys)
    assert [[cell.strip() for cell in row] for row in rows(printed.out)] == table
    assert printed.err == "" and max(map(len, printed.out.splitlines())) <= 80
    with_test = rows(run(capsys, test=True).out)
    assert [cell.strip() for cell in with_test[2]][2:4] == ["0.010", "0.400-0.600"]


def test_other_data_and_other_metrics_have_their_own_table(project, capsys):
    experiment("limited", summary(0.99), download__limit=9)
    experiment("other", summary(0.98, metric="macc"), dataset="cinc2016", seed=1)
    experiment("unused", summary(0.9), download__folder={"path": "data/other"})
    printed = run(capsys)
    first, *others = printed.out.split("\n\n")
    names = [line.split()[0] for line in first.splitlines()[2:]]
    assert names == ["unused", "HEAD"]
    assert others[0].startswith(
        "weighted_accuracy_official by patient: synthetic (murmur), download.limit=9\n"
    )
    assert others[1].startswith("macc by patient: cinc2016 (murmur)\n")
    assert "the validation parts differ" in printed.err


def test_fitted_thresholds_which_raise_the_validation_score_have_their_own_table(project, capsys):
    experiment("fitted", summary(0.99), evaluate__thresholds="uar")
    experiment("plain", summary(0.9), train__lr=0.1)
    first, second = run(capsys).out.split("\n\n")
    assert "fitted" not in first
    assert [line.split()[0] for line in first.splitlines()[2:]] == ["plain", "HEAD"]
    assert "evaluate.thresholds=uar\n" in second
    assert "fitted" in second


def test_commits_of_an_older_version_have_a_test_score_only(project, capsys):
    old = git("rev-parse", "--short=7", "HEAD~1")
    assert old not in run(capsys).out
    (line,) = (line for line in run(capsys, commits=5).out.splitlines() if line.startswith(old))
    assert line.split() == [old, "-"]
    (line,) = (line for line in run(capsys, commits=2, test=True).out.splitlines() if line.startswith(old))
    assert line.split() == [old, "-", "0.900", "0.800-0.950"]


def test_the_workspace_is_listed_where_it_differs(project, capsys):
    assert "workspace" not in run(capsys).out
    write(summary(0.75), train__lr=0.1)
    assert run(capsys).out.splitlines()[2].split() == ["workspace", "0.750", "train.lr=0.1"]
    lock = {"stages": {"download": {"params": {"params.yaml": {"dataset": "pascal"}}}}}
    Path("dvc.lock").write_text(json.dumps(lock))
    assert ["workspace", "not run", "train.lr=0.1"] in [
        [cell.strip() for cell in row] for row in rows(run(capsys).out)
    ]


def test_queued_and_failed_experiments_have_no_scores(project, capsys, monkeypatch):
    commit = experiment("x", summary(0.99), train__lr=0.5)
    queue = [DvcExperiment("q", commit, "", "queued"), DvcExperiment("f", commit, "", "failed")]
    monkeypatch.setattr(of_project, "list_queue", lambda: queue)
    printed = run(capsys)
    assert [line.split() for line in printed.out.splitlines()[-2:]] == [
        ["f", "failed", "train.lr=0.5"],
        ["q", "queued", "train.lr=0.5"],
    ]
    assert "1 queued; run them: dvc queue start" in printed.err and "dvc queue logs NAME" in printed.err


def test_with_running_workers_the_queue_is_not_to_be_started_again(project, capsys, monkeypatch):
    queue = [DvcExperiment(name, "HEAD", "", state) for name, state in [("q", "queued"), ("r", "running")]]
    monkeypatch.setattr(of_project, "list_queue", lambda: queue)
    assert "1 queued, 1 running; look: dvc queue status" in run(capsys).err


def test_an_experiment_without_results_is_named(project, monkeypatch):
    queue = [DvcExperiment(name, "HEAD", "", state) for name, state in [("q", "queued"), ("f", "failed")]]
    monkeypatch.setattr(of_project, "list_queue", lambda: queue)
    with pytest.raises(MurmurError, match=r"^experiment q is in the queue and has no results yet \(dvc"):
        of_project.find_commit("q")
    with pytest.raises(MurmurError, match=r"^experiment f has failed; the reason: dvc queue logs f"):
        of_project.find_commit("f")


def test_csv_has_all_columns_and_no_test_score_unless_requested(project, capsys):
    commit = experiment("a", summary(0.8), train__lr=0.01, split__runs=[0])
    records = list(csv.DictReader(io.StringIO(run(capsys, as_csv=True).out)))
    assert records[0] | {"name": "a", "commit": commit, "train.lr": "0.01", "split.runs": "[0]"} == records[0]
    assert records[1]["train.lr"] == "0.004" and not {"test", "low", "mel.n_mels"} & set(records[0])
    (first, _) = csv.DictReader(io.StringIO(run(capsys, as_csv=True, test=True).out))
    assert (first["test"], first["low"], first["high"]) == ("0.5", "0.4", "0.6")


def test_without_experiments_the_first_step_is_named(project, capsys):
    assert "no experiments yet; begin with: dvc exp run -S train.lr=0.002" in run(capsys).err


def test_experiments_of_another_commit_are_counted(project, capsys):
    experiment("old", summary(0.8), base="HEAD~1")
    assert "based on another commit than HEAD, whose code may differ: 1" in run(capsys).err


@pytest.mark.parametrize("figures", ["[]", "{", '{"test": {}}', '{"validation": 3, "test": {"uar": 1}}'])
def test_a_wrong_summary_is_named(project, figures):
    Path("metrics/summary.json").write_text(figures)
    git("commit", "--quiet", "-am", "wrong")
    with pytest.raises(MurmurError, match=r"^HEAD .{7}: metrics/summary.json is not as the stage evaluate"):
        trials.list_trials()
