"""The current experiment: params.yaml is compared with dvc.lock, and the experiment is named by a hash."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from murmur.errors import MurmurError
from murmur.experiments import current
from tests import made

LOCKED = """\
schema: '2.0'
stages:
  train@0:
    cmd: x
    params:
      params.yaml:
        seed: 8
        train.lr: 4e-05
        positive: [Yes]
"""


@pytest.mark.parametrize("lr", ["0.00004", "4e-5", "4e-05", "4.0e-05"])
def test_numbers_of_dvc_lock_are_compared_by_value_not_by_spelling(tmp_path, monkeypatch, lr):
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.ROOT / "params.yaml", ".")
    Path("dvc.lock").write_text(LOCKED)
    text = (
        Path("params.yaml").read_text().replace("lr: 0.004", f"lr: {lr}").replace("seed: 0  ", "seed: 0o10  ")
    )
    Path("params.yaml").write_text(text.replace("positive: null", "positive: [Yes]"))
    current.check_params_unchanged(["train@0"])
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace(f"lr: {lr}", "lr: 4.1e-05"))
    with pytest.raises(MurmurError, match=r"params\.yaml: train\.lr has changed since train@0 ran"):
        current.check_params_unchanged(["train@0"])


def test_without_dvc_lock_the_error_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MurmurError, match=r"workspace: no dvc.lock: make it with `dvc repro`"):
        current.check_params_unchanged(["mel"])


def test_an_experiment_is_named_by_the_hash_of_its_folds(tmp_path):
    with pytest.raises(MurmurError, match=r"metrics/folds.csv: cannot be read; make it: dvc repro evaluate"):
        current.hash_experiment(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/folds.csv").write_bytes(b"run,fold\n")
    assert current.hash_experiment(tmp_path) == hashlib.sha256(b"run,fold\n").hexdigest()


@pytest.mark.parametrize(
    ("features", "models", "stages"),
    [("mel", ["m2d"], ["mel"]), ("embedding", ["m2d"], ["mel", "embed@m2d"])],
)
def test_the_stages_of_the_features_follow_from_the_parameters(features, models, stages):
    p = SimpleNamespace(train=SimpleNamespace(features=features), embed=SimpleNamespace(models=models))
    assert current.list_feature_stages(p) == stages
    definition = (made.ROOT / "dvc.yaml").read_text()
    assert all(f"\n  {stage.partition('@')[0]}:\n" in definition for stage in stages)
