"""Section `train` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from murmur.errors import MurmurError
from murmur.params.types import Boolean, Fraction, Name, Probability, Section, real_number, whole_number


class Model(BaseModel):
    """A network: `name` is its module in murmur.models, the other keys are arguments of its `build`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Name

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `build`."""
        return dict(self.model_extra or {})

    @property
    def level(self) -> str:
        """The level of its predictions: a model with the option `sites` predicts one class per patient."""
        return "patient" if "sites" in self.options else "segment"


class Augment(Section):
    """Random changes of the training examples."""

    chance: Probability
    time_masks: Annotated[int, whole_number(0, 1000)]
    time_mask: Probability
    frequency_masks: Annotated[int, whole_number(0, 1000)]
    frequency_mask: Probability
    roll: Probability
    amplitude: Annotated[float, real_number(ge=0, lt=1)]
    flip: Probability
    gain: Annotated[float, real_number(ge=0, le=100)]
    band_gain: Annotated[float, real_number(ge=0, le=100)]
    mixup: Annotated[float, real_number(ge=0, le=1000)]


class NetworkOptions(Section):
    """The keys of section `train` that describe the network and its input: all that a prediction needs."""

    features: Literal["mel", "embedding"]
    model: Model
    freeze: Annotated[int, whole_number(0, 10_000)]
    standardise: Literal["band", "imagenet", "none"]


class Train(NetworkOptions):
    """Section `train`."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16"]
    epochs: Annotated[int, whole_number(1, 1_000_000)]
    batch_size: Annotated[int, whole_number(1, 2**20)]
    per_recording: Annotated[int, whole_number(1, 1_000_000)] | None
    refit: Annotated[int, whole_number(0, 100)]
    optimizer: Literal["adam", "adamw"]
    lr: Annotated[float, real_number(gt=0, le=100)]
    weight_decay: Annotated[float, real_number(ge=0, le=100)]
    schedule: Literal["none", "cosine", "step", "plateau", "onecycle"]
    schedule_epochs: Annotated[int, whole_number(1, 1_000_000)] | None
    schedule_factor: Fraction
    clip: Annotated[float, real_number(gt=0, le=10**6)] | None
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: Annotated[float, real_number(ge=0, le=100)]
    balance: Literal["none", "loss", "metric", "sampler"]
    class_weights: dict[str, Annotated[float, real_number(gt=0, le=10**6)]] | None
    state_loss: Annotated[float, real_number(ge=0, le=1000)]
    murmur_loss: Annotated[float, real_number(ge=0, le=1000)]
    annotation_loss: Annotated[float, real_number(ge=0, le=1000)]
    label_smoothing: Annotated[float, real_number(ge=0, lt=1)]
    distillation: Annotated[float, real_number(ge=0, lt=1)]
    patience: Annotated[int, whole_number(1, 1_000_000)] | None
    stop_accuracy: Probability | None
    stop_one_class: Boolean
    select_on: Literal["loss", "uar", "accuracy", "last"]
    augment: Augment
    keep_weights: Literal["none", "best"]

    @property
    def frame_losses(self) -> list[str]:
        """The keys of the losses of frames that have a weight."""
        weights = self.model_dump(include={"state_loss", "murmur_loss", "annotation_loss"})
        return [f"train.{name}" for name, weight in weights.items() if weight]

    def check_labels_frames(self, labels_frames: bool) -> None:
        """Refuse losses of frames for a model that does not label frames."""
        if self.frame_losses and not labels_frames:
            raise MurmurError(
                f"{self.frame_losses[0]}: model {self.model.name} does not label frames; set it to 0, or "
                "train.model to one that does, such as frames"
            )

    @model_validator(mode="after")
    def _check_schedule_epochs(self) -> "Train":
        if self.schedule in ("step", "plateau") and self.schedule_epochs is None:
            raise ValueError(f"train.schedule_epochs: the {self.schedule} schedule needs a number of epochs")
        return self

    @model_validator(mode="after")
    def _check_patience_can_end(self) -> "Train":
        if self.refit and self.select_on != "last":
            raise ValueError(
                f"train.refit {self.refit}: networks that are trained on the whole training part have no "
                "part to select the epoch; set train.select_on to last, or train.refit to 0"
            )
        if self.refit and (self.stop_accuracy is not None or self.stop_one_class):
            key = "stop_accuracy" if self.stop_accuracy is not None else "stop_one_class"
            value = "null" if key == "stop_accuracy" else "false"
            raise ValueError(
                f"train.{key}: nothing can stop the networks of train.refit, which have no validation part; "
                f"set it to {value}, or train.refit to 0"
            )
        if self.select_on == "last" and self.patience is not None:
            raise ValueError("train.patience: with train.select_on last no epoch is selected; set it to null")
        return self

    @model_validator(mode="after")
    def _check_units_are_segments(self) -> "Train":
        if self.per_recording is not None and self.model.level == "patient":
            raise ValueError(
                f"train.per_recording: model {self.model.name} uses all segments of a patient; set it to null"
            )
        return self

    @model_validator(mode="after")
    def _check_class_weights_have_an_effect(self) -> "Train":
        if self.batch_size == 1 and (self.balance in ("loss", "metric") or self.class_weights):
            raise ValueError(
                "train.batch_size 1: the loss is the weighted mean of a batch, and the weight of a single "
                "unit has no effect; raise it, or set train.balance to none or sampler and class_weights "
                "to null"
            )
        return self
