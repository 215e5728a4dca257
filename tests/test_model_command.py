"""murmur model: options are read without importing the model, and only train.model is changed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from murmur import models
from murmur.commands import models as command
from murmur.commands.models import choose_model
from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.models import _signatures
from tests import made

SHAPE = "classes, channels, mels, frames"


@pytest.fixture
def params(tmp_path, monkeypatch):
    """A folder with the default params.yaml."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(made.ROOT / "params.yaml", tmp_path))


@pytest.fixture
def write_model(tmp_path, monkeypatch):
    """Return a function that writes the only model, `mine`, which is not built."""
    monkeypatch.setattr(_signatures, "FOLDER", tmp_path)
    monkeypatch.setattr(_signatures, "list_names", lambda: ["mine"])
    monkeypatch.setattr(models, "list_names", lambda: ["mine"])
    monkeypatch.setattr(command, "_check_network", lambda p: None)
    return (tmp_path / "mine.py").write_text


def test_only_the_model_is_changed(params, capsys):
    before = params.read_text()
    choose_model("bilstm", ["width=8", "dropout=0.1"])
    old, new = "{name: cnn, width: 32, dropout: 0.2}", "{name: bilstm, width: 8, dropout: 0.1}"
    assert params.read_text() == before.replace(old, new)
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"params.yaml: train.model is now {new}",
        f"before: {old}",
    ]


@pytest.mark.parametrize(
    "model",
    [
        "model: {name: cnn, width: 4}  # network",
        "model:  # network\n    name: cnn  # small\n    width: 4",
        "model:  # network\n    # small\n    {name: cnn,\n     width: 4}",
    ],
)
def test_all_other_lines_keep_their_comments(tmp_path, model):
    text = "train:\n  lr: 1  # rate\n  {}\n\n  # how often\n  epochs: 3 # passes\n"
    path = tmp_path / "params.yaml"
    path.write_text(text.format(model))
    new = recipes.replace_value(path, "train.model", {"name": "tiny"})
    assert new == text.format("model: {name: tiny}  # network")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnnn", [], r"no model 'cnnn'; there are attention, .*cnn"),
        ("cnn", ["hidden=8"], "train.model: cnn has no option hidden; its options are width, dropout"),
        ("cnn", ["width=wide"], "train.model.width: Input should be a valid integer .it is 'wide'"),
        ("cnn", ["width"], "width: write an option as key=value"),
        ("backbone", [], "train.model: backbone needs the option arch; its options are arch, weights"),
        ("site_transformer", ["sites=[AV]", "trunk=x"], "train.model.trunk: Input should be 'none' or 'cnn'"),
        ("m2d", [], "train.model.weights: no file data/weights/m2d"),
        ("vgg16", ["weights=mine.pth"], "train.model.weights: no file mine.pth"),
        ("cnn", ["width=: ["], "width: cannot be read as YAML"),
        ("cnn", ["width=16", "width=8"], "width: given more than once; write each option once"),
        ("cnn", ["width=4097"], "train.model.width: Input should be less than or equal to 4096 .it is 4097;"),
        ("cnn", ["width=-1"], "train.model.width: Input should be greater than or equal to 1 .it is -1;"),
        (
            "frames",
            ["dilations=[1, 0]"],
            r"train.model.dilations: Input should be greater than or equal to 1",
        ),
        (
            "conv_blocks",
            ["dropout=[.5, -1]"],
            "train.model.dropout: Input should be greater than or equal to 0",
        ),
        ("cnn", ["dropout=2"], "train.model.dropout: Input should be less than 1 .it is 2;"),
        ("backbone", ["arch=nosuch"], "train.model.arch: timm has no network 'nosuch'"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_and_nothing_is_written(params, name, options, message):
    before = params.read_bytes()
    with pytest.raises(MurmurError, match=message):
        choose_model(name, options)
    assert params.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(:", r"mine\.py: not valid Python: line 1: .*; correct the file"),
        ("x = 'a\0b'", r"mine\.py: not valid Python: .*null"),
        (
            "class Net: ...",
            r"mine\.py: has no function build; CONTRIBUTING\.md, .Add a model., has an example",
        ),
        (
            "def build(*, classes, channels, hidden): ...",
            r"mine\.py: build has no argument mels, frames; CON",
        ),
    ],
)
def test_a_file_that_is_not_a_model_is_named(params, write_model, capsys, source, message):
    write_model(source)
    with pytest.raises(MurmurError, match=message):
        choose_model("mine")
    choose_model()
    assert "mine: mine.py: " in capsys.readouterr().out


NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    def forward(self, x):
        return self.layer(x{})
def build(*, classes, channels, mels, frames):
    return Net()
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", r"spectrogram of 32 x 126 .*; if not, correct its options or .*/models/mine\.py \(line 8\)$"),
        (".nosuch", r"mine\.py \(line 8\): AttributeError: .*nosuch.*; correct the file$"),
    ],
)
def test_an_error_of_a_new_model_names_its_line(params, write_model, monkeypatch, code, message):
    monkeypatch.undo()
    monkeypatch.chdir(params.parent)
    monkeypatch.setattr(models, "list_names", lambda: ["mine"])
    monkeypatch.setattr(_signatures, "list_names", lambda: ["mine"])
    monkeypatch.setattr(_signatures, "FOLDER", params.parent)
    monkeypatch.setattr(models, "__path__", [str(params.parent)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_model(NET.format(code))
    before = params.read_bytes()
    try:
        with pytest.raises(MurmurError, match=message):
            choose_model("mine")
    finally:
        sys.modules.pop("murmur.models.mine", None)
    assert params.read_bytes() == before


def test_line_ends_and_permissions_are_kept_and_lost_comments_are_named(params, capsys):
    text = params.read_text().replace(
        "model: {name: cnn, width: 32, dropout: 0.2}", "model:\n    name: cnn  # small\n    width: 8"
    )
    params.write_bytes(text.replace("\n", "\r\n").encode())
    params.chmod(0o640)
    choose_model("cnn", [])
    content = params.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") == text.count("\n") - 2
    assert params.stat().st_mode & 0o777 == 0o640
    assert "left out, a comment inside train.model: # small\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda params: params.chmod(0o444), "is read-only; chmod u"),
        (
            lambda params: params.symlink_to(params.rename("other.yaml").absolute()),
            "is a link; put a copy",
        ),
    ],
)
def test_a_link_or_a_file_that_is_read_only_is_not_replaced(params, change, words):
    change(params)
    for call in (lambda: choose_model("cnn", []), lambda: recipes.write_params(Path("params.yaml"), "")):
        with pytest.raises(MurmurError, match=f"^params.yaml: {words}"):
            call()


def test_an_option_may_have_any_annotation(params, write_model):
    write_model(
        f"import x\ndef build({SHAPE}, a: x.Y = 1, b=2, *, "
        "c: 'float' = 3, d: int | None = None, e: tuple[int, ...] = ()): ..."
    )
    choose_model("mine", ["a=text", "b=[1]", "c=0.5", "d=null", "e=[3, 4]"])
    assert yaml.safe_load(params.read_text())["train"]["model"]["c"] == 0.5
    with pytest.raises(MurmurError, match=r"train.model.c: Input should be a valid number"):
        choose_model("mine", ["c=text"])
    write_model("def build(**options): ...")
    choose_model("mine", ["anything=1"])


def test_every_model_is_listed_with_its_defaults(params, capsys):
    choose_model()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train.model: {name: cnn, width: 32, dropout: 0.2}"
    names = [line.partition(":")[0] for line in lines[2:] if not line.startswith(" ")]
    assert names == models.list_names()
    assert "    arch=(required) weights=none dropout=0.0" in lines


def test_a_file_that_git_does_not_track_is_noted(params, write_model, capsys):
    subprocess.run(["git", "init", "--quiet"], check=True)
    write_model(f"def build({SHAPE}): ...")
    choose_model("mine")
    assert "git does not track mine.py; commit it: --queue and --temp see only" in capsys.readouterr().out
    subprocess.run(["git", "add", "mine.py"], check=True)
    choose_model("mine")
    assert "git does not" not in capsys.readouterr().out
