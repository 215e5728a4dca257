"""The ablation study: which parameters run, what is compared, and what a table of an earlier study gives."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from murmur.commands import cli
from murmur.errors import MurmurError
from murmur.experiments import ablation
from murmur.experiments.ablation import BASE, Outcome
from murmur.experiments.comparison import Experiment
from murmur.params.yaml_files import format_yaml
from tests import made

ROWS = [
    {"name": "no mixup", "ingredient": "mixup", "settings": {"train.augment.mixup": 0.0}},
    {"name": "long", "ingredient": "length", "settings": {"segment.length": 6.0}},
]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The path of a study in the project folder; nothing is trained, the score depends on the parameters."""
    monkeypatch.chdir(made.ROOT)
    return write_study(tmp_path, ROWS)


def write_study(folder, rows, **changes):
    content = {"recipe": "default", "runs": [0, 1], "settings": {"train.epochs": 2}, "metrics": ["uar"]}
    (folder / "study.yaml").write_text(format_yaml(content | changes | {"rows": rows}))
    return folder / "study.yaml"


def run_without_training(params, name):
    """Scores of two runs of two folds: better without mixup, worse by a varying amount with long segments."""
    gain = 0.1 * (params["train"]["augment"]["mixup"] == 0)
    losses = [0.0, 0.0] if params["segment"]["length"] == 4 else [0.1, -0.08]
    assert params["split"]["runs"] == [0, 1] and params["train"]["epochs"] == 2
    rows = [
        {
            "level": "patient",
            "run": run,
            "fold": fold,
            "uar": 0.6 + fold / 10 + gain * (1 + run / 9) + losses[fold],
        }
        | {"n_units": 5, "n_train": 8, "n_validation": 2, "n_test": 5, "test_sha256": f"{run}{fold}"}
        for run in (0, 1)
        for fold in (0, 1)
    ]
    folds = pd.DataFrame(rows).set_index(["level", "run", "fold"])
    data = {
        "dataset": "x",
        "task": "y",
        "sha256": name,
        "sha256_patients": "z",
    }  # labels of recordings differ
    minutes = None if name == "long" else 2.5
    return Outcome(Experiment(name, folds, ["uar"], data, "", "patient", ["uar"]), 0.55, minutes)


def test_each_row_is_compared_with_the_base(study, monkeypatch):
    monkeypatch.setattr(ablation, "run_params", run_without_training)
    result = CliRunner().invoke(cli.app, ["ablation", str(study)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(study.with_suffix(".csv")).set_index("row")
    assert table.loc["no mixup", "difference"] == pytest.approx(0.1 * (1 + 1 / 18), abs=1e-6)
    assert table.loc["no mixup", "low"] > 0 > table.loc["long", "low"]
    assert table.loc["long", "settings"] == "segment.length=6.0" and table.loc["long", "pairs"] == 4
    page = study.with_suffix(".md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[1] for line in lines[2:]] == [BASE, "long", "no mixup"], "sorted by ingredient"
    assert "**+0.106 [" in lines[4] and "**" not in lines[3] and lines[3].endswith("| 0.550 | - |")
    assert "scored 3 times" in page and "(2 runs, 4 folds)" in page
    assert "The base is the recipe with `train.epochs=2`." in page


def test_the_minutes_of_a_training_in_the_cache_are_those_of_the_earlier_table(study, monkeypatch):
    monkeypatch.setattr(ablation, "run_params", run_without_training)
    earlier = {"row": ["long", "no mixup"], "metric": "uar", "base": [0.65, 0.6], "minutes": [7.0, 1.0]}
    pd.DataFrame(earlier).to_csv(study.with_suffix(".csv"), index=False)
    first, *_, table = ablation.run_study(*ablation.read_plan(study), study.with_suffix(".csv"))
    assert first["row"].tolist() == [BASE, "long"], "kept, with this base, until it has run again"
    assert table.set_index("row")["minutes"].to_dict() == {BASE: 2.5, "no mixup": 2.5, "long": 7.0}


def test_the_time_of_a_fold_is_that_of_all_its_networks(tmp_path):
    for run, fold, inner, seconds in ((0, 0, 0, 60), (0, 0, 1, 120), (0, 1, 0, 60), (1, 0, 0, 0)):
        path = tmp_path / f"run_{run}/fold_{fold}_inner_{inner}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"fold": {fold}, "inner": {inner}, "seconds": {seconds}}}')
    assert ablation._measure_training(tmp_path) == pytest.approx(4 / 3)
    assert ablation._measure_training(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0], ROWS[0]], "two rows have the name 'no mixup'"),
        ([ROWS[0] | {"settings": {"train.augment.mixup": 0.4}}], "no mixup: changes nothing in the base"),
        ([ROWS[0] | {"settings": {"train.mixup": 0}}], r"no mixup: train\.mixup: the recipe has no such key"),
        ([ROWS[0] | {"settings": {"segment.length": -1}}], r"no mixup: segment\.length: .*greater"),
        ("no mixup", "rows: Input should be a list .it is 'no mixup'"),
        ([None], r"rows\.0: Input should be a mapping .it is empty"),
        ([{"name": "x", "settings": {}}], r"rows\.0\.ingredient"),
    ],
)
def test_a_wrong_row_is_refused_before_anything_runs(study, rows, message):
    with pytest.raises(MurmurError, match=message):
        ablation.read_plan(write_study(study.parent, rows))


@pytest.mark.skipif(not (made.ROOT / "recipes/circor_frames.yaml").exists(), reason="no recipe circor_frames")
def test_the_study_of_the_documentation_is_valid(monkeypatch):
    monkeypatch.chdir(made.ROOT)
    plan, params = ablation.read_plan(Path("docs/ablation.yaml"))
    assert len(params) == len(plan.rows) + 1
