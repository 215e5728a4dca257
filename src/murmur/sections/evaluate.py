"""Section `evaluate` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Section, Share, whole


class Evaluate(Section):
    """Section `evaluate`."""

    level: Literal["segment", "recording", "patient"]
    rule: Literal["mean_probability", "mean_logit", "maximum", "any_present"]
    thresholds: Literal["accuracy", "uar", "weighted_accuracy", "weighted_accuracy_official"] | None
    sensitivity: Share
    prevalence: Share
    draws: Annotated[int, whole(0, 100_000)]
