"""Errors in params.yaml are reported with their key, before any work is done."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import _yaml, dumps_yaml

from murmur import code_changes, errors, logs, sections
from murmur.errors import MurmurError, run_stage
from murmur.params import validation
from murmur.params.yaml_files import format_yaml, parse_yaml, read_yaml
from murmur.sections.experiment import Params
from murmur.sections.split import EXAMPLE_SPLIT
from tests import made

DATA_SETS = [key for key, value in made.changed({})["download"].items() if isinstance(value, dict)]


def list_sections(content, prefix=""):
    """The dotted key of every mapping of params.yaml whose keys are fixed."""
    yield prefix
    for key, value in content.items():
        if isinstance(value, dict) and key not in ("class_map", "model", "published", *DATA_SETS):
            yield from list_sections(value, f"{prefix}{key}.")


def check(**changes):
    return validation.validate(Params, made.changed(changes), where="params.yaml")


def test_the_params_yaml_of_the_project_is_valid():
    loaded = sections.load(
        "dataset", "clean.bandpass", "segment.length", "split", path=made.ROOT / "params.yaml"
    )
    assert set(vars(loaded)) == {"dataset", "bandpass", "length", "split"}
    content = made.changed({})
    assert loaded.dataset == content["dataset"] and loaded.split.runs == content["split"]["runs"]
    assert (
        loaded.bandpass.order == content["clean"]["bandpass"]["order"]
        and loaded.length == content["segment"]["length"]
    )


@pytest.mark.parametrize("section", list(list_sections(made.changed({}))))
def test_a_misspelt_key_is_named_at_every_level(section):
    with pytest.raises(MurmurError, match=rf"^params\.yaml: unknown key {section}wrogn; known .*\w+, \w+"):
        check(**{f"{section}wrogn": 1})


@pytest.mark.parametrize("section", list(list_sections(made.changed({}))))
def test_a_missing_key_is_named_at_every_level(section):
    content = made.changed({})
    mapping = content
    for key in section.split(".")[:-1]:
        mapping = mapping[key]
    missing = next(key for key in mapping if key not in DATA_SETS)
    del mapping[missing]
    with pytest.raises(MurmurError, match=rf"^params\.yaml: key {section}{missing} is missing$"):
        validation.validate(Params, content, where="params.yaml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed: .*greater than or equal to 0 .it is -1"),
        ("class_map", {"Unknown": 3}, "class_map.Unknown: .*valid string"),
        ("positive", "Present", "positive: .*should be a list .it is 'Present'"),
        ("download.limit", 0, "download.limit: .*greater than or equal to 1"),
        ("download.on_bad", "ignore", "download.on_bad: .*'error' or 'leave_out' .it is 'ignore'"),
        (
            "download.circor",
            3,
            "unknown key download.circor; known are limit, on_bad, remote and the data sets",
        ),
        ("download.remote", 3, "download.remote: .*valid string"),
        ("clean.denoise", "none", "clean.denoise: .*should be a mapping"),
        (
            "clean.denoise",
            {"n_fft": 512, "smooth": 1},
            "key clean.denoise.time_smooth_ms is missing.*unknown",
        ),
        (
            "clean.denoise",
            {"n_fft": 512, "time_smooth_ms": 0, "frequency_smooth_hz": 500},
            "clean.denoise.time_smooth_ms: .*greater than 0",
        ),
        ("clean", None, "clean: "),
        ("clean.sample_rate", 0, "clean.sample_rate: .*greater"),
        ("clean.sample_rate", 2000.5, "clean.sample_rate: .*integer"),
        ("clean.bandpass.order", 0, "clean.bandpass.order: "),
        ("clean.bandpass.low", 0, "clean.bandpass.low: .*greater than 0"),
        ("clean.bandpass.low", 900, "clean.bandpass 900-800 Hz must rise"),
        ("clean.bandpass.high", 1000, "clean.bandpass 25-1000 Hz must .*end below Nyquist 1000 Hz"),
        ("segment.length", 0, "segment.length: .*greater than 0"),
        ("segment.length", float("inf"), "segment.length: .*finite"),
        ("segment.overlap", 1, "segment.overlap: .*less than 1"),
        ("segment.short", "stretch", "segment.short: .*'drop', 'pad' or 'wrap'"),
        ("segment.first", 0, "segment.first: .*greater than or equal to 1"),
        ("segment.first_of", "normal", "segment.first_of: .*should be a list"),
        ("segment.mirror", "often", "segment.mirror: .*boolean"),
        ("mel.f_max", 1000.5, "mel.f_max 1000.5 Hz is above Nyquist, 1000 Hz; lower it or raise clean"),
        ("mel.f_min", 800, "mel.f_min 800 Hz is not below mel.f_max 800 Hz"),
        (
            "segment.length",
            0.01,
            "segment.length 0.01 s is shorter than .* mel.win_length 128 at clean.sample",
        ),
        ("mel.win_length", 257, "mel.win_length 257 is longer than mel.n_fft 256; lower it"),
        ("mel.win_length", [128, 300], "mel.win_length has 2 windows and mel.hop_length 1: one for each"),
        ("mel.win_length", [], "mel.win_length: .*at least 1"),
        ("mel.hop_length", [64, 0], "mel.hop_length: .*mel.hop_length.1: .*greater than or equal to 1"),
        ("mel.edges", "wrap", "mel.edges: .*'zeros' or 'reflect'"),
        ("mel.scale", "ln+", "mel.scale: .*'db', 'ln' or 'ln_plus'"),
        ("mel.fill", "min", "mel.fill: .*'floor' or 'max'"),
        ("mel.image", {"size": 224, "colours": "jet"}, "mel.image.colours: .*'grey', 'viridis' or 'magma'"),
        ("mel.image", {"size": 0, "colours": "grey"}, "mel.image.size: .*greater than or equal to 1"),
        ("embed.models", ["beats"], "embed.models: no pretrained model 'beats'; there are m2d"),
        ("embed.models", ["m2d", "m2d"], "embed.models: .*at most 1"),
        ("embed.pool", "max", "embed.pool: .*'mean' or 'none'"),
        ("mel.reference", "mean", "mel.reference: .*'max'.*; mel.reference: .*number"),
        ("mel.reference", -1.0, "mel.reference: .*greater than 0"),
        ("split.runs", [0, 1, 0], r"split.runs names a run twice: \[0, 1, 0\]"),
        ("split.runs", [], "split.runs: .*at least 1"),
        ("split.runs", [0, -1], "split.runs.1: .*greater than or equal to 0"),
        ("split.folds", 1, "split.folds: .*greater than or equal to 2"),
        ("split.test", 1.0, "split.test: .*less than 1"),
        ("split.validation", 0.0, "split.validation: .*greater than 0"),
        ("split.inner", 1, "split.inner: .*greater than or equal to 2"),
        ("split.group_by", "site", "split.group_by: .*'person', 'patient', 'recording' or 'segment'"),
        ("split.validate_on", "train", "split.validate_on: .*'validation' or 'test'"),
        ("train", [], "train: .*should be a mapping"),
        (
            "train.features",
            "embedding",
            "train.features embedding: embed.models names none .* set it to .m2d",
        ),
        ("train.freeze", -1, "train.freeze: "),
        ("train.standardise", "zscore", "train.standardise: .*'band', 'imagenet' or 'none'"),
        ("train.schedule", "step", "train.schedule_epochs: the step schedule needs a number of epochs"),
        ("train.schedule", "plateau", "train.schedule_epochs: the plateau schedule needs a number of epochs"),
        ("train.schedule_epochs", 0, "train.schedule_epochs: "),
        ("train.batch_size", 1, "train.batch_size 1: .* no effect"),
        (
            "clean.denoise",
            {"n_fft": 1000, "time_smooth_ms": 128, "frequency_smooth_hz": 10**6},
            "clean.denoise.frequency_smooth_hz 1e.06 is above Nyquist, 1000 Hz",
        ),
        ("train.schedule_factor", 1.0, "train.schedule_factor: .*less than 1"),
        ("train.loss", "hinge", "train.loss: .*'cross_entropy' or 'focal'"),
        ("train.focal_gamma", -1.0, "train.focal_gamma: "),
        ("train.class_weights", {"Present": 0}, "train.class_weights.Present: .*greater than 0"),
        ("train.class_weights", [1, 3, 5], "train.class_weights: .*should be a mapping"),
        ("train.distillation", 1.0, "train.distillation: .*less than 1"),
        ("train.stop_accuracy", 75, "train.stop_accuracy: .*less than or equal to 1"),
        ("train.select_on", "f1", "train.select_on: .*'loss', 'uar', 'accuracy' or 'last'"),
        ("train.augment.gain", -0.1, "train.augment.gain: "),
        ("train.state_loss", -1, "train.state_loss: "),
        ("train.per_recording", 0, "train.per_recording: "),
        ("train.augment.chance", 1.5, "train.augment.chance: "),
        ("train.augment.roll", -0.1, "train.augment.roll: "),
        ("train.augment.amplitude", 1.0, "train.augment.amplitude: .*less than 1"),
        ("train.augment.flip", 2, "train.augment.flip: "),
        ("published", None, "published: .*should be a mapping"),
        ("train.lr", float("nan"), "train.lr: "),
        ("train.label_smoothing", 1.0, "train.label_smoothing: "),
        ("train.augment.time_mask", 1.1, "train.augment.time_mask: .*less than or equal to 1"),
        ("train.model", {"width": 3}, "key train.model.name is missing"),
        ("evaluate.level", "person", "evaluate.level: "),
        ("evaluate.thresholds", "expected_accuracy", "evaluate.thresholds: "),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_the_reason(key, value, message):
    with pytest.raises(MurmurError, match=f"^params.yaml: {message}"):
        check(**{key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.select_on": "last", "train.patience": 3},
            "train.patience: with train.select_on last no epoch is selected; set it to null",
        ),
        (
            {"train.select_on": "last", "train.refit": 2, "split.validate_on": "test"},
            "train.refit 2: with split.validate_on test the whole training part is trained on already",
        ),
        (
            {"train.select_on": "last", "train.refit": 2, "train.stop_accuracy": 0.9},
            "train.stop_accuracy: nothing can stop the networks of train.refit, .* set it to null",
        ),
        (
            {"train.select_on": "last", "train.refit": 2, "train.stop_one_class": True},
            "train.stop_one_class: nothing can stop the networks of train.refit, .* set it to false",
        ),
        (
            {"evaluate.uar_share": 0.2},
            "evaluate.uar_share 0.2 has no effect with evaluate.thresholds null; set it to 0",
        ),
        (
            {"train.per_recording": 2, "train.model": {"name": "site_transformer", "sites": ["AV"]}},
            "train.per_recording: model site_transformer uses all segments of a patient; set it to null",
        ),
    ],
)
def test_values_that_exclude_each_other_are_refused(changes, message):
    with pytest.raises(MurmurError, match=f"^params.yaml: {message}"):
        check(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"mel.f_max": 1000, "clean.bandpass": None},
        {"mel.win_length": 256, "mel.reference": 2, "mel.top_db": None},
        {
            "class_map": {"Unknown": None},
            "positive": None,
            "download.limit": 3,
            "download.pascal": {"set": "a"},
        },
        {"mel.win_length": [64, 128], "mel.hop_length": [32, 64], "mel.fill": "max"},
        {"mel.image": {"size": 1, "colours": "viridis"}, "mel.win_length": [128], "mel.hop_length": [64]},
        {"clean.denoise": {"n_fft": 64, "time_smooth_ms": 10, "frequency_smooth_hz": 500}},
        {
            "train.features": "embedding",
            "embed.models": ["m2d"],
            "mel.scale": "ln_plus",
            "mel.edges": "reflect",
        },
        {"train.schedule": "step", "train.schedule_epochs": 1, "train.class_weights": {"any": 0.1}},
        {"train.batch_size": 1, "train.balance": "sampler"},
        {"train.schedule": "cosine", "train.stop_accuracy": 1.0, "segment.first": 1},
        {"published": {"split.group_by": "segment", "what ever": [1]}},
        {"train.lr": 1e-3, "split.runs": [10, 2**31 - 1], "seed": 2**32 - 1},
        {"clean.sample_rate": 44100, "mel.n_fft": 2048, "mel.n_mels": 128, "segment.length": 10},
        {"split.method": "file", "split.file": "/data/splits of 2020.csv"},
        {"download.folder.path": "../recordings", "download.remote": "our-store_2"},
    ],
)
def test_values_at_their_limits_are_accepted(changes):
    assert check(**changes)


def test_values_that_do_not_fit_together_are_refused():
    with pytest.raises(MurmurError, match=r"mel\.win_length 257 is longer than mel\.n_fft 256"):
        check(**{"mel.win_length": [64, 257], "mel.hop_length": [32, 64]})
    with pytest.raises(MurmurError, match=r"mel\.image: an image is made of one window; .* several"):
        image = {"size": 32, "colours": "magma"}
        check(**{"mel.win_length": [64, 128], "mel.hop_length": [32, 64], "mel.image": image})
    message = r"segment\.length 0\.1 s is shorter than .* mel\.win_length 256 at clean\.sample_rate 2000"
    with pytest.raises(MurmurError, match=message):  # of the longest window
        check(**{"mel.win_length": [64, 256], "mel.hop_length": [32, 64], "segment.length": 0.1})


def test_a_regression_needs_recordings_and_the_level_of_patients():
    assert check(**{"evaluate.rule": "regression", "evaluate.thresholds": "expected_uar"})
    with pytest.raises(
        MurmurError, match=r"evaluate\.rule regression predicts patients, but evaluate\.level"
    ):
        check(**{"evaluate.rule": "regression", "evaluate.level": "recording"})
    with pytest.raises(MurmurError, match=r"evaluate\.rule regression needs .* train\.model any \(sites\)"):
        check(**{"evaluate.rule": "regression", "train.model": {"name": "any", "sites": ["AV"]}})


def test_each_window_of_a_spectrogram_is_a_channel():
    assert check().mel.windows == [(128, 64)]
    several = {"mel.win_length": [50, 100], "mel.hop_length": [20, 40]}
    assert check(**several).mel.windows == [(50, 20), (100, 40)]


@pytest.mark.parametrize(("sites", "level"), [({}, "segment"), ({"sites": ["AV"]}, "patient")])
def test_a_model_with_sites_predicts_patients(sites, level):
    model = check(**{"train.model": {"name": "any", "width": 3} | sites}).train.model
    assert model.level == level and model.options == {"width": 3} | sites


def test_all_errors_are_reported_at_once():
    content = made.changed({"mel.n_mel": 3, "seed": -1, "split.folds": 0})
    del content["mel"]["n_mels"]
    with pytest.raises(MurmurError) as caught:
        validation.validate(Params, content, where="params.yaml")
    assert [
        one.split()[:3]
        for one in str(caught.value).removeprefix("params.yaml: ").split("; ")
        if "did you mean" not in one
    ] == [
        ["seed:", "Input", "should"],
        ["key", "mel.n_mels", "is"],
        ["unknown", "key", "mel.n_mel"],
        ["split.folds:", "Input", "should"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"mel:\n  n_mels: [1, 2\nseed: 0\n", r"cannot be read as YAML: [\s\S]*line 3"),
        (b"mel:\n\tn_mels: 1\n", r"cannot be read as YAML: [\s\S]*line 2"),
        (b"\xff\xfe", "cannot be read as YAML"),
        (b"- seed\n", "expected a mapping, with lines KEY: VALUE, found a list"),
        (b"", "expected a mapping, with lines KEY: VALUE, found nothing"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_refused(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MurmurError, match=f"^{path}: {message}"):
        sections.load("seed", path=path)


@pytest.mark.parametrize(
    ("change", "message"), [("train.lr", "yaml: train changed while this stage ran"), ("mel.f_min", "")]
)
def test_a_stage_fails_if_its_parameters_change_while_it_runs(tmp_path, monkeypatch, change, message):
    """DVC records the values that params.yaml has when a stage has ended."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(made.changed({})))
    monkeypatch.setattr(errors, "_checks_at_end", [])
    monkeypatch.setattr(logs, "show_messages", lambda: None)
    monkeypatch.setenv("DVC_STAGE", "train@0")

    def main():
        sections.load("train", "seed", "clean.sample_rate", path=path)
        path.write_text(format_yaml(made.changed({change: 0.5})))

    if message:
        with pytest.raises(SystemExit, match=message):
            run_stage(main)
    else:
        run_stage(main)


CODE = """\
stages:
  embed: {foreach: [m2d], do: {cmd: "", deps: [data/mel, src/murmur/features/mel.py]}}
  train: {cmd: "", deps: ["src/murmur/models/${train.model.name}.py", stages/train.py, src/murmur/training]}
"""


@pytest.mark.parametrize(
    ("stage", "path", "is_dependency"),
    [
        ("train@0", "src/murmur/training/fit.py", True),
        ("train@0", "src/murmur/models/cnn.py", True),
        ("train@0", "stages/train.py", True),
        ("embed@m2d", "src/murmur/features/mel.py", True),
        ("embed@m2d", "src/murmur/training/fit.py", False),
        ("train@0", "src/murmur/reporting/report.py", False),
    ],
)
def test_a_stage_fails_if_its_code_changes_while_it_runs(tmp_path, monkeypatch, stage, path, is_dependency):
    """DVC records the code that the files have when a stage has ended."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(CODE)
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text("a = 1\n")
    check = code_changes.make_check(stage)
    check()
    Path(path).write_text("a = 10\n")
    with pytest.raises(MurmurError, match=f"^{path}: changed while") if is_dependency else nullcontext():
        check()


def test_an_error_in_one_section_stops_all_stages(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(made.changed({"train.epoch": 3})))
    with pytest.raises(MurmurError, match=r"unknown key train\.epoch; did you mean train\.epochs"):
        sections.load("segment", path=path)
    path.write_text(yaml.safe_dump(made.changed({}) | {True: 1}))
    with pytest.raises(MurmurError, match="it is true"):
        sections.load("segment", path=path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"embed.models": ["m2d"]},
            r"model m2d needs mel\.scale ln_plus, mel\.edges reflect; M2D .* log-mel",
        ),
        ({"train.model": {"name": "m2d"}}, r"model m2d needs .* was pretrained on such log-mel spectrograms"),
        (
            {"train.model": {"name": "m2d"}, "mel.scale": "ln_plus", "mel.edges": "reflect"},
            r"model m2d needs train\.standardise none; M2D .* standardises them itself",
        ),
    ],
)
def test_parameters_that_do_not_fit_m2d_are_refused(changes, words):
    with pytest.raises(MurmurError, match=words):
        check(**changes)


def test_a_split_file_that_no_stage_reads_is_refused():
    content = made.changed({"split.file": "mine.csv"})
    with pytest.raises(MurmurError, match=r"split\.file mine\.csv is read only with split.method: file"):
        validation.validate(Params, content, "params.yaml")
    content = made.changed({"split.file": "mine.csv", "split.method": "file"})
    assert validation.validate(Params, content, "params.yaml").split.file == "mine.csv"
    assert made.changed({})["split"]["file"] == EXAMPLE_SPLIT


NOT_TEXT = [3, True, ["a"]]
WORDS = ["", "a b", "a\nb", "x/../../victim", "$(touch x)", "a;touch x", "../x", "é", "x" * 5000, *NOT_TEXT]
PATHS = ["", "a\nb", "s3://bucket/x.csv", "x" * 300 + ".csv", "x/" * 600 + "x.csv", "a\0.csv", *NOT_TEXT]
RUNS = [
    "",
    "x/../../victim",
    "0; touch x",
    "1",
    -1,
    1.0,
    2**31,
    10**30,
    True,
    None,
    float("nan"),
    [1],
    {"a": 1},
]
# Every key in the templates of dvc.yaml, with values that must be refused.
TEMPLATED = {
    "dataset": WORDS,
    "train.model.name": WORDS,
    "download.remote": WORDS,
    "train.features": [*WORDS, "mel.npy"],
    "embed.models": [[word] for word in WORDS],
    "split.runs": [[run] for run in RUNS],
    "split.file": [*PATHS, "x/../../victim.csv", "/dev/zero", "data"],
    "download.folder.path": [*PATHS, "/", ".", "..", "data", "./data/", "../..", "x/../data"],
}


def find_templates():
    text = (made.ROOT / "dvc.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"\$\{(.*?)\}", re.sub(r"\s#.*", "", text)))


def test_every_key_in_a_path_or_command_of_dvc_yaml_is_in_this_test():
    assert find_templates() == {*TEMPLATED, "item", "item.run"}


@pytest.mark.parametrize(("key", "value"), [(key, v) for key, values in TEMPLATED.items() for v in values])
def test_a_harmful_value_of_a_path_or_command_is_refused(key, value, monkeypatch):
    monkeypatch.chdir(made.ROOT)
    with pytest.raises(MurmurError, match=rf"^params\.yaml: {re.escape(key)}") as caught:
        check(**{key: value, "split.method": "file"})
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("train.lr", v) for v in (1e300, 101, "0.1", True, "1e-3", 1e-300)],
        *[("train.augment.mixup", 1e-300), ("mel.reference", 1e-300), ("train.model.x", 1e-300)],
        *[
            (key, 10**9)
            for key in ("mel.n_mels", "mel.n_fft", "mel.win_length", "mel.hop_length", "split.folds")
        ],
        *[(key, 10**9) for key in ("train.epochs", "train.batch_size", "evaluate.draws", "split.folds")],
        *[("seed", v) for v in (2**32, 1.5, "3", True)],
        *[("segment.length", 1e12), ("segment.min_length", 1e12), ("duplicates.overlap", 1e12)],
        *[("mel.image", {"size": 10**6, "colours": "grey"}), ("clean.bandpass.order", 101)],
        *[("clean.sample_rate", 10**9), ("clean.sample_rate", 2000.0), ("clean.bandpass.low", "25")],
        *[("segment.mirror", v) for v in (0, "yes", "true")],
        *[("clean.denoise", {"n_fft": 10**9, "time_smooth_ms": 1, "frequency_smooth_hz": 1})],
        *[
            ("train.model.width", 10**13),
            ("train.model.dropout", float("nan")),
            ("train.model.x", "y" * 5000),
        ],
        *[("class_map", {"y" * 5000: None}), ("positive", ["y"] * 10**6), ("train.model.x", "y" * 5000)],
        *[("train.class_weights", {str(k): 1 for k in range(10**5)}), ("train.augment.time_masks", 10**9)],
        *[
            ("published", {"mel.fill": float("inf")}),
            ("download.limit", 10**30),
            ("download.pascal", {"x": 1e99}),
        ],
    ],
)
def test_a_value_beyond_all_limits_is_refused_with_its_key(key, value):
    with pytest.raises(MurmurError, match=rf"^params\.yaml: {re.escape(key)}") as caught:
        check(**{key: value})
    assert len(str(caught.value)) < 500


def test_arrays_that_are_too_large_for_the_memory_are_refused_with_their_key():
    with pytest.raises(MurmurError, match=r"segment\.length 3600 s at clean\.sample_rate 100000 has"):
        check(**{"segment.length": 3600, "clean.sample_rate": 100_000})
    with pytest.raises(MurmurError, match=r"mel: 1764001 frames of 4096 numbers .* raise mel\.hop_length"):
        check(**{"segment.length": 40, "clean.sample_rate": 44100, "mel.hop_length": 1, "mel.n_fft": 4096})


YAML_12 = "a: yes\nb: 010\nc: 1e-5\nd: 4e-05\ne: 1_000\nf: on\ng: 0o10\nh: [Yes, NO, True]\ni: 1:30\nj: ~\n"


def test_yaml_is_read_as_dvc_reads_it():
    content = parse_yaml(YAML_12, "params.yaml")
    assert content == _yaml.parse_yaml(YAML_12, "params.yaml")
    assert content["h"] == ["Yes", "NO", True] and (content["a"], content["b"], content["d"]) == (
        "yes",
        10,
        4e-5,
    )


def test_values_are_read_back_the_same_by_murmur_and_by_dvc():
    texts = [
        "Yes",
        "on",
        "010",
        "1e3",
        "4e-05",
        "1_000",
        "null",
        "~",
        "1:30",
        "",
        " a",
        "é",
        "a: b",
        "#",
        "0x1",
        "true",
    ]
    content = {"texts": texts, **dict.fromkeys(texts, 1), "numbers": [4e-5, 1e300, 10, True, None, 0.1 + 0.2]}
    for written in (format_yaml(content), dumps_yaml(content)):
        for read in (parse_yaml(written, "x"), _yaml.parse_yaml(written, "x")):
            assert read == content and [*map(type, read["numbers"])] == [*map(type, content["numbers"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\ntask: a\nseed: 2\n", 'line 3: found duplicate key "seed"'),
        ("seed: !!python/object/apply:os.system [ls]\n", "line 1: could not determine a constructor"),
        ("seed: 2001-99-99\n", "month must be"),
        ("[" * 1500, "maximum recursion"),
        ("seed: 1\n---\nseed: 2\n", "line 2: but found another document"),
        ("seed: \0\n", "unacceptable character"),
    ],
)
def test_invalid_or_ambiguous_yaml_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(MurmurError, match=f"{path}: cannot be read as YAML: {message}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_yaml_that_refers_to_itself_is_refused():
    with pytest.raises(MurmurError, match=r"seed.*: (holds more than 10000 values|longer than)"):
        validation.validate(Params, parse_yaml("seed: &a [*a, *a]", "x"), "params.yaml")


def test_the_folder_of_the_project_is_refused_as_a_folder_of_recordings(monkeypatch):
    monkeypatch.chdir(made.ROOT)
    for path in (str(made.ROOT), str(made.ROOT.parent), str(made.ROOT / "data")):
        with pytest.raises(MurmurError, match=r"download\.folder\.path: .* holds what the stages write"):
            check(**{"download.folder.path": path})
    assert check(**{"download.folder.path": str(Path("data/folder").resolve())})
