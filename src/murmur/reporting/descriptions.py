"""Sentences that describe an experiment: the data, the protocol, the audit, thresholds and calibration.

The functions take `details`, the content of metrics/details.json.
"""

from collections.abc import Mapping
from typing import Any

from murmur import formatting, leaks
from murmur.evaluation.summary import describe_units_without_segments
from murmur.reporting.result_tables import format_cell, format_interval, name_column

NOT_FOR_DIAGNOSIS = "Not a medical device; not for diagnosis."
CALIBRATED = (
    "Lower is better. Calibration: one temperature for each fold, fitted on its validation part (Guo et al., "
    "ICML 2017)."
)
UNCALIBRATED = "Lower is better. Not calibrated: no fold has a validation part on which to fit a temperature."
ITEMS_NOT_NAMED = (
    "The data must not be shared, so no item is named here: data/left_out/download.parquet and "
    "segment.parquet list the items with their reasons."
)
SEGMENTATION_METHOD = (
    "F1, sensitivity and precision count the onsets of all recordings together, within annotated parts "
    "only; at most one found onset counts for each annotated one. f1 recordings is the mean over recordings. "
    "Heart rate: 60 / median time from one S1 to the next, in the same parts; heart rate error is the "
    "median of the absolute errors, and heart rates the share of recordings with a determined heart rate."
)
NO_SUBGROUPS = "None: the data have no site, source, quality, sex or age group with more than one value."
AGGREGATIONS = {
    "mean_probability": "the mean of the class probabilities of its parts",
    "mean_logit": "the mean of the log-probabilities of its parts",
    "maximum": "for each class the maximum of the probabilities of its parts",
    "any_present": "the first class that any of its recordings has: positive classes first, then the others",
}
REGRESSION = (
    "A recording has the mean of the class probabilities of its segments. A patient has the probabilities of "
    "a multinomial logistic regression on figures of the recordings, fitted in each fold to the predictions "
    "for the patients of its validation part (coefficients: metrics/regression.csv). Temperature, threshold "
    "and class weights are fitted to the same patients, each predicted by a regression that was fitted "
    "without that person"
)
METHODS = {
    "kfold": "{folds}-fold cross-validation, repeated {runs} times",
    "holdout": "{runs} times one test part, drawn again each time",
    "role": "the training and test part of the data set, {runs} trainings",
    "file": "a published split from a file, {runs} runs, {all_folds} folds in all",
}
METHODS_OF_ONE_RUN = {
    "kfold": "{folds}-fold cross-validation, once",
    "holdout": "one test part, drawn once",
    "role": "the training and test part of the data set, one training",
    "file": "a published split from a file, one run of {counted_folds}",
}
SELECTION_METRICS = {"loss": "the lowest loss", "uar": "the highest UAR", "accuracy": "the highest accuracy"}


def describe_headline(details: Mapping[str, Any]) -> str:
    """The first headline metric with its interval, and that of the constant-class baseline."""
    name, row = next(iter(details["headline"].items()))
    constant = details["baseline"]
    return (
        f"{capitalise(name_column(name))}, by {details['level']}: {format_cell(row['mean'])} (95 % interval "
        f"over {name_resampled_units(details)} {format_interval(row)}); always predicting "
        f"{constant['answer']} gives {format_cell(constant[name])}."
    )


def describe_validation(validation: Mapping[str, Any]) -> str:
    """The score of the validation parts; see `formatting.describe_validation`."""
    return formatting.describe_validation(validation, name_column(validation["metric"]))


def name_resampled_units(details: Mapping[str, Any]) -> str:
    """The units that the bootstrap resamples: persons, or groups of persons."""
    counts = details["resampled"]
    return "persons" if counts["groups"] == counts["persons"] else f"{counts['groups']} groups of persons"


def write_protocol(details: Mapping[str, Any]) -> list[str]:
    """How the data were split, how the epoch was selected, and how the test parts were scored.

    Returns
    -------
    list of str
        Sentences, grouped by subject.
    """
    return [
        describe_split(details),
        f"Definition of a person: {details['protocol']['person']}",
        f"{_describe_selection(details)} {_describe_scored_units(details)}",
        _describe_rule(details),
        _describe_statistics(details),
    ]


def _describe_statistics(details: Mapping[str, Any]) -> str:
    """What the means, the SD and the interval are over."""
    one_run = details["protocol"]["runs"] == 1
    figures = "The figures are those of one run" if one_run else "Means and SD are over runs"
    return f"{figures}; the 95 % interval resamples {formatting.describe_resampling(details)} (bootstrap)."


def describe_split(details: Mapping[str, Any]) -> str:
    """The folds and runs, and what is kept together in a split."""
    protocol = details["protocol"]
    methods = METHODS_OF_ONE_RUN if protocol["runs"] == 1 else METHODS
    n = details["parts"]["folds"]
    counted = formatting.format_count(n, "fold")
    text = methods[protocol["method"]].format(**protocol, all_folds=n, counted_folds=counted)
    if protocol["method"] in ("kfold", "holdout"):
        text += f", split by {protocol['group_by']}{_describe_merging(protocol)}"
    return f"{capitalise(text)}."


def _describe_merging(protocol: Mapping[str, Any]) -> str:
    if protocol["group_by"] == "segment":
        return ""
    merging = "with" if protocol["merge_near_duplicates"] else "without"
    return f", {merging} merging of persons who share near-identical audio"


def _describe_selection(details: Mapping[str, Any]) -> str:
    """Which part of a fold selects the epoch, by what, and whether it stops the training."""
    protocol, part = details["protocol"], _name_selecting_part(details)
    stop_rules = protocol["stops"].replace("_", " ").replace(" True", "")
    early_stop = f"and stops the training ({stop_rules})"
    stops = "; no rule stops the training early" if stop_rules == "none" else f", {early_stop}"
    metric = SELECTION_METRICS[protocol["select_on"]] if protocol["select_on"] != "last" else ""
    if not metric:
        stops = stops if stop_rules == "none" else f"; {part} {early_stop.removeprefix('and ')}"
        selection = f"No epoch is selected: the weights are those of the last epoch{stops}."
    elif protocol.get("inner"):
        selection = f"{capitalise(part)} selects the epoch, by {metric}{stops}."
    else:
        selection = f"In each fold {part} selects the epoch, by {metric}{stops}."
    sentences = [_describe_inner_folds(protocol)] if protocol.get("inner") else []
    if n := protocol.get("refit"):
        networks = "1 network is" if n == 1 else f"{n} networks are"
        mean = "It" if n == 1 else "Their mean"
        selection += f" For the test part {networks} trained on the whole training part. {mean} predicts it."
    return " ".join([*sentences, selection])


def _describe_inner_folds(protocol: Mapping[str, Any]) -> str:
    """How the training parts are divided into inner folds, and what their networks predict."""
    n = protocol["inner"]
    return (
        f"The training part of each fold is divided by {protocol['group_by']} into {n} inner folds"
        f"{_describe_merging(protocol)}, and {n} networks are trained, each without one inner fold, which it "
        "predicts. These predictions of the whole training part are the validation part of the fold."
        + ("" if protocol.get("refit") else f" The mean of the {n} networks predicts the test part.")
    )


def _name_selecting_part(details: Mapping[str, Any]) -> str:
    protocol, parts = details["protocol"], details["parts"]
    if protocol.get("inner"):
        return "the inner fold that a network is not trained on"
    without_validation, method = parts["without_validation"], protocol["method"]
    if 0 < without_validation < parts["folds"]:
        folds = f"{without_validation} of {parts['folds']} folds"
        return f"the test part ({folds}) or the validation part of the published split"
    if without_validation:
        return "the test part"
    drawn = f"drawn from the training part by {protocol['group_by']}{_describe_merging(protocol)}"
    if method == "role":
        return f"a validation part, {drawn},"
    if method == "file" and protocol["validate_on"] == "test":
        return "the validation part of the published split"
    if method == "file":
        return f"a validation part, that of the published split or else {drawn},"
    return "a separate validation part"


def _describe_scored_units(details: Mapping[str, Any]) -> str:
    """How many units are scored, out of how many, and in how many runs."""
    scored, level, runs = details["scored"], details["level"], details["protocol"]["runs"]
    least, most = scored["least_runs"], scored["most_runs"]
    times = f"{least}" if least == most else f"{least} to {most}"
    in_runs = "each in every run" if least == runs else f"each in {times} of {runs} runs"
    text = (
        f"{scored['units']} of {scored['of']} {level}s are scored, {in_runs}, {_name_scoring_models(details)}"
    )
    if scored["in_parts"]:
        text += f"; a {level} that several test parts share is scored in each of them, on the parts in it"
    return f"{text}."


def _name_scoring_models(details: Mapping[str, Any]) -> str:
    """Which model scores a unit; units without a usable segment are scored without one."""
    protocol = details["protocol"]
    models = "networks" if (protocol.get("refit") or protocol.get("inner") or 1) > 1 else "model"
    scored, by_model = details["scored"], f"by the {models} of the fold in which they were tested"
    empty, how = details["no_answer"].get(details["level"], 0), describe_units_without_segments(details)
    if not empty:
        return by_model
    if scored["units"] < scored["of"]:  # how many of the empty units are tested is not known
        return f"{by_model}, or, without a usable segment ({empty} of {scored['of']}), {how}"
    return f"{scored['units'] - empty} {by_model}; {empty} by no model, for lack of a usable segment ({how})"


def _describe_rule(details: Mapping[str, Any]) -> str:
    """How predictions of parts are aggregated, and which class is predicted."""
    rule, decision = details["rule"], "the most probable class is predicted"
    if thresholds := rule["thresholds"]:
        metric = name_column(thresholds.removeprefix("expected_"))
        if share := rule.get("uar_share"):
            metric += f" (share {1 - share:g}) and UAR (share {share:g})"
        decision = f"class weights fitted for {metric} on each validation part decide the class"
        if thresholds.startswith("expected_"):
            decision = (
                f"the class with the highest product of calibrated probability and value in {metric} is "
                "predicted; the value depends on the number of units of the class in each validation part"
            )
    aggregation = f"A recording or patient has {AGGREGATIONS.get(rule['rule'], '')}"
    if rule["rule"] == "regression":
        aggregation = REGRESSION
    if details["scored"]["lowest_level"] == "patient":
        aggregation = "The model predicts the class of a patient as a whole"
    return f"{aggregation}; {decision}. A unit without a usable segment {describe_empty_unit(details)}."


def describe_empty_unit(details: Mapping[str, Any]) -> str:
    """What is predicted for a unit without a usable segment."""
    has_unknown = "Unknown" in details["data"]["classes"]
    return "is predicted as Unknown" if has_unknown else "has no predicted class, which counts as wrong"


def describe_audit(details: Mapping[str, Any]) -> str:
    """What test parts share with training parts in the worst fold, and the flaws of the protocol."""
    shared = leaks.list_shared(details["protocol"])
    person = "a known person" if details["data"]["unknown_persons"] else "a person"
    finding = f"In no fold do the test part and the training parts share {person}, a recording or audio."
    if shared:
        finding = f"In the worst fold the test part and the training parts share {', '.join(shared)}."
    flaws = [*leaks.describe_inner_leak(details["protocol"]), *leaks.list_flaws(details)]
    return finding + "".join(f" Flaw: {flaw}." for flaw in flaws)


def describe_operating_points(details: Mapping[str, Any]) -> str:
    """The required sensitivity, the prevalence, and how the thresholds are chosen."""
    rule = details["rule"]
    on_validation = (
        "each validation part gives the threshold for its test part, which is scored. "
        f"{formatting.INTERVAL_NOTE}"
    )
    if details["parts"]["without_validation"]:
        on_validation = "undefined, since there are folds without a validation part to choose it on."
    return (
        f"Required sensitivity {format_cell(rule['sensitivity'])}; predictive values at a prevalence of "
        f"{format_cell(rule['prevalence'])}. Threshold chosen on validation: {on_validation} Threshold "
        "chosen on the curve: read from the ROC curve of the test part, which is not possible in "
        "practice, so it has no interval (-)."
    )


def describe_calibration(details: Mapping[str, Any]) -> str:
    """How the probabilities are calibrated, and in which folds."""
    without_validation, folds = (details["parts"][name] for name in ("without_validation", "folds"))
    if without_validation == folds:
        return UNCALIBRATED
    if not without_validation:
        return CALIBRATED
    return (
        f"{CALIBRATED} {without_validation} of {folds} folds have no validation part: their units are left "
        "out of the calibrated figures."
    )


def describe_size(details: Mapping[str, Any]) -> str:
    """The number of recordings, hours, segments, patients and persons."""
    data = details["data"]
    persons = formatting.format_persons(data["persons"], data["unknown_persons"])
    return (
        f"{data['recordings']} recordings ({format_cell(data['hours'])} h, {data['segments']} segments) of "
        f"{data['patients']} patients, {persons}"
    )


def describe_licence(details: Mapping[str, Any]) -> str:
    """The licence of the recordings, and whether they may be shared."""
    data = details["data"]
    sharing = "may be shared" if data["shareable"] else "must NOT be shared, nor what is made from them"
    return f"Licence: {data['licence'].rstrip('.')}. The recordings {sharing}."


def capitalise(text: str) -> str:
    """Change the first letter to upper case and leave the others."""
    return text[:1].upper() + text[1:]
