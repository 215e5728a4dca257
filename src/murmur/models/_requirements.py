"""What pretrained networks require of params.yaml.

This module does not import torch, so that params.yaml is checked at once.
No stage but `check` depends on it: a change does not repeat a training.
"""

from pathlib import Path
from typing import Any, NamedTuple

from murmur.errors import MurmurError


class Requirements(NamedTuple):
    """What a network requires of params.yaml.

    Attributes
    ----------
    features : dict
        Required values of ``mel``, by dotted key: the spectrograms on which the network was pretrained.
    training : dict
        Required values of ``train``, if the network itself is trained.
    reason : str
        Why, and where to find an example; the end of the error message.
    weights : str
        Path of the weights file, if ``train.model.weights`` does not name another.
    missing_weights : str
        What to do if the weights file is missing.
    """

    features: dict[str, Any]
    training: dict[str, Any]
    reason: str
    weights: str
    missing_weights: str


REQUIREMENTS = {
    "m2d": Requirements(
        features={"mel.scale": "ln_plus", "mel.edges": "reflect", "mel.image": None},
        training={"train.standardise": "none"},
        reason=(
            "M2D was pretrained on such log-mel spectrograms and standardises them itself; "
            "see recipes/circor_m2d_transformer.yaml"
        ),
        weights="data/weights/m2d_vit_base-80x608p16x16-220930-mr7_enconly/checkpoint-300.pth",
        missing_weights=(
            "data/weights/README.md describes where to download it, "
            "recipes/circor_m2d_transformer.yaml how to continue without it"
        ),
    )
}


def check_file(key: str, path: object, remedy: str) -> None:
    """Check that the file that a key of params.yaml names exists; the message ends with `remedy`."""
    if not Path(str(path)).is_file():
        raise MurmurError(f"{key}: no file {path}; {remedy}")
