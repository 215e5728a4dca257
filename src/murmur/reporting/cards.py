"""The model card and the data card, in Markdown.

References
----------
Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
Gebru et al., Datasheets for Datasets, Communications of the ACM 64, 2021.
"""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd

from murmur import formatting, leaks
from murmur.evaluation.summary import describe_segmentation
from murmur.params.yaml_files import format_yaml
from murmur.reporting import descriptions, error_descriptions, result_tables
from murmur.reporting.descriptions import NO_SUBGROUPS, NOT_FOR_DIAGNOSIS
from murmur.reporting.limits import COLLECTION, describe_limits, list_limits_of_data
from murmur.reporting.result_tables import Table

SECTIONS = ("clean", "segment", "mel", "split", "train")


def format_model_card(
    details: Mapping[str, Any],
    params: SimpleNamespace,
    errors: pd.DataFrame,
    subgroup_table: pd.DataFrame,
    points: pd.DataFrame,
    runs: pd.DataFrame,
) -> str:
    """Write the model card.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    params : namespace
        The sections clean, segment, mel, split and train of params.yaml.
    errors, subgroup_table, points, runs : DataFrame
        As metrics/errors.csv, metrics/subgroups.csv, metrics/operating_points.csv and metrics/runs.csv.

    Returns
    -------
    str
        Markdown.
    """
    network = to_markdown(tabulate_model(details, params))
    classes = to_markdown(result_tables.tabulate_classes(details))
    parts = {
        "Model details": f"{network}\n\n{format_parameters(params, SECTIONS)}",
        "Intended use": f"To compare methods of heart-murmur classification. {NOT_FOR_DIAGNOSIS}",
        "Training and evaluation data": f"{classes}\n\n{descriptions.describe_licence(details)}",
        "Protocol": to_list([*descriptions.write_protocol(details), descriptions.describe_audit(details)]),
        **format_results(details, subgroup_table, points, runs),
        **_format_segmentation(details),
        "What the errors are": to_list(
            [
                *error_descriptions.describe_errors(errors, details),
                *error_descriptions.explain_errors(errors),
            ]
        ),
        "Limits": to_list(describe_limits(details)),
    }
    return join_sections(f"Model card: {params.train.model.name} on {details['data']['dataset']}", parts)


def _format_segmentation(details: Mapping[str, Any]) -> dict[str, str]:
    """The section about heart cycles, if the network labels frames."""
    if "segmentation" not in details:
        return {}
    mark = f"**{leak}** " if (leak := leaks.mark_leak(details)) else ""
    return {"Heart cycles": f"{mark}{describe_segmentation(details['segmentation'])}"}


def format_results(
    details: Mapping[str, Any], subgroup_table: pd.DataFrame, points: pd.DataFrame, runs: pd.DataFrame
) -> dict[str, str]:
    """The sections with figures, by heading; each begins with a warning if the protocol is leaky."""
    mark = [f"**{leak}**"] if (leak := leaks.mark_leak(details)) else []
    headline = to_markdown(result_tables.tabulate_headline(details))
    calibration = to_markdown(result_tables.tabulate_calibration(runs, details["level"]))
    operating_points = to_markdown(result_tables.tabulate_operating_points(points))
    subgroups = [
        f"{title}:\n\n{to_markdown(table)}"
        for title, table in result_tables.tabulate_subgroups(subgroup_table).items()
    ]
    sections = {
        "Results": [
            *mark,
            descriptions.describe_headline(details),
            headline,
            formatting.INTERVAL_NOTE,
            descriptions.describe_validation(details["validation"]),
        ],
        "Operating points": [*mark, descriptions.describe_operating_points(details), operating_points],
        "Calibration": [*mark, descriptions.describe_calibration(details), calibration],
        "Factors: subgroups": [*mark, *subgroups, formatting.INTERVAL_NOTE] if subgroups else [NO_SUBGROUPS],
    }
    return {title: "\n\n".join(paragraphs) for title, paragraphs in sections.items()}


def format_data_card(
    details: Mapping[str, Any], audit: pd.DataFrame, left_out_table: pd.DataFrame, annotated: str
) -> str:
    """Write the data card.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.
    audit, left_out_table : DataFrame
        As metrics/audit.csv and metrics/left_out.csv.
    annotated : str
        As `murmur.tables.annotations.describe_annotations`.

    Returns
    -------
    str
        Markdown.
    """
    data = details["data"]
    tables = (
        result_tables.tabulate_classes(details),
        *result_tables.tabulate_attributes(details),
        result_tables.tabulate_sample_rates(details),
    )
    size = f"{descriptions.describe_size(details)}. {annotated}"
    parts = {
        "Motivation": describe_origin(data),
        "Composition": "\n\n".join([size, *map(to_markdown, tables)]),
        "Definition of a person": details["protocol"]["person"],
        "Left out": _format_left_out(left_out_table),
        "Split": f"{describe_parts(audit)} {descriptions.describe_audit(details)}",
        "Uses": f"Research on classification. {NOT_FOR_DIAGNOSIS}",
        "Distribution": descriptions.describe_licence(details),
        "Version": describe_version(data),
        "Limits": to_list([*COLLECTION, *list_limits_of_data(data)]),
    }
    return join_sections(f"Data card: {data['dataset']}, {data['task']}", parts)


def describe_origin(data: Mapping[str, Any]) -> str:
    """The task, and who made the data and why; your own recordings have no publication."""
    origins = {"synthetic": " Simulated by this project to test the pipeline.", "folder": ""}
    origin = origins.get(data["dataset"], " Authors and purpose: see its publication.")
    return f"Task {data['task']} of {data['dataset']}.{origin}"


def describe_version(data: Mapping[str, Any]) -> str:
    """The checksum of the data."""
    return f"SHA-256 of names, samples and labels: `{data['sha256']}` (first 16 digits)."


def describe_parts(audit: pd.DataFrame) -> str:
    """The number of folds, and the smallest and largest size of each part."""
    parts, names = ["train", "validation", "test"], "training, validation and test part"
    if "shared_inner" in audit:  # the inner folds are the validation parts
        parts, names = ["train", "test"], "training part, which the inner folds divide, and test part"
    sizes = [audit[f"n_{part}"] for part in parts]
    ranges = ("-".join(dict.fromkeys((f"{column.min()}", f"{column.max()}"))) for column in sizes)
    return f"{formatting.format_count(len(audit), 'fold')}; recordings in {names}: {', '.join(ranges)}."


def _format_left_out(left_out: pd.DataFrame) -> str:
    if left_out.empty:
        return "Nothing."
    note = f"\n\n{descriptions.ITEMS_NOT_NAMED}" if "n_items" in left_out else ""
    return to_markdown(result_tables.tabulate_left_out(left_out)) + note


def tabulate_model(details: Mapping[str, Any], params: SimpleNamespace) -> Table:
    """The network, what it was trained on, device and versions."""
    data, model = details["data"], params.train.model
    size = descriptions.describe_size(details)
    rows = [
        ("network", f"{model.name}: {_format_options(model.options) or 'no options'}"),
        ("trained on", f"{data['dataset']}, task {data['task']}: {size}"),
        ("classes", f"{', '.join(data['classes'])}; positive: {', '.join(data['positive'])}"),
        ("device, precision", f"{details['device']}, {details['precision']}"),
        ("versions", _format_options(details["versions"])),
    ]
    return Table(("property", "value"), rows)


def format_parameters(params: SimpleNamespace, sections: Iterable[str]) -> str:
    """Write sections of params.yaml as a block of code."""
    values = {name: getattr(params, name).model_dump(mode="json") for name in sections}
    return f"```yaml\n{format_yaml(values)}```"


def _format_options(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def join_sections(title: str, sections: Mapping[str, str]) -> str:
    """A Markdown document; text is escaped outside of blocks of code."""
    escaped = {
        heading: text if "```" in text else formatting.escape_markdown(text)
        for heading, text in sections.items()
    }
    parts = (f"## {heading}\n\n{text}" for heading, text in escaped.items())
    return "\n\n".join([f"# {formatting.escape_markdown(title)}", *parts]) + "\n"


def to_markdown(table: Table) -> str:
    """Write a table with its note."""
    text = formatting.format_markdown_table([table.header, *table.rows])
    return f"{text}\n\n{table.note}" if table.note else text


def to_list(sentences: Iterable[str]) -> str:
    """Write sentences as a list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
