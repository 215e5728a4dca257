"""Loading of a trained model from a folder or an ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from murmur.inference.prediction import Model


def load_model(path: str | Path = "models/murmur") -> "Model":
    """Load a trained model.

    Parameters
    ----------
    path : path-like
        A folder with model.json and model.safetensors, or an ONNX file (.onnx) from `murmur export`.

    Returns
    -------
    Model

    Raises
    ------
    MurmurError
        If a file is missing, damaged, has changed, or is of a newer version.

    Examples
    --------
    >>> murmur.load_model("models/murmur").predict("data/raw/P001_AV.wav")
    """
    from murmur.inference.prediction import Model  # imports scipy and pandas

    path = Path(path)
    if path.suffix == ".onnx":
        from murmur.inference.onnx_model import load_onnx

        return Model(*load_onnx(path))
    from murmur.inference.model_folder import read_model
    from murmur.inference.model_info import WEIGHTS_NAME

    info, weights = read_model(path)
    from murmur.inference.networks import TorchNetworks  # imports torch

    return Model(info, TorchNetworks(info, weights, path / WEIGHTS_NAME))
