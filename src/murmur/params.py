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
EXAMPLE_SPLIT = "data/splits/synthetic.csv"  # DVC needs a file to depend on, wanted or not
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Download(BaseModel):
    """`limit`, `on_bad`, `remote`, and a section for each data set, which its reader checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    limit: Count | None
    on_bad: Literal["error", "leave_out"]
    remote: str | None

    @model_validator(mode="after")
    def _extras_are_sections(self) -> "Download":
        for key, value in (self.model_extra or {}).items():
            if not isinstance(value, dict):
                raise ValueError(
                    f"unknown key download.{key}; known are limit, on_bad, remote and the data sets"
                )
        return self


class Duplicates(Section):
    correlation: Share
    overlap: Positive


class Bandpass(Section):
    order: Count
    low: Positive
    high: Positive


class Denoise(Section):
    n_fft: Count
    time_smooth_ms: Positive
    frequency_smooth_hz: Positive


class Clean(Section):
    sample_rate: Count
    denoise: Denoise | None
    bandpass: Bandpass | None
    normalise: Literal["peak", "rms", "none"]


class Segment(Section):
    length: Positive
    overlap: Annotated[float, Field(ge=0, lt=1)]
    short: Literal["drop", "pad", "wrap"]
    min_length: Annotated[float, Field(ge=0)]
    first: Count | None
    first_of: list[str]
    mirror: bool


class Image(Section):
    size: Count
    colours: Literal["grey", "viridis", "magma"]


class Mel(Section):
    n_mels: Count
    n_fft: Count
    win_length: Count | Annotated[list[Count], Field(min_length=1)]
    hop_length: Count | Annotated[list[Count], Field(min_length=1)]
    f_min: Annotated[float, Field(ge=0)]
    f_max: Positive
    edges: Literal["zeros", "reflect"]
    scale: Literal["db", "ln", "ln_plus"]
    reference: Literal["max"] | Positive
    top_db: Positive | None
    fill: Literal["floor", "max"]
    normalise: Literal["none", "minmax"]
    image: Image | None
    dtype: Literal["float16", "float32"]
    format: Literal["npy", "parquet"]

    @property
    def windows(self) -> list[tuple[int, int]]:
        """(window, hop) of each channel, in samples."""
        wins, hops = (v if isinstance(v, list) else [v] for v in (self.win_length, self.hop_length))
        return list(zip(wins, hops, strict=True))

    @model_validator(mode="after")
    def _windows_fit(self) -> "Mel":
        wins, hops = (v if isinstance(v, list) else [v] for v in (self.win_length, self.hop_length))
        if len(wins) != len(hops):
            raise ValueError(
                f"mel.win_length has {len(wins)} windows and mel.hop_length {len(hops)}: one for each"
            )
        if max(wins) > self.n_fft:
            raise ValueError(f"mel.win_length {max(wins)} is longer than mel.n_fft {self.n_fft}; lower it")
        if self.image and len(wins) > 1:
            raise ValueError("mel.image: an image is made of one window; mel.win_length has several")
        return self


class Split(Section):
    method: Literal["kfold", "holdout", "role", "file"]
    file: str
    runs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)]
    test: Share
    validation: Share
    group_by: Literal["person", "patient", "recording", "segment"]
    merge_near_duplicates: bool
    on_leak: Literal["error", "warn"]
    validate_on: Literal["validation", "test"]

    @model_validator(mode="after")
    def _runs_once(self) -> "Split":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"split.runs names a run twice: {self.runs}")
        return self

    @model_validator(mode="after")
    def _file_is_read(self) -> "Split":
        if self.file != EXAMPLE_SPLIT and self.method != "file":
            raise ValueError(f"split.file {self.file} is read only with split.method: file")
        return self


class Model(BaseModel):
    """`name` is the module in murmur/models; the other keys are the arguments of its `build`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def level(self) -> str:
        """What it decides about: a model that takes `sites` gives one answer a patient."""
        return "patient" if "sites" in self.options else "segment"


Probability = Annotated[float, Field(ge=0, le=1)]


class Augment(Section):
    chance: Probability
    time_masks: Annotated[int, Field(ge=0)]
    time_mask: Probability
    frequency_masks: Annotated[int, Field(ge=0)]
    frequency_mask: Probability
    roll: Probability
    amplitude: Annotated[float, Field(ge=0, lt=1)]
    flip: Probability
    mixup: Annotated[float, Field(ge=0)]


class Embed(Section):
    models: Annotated[list[Literal["m2d"]], Field(max_length=1)]
    weights: str
    pool: Literal["mean", "none"]
    device: Literal["auto", "cpu", "cuda", "mps"]


class Train(Section):
    features: Literal["mel", "embedding"]
    model: Model
    freeze: Annotated[int, Field(ge=0)]
    standardise: Literal["band", "imagenet", "none"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16"]
    epochs: Count
    batch_size: Count
    optimizer: Literal["adam", "adamw"]
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["none", "cosine", "step", "plateau", "onecycle"]
    schedule_epochs: Count | None
    schedule_factor: Share
    clip: Positive | None
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: Annotated[float, Field(ge=0)]
    balance: Literal["none", "loss", "metric", "sampler"]
    class_weights: dict[str, Positive] | None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    distillation: Annotated[float, Field(ge=0, lt=1)]
    patience: Count | None
    stop_accuracy: Probability | None
    stop_one_class: bool
    select_on: Literal["loss", "uar", "accuracy"]
    augment: Augment
    keep_weights: Literal["none", "best"]

    @model_validator(mode="after")
    def _schedule_has_its_epochs(self) -> "Train":
        if self.schedule in ("step", "plateau") and self.schedule_epochs is None:
            raise ValueError(f"train.schedule_epochs: the {self.schedule} schedule needs a number of epochs")
        return self


class Evaluate(Section):
    level: Literal["segment", "recording", "patient"]
    rule: Literal["mean_probability", "mean_logit", "maximum", "any_present"]
    thresholds: Literal["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"] | None
    sensitivity: Share
    prevalence: Share
    draws: Annotated[int, Field(ge=0)]


class Params(Section):
    dataset: str
    task: str
    class_map: dict[str, str | None]
    positive: list[str] | None
    seed: Annotated[int, Field(ge=0)]
    download: Download
    duplicates: Duplicates
    clean: Clean
    segment: Segment
    mel: Mel
    embed: Embed
    split: Split
    train: Train
    evaluate: Evaluate
    published: dict[str, Any]

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
        window = max(win for win, _ in self.mel.windows)
        if self.segment.length * self.clean.sample_rate < window:
            raise ValueError(
                f"segment.length {self.segment.length:g} s is shorter than the window of the spectrogram, "
                f"mel.win_length {window} at clean.sample_rate {self.clean.sample_rate}"
            )
        own = self.mel.scale == "ln_plus" and self.mel.edges == "reflect" and not self.mel.image
        if (self.embed.models or self.train.model.name == "m2d") and not own:
            raise ValueError(
                "M2D hears its own log-mel only: mel.scale ln_plus, mel.edges reflect, mel.image null; "
                "see recipes/circor_m2d_transformer.yaml"
            )
        if self.train.model.name == "m2d" and self.train.standardise != "none":
            raise ValueError("train.standardise: M2D standardises what it hears itself; set it to none")
        if self.train.features == "embedding" and not self.embed.models:
            raise ValueError("train.features embedding: embed.models names none to make it; set it to [m2d]")
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


_ONE_OF = re.compile(r"literal\[|constrained-|list\[")  # pydantic's words for what a value may be, not keys


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
