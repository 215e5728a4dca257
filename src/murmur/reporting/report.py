"""The report: all results of an experiment as one HTML page, from the files in metrics and plots.

The page contains everything that it shows: no other file, no script, nothing from the network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from murmur import formatting, leaks
from murmur.evaluation.error_groups import ALL
from murmur.evaluation.summary import describe_segmentation
from murmur.experiments.current import hash_experiment, read_bytes, read_details, read_text
from murmur.files import write_text
from murmur.reporting import descriptions, drawings, error_descriptions, report_files, report_tables
from murmur.reporting.limits import describe_limits
from murmur.reporting.terms import explain_terms


def write_report(folder: Path, out: Path, provenance: str) -> None:
    """Write the report of an experiment as one HTML page; the same arguments give the same bytes.

    The results of `murmur robustness` and `murmur evaluate-on` are included if they are of this experiment.
    If they are of another one, the page names their files.

    Parameters
    ----------
    folder : Path
        The folder with metrics and plots.
    out : Path
        The page to write.
    provenance : str
        When and by which command it is written, from `describe_provenance`.

    Raises
    ------
    MurmurError
        Naming the file that is missing or of another version, and the command that makes it.
    """
    details, tables = read_details(folder), report_files.read_tables(folder)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        details=details,
        provenance=provenance,
        terms=explain_terms(details),
        formatting=formatting,
        describe=descriptions,
        describe_segmentation=describe_segmentation,
        limits=describe_limits(details),
        leak=leaks.mark_leak(details),
        experiment=hash_experiment(folder),
        confusion=report_tables.tabulate_confusion(tables["plots/confusion.csv"], details["data"]["classes"]),
        tables=report_tables.make_tables(tables, details),
        errors=_describe_errors(tables["metrics/errors.csv"], details),
        drawings=drawings.draw_results(tables, details),
        images=[drawings.encode_image(read_bytes(folder / p), "png") for p in report_files.IMAGES],
        cards={name: _render_markdown(read_text(folder / p)) for name, p in report_files.CARDS.items()},
        **_render_other_results(folder, details),
    )
    write_text(out, page)


def _describe_errors(errors: pd.DataFrame, details: Mapping[str, Any]) -> list[str]:
    """The errors of all patients; those of the groups are in tables."""
    of_all = errors[errors["group"] == ALL]
    explanations = error_descriptions.explain_errors(errors)
    return [*error_descriptions.describe_errors(of_all, details), *explanations]


def _render_markdown(text: str) -> Markup:
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text))


def _render_other_results(folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the template for external validation and robustness."""
    results = report_files.read_other_results(folder)
    external = {
        dataset: report_tables.describe_external(result, details)
        for dataset, result in results.external.items()
    }
    table, curves = None, {}
    if results.robustness is not None:
        table = report_tables.tabulate_robustness(results.robustness)
        curves = drawings.draw_robustness(results.robustness, details)
    other = {"outdated": results.outdated, "external": external}
    return other | {"robustness": table, "robustness_curves": curves}
