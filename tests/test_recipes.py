"""Every recipe runs from download to evaluate on tiny data, and its published protocol is marked as leaky."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from murmur import sections
from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.files import write_text
from murmur.params.yaml_files import read_yaml
from tests import made

pytestmark = pytest.mark.usefixtures("threads_as_before")
FOLDER = made.ROOT / "recipes"
RECIPES = recipes.list_names(FOLDER)[1:]  # without the default
NAMED = {
    *("circor_cnn", "circor_resnet18", "circor_resnet34", "circor_resnet34_multiwindow", "circor_attention"),
    *("circor_bilstm", "bmd_hs_cnn", "pascal_vgg16", "cinc2016_cnn", "cinc2016_cnn_light"),
    *("cinc2016_attention", "cinc2016_resnet18", "circor_m2d_transformer"),
}
OWN = "circor_frames"  # of this project: no publication has another protocol
SITES = ("AV+PV+TV+MV", "AV+PV", "AV+MV+Phc")  # not all sites in all patients
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
        "embed.models": [],
        "train.features": "mel",
        "train.model.trunk": "cnn",
        "train.standardise": "band",
    },
}


def make_data(root):
    """Make tiny data sets of all kinds, and an M2D checkpoint."""
    made.circor(root / "circor", CIRCOR, tsv=made.CYCLE)
    made.bmd_hs(root / "bmd_hs", seconds=1.0)
    made.pascal(root / "pascal", seconds=2.0)
    made.cinc2016(root / "cinc2016", "ab", n=8, seconds=1.5)
    made.m2d_checkpoint(root)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def recipe(name, data, changes=()):
    """The parameters of a recipe, with small values for tiny data."""
    content = made.changed({}, name)
    small = TINY | {"segment.length": LENGTH[content["dataset"]]}
    if content["split"]["inner"]:
        small["split.inner"] = 2
    if content["mel"]["image"]:
        small["mel.image.size"] = 32
    if content["train"]["model"].get("weights") == "imagenet":
        small["train.model.weights"] = "none"  # tests need no network
    if content["embed"]["models"]:
        small["embed.weights"] = str(data / made.M2D / "checkpoint-300.pth")
    return made.changed(small | dict(changes), name)


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """Run stages in this process, in an empty folder: run(content, *stages)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MURMUR_DATA", str(data))
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    monkeypatch.setattr(sys, "argv", ["train.py", "0"])
    write_text("data/pretrained.json", "{}\n")  # as the stage check, for a training without weights

    def stages(content, *names):
        Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        for name in names:
            importlib.import_module(f"stages.{name}").main()

    return stages


def list_stages(content):
    embed = ["embed"] if content["embed"]["models"] else []
    stages = ["download", "duplicates", "clean", "segment", "mel", "label", *embed, "split", "train"]
    return [*stages, "cycles", "evaluate"]


def test_there_is_a_recipe_for_each_published_system():
    assert set(RECIPES) == NAMED | {OWN}
    assert recipes.list_names(FOLDER)[0] == "default"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_and_passes_the_schema(name, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(recipes.complete_params(name, FOLDER))
    content, default = (yaml.safe_load(p.read_text()) for p in (path, made.ROOT / "params.yaml"))
    sections.load("train", path=path)
    assert list(content) == list(default)
    for section, keys in default.items():
        if isinstance(keys, dict) and section not in ("class_map", "published"):
            assert list(content[section]) == list(keys), section
    assert path.read_text().startswith("# ") and bool(content["published"]) == (name != OWN)
    assert content["split"]["group_by"] == "person" and content["split"]["validate_on"] == "validation"
    assert not content["segment"]["first_of"]


@pytest.mark.parametrize("name", ["default", *sorted(NAMED)])
def test_a_recipe_has_the_values_of_the_complete_file_that_it_replaced(name):
    """recipe_values.json has the values of each complete file: those of the default, and what differs."""
    snapshot = json.loads((made.ROOT / "tests/recipe_values.json").read_text(encoding="utf-8"))
    assert set(snapshot) == {"default", *NAMED}
    content = recipes.read_recipe(name, FOLDER)
    for key, value in (snapshot["default"] | snapshot[name]).items():
        assert get_value(content, key) == value, key


def get_value(content, key):
    """The value of a dotted key."""
    for part in key.split("."):
        content = content[part]
    return content


def test_the_default_is_the_params_yaml_of_the_project():
    assert (FOLDER / "default.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()
    assert recipes.complete_params("default", FOLDER).encode() == (FOLDER / "default.yaml").read_bytes()
    assert recipes.list_differences("default", FOLDER) == []


def is_minimal(name, folder):
    """Whether a recipe has exactly the keys that differ from the default, in the order of the default."""
    expected = [key for key, _, _ in recipes.list_differences(name, folder)]

    def keys(content, prefix=""):
        for key, value in content.items():
            if isinstance(value, dict) and value and prefix + key not in expected:
                yield from keys(value, f"{prefix}{key}.")
            else:
                yield prefix + key

    return list(keys(read_yaml(folder / f"{name}.yaml"))) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_only_keys_that_differ_from_the_default_and_in_its_order(name):
    assert is_minimal(name, FOLDER)


@pytest.fixture
def own(tmp_path):
    """A function that writes a recipe to a folder with all recipes, and returns the folder."""
    folder = tmp_path / "recipes"
    shutil.copytree(FOLDER, folder)

    def write(text):
        (folder / "own.yaml").write_text(text)
        return folder

    return write


@pytest.mark.parametrize(
    ("text", "minimal"),
    [
        ("train: {lr: 0.1, epochs: 2}", False),  # another order
        ("train: {epochs: 2, lr: 0.1}", True),
        ("train: {epochs: 2, lr: 0.004}", False),
        ("seed: 1\ndataset: circor", False),
        ("clean: {bandpass: {order: 4, low: 25, high: 800}}", False),
        ("clean: {bandpass: {order: 4, low: 25, high: 500}}", True),
    ],
)
def test_a_recipe_that_repeats_the_default_or_has_another_order_is_found(own, text, minimal):
    assert is_minimal("own", own(text)) is minimal


VALUES = {
    "bmd_hs_cnn": {"clean.sample_rate": 22050, "class_map": {"MD": None}, "segment.mirror": True},
    "cinc2016_attention": {"train.model.gate_after": 2, "mel.normalise": "minmax"},
    "cinc2016_cnn": {"train.model.convolutions": 2, "train.augment.amplitude": 0.2},
    "cinc2016_cnn_light": {
        "clean.bandpass": {"order": 5, "low": 25, "high": 400},
        "train.augment.chance": 0.5,
    },
    "cinc2016_resnet18": {"task": "abnormal", "train.model.weights": "imagenet"},
    "circor_attention": {"train.model.trunk": "resnet34", "segment.overlap": 0.3333},
    "circor_bilstm": {"train.model.name": "bilstm", "clean.bandpass": None, "download.remote": None},
    "circor_cnn": {"train.model.hidden": [128], "train.patience": 5, "train.clip": None},
    "circor_frames": {"split.inner": 4, "train.refit": 2, "evaluate.rule": "regression"},
    "circor_m2d_transformer": {"embed.models": ["m2d"], "train.class_weights.Present": 5, "mel.top_db": None},
    "circor_resnet18": {"train.model.arch": "resnet18", "evaluate.level": "patient"},
    "circor_resnet34": {"train.model.arch": "resnet34", "train.augment.mixup": 0.0},
    "circor_resnet34_multiwindow": {"mel.win_length": [100, 200, 400], "published": {"mel.fill": "max"}},
    "pascal_vgg16": {"train.lr": 0.00005, "clean.denoise.n_fft": 1024, "train.keep_weights": "none"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_characteristic_values_of_a_recipe(name):
    content = recipes.read_recipe(name, FOLDER)
    for key, expected in VALUES[name].items():
        value = content
        for part in key.split("."):
            value = value[part]
        assert value == expected or (key == "published" and value.items() > expected.items()), key


@pytest.mark.parametrize("name", RECIPES)
def test_the_params_yaml_of_a_recipe_has_its_head_and_all_comments_of_the_default(name):
    text, default = (recipes.complete_params(n, FOLDER) for n in (name, "default"))
    head = recipes.read_head(name, FOLDER)
    assert text.startswith(f"{head}\n# Every parameter") and len(head.splitlines()) > 3
    comments = [line.partition("#")[2] for line in default.splitlines()]
    assert [line.partition("#")[2] for line in text.removeprefix(head).splitlines() if "#" in line] == [
        comment for comment in comments if comment
    ]
    changed = {key.rpartition(".")[2] for key, _, _ in recipes.list_differences(name, FOLDER)}
    replaced = set(default.splitlines()) - set(text.splitlines())
    assert {line.partition(":")[0].strip() for line in replaced} == changed
    assert "  models: []                # [m2d]" in text or name == "circor_m2d_transformer"
    assert "  synthetic: {patients: 60, seed: 0}\n" in text
    assert text.count("\n\n") == default.count("\n\n") + 1


def test_comments_and_blank_lines_in_a_recipe_are_not_copied(own):
    text = (
        "# Mine\n\ntrain:\n  lr: 0.00002  # low\n\n  model:  # wide\n    name: cnn\n    width: 9  # why\n\n\n"
    )
    written = recipes.complete_params("own", own(text + "evaluate:\n  # fewer\n  draws: 3\n"))
    assert written.startswith("# Mine\n\n# Every parameter")
    assert "\n  lr: 0.00002\n" in written and "    width: 9\n  freeze: 0   " in written
    assert not {"# low", "# wide", "# why", "# fewer"} & {line.strip() for line in written.splitlines()}
    assert "\n\n\n" not in written and "\n  draws: 3                  # of the bootstrap" in written


def test_a_new_value_of_the_default_reaches_every_recipe(own):
    folder = own("seed: 3\n")
    default = folder / "default.yaml"
    default.write_text(default.read_text().replace("  draws: 1000 ", "  draws: 1001 "))
    assert {
        recipes.read_recipe(name, folder)["evaluate"]["draws"] for name in recipes.list_names(folder)
    } == {1001}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  lrr: 1\n", "unknown key train.lrr; did you mean train.lr?"),
        ("training: {}\n", "unknown key training; did you mean train?"),
        ("download:\n  limits: 3\n", "unknown key download.limits; known are limit, on_bad, remote and"),
        ("clean:\n  bandpass: {low: 25, high: 400}\n", "key clean.bandpass.order is missing"),
        ("train:\n  lr: fast\n", "train.lr: Input should be a valid number (it is 'fast')"),
        ("train: 3\n", "train: Input should be a mapping (it is 3)"),
        ("train:\n", "train: Input should be a mapping (it is empty)"),
        ("mel:\n  f_max: 2000\n", "mel.f_max 2000 Hz is above Nyquist, 1000 Hz; lower it or raise clean.sa"),
        ("published:\n  split.grup_by: segment\n", "published: split.grup_by: the recipe has no such key"),
        ("published:\n  split.group_by: file\n", "published: split.group_by: Input should be 'person', "),
        ("published: [a]\n", 'published: Input should be a mapping (it is ["a"])'),
        ("seed: [\n", "cannot be read as YAML: line 4: "),
        ("seed: 1\nseed: 2\n", "cannot be read as YAML: line 4: found duplicate key"),
        ("", "found nothing"),
        ("- seed\n", "found a list"),
        ("1: 2\n", "1: Keys should be strings"),
    ],
)
def test_an_error_in_a_recipe_names_its_file_and_the_key_in_one_line(own, text, message):
    folder = own(f"# Mine\n\n{text}")
    for function in (recipes.complete_params, recipes.read_recipe, recipes.list_differences):
        with pytest.raises(MurmurError) as error:
            function("own", folder)
        assert str(error.value).startswith(f"{folder}/own.yaml: ") and message in str(error.value)
        assert "\n" not in str(error.value)


def test_an_error_in_the_default_names_the_default(own):
    folder = own("seed: 3\n")
    default = folder / "default.yaml"
    default.write_text(default.read_text().replace("\nseed:", "\nsede:"))
    with pytest.raises(MurmurError, match=rf"^{default}: (?!.*own\.yaml).*seed"):
        recipes.complete_params("own", folder)


def test_a_byte_order_mark_does_not_hide_the_head(own):
    folder = own("\ufeff# Mine\n\nseed: 3\n")
    assert recipes.read_title("own", folder) == "Mine"
    assert recipes.complete_params("own", folder).startswith("# Mine\n")


def test_other_things_in_the_folder_are_no_recipes(own):
    folder = own("# Mine\n\nseed: 3\n")
    (folder / "folder.yaml").mkdir()
    (folder / "link.yaml").symlink_to(folder / "missing.yaml")
    os.mkfifo(folder / "pipe.yaml")
    assert not {"folder", "link", "pipe"} & set(recipes.list_names(folder))
    with pytest.raises(MurmurError, match=rf"^{folder}: no recipe 'link'; there are default, "):
        recipes.read_recipe("link", folder)


def test_a_file_in_another_folder_is_a_recipe_if_its_path_is_given(own, tmp_path):
    folder, path = own("seed: 3\n"), tmp_path / "found.yaml"
    changes = {
        "clean.bandpass": None,
        "class_map": {"Unknown": None},
        "train.lr": 1e-5,
        "train.augment.mixup": 0.1,
    }
    params = made.changed(changes)
    path.write_text(recipes.format_recipe(params, "# Found\n", folder))
    assert recipes.read_recipe(str(path), folder) == params
    assert recipes.complete_params(str(path), folder).startswith("# Found\n")
    assert len(recipes.list_differences(str(path), folder)) == len(changes)
    with pytest.raises(MurmurError, match=r"missing\.yaml: no such file$"):
        recipes.read_recipe("missing.yaml", folder)


def test_a_recipe_copied_to_params_yaml_is_explained(own, tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(own("seed: 3\n") / "circor_cnn.yaml", path)
    with pytest.raises(
        MurmurError, match=rf"^{path}: \d+ keys are missing, such as \w+; .*`murmur use NAME`"
    ):
        sections.load("train", path=path)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_recipe_runs_from_download_to_evaluate(name, data, run):
    content = recipe(name, data)
    run(content, *list_stages(content))
    check_results(name, content)


def check_results(name, content):
    """Check what the results of every recipe have."""
    summary, details = (json.loads(Path(f"metrics/{n}.json").read_text()) for n in ("summary", "details"))
    is_unknown = name == "pascal_vgg16"  # its set A does not name the persons
    assert details["protocol"]["leaky"] is summary["leaky"] is is_unknown
    assert details["protocol"]["flaws"] == ("data set" if is_unknown else "none")
    level, runs = details["level"], pd.read_csv("metrics/runs.csv").set_index("level")
    assert level == content["evaluate"]["level"]
    assert runs.loc[level, "uar"] == pytest.approx(summary["test"]["uar"])
    assert runs["accuracy"].between(0, 1).all() and set(runs.index) >= {level, "patient"}
    assert runs.loc["patient", "n_units"] == details["data"]["patients"] > 7


def test_this_projects_recipe_runs_with_heart_cycles_and_a_regression_of_inner_folds(data, run):
    content = recipe(OWN, data)
    run(content, *list_stages(content))
    check_results(OWN, content)
    predictions = pd.read_parquet("data/predictions/run_0.murmur_predictions.parquet")
    assert predictions["murmur"].between(0, 1).all()
    assert not predictions.duplicated(["fold", "unit_id"]).any()
    tested = predictions.query("role == 'test'")
    tracks = np.load("data/tracks/run_0.murmur_tracks.npy", mmap_mode="r")
    assert len(tracks) == len(tested) == pd.read_parquet("data/segments.parquet").shape[0]
    weights = load_file("models/run_0.murmur_weights/fold_1.safetensors")
    assert {name[:2] for name in weights} == {"0.", "1."}
    cycles = pd.read_parquet("data/cycles/run_0.parquet")
    assert set(cycles["recording_id"]) <= {name.partition("@")[0] for name in tested["unit_id"]}
    figures = pd.read_csv("metrics/regression.csv")
    assert {"top2_log_murmur_ratio", "min_confidence", "intercept"} < set(figures["figure"])
    assert not pd.read_csv("metrics/segmentation.csv").empty


def test_no_picture_is_drawn_of_data_that_may_not_be_shared(data, run):
    content = recipe("bmd_hs_cnn", data)
    run(content, *list_stages(content))
    for name in ("gallery", "errors"):
        assert Image.open(f"plots/{name}.png").size[1] < 60  # a line of text


@pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS)
def test_the_ablations_of_the_site_transformer_run(changes, data, run):
    content = recipe("circor_m2d_transformer", data, changes)
    run(content, *list_stages(content))
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
    run(content, *list_stages(content))
    before = torch.load(weights, weights_only=False)["model"]
    after = load_file("models/run_0.murmur_weights/fold_0.safetensors")
    blocks = [torch.equal(before[f"blocks.{k}.attn.qkv.weight"], _block(after, k)) for k in range(12)]
    assert blocks == [True] * 5 + [False] * 7  # the first convolution, four layers a block, 3 of the fifth
    assert pd.read_csv("metrics/runs.csv").set_index("level")["n_units"]["patient"] == len(CIRCOR)


def _block(weights, k):
    return weights[f"network.0.blocks.{k}.attn.qkv.weight"]


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_published_protocol_is_a_change_of_parameters_and_leaks(name, data, run):
    corrected = recipe(name, data)
    published = {k: v for k, v in corrected["published"].items() if k != "mel.fill"}
    content = recipe(name, data, published)
    run(content, "download", "duplicates", "clean", "segment", "split")
    shared = pd.read_csv("metrics/audit.csv").filter(like="shared_").to_numpy().sum()
    is_marked = content["split"]["validate_on"] == "test" or bool(content["segment"]["first_of"])
    assert shared > 0 or is_marked
    assert (shared > 0) == (content["split"]["group_by"] == "segment")


def test_validating_on_the_test_part_is_marked_leaky_in_the_summary(data, run):
    content = recipe("circor_bilstm", data, {"split.validate_on": "test"})
    run(content, *list_stages(content))
    protocol = json.loads(Path("metrics/details.json").read_text())["protocol"]
    assert protocol["leaky"] is True and protocol["flaws"] == "validate_on"
    assert protocol["shared_persons"] == 0
