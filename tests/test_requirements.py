"""What models require of params.yaml."""

import inspect
import os
import subprocess
import sys

import pytest

from murmur import models
from murmur.errors import MurmurError
from murmur.models._requirements import REQUIREMENTS
from murmur.params.validation import validate
from murmur.sections.experiment import Params
from tests import made


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_weights_file_is_the_default_of_the_model(name):
    build = models.load_module(name).build
    assert inspect.signature(build).parameters["weights"].default == REQUIREMENTS[name].weights


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_each_required_value_is_checked_for_a_trained_model(name):
    required = REQUIREMENTS[name].features | REQUIREMENTS[name].training
    valid = required | {"train.model": {"name": name}}
    validate(Params, made.changed(valid), "params.yaml")
    default = made.changed({})
    for key, value in required.items():
        section, _, field = key.partition(".")
        if default[section][field] != value:
            with pytest.raises(
                MurmurError, match=f"model {name} needs {key} .*{REQUIREMENTS[name].reason[:20]}"
            ):
                validate(Params, made.changed(valid | {key: default[section][field]}), "params.yaml")


def test_the_training_of_an_embedding_needs_only_the_features():
    changes = REQUIREMENTS["m2d"].features | {"embed.models": ["m2d"], "train.features": "embedding"}
    assert validate(Params, made.changed(changes), "params.yaml").train.standardise == "band"


@pytest.mark.parametrize(("weights", "expected"), [("imagenet", True), ("none", False), ("my.pth", False)])
def test_only_imagenet_weights_are_downloaded(weights, expected):
    assert models.needs_download({"weights": weights}) is expected
    assert models.needs_download({}) is False


def test_the_check_of_params_yaml_does_not_import_torch():
    code = "import sys; from stages import check; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": "src"}
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=made.ROOT, env=environment, check=False).returncode
        == 0
    )
