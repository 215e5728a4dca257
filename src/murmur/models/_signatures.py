"""The options of the networks, read from the source of `build` without importing torch.

No stage but `check` depends on this module: a change does not repeat a training.
"""

import ast
import builtins
import collections.abc
import json
import re
import typing
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from murmur.errors import MurmurError
from murmur.models import Rate, Size, list_names, needs_download
from murmur.models._pretrained import check_folder
from murmur.models._requirements import REQUIREMENTS, check_file
from murmur.params.validation import explain_reason, format_input

FOLDER = Path(__file__).parent
SHAPE = ("classes", "channels", "mels", "frames")  # arguments of `build` that are not options
EXAMPLE = 'CONTRIBUTING.md, "Add a model", has an example'
NAMES = {**vars(builtins), **vars(typing), **vars(collections.abc), "Size": Size, "Rate": Rate}


class Option(NamedTuple):
    """An option of a network.

    Attributes
    ----------
    kind : object
        The type, from the annotation of the argument; Any if it has none that is known.
    default : str or None
        The source of the default value; None if the option must be given.
    """

    kind: Any
    default: str | None


class Signature(NamedTuple):
    """What the source of a network states.

    Attributes
    ----------
    summary : str
        The first line of the docstring of its module.
    options : dict of str to Option
        The arguments of `build` that are not the shape of the input.
    any_option : bool
        Whether `build` takes all options (``**options``).
    """

    summary: str
    options: dict[str, Option]
    any_option: bool


def read_signature(name: str) -> Signature:
    """Read the options of a network from its file.

    Parameters
    ----------
    name : str
        The value of ``train.model.name``.

    Raises
    ------
    MurmurError
        If there is no network of this name, its file is not Python, or has no function `build` that takes the
        shape of the input.
    """
    if name not in (known := list_names()):
        raise MurmurError(f"train.model.name: no model {name!r}; there are {', '.join(known)}")
    where = find_file(name)
    try:
        tree = ast.parse(where.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise MurmurError(f"{where}: not valid Python: {line}; correct the file") from None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build"]
    if not functions:
        raise MurmurError(f"{where}: has no function build; {EXAMPLE}")
    arguments = functions[-1].args
    options = _list_arguments(arguments)
    missing = [part for part in SHAPE if part not in options]
    if missing and not arguments.kwarg:
        raise MurmurError(f"{where}: build has no argument {', '.join(missing)}; {EXAMPLE}")
    options = {key: option for key, option in options.items() if key not in SHAPE}
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Signature(summary, options, arguments.kwarg is not None)


def find_file(name: str) -> Path:
    """Return the path of the module of a network, relative to the working directory if it is in it."""
    path = FOLDER / f"{name}.py"
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check_options(name: str, options: dict[str, Any]) -> None:
    """Check the options of a network against the names and annotations of the arguments of `build`.

    Parameters
    ----------
    name : str
        The value of ``train.model.name``.
    options : dict
        The other keys of ``train.model``.

    Raises
    ------
    MurmurError
        As `read_signature`; and if an option is unknown, missing, or of another type or
        out of range.
    """
    signature = read_signature(name)
    known = f"its options are {', '.join(signature.options)}" if signature.options else "it has no options"
    unknown = [] if signature.any_option else sorted(set(options) - set(signature.options))
    if unknown:
        raise MurmurError(f"train.model: {name} has no option {', '.join(unknown)}; {known}")
    required = {key for key, option in signature.options.items() if option.default is None}
    if missing := sorted(required - set(options)):
        raise MurmurError(f"train.model: {name} needs the option {', '.join(missing)}; {known}")
    for key, value in options.items():
        if key in signature.options:
            _check_type(name, key, value, signature.options[key].kind)


def find_weights(name: str, options: dict[str, Any]) -> str | None:
    """Return the path of the local file of pretrained weights that the network reads; None if it reads none.

    Parameters
    ----------
    name, options
        As for `check_options`.

    Raises
    ------
    MurmurError
        Naming the file, if it does not exist or is not in data/weights, and what to do.
    """
    required = REQUIREMENTS.get(name)
    weights = options.get("weights", required.weights if required else "none")
    if weights == "none" or needs_download(options):
        return None
    remedy = required.missing_weights if required else "name a weights file, imagenet or none"
    check_file("train.model.weights", weights, remedy)
    check_folder("train.model.weights", weights)
    return str(weights)


def labels_frames(name: str) -> bool:
    """Return whether the module of a network has the number `STEP`, as one that labels frames has."""
    return bool(re.search(r"\bSTEP\b", find_file(name).read_text(encoding="utf-8")))


def _check_type(name: str, key: str, value: Any, kind: Any) -> None:
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_json(
            json.dumps(value)
        )  # YAML has no tuple
    except ValidationError as error:
        reason = f"{explain_reason(error.errors()[0])} (it is {format_input(value)}; the model is {name})"
        raise MurmurError(f"train.model.{key}: {reason}") from None
    except PydanticUserError:  # a type that values in YAML cannot have; the training checks it
        pass


def _list_arguments(arguments: ast.arguments) -> dict[str, Option]:
    """List the named arguments of a function."""
    positional = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {
        argument.arg: Option(_find_type(argument.annotation), ast.unparse(default) if default else None)
        for argument, default in pairs
    }


def _find_type(annotation: ast.expr | None) -> Any:
    """Evaluate an annotation that consists of standard types; Any for every other one."""
    try:
        return eval(ast.unparse(annotation), dict(NAMES)) if annotation else Any
    except (NameError, AttributeError, TypeError):  # a type of another library
        return Any
