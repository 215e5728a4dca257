"""The folder of a trained model: model.json and model.safetensors."""

import hashlib
from pathlib import Path

from murmur.errors import MurmurError
from murmur.files import atomic_write
from murmur.inference.model_info import JSON_NAME, WEIGHTS_NAME, ModelInfo, parse_model_info

MAKE = "`make repro` makes one in the project, --model (in Python the argument) names another"


def write_model(folder: Path, info: ModelInfo, weights: bytes) -> None:
    """Write a model folder, completely or not at all.

    Parameters
    ----------
    folder : Path
        The folder; replaced if it exists.
    info : ModelInfo
        The description.
    weights : bytes
        Content of model.safetensors.
    """
    with atomic_write(folder) as part:
        part.mkdir()
        (part / WEIGHTS_NAME).write_bytes(weights)
        (part / JSON_NAME).write_text(info.to_json(), encoding="utf-8", newline="\n")


def read_model(folder: str | Path) -> tuple[ModelInfo, bytes]:
    """Read a model folder, and check that its weights are those of its description.

    Parameters
    ----------
    folder : path-like
        The folder.

    Returns
    -------
    info : ModelInfo
        The description.
    weights : bytes
        Content of model.safetensors.

    Raises
    ------
    MurmurError
        If a file is missing, has changed, or is of a newer version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MurmurError(f"{folder}: no folder of a model; {MAKE}")
    for name in (JSON_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise MurmurError(f"{folder}: not the folder of a model: {name} is missing; {MAKE}")
    path = folder / JSON_NAME
    try:
        info = parse_model_info(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise MurmurError(f"{path}: not UTF-8 text; make the model again: dvc repro package") from error
    weights = (folder / WEIGHTS_NAME).read_bytes()
    if hashlib.sha256(weights).hexdigest() != info.weights_sha256:
        raise MurmurError(
            f"{folder / WEIGHTS_NAME}: not the weights that {JSON_NAME} describes (their SHA-256 differs); "
            "copy the whole folder again, or restore it: dvc checkout"
        )
    return info, weights
