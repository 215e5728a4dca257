"""params.yaml, typed: an unknown key or a value out of range stops a stage before it does any work."""

import os
import re
from io import StringIO
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML, YAMLError

from murmur.errors import MurmurError

EXAMPLE_SPLIT = "data/splits/synthetic.csv"  # DVC needs a file to depend on, wanted or not
MAX_TEXT = 1000  # characters of a key or a value
MAX_NUMBER = 10**12
MIN_NUMBER = 1e-30  # what is smaller is 0 to float32
MAX_VALUES = 10_000  # in the whole file
MAX_ARRAY = 10**8  # samples of a segment; numbers in its spectrogram, or in the frames it is made from
M = TypeVar("M", bound=BaseModel)


def real(
    *, gt: float | None = None, ge: float | None = None, lt: float | None = None, le: float | None = None
) -> Any:
    """A number within bounds; a string or a boolean is none."""
    return Field(strict=True, gt=gt, ge=ge, lt=lt, le=le)


def whole(low: int, high: int) -> Any:
    """An integer from `low` to `high`."""
    return Field(strict=True, ge=low, le=high)


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        raise PydanticCustomError("name", "not a name: letters, digits, - and _ alone, at most 100")
    return name


def _check_path(path: str) -> str:
    if not path.isprintable() or any(len(os.fsencode(part)) > 255 for part in path.split("/")):
        raise PydanticCustomError("path", "no file can have this name")
    return path


def _check_dependency(path: str) -> str:
    if not path or re.match(r"[\w+.-]*:", path):
        raise PydanticCustomError("path", "name a path on this machine, not an address")
    return _check_path(path)


def _check_split_file(path: str) -> str:
    if ".." in path.split("/") or not path.endswith(".csv"):
        raise PydanticCustomError("path", "name a CSV file (.csv), without '..' in its path")
    return _check_dependency(path)


Positive = Annotated[float, real(gt=0, le=MAX_NUMBER)]
Share = Annotated[float, real(gt=0, lt=1)]
Probability = Annotated[float, real(ge=0, le=1)]
Seconds = Annotated[float, real(gt=0, le=3600)]
Hertz = Annotated[float, real(gt=0, le=1_000_000)]
Samples = Annotated[int, whole(1, 2**20)]
Run = Annotated[int, whole(0, 2**31 - 1)]
Boolean = Annotated[bool, Field(strict=True)]
Name = Annotated[str, AfterValidator(_check_name)]
FilePath = Annotated[str, AfterValidator(_check_path)]
SplitFile = Annotated[str, AfterValidator(_check_split_file)]
Folder = Annotated[str, AfterValidator(_check_dependency)]
_FOLDER = TypeAdapter(Folder)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Download(BaseModel):
    """`limit`, `on_bad`, `remote`, and a section for each data set, which its reader checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    limit: Annotated[int, whole(1, 10**9)] | None
    on_bad: Literal["error", "leave_out"]
    remote: Name | None

    @model_validator(mode="after")
    def _extras_are_sections(self) -> "Download":
        for key, value in (self.model_extra or {}).items():
            if not isinstance(value, dict):
                raise ValueError(
                    f"unknown key download.{key}; known are limit, on_bad, remote and the data sets"
                )
        return self

    @model_validator(mode="after")
    def _folder_is_apart(self) -> "Download":
        """dvc.yaml depends on this folder, whatever the data set."""
        section = (self.model_extra or {}).get("folder", {})
        if "path" not in section:
            return self
        try:
            path = Path(os.path.abspath(_FOLDER.validate_python(section["path"])))
        except ValidationError as error:
            raise ValueError(f"download.folder.path: {error.errors()[0]['msg']}") from None
        here = Path.cwd()
        if path in (here, here / "data", *here.parents):
            raise ValueError(
                f"download.folder.path: {section['path']} holds what the stages write; name another folder"
            )
        return self


class Duplicates(Section):
    correlation: Share
    overlap: Seconds


class Bandpass(Section):
    order: Annotated[int, whole(1, 100)]
    low: Hertz
    high: Hertz


class Denoise(Section):
    n_fft: Samples
    time_smooth_ms: Annotated[float, real(gt=0, le=60_000)]
    frequency_smooth_hz: Hertz


class Clean(Section):
    sample_rate: Annotated[int, whole(1, 1_000_000)]
    denoise: Denoise | None
    bandpass: Bandpass | None
    normalise: Literal["peak", "rms", "none"]


class Segment(Section):
    length: Seconds
    overlap: Annotated[float, real(ge=0, lt=1)]
    short: Literal["drop", "pad", "wrap"]
    min_length: Annotated[float, real(ge=0, le=3600)]
    first: Annotated[int, whole(1, 10**6)] | None
    first_of: list[str]
    mirror: Boolean


class Image(Section):
    size: Annotated[int, whole(1, 4096)]
    colours: Literal["grey", "viridis", "magma"]


class Mel(Section):
    n_mels: Annotated[int, whole(1, 4096)]
    n_fft: Samples
    win_length: Samples | Annotated[list[Samples], Field(min_length=1, max_length=16)]
    hop_length: Samples | Annotated[list[Samples], Field(min_length=1, max_length=16)]
    f_min: Annotated[float, real(ge=0, le=1_000_000)]
    f_max: Hertz
    edges: Literal["zeros", "reflect"]
    scale: Literal["db", "ln", "ln_plus"]
    reference: Literal["max"] | Positive
    top_db: Annotated[float, real(gt=0, le=1000)] | None
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
    file: SplitFile
    runs: Annotated[list[Run], Field(min_length=1, max_length=1000)]
    folds: Annotated[int, whole(2, 1000)]
    test: Share
    validation: Share
    group_by: Literal["person", "patient", "recording", "segment"]
    merge_near_duplicates: Boolean
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
    name: Name

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def level(self) -> str:
        """What it decides about: a model that takes `sites` gives one answer a patient."""
        return "patient" if "sites" in self.options else "segment"


class Augment(Section):
    chance: Probability
    time_masks: Annotated[int, whole(0, 1000)]
    time_mask: Probability
    frequency_masks: Annotated[int, whole(0, 1000)]
    frequency_mask: Probability
    roll: Probability
    amplitude: Annotated[float, real(ge=0, lt=1)]
    flip: Probability
    mixup: Annotated[float, real(ge=0, le=1000)]


class Embed(Section):
    models: Annotated[list[Literal["m2d"]], Field(max_length=1)]
    weights: FilePath
    pool: Literal["mean", "none"]
    device: Literal["auto", "cpu", "cuda", "mps"]


class Train(Section):
    features: Literal["mel", "embedding"]
    model: Model
    freeze: Annotated[int, whole(0, 10_000)]
    standardise: Literal["band", "imagenet", "none"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16"]
    epochs: Annotated[int, whole(1, 1_000_000)]
    batch_size: Annotated[int, whole(1, 2**20)]
    optimizer: Literal["adam", "adamw"]
    lr: Annotated[float, real(gt=0, le=100)]
    weight_decay: Annotated[float, real(ge=0, le=100)]
    schedule: Literal["none", "cosine", "step", "plateau", "onecycle"]
    schedule_epochs: Annotated[int, whole(1, 1_000_000)] | None
    schedule_factor: Share
    clip: Annotated[float, real(gt=0, le=10**6)] | None
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: Annotated[float, real(ge=0, le=100)]
    balance: Literal["none", "loss", "metric", "sampler"]
    class_weights: dict[str, Annotated[float, real(gt=0, le=10**6)]] | None
    label_smoothing: Annotated[float, real(ge=0, lt=1)]
    distillation: Annotated[float, real(ge=0, lt=1)]
    patience: Annotated[int, whole(1, 1_000_000)] | None
    stop_accuracy: Probability | None
    stop_one_class: Boolean
    select_on: Literal["loss", "uar", "accuracy"]
    augment: Augment
    keep_weights: Literal["none", "best"]

    @model_validator(mode="after")
    def _schedule_has_its_epochs(self) -> "Train":
        if self.schedule in ("step", "plateau") and self.schedule_epochs is None:
            raise ValueError(f"train.schedule_epochs: the {self.schedule} schedule needs a number of epochs")
        return self

    @model_validator(mode="after")
    def _weights_of_classes_count(self) -> "Train":
        if self.batch_size == 1 and (self.balance in ("loss", "metric") or self.class_weights):
            raise ValueError(
                "train.batch_size 1: the loss is a batch's weighted mean, in which the weight of a single "
                "unit has no effect; raise it, or set train.balance to none or sampler and class_weights "
                "to null"
            )
        return self


class Evaluate(Section):
    level: Literal["segment", "recording", "patient"]
    rule: Literal["mean_probability", "mean_logit", "maximum", "any_present"]
    thresholds: Literal["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"] | None
    sensitivity: Share
    prevalence: Share
    draws: Annotated[int, whole(0, 100_000)]


class Params(Section):
    dataset: Name
    task: str
    class_map: dict[str, str | None]
    positive: list[str] | None
    seed: Annotated[int, whole(0, 2**32 - 1)]
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
        self._check_sizes()
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
        gate = self.clean.denoise
        if gate and gate.frequency_smooth_hz > nyquist:  # its memory would have no bound
            raise ValueError(
                f"clean.denoise.frequency_smooth_hz {gate.frequency_smooth_hz:g} is above Nyquist, "
                f"{nyquist:g} Hz; lower it"
            )
        return self

    def _check_sizes(self) -> None:
        """Refuse segments and spectrograms that no memory holds, before any is made."""
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
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MurmurError(f"{path}: cannot be read as YAML: {error}") from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise MurmurError(f"{path}: expected a mapping of parameters, found {type(content).__name__}")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """What a text says in YAML 1.2, read as DVC reads it: `yes` is a string, `010` is 10, `1e-5` a number.

    Raises
    ------
    MurmurError
        Naming `where` and the line, also of a key that is there twice.
    """
    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f"line {mark.line + 1}: " if mark else ""
        first = (reason or str(error) or type(error).__name__).splitlines()[0]
        raise MurmurError(f"{where}: cannot be read as YAML: {line}{first}") from error


def as_yaml(content: Any) -> str:
    """A text that `parse_yaml` and DVC read back as the same values."""
    yaml, stream = YAML(typ="safe"), StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = MAX_TEXT
    yaml.dump(content, stream)
    return stream.getvalue()


def check(model: type[M], content: dict[str, Any], where: str) -> M:
    """Build `model` from `content`; what does not fit is told as `where: key: reason`."""
    _check_values(content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(one, model) for one in error.errors()]
        raise MurmurError(f"{where}: " + "; ".join(lines)) from None


def _check_values(content: dict[str, Any], where: str) -> None:
    """Refuse what no parameter is, wherever it stands, also where any key is allowed."""
    waiting, n = [("", content)], 0
    while waiting:
        key, value = waiting.pop()
        n += 1
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        waiting += [(f"{key}.{name}".lstrip("."), item) for name, item in items]
        if n + len(waiting) > MAX_VALUES:
            raise MurmurError(f"{where}: {_short(key)}: holds more than {MAX_VALUES} values; leave some out")
        if len(key) > MAX_TEXT or (isinstance(value, str) and len(value) > MAX_TEXT):
            raise MurmurError(f"{where}: {_short(key)}: longer than {MAX_TEXT} characters; shorten it")
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise MurmurError(
                f"{where}: {_short(key)}: not a finite number up to {MAX_NUMBER:g} (it is {_short(value)})"
            )
        if isinstance(value, float) and 0 < abs(value) < MIN_NUMBER:
            raise MurmurError(
                f"{where}: {_short(key)}: a number nearer to 0 than {MIN_NUMBER:g} (it is {value!r})"
            )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


_ONE_OF = re.compile(r"literal\[|constrained-|list\[")  # pydantic's words for what a value may be, not keys


def _explain(error: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"] if not _ONE_OF.match(str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; known here: {', '.join(_known(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"key {key} is missing"
    reason = error["msg"].removeprefix("Value error, ")
    return (
        f"{key}: {reason} (it is {_short(repr(error['input']))})"
        if key and error["type"] != "value_error"
        else reason
    )


def _known(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return ["see params.yaml"]
        model = inner[0]
    return sorted(model.model_fields)
