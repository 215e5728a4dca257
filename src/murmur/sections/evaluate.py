"""Section `evaluate` of params.yaml."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, model_validator

from murmur.circor_weights import CIRCOR_WEIGHTS
from murmur.errors import MurmurError
from murmur.params.types import Fraction, Probability, Section, whole_number


class Evaluate(Section):
    """Section `evaluate`."""

    level: Literal["segment", "recording", "patient"]
    rule: Literal["mean_probability", "mean_logit", "maximum", "any_present", "regression"]
    thresholds: (
        Literal[
            "accuracy",
            "uar",
            "weighted_accuracy",
            "weighted_accuracy_official",
            "expected_uar",
            "expected_weighted_accuracy",
            "expected_weighted_accuracy_official",
        ]
        | None
    )
    uar_share: Probability
    figures: Annotated[
        list[Literal["log_odds", "log_murmur_ratio", "annotated", "confidence"]], Field(min_length=1)
    ]
    sensitivity: Fraction
    prevalence: Fraction
    draws: Annotated[int, whole_number(0, 100_000)]

    @model_validator(mode="after")
    def _check_regression(self) -> "Evaluate":
        if self.rule == "regression" and self.level != "patient":
            raise ValueError(
                f"evaluate.rule regression predicts patients, but evaluate.level is {self.level}; set "
                "evaluate.level: patient, or evaluate.rule: mean_probability"
            )
        return self

    @model_validator(mode="after")
    def _check_uar_share(self) -> "Evaluate":
        if self.uar_share and self.thresholds is None:
            raise ValueError(
                f"evaluate.uar_share {self.uar_share:g} has no effect with evaluate.thresholds null; set it "
                "to 0, or evaluate.thresholds to a metric"
            )
        return self


def check_metric(metric: str, classes: Collection[str]) -> None:
    """Refuse a weighted accuracy for other classes than those of CirCor.

    Parameters
    ----------
    metric : str
        A value of `evaluate.thresholds`.
    classes : collection of str
        The classes of the task, after `class_map`.

    Raises
    ------
    MurmurError
        Naming both lists of classes.
    """
    if "weighted_accuracy" in metric and set(classes) != set(CIRCOR_WEIGHTS):
        raise MurmurError(
            f"evaluate.thresholds: {metric} is defined for the classes {', '.join(CIRCOR_WEIGHTS)}, but "
            f"these are {', '.join(classes)}; set it to expected_uar, uar or null"
        )
