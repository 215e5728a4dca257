"""Two cards in Markdown, of the model and of the data, for whoever meets the figures without the project.

Their headings are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019), and of Gebru et al.,
Datasheets for Datasets (Communications of the ACM 64, 2021). What is said of the experiment in words, here
and in the report, is said here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd

from murmur import formatting, leaks
from murmur.params.yaml_files import as_yaml

FEW = 30  # persons in a class: fewer say little of others
WIDE = 0.1  # of an interval
NOT_FOR_DIAGNOSIS = "Not a medical device; not for diagnosis."
UNDEFINED = "undefined"
WHY_UNDEFINED = (
    "undefined: the units scored lack a class that the figure needs, or an answer; an interval also where "
    "more than one draw in ten does, or nothing was drawn; an SD where there is one run. Never counted as 0."
)
COLLECTION = (
    "One collection of recordings: other places, devices, ages and diseases may give other figures.",
    "Labels are the collection's own: their errors count as the model's.",
)
CALIBRATED = (
    "Lower is better. Calibrated: by one temperature a fold, fitted on its validation part (Guo et al., ICML "
    "2017)."
)
UNCALIBRATED = "Lower is better. Not calibrated: no fold has a validation part to fit a temperature on."
NOT_NAMED = (
    "The data may not be passed on, so that no item is named here: data/left_out/download.parquet and "
    "segment.parquet name each with its reason."
)
NO_SUBGROUPS = "None: the data state no site, source, quality, sex or age group of more than one value."
LABELS = {
    "weighted_accuracy_official": "weighted accuracy, official mix",
    "weighted_accuracy": "weighted accuracy",
    "macc": "modified accuracy (MAcc)",
    "uar": "unweighted average recall (UAR)",
    "f1_macro": "F1, macro",
    "roc_auc": "ROC-AUC",
    "pr_auc": "average precision",
    "brier": "Brier score",
    "brier_calibrated": "Brier score, calibrated",
    "ece": "calibration error (ECE)",
    "ece_calibrated": "ECE, calibrated",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "shared_audio": "shared pieces of audio",
    "shared_near": "shared near-duplicates",
}
RULES = {
    "mean_probability": "the mean probability of its parts",
    "mean_logit": "the mean log-probability of its parts",
    "maximum": "the greatest probability of its parts for each class",
    "any_present": "what any of its recordings is: positive classes first, then the others in order",
}
METHODS = {
    "kfold": "{folds}-fold cross-validation, repeated {runs} times",
    "holdout": "{runs} times one test part, drawn anew",
    "role": "the data set's own training and test part, trained on {runs} times",
    "file": "a published split from a file, {runs} runs, {all_folds} folds in all",
}
ONE_RUN = {
    "kfold": "{folds}-fold cross-validation, once",
    "holdout": "one test part, drawn once",
    "role": "the data set's own training and test part, trained on once",
    "file": "a published split from a file, one run, folds: {all_folds}",
}
SELECTIONS = {"loss": "the least loss", "uar": "the greatest UAR", "accuracy": "the greatest accuracy"}


class Table(NamedTuple):
    """Cells as they are to be read; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def note(self) -> str:
        """Why a cell is undefined, if one is."""
        there = any(UNDEFINED in cell for row in self.rows for cell in row)
        return WHY_UNDEFINED if there else ""

    @property
    def words(self) -> list[bool]:
        """Which columns are of words, not of numbers."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        return [any(cell[:1].isalpha() and UNDEFINED not in cell for cell in column) for column in columns]


def label(name: str) -> str:
    """A figure's name in words."""
    return LABELS.get(name, name.removeprefix("n_").replace("_", " "))


def figure(value: Any) -> str:
    """A number with three digits after the point, a count as it is; `undefined` where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def interval(row: Mapping[str, Any]) -> str:
    """`low` to `high` of a row of figures."""
    low, high = figure(row["low"]), figure(row["high"])
    return UNDEFINED if UNDEFINED in (low, high) else f"{low}-{high}"


def headline(details: Mapping[str, Any]) -> str:
    """The leading figure in a sentence, beside that of the constant answer."""
    name, row = next(iter(details["headline"].items()))
    always = details["baseline"]
    return (
        f"{_capital(label(name))} by {details['level']}: {figure(row['mean'])} (95 % interval over "
        f"{over(details)} {interval(row)}); always answering {always['answer']} gives {figure(always[name])}."
    )


def over(details: Mapping[str, Any]) -> str:
    """What an interval is over: persons, or groups of them."""
    counts = details["resampled"]
    return "persons" if counts["groups"] == counts["persons"] else f"{counts['groups']} groups of persons"


def protocol(details: Mapping[str, Any]) -> list[str]:
    """How was split, selected, stopped and scored, in sentences."""
    return [
        _method(details),
        f"Who is a person: {details['protocol']['person']}",
        f"{_selection(details)} {_scored(details)}",
        _rule(details),
        "Means and SD are over runs; the 95 % interval resamples "
        f"{formatting.describe_resampling(details)} (bootstrap).",
    ]


def _method(details: Mapping[str, Any]) -> str:
    split = details["protocol"]
    known = ONE_RUN if split["runs"] == 1 else METHODS
    text = _capital(known[split["method"]].format(**split, all_folds=details["parts"]["folds"]))
    if split["method"] in ("kfold", "holdout"):
        text += f", dealt by {split['group_by']}{_merging(split)}"
    return f"{text}."


def _merging(split: Mapping[str, Any]) -> str:
    if split["group_by"] == "segment":
        return ""
    return (
        f", {'with' if split['merge_near_duplicates'] else 'without'} merging who shares near-identical audio"
    )


def _selection(details: Mapping[str, Any]) -> str:
    """Which part of a fold selects the epoch, and whether it stops the training."""
    split, parts = details["protocol"], details["parts"]
    drawn = f"drawn from the training part by {split['group_by']}{_merging(split)}"
    own = {
        "role": f"a validation part, {drawn},",
        "file": f"a validation part, the split's own or else {drawn},",
    }
    if split["validate_on"] == "test":
        own["file"] = "the split's own validation part"
    where = own.get(split["method"], "a validation part of its own")
    if without := parts["without_validation"]:
        where = "the test part"
    if 0 < without < parts["folds"]:
        where = f"the test part ({without} of {parts['folds']} folds) or the split's own validation part"
    rules = split["stops"].replace("_", " ").replace(" True", "")
    stops = f", and stops the training ({rules})" if rules != "none" else "; no rule stops the training early"
    return f"In each fold {where} selects the epoch, by {SELECTIONS[split['select_on']]}{stops}."


def _scored(details: Mapping[str, Any]) -> str:
    """How many units of how many are scored, in how many runs."""
    scored, level, runs = details["scored"], details["level"], details["protocol"]["runs"]
    least, most = scored["least_runs"], scored["most_runs"]
    times = f"{least}" if least == most else f"{least} to {most}"
    in_runs = "each in every run" if least == runs else f"each in {times} of {runs} runs"
    text = (
        f"{scored['units']} of {scored['of']} {level}s are scored, {in_runs}, by a model for which it is test"
    )
    if scored["in_parts"]:
        text += f"; a {level} that several test parts share is scored in each, by its part there"
    return f"{text}."


def _rule(details: Mapping[str, Any]) -> str:
    rule, threshold = details["rule"], "the likeliest class answers"
    if rule["thresholds"]:
        threshold = f"class weights fitted for {label(rule['thresholds'])} on each validation part decide"
    pooled = f"A recording or patient has {RULES[rule['rule']]}"
    if details["scored"]["lowest_level"] == "patient":
        pooled = "The model answers for a patient as a whole"
    return f"{pooled}; {threshold}. A unit without a usable segment {_silent(details)}."


def _silent(details: Mapping[str, Any]) -> str:
    known = "Unknown" in details["data"]["classes"]
    return "is answered Unknown" if known else "has no answer, which counts as wrong"


def audit_in_words(details: Mapping[str, Any]) -> str:
    """What test parts share with the training, at most, and what else makes the protocol leaky."""
    found = leaks.list_shared(details["protocol"])
    nothing = "nothing that is known" if details["data"]["unknown_persons"] else "nothing"
    said = f"the worst fold shares {', '.join(found)}" if found else f"{nothing} is shared, in any fold"
    flaws = "".join(f" Flaw: {flaw}." for flaw in leaks.list_flaws(details))
    return f"Between a test part and the training {said}.{flaws}"


def limits(details: Mapping[str, Any]) -> list[str]:
    """What these figures do not show, in sentences: the general first, then what this experiment gives."""
    return [
        NOT_FOR_DIAGNOSIS,
        *COLLECTION,
        *_limits_of_protocol(details),
        *_limits_of_data(details["data"]),
    ]


def _limits_of_protocol(details: Mapping[str, Any]) -> Iterable[str]:
    name, row = next(iter(details["headline"].items()))
    if details["protocol"]["leaky"]:
        yield f"The protocol is leaky, the figures may be too optimistic. {audit_in_words(details)}"
    if interval(row) == UNDEFINED:
        yield f"{_capital(label(name))} has no interval: how far it may be off is unknown."
    elif row["high"] - row["low"] > WIDE:
        yield f"Wide interval: {label(name)} may lie anywhere in {interval(row)}."
    if details["protocol"]["runs"] == 1:
        yield "One run: how much the luck of the split matters is unknown."
    elif details["parts"]["test_parts"] < details["parts"]["folds"]:
        yield "Runs share their test parts: the SD over runs tells of seeds, not of other persons tested."
    if n := details["scored"]["of"] - details["scored"]["units"]:
        of, level = details["scored"]["of"], details["level"]
        yield f"{n} of {of} {level}s are in no test part: the figures say nothing of them."
    for level, n in details["no_answer"].items():
        if n:
            yield f"{n} {level}s have no usable segment; such a unit {_silent(details)}."
    for name, n in details.get("absent", {}).items():
        yield f"Class {name} is absent from the test part of {n} folds: what needs it is undefined there."


def _limits_of_data(data: Mapping[str, Any]) -> Iterable[str]:
    if data["dataset"] == "synthetic":
        yield "The data are simulated: the figures show that the pipeline works and mean nothing clinically."
    if n := data["unknown_persons"]:
        yield (
            f"{_capital(leaks.describe_unknown_persons(n, data['recordings']))}. The interval takes each of "
            "these for "
            "a person of its own: it may be too narrow."
        )
    at_most = "at most " * bool(data["unknown_persons"])
    for name, n in data["counts"].items():
        if n["persons"] < FEW:
            yield f"Few: class {name} has {at_most}{n['persons']} persons; its figures say little of others."
    yield from _limits_of_rates(data["sample_rates"])
    for key, what in (("sites", "auscultation site"), ("source", "source")):
        if len(_stated(data[key])) == 1:
            yield f"One {what} only, {_stated(data[key])[0]}: nothing is known of any other."
    for key, what in (("sites", "auscultation sites"), ("sex", "sex"), ("age_group", "age groups")):
        if not _stated(data[key]):
            yield f"Not stated: {what}; whether the figures hold alike for all is unknown."


def _limits_of_rates(rates: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    for rate, row in rates.items():
        found = [name for name, n in row.items() if n]
        if len(found) == 1 and len(rates) > 1 and len(row) > 1:
            yield (
                f"Only class {found[0]} was recorded at {rate} Hz ({row[found[0]]} recordings): a model may "
                "learn the device, not the sound."
            )


def _stated(values: Mapping[str, int]) -> list[str]:
    return [name for name in values if name != "not stated"]


def results(details: Mapping[str, Any]) -> Table:
    """The headline figures beside those of the constant answer."""
    always = details["baseline"]
    rows = [
        (label(name), figure(row["mean"]), figure(row["sd"]), interval(row), figure(always[name]))
        for name, row in details["headline"].items()
    ]
    return Table(("figure", "mean", "SD over runs", "95 % interval", f"always {always['answer']}"), rows)


def counts(details: Mapping[str, Any]) -> Table:
    """Recordings, patients and persons of each class."""
    units = ("recordings", "patients", "persons")
    by_class, unknown = details["data"]["counts"].items(), details["data"]["unknown_persons"]
    header = ("class", *units[:2], "persons, at most" if unknown else "persons")
    return Table(header, [(c, *(figure(n[unit]) for unit in units)) for c, n in by_class])


def operating_points(points: pd.DataFrame) -> Table:
    """A row per figure of metrics/operating_points.csv."""
    rows = [
        (row["chosen_on"], label(row["figure"]), figure(row["mean"]), figure(row["sd"]), interval(row))
        for row in points.to_dict("records")
    ]
    return Table(("chosen on", "figure", "mean", "SD over runs", "95 % interval"), rows)


def operating_rule(details: Mapping[str, Any]) -> str:
    """What the operating points are required to reach, and how they are chosen."""
    rule = details["rule"]
    chosen = (
        f"each validation part gives the threshold, and its test part is scored. {formatting.INTERVAL_NOTE}"
    )
    if details["parts"]["without_validation"]:
        chosen = "undefined, since there are folds without a validation part to choose on."
    return (
        f"Required sensitivity {figure(rule['sensitivity'])}; predictive values at a prevalence of "
        f"{figure(rule['prevalence'])}. Chosen on validation: {chosen} Chosen on the curve: read off the "
        "test curve, as nobody could beforehand, so without an interval."
    )


def calibration_rule(details: Mapping[str, Any]) -> str:
    """How the probabilities are calibrated, and in which folds."""
    without, folds = (details["parts"][name] for name in ("without_validation", "folds"))
    if without == folds:
        return UNCALIBRATED
    if not without:
        return CALIBRATED
    return (
        f"{CALIBRATED} {without} of {folds} folds have no validation part: their units are left out of the "
        "calibrated figures."
    )


def calibration(runs: pd.DataFrame, level: str) -> Table:
    """Brier score and ECE before and after calibration, over the runs at a level; lower is better."""
    at_level = runs[runs["level"] == level]
    names = [n for n in ("brier", "brier_calibrated", "ece", "ece_calibrated") if n in runs]
    moments = {n: (at_level[n].mean(skipna=False), at_level[n].std(skipna=False)) for n in names}
    rows = [(label(n), figure(mean), figure(sd)) for n, (mean, sd) in moments.items()]
    return Table(("figure", "mean", "SD over runs"), rows)


def subgroups(table: pd.DataFrame) -> dict[str, Table]:
    """For each group of metrics/subgroups.csv a row per value, a column per figure, with its interval."""
    found = {}
    for (group, level), part in table.groupby(["group", "level"], sort=False):
        cells = part.assign(cell=[_with_interval(row) for row in part.to_dict("records")])
        wide = cells.pivot(index=["value", "n_units", "n_persons"], columns="metric", values="cell")
        names = list(dict.fromkeys(part["metric"]))
        rows = [tuple(map(figure, (*key, *wide.loc[key, names]))) for key in wide.index]
        header = (label(group), f"{level}s", "persons", *map(label, names))
        found[f"By {label(group)}, {level} level"] = Table(header, rows)
    return found


def _with_interval(row: Mapping[str, Any]) -> str:
    mean, between = figure(row["mean"]), interval(row)
    if UNDEFINED in (mean, between):
        return mean if mean == UNDEFINED else f"{mean} (interval {UNDEFINED})"
    return f"{mean} ({between})"


def left_out(table: pd.DataFrame) -> Table:
    """How many items each rule of metrics/left_out.csv left out."""
    tally = (
        table if "n_items" in table else table.groupby(["stage", "reason"]).size().reset_index(name="n_items")
    )
    rows = [tuple(map(figure, row)) for row in tally[["stage", "reason", "n_items"]].itertuples(index=False)]
    return Table(("stage", "reason", "items"), rows)


def sample_rates(details: Mapping[str, Any]) -> Table:
    """Recordings of each class at each rate at which they were recorded."""
    classes = details["data"]["classes"]
    rows = details["data"]["sample_rates"].items()
    return Table(
        ("recorded at, Hz", *classes),
        [(rate, *(figure(row.get(c, 0)) for c in classes)) for rate, row in rows],
    )


def model_card(
    details: Mapping[str, Any],
    params: SimpleNamespace,
    subgroup_table: pd.DataFrame,
    points: pd.DataFrame,
    runs: pd.DataFrame,
) -> str:
    """The model card as Markdown; figures that are undefined say so.

    Parameters
    ----------
    details: as in metrics/details.json.
    params: with the sections clean, segment, mel, split and train of `murmur.params`.
    subgroup_table, points, runs: as in metrics/subgroups.csv, operating_points.csv, runs.csv.
    """
    by_group = [f"{name}:\n\n{_markdown(table)}" for name, table in subgroups(subgroup_table).items()]
    calibrated = _markdown(calibration(runs, details["level"]))
    mark = f"**{leak}**\n\n" if (leak := leaks.mark_leak(details)) else ""
    parts = {
        "Model details": f"{_markdown(_made_of(details, params))}\n\n{_parameters(params)}",
        "Intended use": f"To compare methods of heart-murmur classification. {NOT_FOR_DIAGNOSIS}",
        "Training and evaluation data": f"{_markdown(counts(details))}\n\n{licence(details)}",
        "Protocol": _list([*protocol(details), audit_in_words(details)]),
        "Results": "\n\n".join(
            [f"{mark}{headline(details)}", _markdown(results(details)), formatting.INTERVAL_NOTE]
        ),
        "Operating points": f"{mark}{operating_rule(details)}\n\n{_markdown(operating_points(points))}",
        "Calibration": f"{mark}{calibration_rule(details)}\n\n{calibrated}",
        "Factors: subgroups": mark + "\n\n".join(by_group) + f"\n\n{formatting.INTERVAL_NOTE}"
        if by_group
        else NO_SUBGROUPS,
        "Limits": _list(limits(details)),
    }
    return _card(f"Model card: {params.train.model.name} on {details['data']['dataset']}", parts)


def data_card(details: Mapping[str, Any], audit: pd.DataFrame, left_out_table: pd.DataFrame) -> str:
    """The data card as Markdown.

    Parameters
    ----------
    details: as in metrics/details.json.
    audit, left_out_table: as in metrics/audit.csv, left_out.csv (see `evaluate.unnamed`).
    """
    data = details["data"]
    sizes = [audit[f"n_{part}"] for part in ("train", "validation", "test")]
    spread = ", ".join("-".join(dict.fromkeys((f"{column.min()}", f"{column.max()}"))) for column in sizes)
    parts = {
        "Motivation": f"Task {data['task']} of {data['dataset']}. Who made it, and why: see its publication.",
        "Composition": "\n\n".join(
            [
                amount(details) + ".",
                *map(_markdown, (counts(details), *_tallies(data), sample_rates(details))),
            ]
        ),
        "Who is a person": details["protocol"]["person"],
        "Left out": _left_out(left_out_table),
        "Split": f"{len(audit)} folds; recordings in training, validation and test part: {spread}. "
        + audit_in_words(details),
        "Uses": f"Research on classification. {NOT_FOR_DIAGNOSIS}",
        "Distribution": licence(details),
        "Version": f"sha256 of names, samples and labels: `{data['sha256']}` (first 16 digits).",
        "Limits": _list([*COLLECTION, *_limits_of_data(data)]),
    }
    return _card(f"Data card: {data['dataset']}, {data['task']}", parts)


def _left_out(table: pd.DataFrame) -> str:
    if table.empty:
        return "Nothing."
    return _markdown(left_out(table)) + (f"\n\n{NOT_NAMED}" if "n_items" in table else "")


def amount(details: Mapping[str, Any]) -> str:
    """How much was recorded, and of how many."""
    data = details["data"]
    return (
        f"{data['recordings']} recordings ({figure(data['hours'])} h, {data['segments']} segments) of "
        f"{data['patients']} patients, {'at most ' * bool(data['unknown_persons'])}{data['persons']} persons"
    )


def licence(details: Mapping[str, Any]) -> str:
    """Under what the recordings stand, and whether they may be passed on."""
    data = details["data"]
    may = "may be passed on" if data["shareable"] else "may NOT be passed on, nor what is made from them"
    return f"Licence: {data['licence'].rstrip('.')}. The recordings {may}."


def _made_of(details: Mapping[str, Any], params: SimpleNamespace) -> Table:
    data, model = details["data"], params.train.model
    rows = [
        ("network", f"{model.name}: {_options(model.options) or 'no options'}"),
        ("trained on", f"{data['dataset']}, task {data['task']}: {amount(details)}"),
        ("answers", f"{', '.join(data['classes'])}; positive: {', '.join(data['positive'])}"),
        ("device, precision", f"{details['device']}, {details['precision']}"),
        ("versions", _options(details["versions"])),
    ]
    return Table(("what", "which"), rows)


def _parameters(params: SimpleNamespace) -> str:
    names = ("clean", "segment", "mel", "split", "train")
    values = {name: getattr(params, name).model_dump(mode="json") for name in names}
    return f"```yaml\n{as_yaml(values)}```"


def _tallies(data: Mapping[str, Any]) -> list[Table]:
    """How often each stated value occurs."""
    units = {"sites": "recordings", "source": "recordings", "sex": "patients", "age_group": "patients"}
    stated = {name: unit for name, unit in units.items() if data[name]}
    return [
        Table((label(name), unit), [(value, figure(n)) for value, n in data[name].items()])
        for name, unit in stated.items()
    ]


def _card(title: str, parts: Mapping[str, str]) -> str:
    texts = {
        name: text if "```" in text else formatting.escape_markdown(text) for name, text in parts.items()
    }
    sections = (f"## {name}\n\n{text}" for name, text in texts.items())
    return "\n\n".join([f"# {formatting.escape_markdown(title)}", *sections]) + "\n"


def _markdown(table: Table) -> str:
    text = formatting.format_markdown([table.header, *table.rows])
    return f"{text}\n\n{table.note}" if table.note else text


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _options(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
