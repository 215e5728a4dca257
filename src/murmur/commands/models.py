"""The command for models: list them with their options, and choose the one that is trained."""

import ast
import logging
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from murmur import models
from murmur.errors import MurmurError, first_line
from murmur.experiments import project, recipes
from murmur.logs import escape_unprintable
from murmur.models._requirements import REQUIREMENTS
from murmur.models._signatures import Option, check_options, find_file, find_weights, read_signature
from murmur.params.yaml_files import parse_yaml, read_yaml
from murmur.sections.experiment import Params, validate_params

WIDTH = 100  # of the list of options
INDENT: Any = {
    "initial_indent": "    ",
    "subsequent_indent": "    ",
    "break_long_words": False,
    "break_on_hyphens": False,
}
PARAMS = Path("params.yaml")
logger = logging.getLogger(__name__)


def complete_name(incomplete: str) -> list[str]:
    """The models whose name begins with `incomplete`, for the completion in the shell."""
    return [name for name in models.list_names() if name.startswith(incomplete)]


def choose_model(
    name: Annotated[
        str | None,
        typer.Argument(help="a module of src/murmur/models", autocompletion=complete_name),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="its options; the others have their default"),
    ] = None,
) -> None:
    """List the models and their options, or choose one of them.

    Without NAME: each model with its options and their defaults. With NAME: write it to params.yaml as
    train.model, without the options of the model before. The network is built once, to check its options.

    Examples
    --------
    murmur model
    murmur model cnn width=16 dropout=0.2
    """
    if name is None:
        _list_models()
        return
    values = _parse_options(options or [])
    check_options(name, values)
    find_weights(name, values)
    model = {"name": name, **values}
    text, old = recipes.replace_value(PARAMS, "train.model", model), PARAMS.read_bytes().decode("utf-8")
    _check_network(validate_params(parse_yaml(text, str(PARAMS)), PARAMS))
    before = parse_yaml(old, str(PARAMS))["train"]["model"]
    recipes.write_params(PARAMS, text)
    print(f"params.yaml: train.model is now {recipes.format_value(model)}")
    print(f"before: {recipes.format_value(before)}")
    for comment in Counter(recipes.list_comments(old)) - Counter(recipes.list_comments(text)):
        print(escape_unprintable(f"left out, a comment inside train.model: #{comment}"))
    print("run it: dvc exp run; back to the committed parameters: git checkout params.yaml")
    with suppress(MurmurError):  # without git there are no experiments
        if not project.is_tracked(path := find_file(name)):
            logger.info(
                f"git does not track {path}; commit it: --queue and --temp see only files that git tracks, "
                "and experiments should contain it"
            )


def _check_network(p: Params) -> None:
    """Build the network, without pretrained weights of a download, and pass a spectrogram through it."""
    if p.train.features != "mel":  # the stage embed determines the shape of embeddings
        return
    import numpy as np

    from murmur.features.mel import make_transform
    from murmur.training import network  # imports torch

    model = p.train.model
    if models.needs_download(model.options):
        model = model.model_copy(update={"weights": "none"})
    segment = np.zeros((1, round(p.segment.length * p.clean.sample_rate)), np.float32)
    _, channels, mels, frames = make_transform(p.clean.sample_rate, p.mel)(segment).shape
    try:
        with warnings.catch_warnings(action="ignore"):
            network.build(model, classes=2, channels=channels, mels=mels, frames=frames)
    except MurmurError:
        raise
    except Exception as error:  # of a new model: of any kind
        path = find_file(model.name)
        line = network.find_line(error, str(path.absolute()))
        raise MurmurError(
            f"{path}{line}: {type(error).__name__}: {first_line(error)}; correct the file"
        ) from error


def _list_models() -> None:
    print(f"train.model: {recipes.format_value(read_yaml(PARAMS).get('train', {}).get('model'))}\n")
    for name in models.list_names():
        try:
            signature = read_signature(name)
        except MurmurError as error:  # one file with an error does not hide the others
            print(escape_unprintable(f"{name}: {error}"))
            continue
        print(escape_unprintable(f"{name}: {signature.summary}"))
        defaults = [
            f"{key}={_format_default(name, key, option)}" for key, option in signature.options.items()
        ]
        print(escape_unprintable(fill(" ".join(defaults), WIDTH, **INDENT), lines=True))


def _format_default(name: str, key: str, option: Option) -> str:
    """Format the default value of an option as YAML without spaces."""
    if option.default is None:
        return "(required)"
    if key == "weights" and name in REQUIREMENTS:
        return REQUIREMENTS[name].weights
    try:
        value = ast.literal_eval(option.default)
    except ValueError:  # not a constant: its source
        return option.default
    return recipes.format_value([*value] if isinstance(value, tuple) else value).replace(", ", ",")


def _parse_options(options: list[str]) -> dict[str, object]:
    pairs = [_parse_option(option) for option in options]
    if repeated := [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]:
        raise MurmurError(f"{repeated[0]}: given more than once; write each option once")
    return dict(pairs)


def _parse_option(option: str) -> tuple[str, object]:
    key, separator, value = option.partition("=")
    if not separator or not key:
        raise MurmurError(f"{option}: write an option as key=value, such as dropout=0.3")
    return key, parse_yaml(value, key)
