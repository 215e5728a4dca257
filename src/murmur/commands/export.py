"""The command that exports a model to ONNX."""

import time
from pathlib import Path
from typing import Annotated

import typer

from murmur.errors import MurmurError


def export_onnx(
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="the file to write")],
    model: Annotated[Path, typer.Option(help="the model folder")] = Path("models/murmur"),
) -> None:
    """Write a model as one ONNX file, which needs no torch.

    The file contains the filter, the log-mel spectrogram, the networks and the description of the model. Its
    probabilities are compared with torch's before it is written. `murmur predict --model OUT.onnx` uses it.

    Examples
    --------
    murmur export murmur.onnx
    murmur export --model models/murmur murmur.onnx
    """
    from murmur.inference.onnx_export import TOLERANCE, export_model  # imports torch
    from murmur.inference.prediction import load_model

    if out.suffix != ".onnx":
        raise MurmurError(f"{out}: name a file with the ending .onnx")
    start = time.monotonic()
    difference = export_model(load_model(model), out)
    size, seconds = out.stat().st_size / 1e6, time.monotonic() - start
    print(
        f"{out}: {size:.1f} MB, {seconds:.0f} s; largest difference from torch's probabilities: "
        f"{difference:.1g} (allowed: {TOLERANCE:g})"
    )
