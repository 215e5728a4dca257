"""params.yaml, typed: an unknown key or a value out of range stops a stage before it does any work."""

import re
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from murmur.errors import MurmurError

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Download(BaseModel):
    """`limit`, `on_bad`, and a section for each data set, which its reader checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    limit: Count | None
    on_bad: Literal["error", "leave_out"]

    @model_validator(mode="after")
    def _extras_are_sections(self) -> "Download":
        for key, value in (self.model_extra or {}).items():
            if not isinstance(value, dict):
                raise ValueError(f"unknown key download.{key}; known are limit, on_bad and the data sets")
        return self


class Bandpass(Section):
    order: Count
    low: Positive
    high: Positive


class Clean(Section):
    sample_rate: Count
    denoise: Literal["none", "spectral_gating"]
    denoise_smooth_ms: Positive
    bandpass: Bandpass | None
    normalise: Literal["peak", "rms", "none"]


class Segment(Section):
    length: Positive
    overlap: Annotated[float, Field(ge=0, lt=1)]
    short: Literal["drop", "pad", "wrap"]
    min_length: Annotated[float, Field(ge=0)]


class Mel(Section):
    n_mels: Count
    n_fft: Count
    win_length: Count
    hop_length: Count
    f_min: Annotated[float, Field(ge=0)]
    f_max: Positive
    scale: Literal["db", "ln"]
    reference: Literal["max"] | Positive
    top_db: Positive | None
    dtype: Literal["float16", "float32"]
    format: Literal["npy", "parquet"]


class Split(Section):
    method: Literal["kfold", "holdout", "role"]
    runs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)]
    test: Share
    validation: Share
    group_by: Literal["person", "patient", "recording", "segment"]

    @model_validator(mode="after")
    def _runs_once(self) -> "Split":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"split.runs names a run twice: {self.runs}")
        return self


class Model(BaseModel):
    """`name` is the module in murmur/models; the other keys are the arguments of its `build`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Augment(Section):
    time_masks: Annotated[int, Field(ge=0)]
    time_mask: Annotated[float, Field(ge=0, le=1)]
    frequency_masks: Annotated[int, Field(ge=0)]
    frequency_mask: Annotated[float, Field(ge=0, le=1)]
    mixup: Annotated[float, Field(ge=0)]


class Train(Section):
    model: Model
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16"]
    epochs: Count
    batch_size: Count
    optimizer: Literal["adam", "adamw"]
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["none", "cosine", "plateau", "onecycle"]
    clip: Positive | None
    balance: Literal["none", "loss", "metric", "sampler"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    patience: Count | None
    select_on: Literal["loss", "uar"]
    augment: Augment
    keep_weights: Literal["none", "best"]


class Evaluate(Section):
    level: Literal["segment", "recording", "patient"]
    draws: Annotated[int, Field(ge=0)]


class Params(Section):
    dataset: str
    task: str
    class_map: dict[str, str | None]
    positive: list[str] | None
    seed: Annotated[int, Field(ge=0)]
    download: Download
    clean: Clean
    segment: Segment
    mel: Mel
    split: Split
    train: Train
    evaluate: Evaluate

    @model_validator(mode="after")
    def _bands_fit(self) -> "Params":
        nyquist = self.clean.sample_rate / 2
        if self.mel.f_max > nyquist:
            raise ValueError(
                f"mel.f_max {self.mel.f_max:g} Hz is above Nyquist, {nyquist:g} Hz; "
                "lower it or raise clean.sample_rate"
            )
        if self.mel.f_min >= self.mel.f_max:
            raise ValueError(f"mel.f_min {self.mel.f_min:g} Hz is not below mel.f_max {self.mel.f_max:g} Hz")
        if self.mel.win_length > self.mel.n_fft:
            window, n_fft = self.mel.win_length, self.mel.n_fft
            raise ValueError(f"mel.win_length {window} is longer than mel.n_fft {n_fft}; lower it")
        if self.segment.length * self.clean.sample_rate < self.mel.win_length:
            raise ValueError(
                f"segment.length {self.segment.length:g} s is shorter than the window of the spectrogram, "
                f"mel.win_length {self.mel.win_length} at clean.sample_rate {self.clean.sample_rate}"
            )
        band = self.clean.bandpass
        if band and not band.low < band.high < nyquist:
            raise ValueError(
                f"clean.bandpass {band.low:g}-{band.high:g} Hz must rise and end below Nyquist {nyquist:g} Hz"
            )
        return self


def load(*keys: str, path: str | Path = "params.yaml") -> SimpleNamespace:
    """Check the whole of params.yaml and return the keys named: all that a stage may read.

    `load("mel", "clean.sample_rate")` has the attributes `mel` and `sample_rate`.

    Raises
    ------
    MurmurError
        Naming the file, the key and what is wrong with it.
    """
    params = check(Params, read_yaml(path), where=str(path))
    return SimpleNamespace(**{key.split(".")[-1]: attrgetter(key)(params) for key in keys})


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a MurmurError that names the file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MurmurError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise MurmurError(f"{path}: expected a mapping of parameters, found {type(content).__name__}")
    return content


def check(model: type[M], content: dict[str, Any], where: str) -> M:
    """Build `model` from `content`; what does not fit is told as `where: key: reason`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(one, model) for one in error.errors()]
        raise MurmurError(f"{where}: " + "; ".join(lines)) from None


_ONE_OF = re.compile(r"literal\[|constrained-")  # pydantic's words for what a value may be, not keys


def _explain(error: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"] if not _ONE_OF.match(str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; known here: {', '.join(_known(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"key {key} is missing"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{key}: {reason} (it is {error['input']!r})" if key and error["type"] != "value_error" else reason


def _known(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return ["see params.yaml"]
        model = inner[0]
    return sorted(model.model_fields)
