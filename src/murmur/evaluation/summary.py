"""The summary that the stage evaluate prints, and the one that DVC shows."""

from collections.abc import Mapping
from typing import Any

from murmur import formatting, leaks
from murmur.evaluation.levels import CLASS_WITHOUT_SEGMENTS


def select_summary(details: Mapping[str, Any]) -> dict[str, Any]:
    """Select the few figures that `dvc metrics diff` and `dvc exp show` have as columns.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    dict
        validation, with the first headline metric; test, with all of them and the interval of the first;
        leaky. DVC joins the names with a point, such as test.uar.
    """
    headline, validation = details["headline"], details["validation"]
    lead, *others = headline
    interval = {"interval_low": headline[lead]["low"], "interval_high": headline[lead]["high"]}
    test = {lead: headline[lead]["mean"], **interval, **{name: headline[name]["mean"] for name in others}}
    return {
        "validation": {validation["metric"]: validation["mean"]},
        "test": test,
        "leaky": details["protocol"]["leaky"],
    }


def format_summary(details: Mapping[str, Any]) -> str:
    """Format the headline metrics as a table of text, each beside that of the best constant-class baseline.

    Parameters
    ----------
    details : dict
        The content of metrics/details.json.

    Returns
    -------
    str
        If the experiment is leaky, the first line gives the reason. Undefined figures are a dash.
    """
    baseline = details["baseline"]
    lines = [leaks.mark_leak(details)] if leaks.describe_leak(details) else []
    lines += [f"{details['level'] + ' level':28}  mean     SD  95 % interval  always {baseline['answer']}"]
    for name, row in details["headline"].items():
        mean, sd, always = map(formatting.format_figure, (row["mean"], row["sd"], baseline[name]))
        lines.append(f"  {name:26} {mean:>5}  {sd:>5}  {formatting.format_interval(row):>13}  {always:>5}")
    lines += _describe_missing(details)
    if "segmentation" in details:
        lines.append(describe_segmentation(details["segmentation"]))
    lines += [
        f"The 95 % interval resamples {formatting.describe_resampling(details)}. {formatting.INTERVAL_NOTE}",
        formatting.describe_validation(details["validation"], details["validation"]["metric"]),
    ]
    return "\n".join(lines)


def _describe_missing(details: Mapping[str, Any]) -> list[str]:
    """A line for units without a usable segment, and one for each class that is absent from a test part."""
    lines = []
    if missing := {level: n for level, n in details["no_answer"].items() if n}:
        counts = ", ".join(formatting.format_count(n, level) for level, n in missing.items())
        lines.append(f"without a usable segment, {describe_units_without_segments(details)}: {counts}")
    for name, n in details["absent"].items():
        lines.append(
            f"{name} is absent from the test part of {formatting.format_count(n, 'fold')}: metrics that "
            "need it are undefined (-), not 0"
        )
    return lines


def describe_units_without_segments(details: Mapping[str, Any]) -> str:
    """How units without a usable segment are scored.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    """
    has_class = CLASS_WITHOUT_SEGMENTS in details["data"]["classes"]
    return f"predicted as {CLASS_WITHOUT_SEGMENTS}" if has_class else "counted as wrong"


def describe_segmentation(scores: Mapping[str, Any]) -> str:
    """How well the network finds heart sounds and the heart rate.

    Parameters
    ----------
    scores : mapping
        The item segmentation of metrics/details.json.
    """
    figure = formatting.format_figure
    recordings = formatting.format_count(int(scores["n_recordings"]), "recording")
    return (
        f"Heart sounds found in the test parts: F1 {figure(scores['f1'])} of their onsets, within "
        f"{1000 * scores['tolerance']:.0f} ms of the annotated ones (S1 {figure(scores['f1_S1'])}, S2 "
        f"{figure(scores['f1_S2'])}; sensitivity {figure(scores['sensitivity'])}, precision "
        f"{figure(scores['precision'])}). {_describe_heart_rate(scores)} "
        f"{recordings} with {scores['hours']:.2f} h of annotated heart cycles."
    )


def _describe_heart_rate(scores: Mapping[str, Any]) -> str:
    if not scores["heart_rates"]:  # 0, or undefined without an annotated heart rate
        return "No heart rate is compared."
    error, share = scores["heart_rate_error"], scores["heart_rates"]
    return f"Heart rate: median error {error:.1f}/min, determined in {share:.0%} of the recordings."
