"""The files that a training writes while it runs, what is read from them, and `murmur watch`."""

import json
import os
import subprocess
import sys
import time

import pytest

from murmur.commands import watch
from murmur.errors import MurmurError
from murmur.reporting.line_chart import draw_lines
from murmur.training import display, live
from murmur.training.live import FitState, Recorder, RunState
from tests import made

LOSSES = {"train_loss": 0.5, "validation_loss": 0.25, "validation_uar": 0.75}


def epoch(number, **changes):
    return {"epoch": number, "learning_rate": 0.01, "validation_accuracy": 0.5, **LOSSES, **changes}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a run of three folds: one has ended, one is in its second epoch, one waits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "INTERVAL", 0)
    with live.record_run(live.FOLDER, 3, [(k, None) for k in range(3)], epochs=4, workers=2) as path:
        first, second = Recorder(path, 0), Recorder(path, 1)
        for recorder in (first, second):
            recorder.record_epoch(epoch(0), best=0)
        first.finish()
        second.record_position(1.5)
    return path


def test_progress_is_read_while_it_is_written(folder):
    state = live.read_run(folder)
    assert (state.run, state.epochs, state.workers) == (3, 4, 2)
    assert [fold.epochs for fold in state.fits] == [1, 1.5, 0]
    assert [fold.is_finished for fold in state.fits] == [True, False, False]
    assert [fold.is_running for fold in state.fits] == [False, True, False]
    assert (state.fits[1].train_loss, state.fits[1].validation_uar, state.fits[1].best) == (0.5, 0.75, 0)
    with (folder / "fold_1.tsv").open("a") as file:
        file.write("1\t0.25")
    assert live.read_curve(folder, FitState(1), "train_loss") == [0.5], "a part of a line is left out"


def test_a_new_training_deletes_the_files_of_the_same_run_only(folder):
    with live.record_run(live.FOLDER, 4, [(0, None)], 4, 1):
        assert live.read_run(folder).fits[0].is_finished
    with live.record_run(live.FOLDER, 3, [(0, None)], 4, 1):
        assert live.read_run(folder).fits == [FitState(0)]
        assert live.read_curve(folder, FitState(0), "train_loss") == []


def test_a_run_is_in_training_while_its_process_lives(tmp_path):
    code = f"""if True:
        import time
        from pathlib import Path
        from murmur.training import live
        with live.record_run(Path({str(tmp_path)!r}), 0, [(0, None)], 1, 1):
            print(flush=True)
            time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    process.stdout.readline()
    assert live.is_training(tmp_path / "run_0")
    process.kill()
    process.wait()
    assert not live.is_training(tmp_path / "run_0") and not live.is_training(tmp_path / "run_1")


def test_a_folder_that_cannot_be_written_is_reported_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").touch()
    (tmp_path / "folder/dvc.yaml").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "missing/folder")
    caplog.set_level("INFO")
    for name, named in (("file", "file/run_0"), ("folder", "folder/dvc.yaml"), ("link", "link")):
        with live.record_run(tmp_path / name, 0, [(0, None)], 1, 1) as path:
            assert path is None
        assert caplog.messages[-1].startswith(f"{tmp_path / named} cannot be written (")
    with live.record_run(tmp_path / "live", 0, [(0, None)], 1, 1) as path:
        live.shutil.rmtree(path)
        recorder = Recorder(path, 0)
        recorder.record_epoch(epoch(0), best=0)
        recorder.finish()
    assert live.read_run(path) is None and live.read_curve(path, FitState(0), "train_loss") == []


def test_the_time_left_counts_folds_that_wait_for_a_worker():
    folds = [FitState(0, epochs=4, started=0, seconds=8, is_finished=True)]
    folds += [FitState(1, epochs=1, started=0, seconds=2), FitState(2), FitState(3)]
    # 2 s for an epoch: fold 1 ends after 6 s and fold 2 after 8 s, fold 3 begins after 6 s and needs 8 s
    assert display.estimate_seconds_left(RunState(0, 4, 2, folds)) == 14
    assert display.estimate_seconds_left(RunState(0, 4, 1, folds)) == 22
    assert display.estimate_seconds_left(RunState(0, 4, 1, [FitState(0)])) is None
    restored = FitState(0, epochs=3, started=0, seconds=2, restored=2)
    assert display.estimate_seconds_left(RunState(0, 4, 1, [restored])) == 2, "they took no time"


def test_a_run_is_described_in_one_line():
    folds = [FitState(0, 3, 100.0, 30.0, 0.5, 0.7, 0.8, 1, is_finished=True), FitState(1)]
    running = FitState(1, 2.5, 130.0, 25.0, 0.3, 0.5, 0.8, 1)
    assert display.describe_run(RunState(2, 10, 1, [FitState(0), FitState(1)])) == (
        "train run 2: 0 of 2 folds, 0 of at most 20 epochs"
    )
    assert display.describe_run(RunState(2, 10, 1, [folds[0], running])) == (
        "train run 2: 1 of 2 folds, 5 of at most 20 epochs, train loss 0.400, validation loss 0.600, "
        "at most 75 s left"
    )
    ended = FitState(**vars(running) | {"epochs": 3, "is_finished": True, "restored": 2})
    assert display.describe_run(RunState(2, 10, 1, [folds[0], ended])) == (
        "train run 2: 2 folds, 6 epochs, 2 of them from checkpoints, train loss 0.400, "
        "validation loss 0.600, 55 s"
    )


def test_a_chart_shows_each_value_at_its_place():
    text = draw_lines("loss", [((1.0, 0.0), "cyan"), ((0.0, 1.0), "red")], last=2, width=12, height=3).plain
    assert text.splitlines() == ["loss", "     1 ┤⠑⢄⡠⠊", "     0 ┤⡠⠊⠑⢄", "  epoch 1  2"]
    assert "no epoch has ended yet" in draw_lines("loss", [((), "cyan")], 2).plain
    assert "0.5 ┤" in draw_lines("loss", [((0.5, 0.5), "cyan")], 2).plain


def test_a_chart_leaves_out_what_is_not_finite_and_can_be_drawn_in_ascii():
    line = ((float("nan"), 1.0, float("inf"), 0.0), "cyan")
    text = draw_lines("loss", [line], last=4, width=12, height=3, ascii_only=True).plain
    assert text.splitlines() == ["loss", "     1 | ** ", "     0 |  **", "  epoch 1  4"]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("run.json", "networks", []),
        ("run.json", "epochs", "many"),
        ("run.json", "workers", 0),
        ("fold_0.json", "epochs", float("nan")),
        ("fold_1.json", "seconds", float("inf")),
        ("fold_1.json", "best", "x"),
    ],
)
def test_damaged_files_are_not_readable(folder, capsys, name, key, value):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | {key: value}))
    watch.watch_training(once=True)
    assert "live/run_3: not readable" in capsys.readouterr().out


@pytest.mark.parametrize("width", ["20", "59", "60"])
def test_a_narrow_terminal_gets_a_description(folder, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    watch.watch_training(once=True)
    output = " ".join(capsys.readouterr().out.split())
    assert ("need a terminal of 60 columns" in output) == (int(width) < 60)
    assert ("validation UAR" in output) == (width == "60")


def test_watch_waits_while_dvc_runs(folder, monkeypatch):
    answers = iter([True, True, False])
    monkeypatch.setattr(watch, "_is_dvc_running", lambda: next(answers))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with open(os.devnull, "w") as file:
        watch._wait_for_training(watch.Console(file=file))
    assert not list(answers)


@pytest.mark.parametrize("place", [".", "sub", ".."])
def test_dvc_is_found_in_this_project_only(tmp_path, monkeypatch, place):
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (tmp_path / "dvc").write_text("import time; print(flush=True); time.sleep(60)")
    monkeypatch.chdir(project)
    command = [sys.executable, tmp_path / "dvc", "repro"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert watch._is_dvc_running() == (place != "..")
        process.kill()


def test_watch_shows_the_last_run_if_nothing_is_trained(folder, capsys):
    watch.watch_training()
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "No run is being trained now. The last one:"
    assert second == "train run 3: 1 of 3 folds, 2 of at most 12 epochs, interrupted"
    experiment = folder.parents[1] / ".dvc/tmp/exps/standalone/x"
    with live.record_run(experiment / live.FOLDER, 8, [(0, None)], 4, 1):
        watch.watch_training(once=True)
    output = capsys.readouterr().out
    assert output.startswith("train run 8: 0 of 1 folds") and "run 3" not in output


def test_watch_ends_when_no_other_run_begins(folder):
    runs = watch._list_runs()
    assert watch._is_in_progress(runs)
    for path in folder.iterdir():
        os.utime(path, times=(0, time.time() - 2 * watch.PAUSE))
    assert not watch._is_in_progress(runs) and not watch._is_in_progress([])


def test_watch_without_any_training_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MurmurError, match="live: no training has been recorded yet; start one with dvc repro"
    ):
        watch.watch_training(once=True)


def test_the_plots_name_every_file_of_the_run(folder):
    plots = json.loads((live.FOLDER / "dvc.yaml").read_text())["plots"]
    assert [y for plot in plots for (config,) in [plot.values()] for y in config["y"]] == [
        f"run_3/fold_{fold}.tsv" for _ in live.PLOTS for fold in range(3)
    ]
    head = (folder / "fold_2.tsv").read_text().split()
    assert {"epoch", *live.PLOTS.values()} <= set(head)
