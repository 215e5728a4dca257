"""The command for models: list them with their options, and choose the one that is trained."""

import ast
import logging
from contextlib import suppress
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from murmur import models
from murmur.errors import MurmurError, escape_unprintable
from murmur.experiments import project, recipes
from murmur.files import write_text
from murmur.models._requirements import REQUIREMENTS
from murmur.models._signatures import Option, check_options, check_weights, find_file, read_signature
from murmur.params.yaml_files import parse_yaml, read_yaml
from murmur.sections.experiment import validate_params

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
    train.model, without the options of the model before.

    Examples
    --------
    murmur model
    murmur model cnn width=8 dropout=0.2
    """
    if name is None:
        _list_models()
        return
    values = dict(_parse_option(option) for option in options or [])
    check_options(name, values)
    check_weights(name, values)
    model = {"name": name, **values}
    text = recipes.replace_value(PARAMS, "train.model", model)
    validate_params(parse_yaml(text, str(PARAMS)), PARAMS)
    before = read_yaml(PARAMS)["train"]["model"]
    write_text(PARAMS, text)
    print(f"params.yaml: train.model is now {recipes.format_value(model)}")
    print(f"before: {recipes.format_value(before)}")
    print("run it: dvc exp run; back to the committed parameters: git checkout params.yaml")
    with suppress(MurmurError):  # without git there are no experiments
        if not project.is_tracked(path := find_file(name)):
            logger.info(
                f"git does not track {path}: run `git add {path}`, so that experiments contain it and --temp "
                "and --queue find it"
            )


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


def _parse_option(option: str) -> tuple[str, object]:
    key, separator, value = option.partition("=")
    if not separator or not key:
        raise MurmurError(f"{option}: write an option as key=value, such as dropout=0.3")
    return key, parse_yaml(value, key)
