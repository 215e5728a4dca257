"""Check params.yaml before any work is done, and before DVC removes the outputs of another stage."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from collections.abc import Sequence
from pathlib import Path

from murmur import datasets, models
from murmur.errors import MurmurError, run_stage
from murmur.features import bandpass
from murmur.files import write_text
from murmur.models._requirements import REQUIREMENTS
from murmur.sections import experiment
from murmur.sections.train import Model


def main() -> None:
    p = experiment.load()
    _check_known("dataset", p.dataset, datasets.list_names())
    _check_known("train.model.name", p.train.model.name, models.list_names())
    if p.clean.bandpass:
        bandpass.design_bandpass(p.clean.sample_rate, p.clean.bandpass)
    for name in p.embed.models:
        _check_file("embed.weights", p.embed.weights, REQUIREMENTS[name].missing_weights)
    _check_model_weights(p.train.model)
    folder = (p.download.model_extra or {}).get("folder", {}).get("path", "")
    if not Path(folder).is_dir():  # DVC would not explain that it is missing, nor split.file
        raise MurmurError(f"params.yaml: download.folder.path: no folder {folder}; name an existing folder")
    _check_file("split.file", p.split.file, "name an existing CSV file")
    write_text(
        "data/checked", "params.yaml is valid.\n"
    )  # always the same, so that no other stage runs again


def _check_known(key: str, name: str, known: Sequence[str]) -> None:
    if known and name not in known:
        raise MurmurError(f"params.yaml: {key}: there is no {name!r}; there are {', '.join(known)}")


def _check_model_weights(model: Model) -> None:
    if required := REQUIREMENTS.get(model.name):
        weights = model.options.get("weights", required.weights)
        _check_file("train.model.weights", weights, required.missing_weights)
    elif not models.needs_download(model.options) and model.options.get("weights", "none") != "none":
        weights = model.options["weights"]
        _check_file("train.model.weights", weights, "name a weights file, imagenet or none")


def _check_file(key: str, path: str, remedy: str) -> None:
    if not Path(str(path)).is_file():
        raise MurmurError(f"params.yaml: {key}: no file {path}; {remedy}")


if __name__ == "__main__":
    run_stage(main)
