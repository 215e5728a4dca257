"""What a run can state for the items of reporting guidelines, in Markdown: metrics/reporting.md."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd

from murmur import leaks
from murmur.evaluation.summary import describe_units_without_segments
from murmur.formatting import format_count
from murmur.reporting import cards, descriptions, result_tables
from murmur.reporting import guideline_items as items
from murmur.reporting.guideline_items import GUIDELINES, Item
from murmur.reporting.limits import COLLECTION, describe_limits
from murmur.reporting.result_tables import Table
from murmur.tables.left_out import shorten_reason

AUTHOR = "to be completed by the author"
INTRODUCTION = """\
What this run can state for the items of two reporting guidelines, and what the author of a paper must add.
Each section names the items for which it has content; the two tables at the end list all items. This is a
help, not an official checklist: complete that of the guideline as well.

- TRIPOD+AI: Collins et al., BMJ 385:e078378, 2024, https://doi.org/10.1136/bmj-2023-078378
- STARD-AI: Sounderajah et al., Nature Medicine 31, 3283-3289, 2025, https://doi.org/10.1038/s41591-025-03953-8"""


def format_reporting_items(
    details: Mapping[str, Any],
    params: SimpleNamespace,
    tables: Mapping[str, pd.DataFrame],
) -> str:
    """Write what the run can state for each item of TRIPOD+AI and STARD-AI, and what the author must add.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    params : namespace
        The sections clean, segment, mel and train of params.yaml.
    tables : mapping of str to DataFrame
        audit, left_out, subgroups, operating_points, runs: as in metrics/. confusion: as in plots/.

    Returns
    -------
    str
        Markdown.
    """
    scores = (tables[name] for name in ("subgroups", "operating_points", "runs"))
    sections = {
        items.DATA: _describe_data(details),
        items.PARTICIPANTS: _describe_participants(details, tables["left_out"]),
        items.OUTCOME: _describe_outcome(details["data"]),
        items.PREDICTORS: _describe_predictors(details, params),
        items.MISSING: cards.to_list(_list_missing(details)),
        items.PROTOCOL: cards.to_list(
            [*descriptions.write_protocol(details), cards.describe_parts(tables["audit"])]
        ),
        items.AUDIT: _describe_audit(details),
        items.MODEL: (
            f"{cards.to_markdown(cards.tabulate_model(details, params))}\n\n"
            f"{cards.format_parameters(params, ['train'])}"
        ),
        **cards.format_results(details, *scores),
        items.CROSS_TABULATION: _describe_predictions(details, tables["confusion"]),
        items.LIMITS: cards.to_list(describe_limits(details)),
        items.CODE: _describe_code(details, params),
    }
    numbered = {f"{name}{_list_items(name)}": text for name, text in sections.items()}
    checklists = {f"Items of {name}": _tabulate_items(rows) for name, rows in GUIDELINES.items()}
    title = f"Reporting items: {params.train.model.name} on {details['data']['dataset']}"
    return cards.join_sections(title, {"About this page": INTRODUCTION} | numbered | checklists)


def _list_items(section: str) -> str:
    """The items for which a section has content, such as ``(TRIPOD+AI 11; STARD-AI 19, 20)``."""
    numbers = {
        name: ", ".join(item.number for item in rows if section in item.sections)
        for name, rows in GUIDELINES.items()
    }
    return f" ({'; '.join(f'{name} {listed}' for name, listed in numbers.items() if listed)})"


def _tabulate_items(rows: Iterable[Item]) -> str:
    return cards.to_markdown(
        Table(("item", "topic", "content"), [(item.number, item.topic, _refer(item)) for item in rows])
    )


def _refer(item: Item) -> str:
    """Where the content of an item is, and what the author must add."""
    content = [f"see {', '.join(item.sections)}"] if item.sections else []
    return "; ".join([*content, *([f"{AUTHOR}: {item.author}"] if item.author else [])])


def _describe_data(details: Mapping[str, Any]) -> str:
    return cards.to_list(
        [
            cards.describe_origin(details["data"]),
            f"{descriptions.describe_size(details)}.",
            descriptions.describe_licence(details),
            cards.describe_version(details["data"]),
        ]
    )


def _describe_participants(details: Mapping[str, Any], left_out: pd.DataFrame) -> str:
    tables = (
        Table(("step", "number"), list(_list_steps(details, left_out))),
        result_tables.tabulate_classes(details),
        *result_tables.tabulate_attributes(details),
    )
    return "\n\n".join(map(cards.to_markdown, tables))


def _list_steps(details: Mapping[str, Any], left_out: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """The flow from the files that were found to the scored units, with what each step leaves out."""
    data, scored, level = details["data"], details["scored"], details["level"]
    removed = {stage: _count_reasons(left_out, stage) for stage in ("download", "segment")}
    yield "recordings found", str(data["recordings"] + sum(removed["download"].values()))
    for reason, n in removed["download"].items():
        yield f"recordings left out: {reason}", str(n)
    yield "recordings used", str(data["recordings"])
    for reason, n in removed["segment"].items():
        yield f"pieces of recordings left out: {reason}", str(n)
    if removed["download"]:
        yield "patients before recordings were left out", AUTHOR
    for unit in ("segments", "patients"):
        yield unit, str(data[unit])
    yield "persons, at most" if data["unknown_persons"] else "persons", str(data["persons"])
    yield f"{level}s scored", f"{scored['units']} of {scored['of']}"
    if empty := details["no_answer"].get(level, 0):
        how = describe_units_without_segments(details)
        yield f"{level}s without a usable segment, {how}", f"{empty} of {scored['of']}"


def _count_reasons(left_out: pd.DataFrame, stage: str) -> dict[str, int]:
    """The number of items that a stage left out, by reason without what is particular to an item."""
    rows = left_out[left_out["stage"] == stage]
    reasons = [shorten_reason(reason) for reason in rows["reason"]]
    numbers = rows["n_items"] if "n_items" in rows else pd.Series(1, index=rows.index)
    return numbers.groupby(reasons).sum().to_dict()


def _describe_outcome(data: Mapping[str, Any]) -> str:
    classes = f"Classes of the task {data['task']}: {', '.join(data['classes'])}."
    return cards.to_list([classes, f"Positive: {', '.join(data['positive'])}.", COLLECTION[1]])


def _describe_predictors(details: Mapping[str, Any], params: SimpleNamespace) -> str:
    """The only input of the model: parameters of cleaning, segments and spectrograms."""
    rates = cards.to_markdown(result_tables.tabulate_sample_rates(details))
    parameters = cards.format_parameters(params, ["clean", "segment", "mel"])
    sites = " with their auscultation sites" if "sites" in params.train.model.options else ""
    note = f"The input is spectrograms of the recordings{sites}: no clinical information, no other test."
    return f"{note}\n\n{parameters}\n\n{rates}"


def _list_missing(details: Mapping[str, Any]) -> Iterable[str]:
    """Units without a usable segment, and the recordings or patients without a stated attribute."""
    data = details["data"]
    numbers = " and ".join(format_count(n, unit) for unit, n in details["no_answer"].items())
    yield f"Without a usable segment: {numbers}. Such a unit {descriptions.describe_empty_unit(details)}."
    for name, unit in result_tables.UNITS_OF_ATTRIBUTES.items():
        n = data[name].get("not stated", 0) if data[name] else data[unit]
        attribute = descriptions.capitalise(result_tables.name_column(name))
        yield f"{attribute} not stated: {n} of {data[unit]} {unit}."


def _describe_audit(details: Mapping[str, Any]) -> str:
    protocol = details["protocol"]
    rows = [(unit, str(protocol[name])) for name, (_, unit) in leaks.SHARED.items() if name in protocol]
    table = Table(("shared by test and training parts", "in the worst fold"), rows)
    return f"{descriptions.describe_audit(details)}\n\n{cards.to_markdown(table)}"


def _describe_predictions(details: Mapping[str, Any], confusion: pd.DataFrame) -> str:
    counts = result_tables.arrange_confusion(confusion, details["data"]["classes"])
    rows = [(str(row[0]), *map(str, row[1:])) for row in counts.itertuples()]
    mark = f"**{leak}**\n\n" if (leak := leaks.mark_leak(details)) else ""
    return (
        f"{mark}Predictions by {details['level']} on the test parts of all runs. Rows: actual class; "
        f"columns: predicted class.\n\n{cards.to_markdown(Table(('actual', *counts.columns), rows))}"
    )


def _describe_code(details: Mapping[str, Any], params: SimpleNamespace) -> str:
    weights = {"best": "in models/", "none": "not kept (train.keep_weights: none)"}[params.train.keep_weights]
    versions = ", ".join(f"{name} {version}" for name, version in details["versions"].items())
    return cards.to_list(
        [
            "Code: the git repository of this file; `dvc repro` runs it again.",
            "Parameters: params.yaml; versions of data and code: dvc.lock.",
            f"Predictions of every model: data/predictions/. Weights: {weights}.",
            f"Software: {versions}; {details['device']}, {details['precision']}.",
        ]
    )
