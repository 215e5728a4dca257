"""The complete params.yaml, and the rules between its sections."""

from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import model_validator

from murmur.errors import MurmurError
from murmur.models._pretrained import check_folder
from murmur.models._requirements import REQUIREMENTS, check_file
from murmur.params.types import Section
from murmur.params.validation import validate
from murmur.params.yaml_files import read_yaml
from murmur.sections.clean import Clean
from murmur.sections.data import ClassMap, Dataset, Positive, Task
from murmur.sections.download import Download
from murmur.sections.duplicates import Duplicates
from murmur.sections.embed import Embed
from murmur.sections.evaluate import Evaluate
from murmur.sections.final import Final
from murmur.sections.mel import Mel
from murmur.sections.seed import Seed
from murmur.sections.segment import Segment
from murmur.sections.split import Split
from murmur.sections.train import Train

MAX_ARRAY = 10**8  # samples of a segment; numbers in its spectrogram, also before the mel filters


class Params(Section):
    """All keys of params.yaml."""

    dataset: Dataset
    task: Task
    class_map: ClassMap
    positive: Positive
    seed: Seed
    download: Download
    duplicates: Duplicates
    clean: Clean
    segment: Segment
    mel: Mel
    embed: Embed
    split: Split
    train: Train
    evaluate: Evaluate
    final: Final
    published: dict[str, Any]

    @model_validator(mode="after")
    def _check_spectrogram(self) -> "Params":
        nyquist = self.clean.sample_rate / 2
        if self.mel.f_max > nyquist:
            raise ValueError(
                f"mel.f_max {self.mel.f_max:g} Hz is above Nyquist, {nyquist:g} Hz; "
                "lower it or raise clean.sample_rate"
            )
        if self.mel.f_min >= self.mel.f_max:
            raise ValueError(f"mel.f_min {self.mel.f_min:g} Hz is not below mel.f_max {self.mel.f_max:g} Hz")
        window = max(length for length, _ in self.mel.windows)
        if self.segment.length * self.clean.sample_rate < window:
            raise ValueError(
                f"segment.length {self.segment.length:g} s is shorter than the window of the spectrogram, "
                f"mel.win_length {window} at clean.sample_rate {self.clean.sample_rate}"
            )
        self._check_sizes()
        return self

    @model_validator(mode="after")
    def _check_models(self) -> "Params":
        if unknown := sorted(set(self.embed.models) - set(REQUIREMENTS)):
            raise ValueError(
                f"embed.models: no pretrained model {unknown[0]!r}; there are {', '.join(REQUIREMENTS)}"
            )
        self._check_model_requirements()
        if self.train.features == "embedding" and not self.embed.models:
            raise ValueError(
                "train.features embedding: embed.models names none that computes it; set it to "
                f"[{next(iter(REQUIREMENTS))}]"
            )
        return self

    @model_validator(mode="after")
    def _check_regression(self) -> "Params":
        if self.evaluate.rule == "regression" and self.train.model.level == "patient":
            raise ValueError(
                "evaluate.rule regression needs predictions of recordings, but train.model "
                f"{self.train.model.name} (sites) predicts patients; set evaluate.rule: mean_probability"
            )
        return self

    @model_validator(mode="after")
    def _check_refit(self) -> "Params":
        if self.train.refit and self.split.validate_on == "test":
            raise ValueError(
                f"train.refit {self.train.refit}: with split.validate_on test the whole training part is "
                "trained on already; set train.refit to 0"
            )
        return self

    @model_validator(mode="after")
    def _check_filters(self) -> "Params":
        nyquist = self.clean.sample_rate / 2
        band = self.clean.bandpass
        if band and not band.low < band.high < nyquist:
            raise ValueError(
                f"clean.bandpass {band.low:g}-{band.high:g} Hz must rise and end below Nyquist {nyquist:g} Hz"
            )
        gate = self.clean.denoise
        if gate and gate.frequency_smooth_hz > nyquist:  # it would need too much memory
            raise ValueError(
                f"clean.denoise.frequency_smooth_hz {gate.frequency_smooth_hz:g} is above Nyquist, "
                f"{nyquist:g} Hz; lower it"
            )
        return self

    def _check_model_requirements(self) -> None:
        """Check the values that pretrained networks require, for training and for embeddings."""
        trained = self.train.model.name
        for name in dict.fromkeys([*self.embed.models, trained]):
            if name not in REQUIREMENTS:
                continue
            requirements = REQUIREMENTS[name]
            required = requirements.features | (requirements.training if name == trained else {})
            wrong = {key: value for key, value in required.items() if attrgetter(key)(self) != value}
            if wrong:
                values = ", ".join(f"{key} {'null' if v is None else v}" for key, v in wrong.items())
                raise ValueError(f"model {name} needs {values}; {requirements.reason}")

    def _check_sizes(self) -> None:
        """Refuse segments and spectrograms that are too large for the memory, before any is computed."""
        samples = self.segment.length * self.clean.sample_rate
        if samples > MAX_ARRAY:
            raise ValueError(
                f"segment.length {self.segment.length:g} s at clean.sample_rate {self.clean.sample_rate} has "
                f"{samples:.0f} samples, more than {MAX_ARRAY}; lower one of them"
            )
        frames = 1 + samples // min(hop for _, hop in self.mel.windows)
        largest = max(self.mel.n_mels * len(self.mel.windows), self.mel.n_fft)
        if frames * largest > MAX_ARRAY:
            raise ValueError(
                f"mel: {frames:.0f} frames of {largest} numbers for each segment, more than {MAX_ARRAY}; "
                "raise mel.hop_length, or lower mel.n_mels, mel.n_fft or segment.length"
            )


def check_files(p: Params) -> None:
    """Check that the files and folders that the parameters name exist: DVC's own errors name no key.

    Raises
    ------
    MurmurError
        Naming the key, and what to do.
    """
    for name in p.embed.models:
        check_file("embed.weights", p.embed.weights, REQUIREMENTS[name].missing_weights)
        check_folder("embed.weights", p.embed.weights)
    _check_folder((p.download.model_extra or {}).get("folder", {}).get("path", ""))
    check_file("split.file", p.split.file, "name an existing CSV file")


def _check_folder(folder: str) -> None:
    if (path := Path(folder)).is_dir():
        return
    key = "download.folder.path"
    if path.is_file():
        raise MurmurError(f"{key}: {folder} is a file; name the folder that contains it, {path.parent}")
    if folder.startswith("~"):
        raise MurmurError(f"{key}: ~ is not expanded here; write {path.expanduser()}")
    raise MurmurError(f"{key}: no folder {folder}; name an existing folder")


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate the complete file.

    Raises
    ------
    MurmurError
        Naming the file, the key and what is wrong with it.
    """
    return validate_params(read_yaml(path), path)


def validate_params(content: dict[str, Any], path: str | Path) -> Params:
    """Validate the content of a file; `path` is its name in error messages."""
    return validate(Params, content, where=str(path))
