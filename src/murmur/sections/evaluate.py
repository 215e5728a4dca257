"""Section `evaluate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

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
