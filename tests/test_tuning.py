"""The search of parameters: what may be tried, which trials run, and what an interrupted search repeats."""

import fcntl
import math
from contextlib import contextmanager
from pathlib import Path

import optuna
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from murmur.commands import cli
from murmur.errors import MurmurError
from murmur.evaluation.levels import number_units
from murmur.evaluation.results import evaluate_predictions
from murmur.experiments import project, recipes, search_results, search_space, tuning
from murmur.experiments.search_space import Range
from murmur.params.yaml_files import format_yaml, parse_yaml
from tests import made
from tests.experiment import CARD, experiment, options

MODELS = [{"name": "cnn", "width": 32, "dropout": 0.2}, {"name": "bilstm", "width": 64}]
BAND = {"order": 2, "low": 30, "high": 700}
SPACE = {
    "train.lr": {"low": 0.0005, "high": 0.02, "log": True},
    "train.epochs": {"low": 2, "high": 8, "step": 2},
    "train.model": MODELS,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A project folder with the default parameters; `project.reproduce_again` runs nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "params.yaml", "dvc.yaml"):
        (tmp_path / name).symlink_to(made.ROOT / name)
    return tmp_path


def write_search(space=SPACE, **changes):
    content = {"recipe": "default", "runs": [0, 1], "metric": "uar", "trials": 14, "space": space}
    Path("lr.yaml").write_text(format_yaml(content | changes))
    return Path("lr.yaml")


def read_search(space=SPACE, **changes):
    return search_space.read_search(write_search(space, **changes))


class Killed(BaseException):
    """The end of the process."""


class Trainings:
    """Stands for the pipeline: scores depend on the parameters, and a training may fail or be interrupted."""

    def __init__(self, monkeypatch, interrupted_at=math.inf, fails=lambda train: False):
        self.content, self.targets = {}, []
        self.interrupted_at, self.fails = interrupted_at, fails
        monkeypatch.setattr(project, "reproduce_again", self.train)
        monkeypatch.setattr(tuning, "_prepare", self.prepare)
        monkeypatch.setattr(tuning, "hash_parts", lambda *_: "same")
        monkeypatch.setattr(tuning, "read_and_score", self.score)

    @contextmanager
    def prepare(self, search):
        yield tuning.Workspace(Path(), "same")

    def train(self, folder, content, title, *targets):
        if len(self.targets) == self.interrupted_at:
            raise Killed
        self.content = content
        self.targets += targets
        if self.fails(content["train"]):
            raise MurmurError("`dvc repro train@0` failed")

    def score(self, data, runs, options, metric):
        lr, epochs = (self.content["train"][key] for key in ("lr", "epochs"))
        return 0.8 - math.log10(lr / 0.002) ** 2 / 5 + epochs / 100 - len(runs) / 50


def tune(path="lr.yaml"):
    result = CliRunner().invoke(cli.app, ["tune", str(path)])
    table = pd.read_csv("lr/trials.csv") if Path("lr/trials.csv").exists() else None
    return result, table


def test_an_interrupted_search_tries_the_same_values_as_one_without_interruption(folder, monkeypatch):
    def is_failure(train):
        return train["model"]["name"] != "cnn" and train["epochs"] == 2

    def run(path, interrupted_at=math.inf):
        trainings = Trainings(monkeypatch, interrupted_at, is_failure)
        *_, results = tuning.run_search(search, path)
        return search_results.tabulate(results, search), trainings.targets

    search = read_search(trials=18)
    expected, targets = run(folder / "uninterrupted")
    assert set(targets) == {"train@0", "train@1"}, "no stage that scores test parts"
    assert set(expected["state"]) == {"complete", "pruned", "failed"} and len(expected) == 19
    assert expected["runs"][expected["state"] == "pruned"].eq(1).all()
    for n in (7, 22):  # in one of the first ten trials, which are random, and later
        with pytest.raises(Killed):
            run(folder / "interrupted", n)
    table, targets = run(folder / "interrupted")
    pd.testing.assert_frame_equal(table, expected)
    assert len(targets) < 14, "the base and the last trials"


def test_the_best_trial_is_a_recipe_and_a_command(folder, monkeypatch):
    write_search()
    Trainings(monkeypatch)
    result, table = tune()
    best = table.iloc[table["validation"].where(table["state"] == "complete").idxmax()]
    found = parse_yaml(recipes.complete_params("lr/best.yaml"), "best.yaml")
    assert found["train"]["lr"] == best["train.lr"] and found["train"]["epochs"] == int(best["train.epochs"])
    assert found["train"]["model"] == parse_yaml(best["train.model"], "")
    assert found["split"]["runs"] == [*range(10)], "the runs of the base"
    assert (
        f"murmur use default && dvc exp run -S train.lr={best['train.lr']} -S train.epochs=" in result.output
    )
    assert f"-S '~train.model' -S '+train.model={best['train.model']}'" in result.output
    assert (
        "14 trials, scored on the validation parts of 2 runs: " in result.output
        and "test" not in table.columns
    )
    assert result.output.splitlines()[2].split()[:2] == [best["trial"], f"{best['validation']:.3f}"]
    for name in ("history", "importances", "slice"):
        assert Image.open(f"lr/{name}.png").width > 300


def test_no_file_recommends_a_trial_that_is_not_better_than_the_base(folder, monkeypatch):
    write_search({"train.lr": [0.01, 0.02]}, trials=2)
    Trainings(monkeypatch)
    result, table = tune()
    assert "keep its parameters" in result.output and not Path("lr/best.yaml").exists()
    assert table["trial"].tolist() == ["base", "1", "2"] and not Path("lr/slice.png").exists()


def test_a_metric_of_costs_is_minimised(folder, monkeypatch):
    search = read_search({"train.lr": [0.01, 0.02]}, trials=2, metric="outcome_cost")
    search.base["task"] = "outcome"
    Trainings(monkeypatch)
    *_, results = tuning.run_search(search, folder)
    assert results.best.values[0] == min(trial.values[0] for trial in results.trials) < results.base


def test_failures_of_all_trials_end_the_search(folder, monkeypatch):
    write_search()
    Trainings(monkeypatch, fails=lambda train: train["lr"] != 0.004)
    result, table = tune()
    assert "the last 5 trials failed" in str(result.exception)
    assert table["state"].tolist() == ["complete", *["failed"] * 5]
    assert table["reason"].tolist()[1] == "`dvc repro train@0` failed"


def test_a_journal_of_another_search_or_in_use_is_refused(folder, monkeypatch):
    Trainings(monkeypatch)
    [*tuning.run_search(read_search(trials=1), folder)]
    assert len([*tuning.run_search(read_search(trials=2), folder)]) == 2, "more trials: it continues"
    for changes, name in (
        ({"metric": "accuracy"}, "metric"),
        ({"runs": [0]}, "runs"),
        ({"space": {"train.lr": [0.1, 0.2]}}, "space"),
        ({"recipe": "circor_cnn"}, "parameters of the base"),
    ):
        with pytest.raises(MurmurError, match=rf"journal\.log: is of a search with other {name}"):
            next(tuning.run_search(read_search(**changes), folder))
    with (folder / "journal.log").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(MurmurError, match="another `murmur tune` uses it"):
            next(tuning.run_search(read_search(), folder))


def test_a_journal_that_ends_in_half_a_line_is_continued(folder, monkeypatch):
    Trainings(monkeypatch)
    [*tuning.run_search(read_search(trials=1), folder)]
    path = folder / "journal.log"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50])
    *_, results = tuning.run_search(read_search(trials=2), folder)
    assert len(results.trials) == 2
    path.write_text("[]\n")
    with pytest.raises(MurmurError, match=r"journal\.log: is damaged \(.*remove it to begin again"):
        next(tuning.run_search(read_search(), folder))


def test_a_trial_with_other_folds_fails(folder, monkeypatch):
    Trainings(monkeypatch)
    hashes = iter(["same", "same", "other"])
    monkeypatch.setattr(tuning, "hash_parts", lambda *_: next(hashes))
    *_, results = tuning.run_search(read_search(trials=1), folder)
    assert "change the recordings or folds" in results.trials[0].user_attrs["reason"]


def test_the_command_replaces_a_mapping():
    image, values = (
        {"size": 32, "colours": "grey"},
        {"train.lr": 0.1, "mel.scale": "ln", "clean.bandpass": None},
    )
    search = read_search(
        {
            key: [value, *others]
            for key, value, *others in (
                ("train.lr", 0.1, 0.2),
                ("mel.scale", "ln", "db"),
                ("clean.bandpass", None, BAND),
                ("mel.image", image, None),
            )
        },
        recipe=None,
    )
    command = search_space.format_command(search, values | {"mel.image": image})
    expected = "dvc exp run -S train.lr=0.1 -S mel.scale=ln -S clean.bandpass=null -S "
    assert command == f"{expected}'mel.image={{size: 32, colours: grey}}'"
    command = search_space.format_command(search, {"clean.bandpass": BAND})
    assert command == "dvc exp run -S '~clean.bandpass' -S '+clean.bandpass={order: 2, low: 30, high: 700}'"


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("train.lr", {"low": 1, "high": 2}, float),  # a real number, although the limits are integers
        ("mel.f_max", {"low": 500, "high": 900, "step": 100}, float),
        ("train.clip", {"low": 1, "high": 2}, float),
        ("train.batch_size", {"low": 8, "high": 64, "log": True}, int),
        ("train.patience", {"low": 1, "high": 9}, int),
        ("train.model.width", {"low": 4, "high": 16, "step": 4}, int),
        ("train.model.dropout", {"low": 0, "high": 0.9}, float),
    ],
)
def test_the_parameters_decide_whether_integers_are_tried(key, value, kind):
    search = read_search({key: value})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask({key: tuning._make_distribution(search.domains[key])})
    chosen = tuning.decode_values(search, trial.params)[key]
    assert type(chosen) is kind and value["low"] <= chosen <= value["high"]
    assert not value.get("step") or (chosen - value["low"]) % value["step"] == 0


def test_a_real_number_has_four_digits_and_stays_within_its_limits():
    limits = Range(low=0.00123456, high=0.9999999)
    values = [0.001234561, 0.345678, 0.99999989]
    assert [search_space.convert_value(limits, v) for v in values] == [0.001235, 0.3457, 0.9999999]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space: Mapping should have at least 1 item, not 0"),
        ([1], r"space: Input should be a mapping \(it is \[1\]\)"),
        ({"train.lrr": [1, 2]}, r"train\.lrr: unknown key; did you mean train\.lr\?"),
        ({"mel": [{}, {}]}, "mel: unknown key; see params.yaml"),
        ({"split.folds": [2, 3]}, r"split\.folds: changes the data or the folds"),
        ({"seed": [0, 1]}, "seed: changes the data"),
        ({"segment.first_of": [[], ["Present"]]}, "changes the data"),
        ({"evaluate.thresholds": [None, "uar"]}, "changes how the validation parts are scored"),
        ({"final.ensemble": [1, 2]}, "has no effect on the validation score"),
        ({"train.lr": 0.1}, r"train\.lr: give a range"),
        ({"train.lr": [0.1, 0.1]}, r"train\.lr: give at least two different values"),
        ({"train.lr": {"low": 1}}, r"train\.lr: key high is missing"),
        ({"train.lr": {"low": 2, "high": 1}}, r"train\.lr: low 2 is not below high 1"),
        ({"train.lr": {"low": 0, "high": 1, "log": True}}, r"greater than 0"),
        ({"train.lr": {"low": 1, "high": 2, "step": 3}}, "step 3: must be"),
        ({"train.lr": {"low": -1, "high": 1}}, r"yaml: train\.lr: Input should be greater than 0"),
        ({"train.epochs": {"low": 1.5, "high": 3}}, r"train\.epochs: the parameter is an integer"),
        ({"mel.scale": ["db", "dB"]}, r"mel\.scale: Input should be 'db'"),
        ({"train.model": [{"name": "cn"}, MODELS[0]]}, "train.model.name: no model 'cn'"),
        ({"train.model.width": [0, 8]}, r"train\.model\.width: .*greater than or equal to 1"),
        ({"train.model": MODELS, "train.model.width": [4, 8]}, r"train\.model\.width: is a part of"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_runs(space, message):
    with pytest.raises(MurmurError, match=message) as error:
        read_search(space)
    assert str(error.value).startswith("lr.yaml: ") and "\n" not in str(error.value)


def test_segments_that_are_scored_cannot_be_changed():
    assert read_search({"segment.length": [3.0, 4.0]}).domains
    text = recipes.replace_value(Path("params.yaml"), "evaluate.level", "segment")
    Path("params.yaml").unlink()
    Path("params.yaml").write_text(text)
    with pytest.raises(MurmurError, match="changes the segments"):
        read_search({"segment.length": [3.0, 4.0]}, recipe=None)


@pytest.mark.parametrize("changes", [{}, {"thresholds": "uar"}, {"level": "recording", "rule": "maximum"}])
def test_the_score_is_that_of_the_stage_evaluate_and_needs_no_test_prediction(changes):
    tables = experiment() | {"options": options(**changes)}
    expected = evaluate_predictions(**tables).details["validation"]
    for table in tables["predictions"].values():
        table.loc[table["role"] == "test", "p_Present"] = math.nan
    units = number_units(tables["recordings"], tables["segments"], CARD.classes)
    inputs = (tables["predictions"], tables["folds"], units, CARD, tables["options"])
    assert tuning.score_validation_parts(*inputs, expected["metric"]) == expected["mean"]


def test_an_undefined_score_is_refused():
    tables = experiment()
    units = number_units(tables["recordings"], tables["segments"], CARD.classes)
    folds = {run: table.replace("validation", "train") for run, table in tables["folds"].items()}
    with pytest.raises(MurmurError, match=r"metric uar is undefined \(6 of 6 folds have no validation part"):
        tuning.score_validation_parts(tables["predictions"], folds, units, CARD, tables["options"], "uar")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("sensitivty", "did you mean sensitivity?"),
        ("outcome_cost", "known here: accuracy, f1_Absent, "),  # of the classes Abnormal and Normal
        ("recall_Unknown", "known here: accuracy, f1_Absent, "),  # class_map leaves this class out
    ],
)
def test_an_unknown_metric_is_refused_before_anything_runs(folder, monkeypatch, metric, message):
    monkeypatch.setattr(tuning, "_prepare", None)
    search = read_search(metric=metric)
    search.base["class_map"] = {"Unknown": None}
    with pytest.raises(MurmurError) as error:
        next(tuning.run_search(search, folder / "lr"))
    assert f"lr.yaml: metric: {metric!r} is unknown; {message}" in str(error.value)
    assert not Path("lr").exists()


def test_the_metric_of_own_recordings_is_checked_when_their_classes_are_known():
    search = read_search(metric="recall_normal")
    search.base["dataset"] = "folder"
    assert tuning._list_classes(search.base) == ()
    tuning._check_metric(search, ["murmur", "normal"])
    with pytest.raises(MurmurError, match="'recall_normal' is unknown"):
        tuning._check_metric(search, ["murmur", "healthy"])
