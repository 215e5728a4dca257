"""Section `evaluate` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Fraction, Section, whole_number


class Evaluate(Section):
    """Section `evaluate`."""

    level: Literal["segment", "recording", "patient"]
    rule: Literal["mean_probability", "mean_logit", "maximum", "any_present", "regression"]
    thresholds: Literal["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"] | None
    sensitivity: Fraction
    prevalence: Fraction
    draws: Annotated[int, whole_number(0, 100_000)]
