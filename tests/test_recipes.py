"""Every recipe runs from download to evaluate, in process, on tiny data; its flaws are marked."""

import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from murmur import params
from tests import made

pytestmark = pytest.mark.usefixtures("threads_as_before")
RECIPES = sorted(path.stem for path in (made.ROOT / "recipes").glob("*.yaml"))
NAMED = {
    *("circor_cnn", "circor_resnet18", "circor_resnet34", "circor_resnet34_multiwindow", "circor_attention"),
    *("circor_bilstm", "bmd_hs_cnn", "pascal_vgg16", "cinc2016_cnn", "cinc2016_cnn_light"),
    *("cinc2016_attention", "cinc2016_resnet18", "circor_m2d_transformer"),
}
SITES = ("AV+PV+TV+MV", "AV+PV", "AV+MV+Phc")  # not all were heard everywhere
CIRCOR = [
    made.patient(f"{10 * c + k}", SITES[k % 3], murmur)
    for c, murmur in enumerate(("Present", "Unknown", "Absent"), 1)
    for k in range(4)
]
TINY = {
    "download.cinc2016.sets": ["a", "b"],
    "split.runs": [0],
    "split.folds": 2,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.device": "cpu",
    "embed.device": "cpu",
    "evaluate.draws": 10,
}
LENGTH = {"circor": 0.3, "bmd_hs": 1.0, "pascal": 1.0, "cinc2016": 1.0}  # s
ABLATIONS = {
    "no distillation": {"train.distillation": 0.0},
    "one head": {"train.model.heads": 1},
    "late fusion": {"train.model.late_fusion": True},
    "own convolutions": {
        **{"embed.models": [], "train.features": "mel"},
        **{"train.model.trunk": "cnn", "train.standardise": "band"},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tiny data sets of all kinds, and an M2D checkpoint."""
    root = tmp_path_factory.mktemp("data")
    made.circor(root / "circor", CIRCOR)
    made.bmd_hs(root / "bmd_hs", seconds=1.0)
    made.pascal(root / "pascal", seconds=2.0)
    made.cinc2016(root / "cinc2016", "ab", n=8, seconds=1.5)
    made.m2d_checkpoint(root)
    return root


def recipe(name, data, changes=()):
    """The recipe's parameters, made tiny."""
    content = made.changed({}, f"recipes/{name}.yaml")
    small = TINY | {"segment.length": LENGTH[content["dataset"]]}
    if content["mel"]["image"]:
        small["mel.image.size"] = 32
    if content["train"]["model"].get("weights") == "imagenet":
        small["train.model.weights"] = "none"  # tests need no network
    if content["embed"]["models"]:
        small["embed.weights"] = str(data / made.M2D / "checkpoint-300.pth")
    return made.changed(small | dict(changes), f"recipes/{name}.yaml")


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """Run stages in this process, in an empty folder: run(content, *stages)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MURMUR_DATA", str(data))
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    monkeypatch.setattr(sys, "argv", ["train.py", "0"])

    def stages(content, *names):
        Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        for name in names:
            importlib.import_module(f"stages.{name}").main()

    return stages


def whole(content):
    embed = ["embed"] if content["embed"]["models"] else []
    return ["download", "duplicates", "clean", "segment", "mel", *embed, "split", "train", "evaluate"]


def test_all_published_systems_are_there():
    assert set(RECIPES) == NAMED


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_and_passes_the_schema(name):
    path = made.ROOT / f"recipes/{name}.yaml"
    own, default = (yaml.safe_load(p.read_text()) for p in (path, made.ROOT / "params.yaml"))
    params.load("train", path=path)
    assert list(own) == list(default)
    for section, keys in default.items():
        if isinstance(keys, dict) and section not in ("class_map", "published"):
            assert list(own[section]) == list(keys), section
    assert path.read_text().startswith("# ") and own["published"]
    assert own["split"]["group_by"] == "person" and own["split"]["validate_on"] == "validation"
    assert not own["segment"]["first_of"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_download_to_evaluate(name, data, run):
    content = recipe(name, data)
    run(content, *whole(content))
    summary, details = (json.loads(Path(f"metrics/{n}.json").read_text()) for n in ("summary", "details"))
    is_unknown = name == "pascal_vgg16"  # its set A does not name the persons
    assert details["protocol"]["leaky"] is summary["leaky"] is is_unknown
    assert details["protocol"]["flaws"] == ("data set" if is_unknown else "none")
    level, found = details["level"], pd.read_csv("metrics/runs.csv").set_index("level")
    assert level == content["evaluate"]["level"]
    assert found.loc[level, "uar"] == pytest.approx(summary["uar"])
    assert found["accuracy"].between(0, 1).all() and set(found.index) >= {level, "patient"}
    assert found.loc["patient", "n_units"] == details["data"]["patients"] > 7


def test_no_picture_of_data_that_may_not_be_passed_on_is_drawn(data, run):
    content = recipe("bmd_hs_cnn", data)
    run(content, *whole(content))
    for name in ("gallery", "errors"):
        assert Image.open(f"plots/{name}.png").size[1] < 60  # a line of text


@pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS)
def test_the_ablations_of_the_site_transformer_run(changes, data, run):
    content = recipe("circor_m2d_transformer", data, changes)
    run(content, *whole(content))
    predictions = pd.read_parquet("data/predictions/run_0.murmur_predictions.parquet")
    assert set(predictions["level"]) == {"patient"}
    assert predictions.query("role == 'test'")["unit_id"].is_unique
    assert sorted(predictions.query("role == 'test'")["unit_id"]) == sorted(p["Patient ID"] for p in CIRCOR)


def test_m2d_is_fine_tuned_with_some_of_its_layers_frozen(data, run):
    weights = str(data / made.M2D / "checkpoint-300.pth")
    model = {"name": "m2d", "weights": weights}
    changes = {"embed.models": [], "train.features": "mel", "train.model": model, "train.freeze": 20}
    more = {"train.augment.frequency_masks": 0, "train.distillation": 0.0}
    content = recipe("circor_m2d_transformer", data, changes | more)
    run(content, *whole(content))
    before = torch.load(weights, weights_only=False)["model"]
    after = load_file("models/run_0.murmur_weights/fold_0.safetensors")
    blocks = [torch.equal(before[f"blocks.{k}.attn.qkv.weight"], _block(after, k)) for k in range(12)]
    assert blocks == [True] * 5 + [False] * 7  # the first convolution, four layers a block, 3 of the fifth
    assert pd.read_csv("metrics/runs.csv").set_index("level")["n_units"]["patient"] == len(CIRCOR)


def _block(weights, k):
    return weights[f"network.0.blocks.{k}.attn.qkv.weight"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_published_protocol_is_a_change_of_keys_and_is_marked_leaky(name, data, run):
    honest = recipe(name, data)
    published = {k: v for k, v in honest["published"].items() if k != "mel.fill"}
    content = recipe(name, data, published)
    run(content, "download", "duplicates", "clean", "segment", "split")
    shared = pd.read_csv("metrics/audit.csv").filter(like="shared_").to_numpy().sum()
    marks = content["split"]["validate_on"] == "test" or bool(content["segment"]["first_of"])
    assert shared > 0 or marks
    assert (shared > 0) == (content["split"]["group_by"] == "segment")


def test_validating_on_the_test_part_is_marked_leaky_in_the_summary(data, run):
    content = recipe("circor_bilstm", data, {"split.validate_on": "test"})
    run(content, *whole(content))
    protocol = json.loads(Path("metrics/details.json").read_text())["protocol"]
    assert protocol["leaky"] is True and protocol["flaws"] == "validate_on"
    assert protocol["shared_persons"] == 0
