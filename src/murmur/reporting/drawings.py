"""The drawings of the report, as SVG."""

import base64
import io
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from murmur.reporting.descriptions import capitalise
from murmur.reporting.result_tables import name_column

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#767676"


def draw_results(tables: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the scores and all curves.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As `report_files.read_tables` reads them.
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    dict
        Data URIs of SVG by name; under `learning_curves` a dictionary of them, by caption.
    """
    curves = tables["plots/learning_curves.csv"]
    quantity = curves["curve"].str.replace(r"^(train|validation) ", "", regex=True)
    return {
        "roc": _to_svg(lambda ax: _draw_roc(ax, tables["plots/roc.csv"])),
        "precision_recall": _to_svg(
            lambda ax: _draw_precision_recall(ax, tables["plots/precision_recall.csv"])
        ),
        "reliability": _to_svg(lambda ax: _draw_reliability(ax, tables["plots/reliability.csv"])),
        "scores": _to_svg(
            lambda ax: _draw_scores(ax, tables["plots/score_per_fold.csv"], details),
            width=5.2,
            height=0.6 + 0.62 * len(details["headline"]),
        ),
        "learning_curves": {
            _describe_learning_curves(part, name): _to_svg(
                lambda ax, name=name, part=part: _draw_learning_curves(ax, part, name)  # type: ignore[misc]
            )
            for name, part in curves.groupby(quantity, sort=False)
        },
    }


def draw_robustness(robustness: pd.DataFrame, details: Mapping[str, Any]) -> dict[str, str]:
    """Draw a few metrics over the values of each disturbance; without it they are dashed lines.

    Parameters
    ----------
    robustness : DataFrame
        As plots/robustness.csv.
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    dict of str to str
        Data URIs of SVG, by disturbance.
    """
    metrics = (next(iter(details["headline"])), "sensitivity", "specificity")
    table = robustness[robustness["metric"].isin(metrics)]
    return {
        name: _to_svg(lambda ax, part=part: _draw_disturbance(ax, part))  # type: ignore[misc]
        for name, part in table.groupby("disturbance", sort=False)
    }


def encode_image(content: bytes, kind: str) -> str:
    """The data URI of an image of a kind such as ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _to_svg(draw: Callable[[Axes], None], width: float = 4.2, height: float = 3.8) -> str:
    """Let a function draw on axes of this size, in inches; the same data give the same bytes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    with rc_context({"text.parse_math": False}):  # a class may have a name such as $x$
        ax = figure.subplots()
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        draw(ax)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "murmur"}):
        FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None, "Creator": None})
    return encode_image(content.getvalue(), "svg+xml")


def _set_unit_square(ax: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, with these labels."""
    ax.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _draw_band(
    ax: Axes, table: pd.DataFrame, x: str, y: str, colour: str = OKABE_ITO[0], **style: Any
) -> None:
    """A line with a band from `low` to `high`."""
    ax.fill_between(table[x], table["low"], table["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(table[x], table[y], color=colour, **style)


def _draw_roc(ax: Axes, table: pd.DataFrame) -> None:
    _set_unit_square(ax, "1 - specificity", "sensitivity")
    ax.plot(table["fpr"], table["chance"], color=GREY, linestyle="--", linewidth=1, label="chance")
    _draw_band(ax, table, "fpr", "tpr", label="mean over folds")
    ax.legend(loc="lower right")


def _draw_precision_recall(ax: Axes, table: pd.DataFrame) -> None:
    _set_unit_square(ax, "recall (sensitivity)", "precision (positive predictive value)")
    ax.plot(table["recall"], table["chance"], color=GREY, linestyle="--", linewidth=1, label="chance")
    _draw_band(ax, table, "recall", "precision", label="mean over folds")
    ax.legend(loc="lower left")


def _draw_reliability(ax: Axes, table: pd.DataFrame) -> None:
    """Accuracy over confidence; the area of a disc is proportional to the number of units."""
    _set_unit_square(ax, "confidence (highest probability)", "accuracy")
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
    styles = zip(("s--", "o-"), OKABE_ITO[1::-1], table.groupby("kind", sort=False), strict=False)
    for style, colour, (kind, part) in styles:
        ax.plot(part["confidence"], part["accuracy"], style, color=colour, markersize=4, label=kind)
        area = 160 * part["n"] / table["n"].max()
        ax.scatter(part["confidence"], part["accuracy"], s=area, color=colour, alpha=0.25, linewidth=0)
    ax.legend(loc="lower right")


def _describe_learning_curves(table: pd.DataFrame, quantity: str) -> str:
    """The caption: when the quantity is measured, and in how many trainings."""
    time = "at the start of" if quantity == "learning rate" else "after"
    most, least = table["n_fits"].max(), table["n_fits"].min()
    reached = f"the trainings that reach it (of {most}, at last {least})"
    fits = f"{most} trainings" if least == most else reached
    is_spread = (table["high"] - table["low"]).max() > 0.01 * table["mean"].max()
    band = "Band: one SD." if is_spread else "Nearly the same in all of them."
    return f"{capitalise(quantity)} {time} each epoch, mean over {fits}. {band}"


def _draw_learning_curves(ax: Axes, table: pd.DataFrame, quantity: str) -> None:
    ax.set(xlabel="epoch", ylabel=quantity)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for colour, (curve, part) in zip(OKABE_ITO, table.groupby("curve", sort=False), strict=False):
        _draw_band(ax, part, "epoch", "mean", colour, label=curve, marker=".")
    ax.legend()


def _draw_scores(ax: Axes, folds: pd.DataFrame, details: Mapping[str, Any]) -> None:
    """Each headline metric: a point for each fold, the mean over runs, and the constant-class baseline."""
    metrics, constant = details["headline"], details["baseline"]
    y = np.arange(len(metrics))
    spread = (np.arange(len(folds)) % 11 - 5) / 30  # so that points of equal scores do not overlap
    for k, name in enumerate(metrics):
        ax.scatter(folds[name], k - 0.15 + spread, s=9, color=OKABE_ITO[0], alpha=0.4, linewidth=0)
    ax.scatter([], [], s=9, color=OKABE_ITO[0], label="a fold")
    mean, low, high = (
        np.array([row[key] for row in metrics.values()], float) for key in ("mean", "low", "high")
    )
    errors = [mean - low, high - mean]
    label = "mean over runs, 95 % interval"
    ax.errorbar(mean, y + 0.25, xerr=errors, fmt="o", color=OKABE_ITO[1], capsize=4, label=label)
    baseline = np.array([constant[name] for name in metrics], float)
    label = textwrap.shorten(f"always {constant['answer']}", 40, placeholder=" …")
    ax.scatter(baseline, y + 0.25, marker="|", s=120, color="black", label=label)
    ax.set_yticks(y, [textwrap.fill(name_column(name), 14, break_long_words=False) for name in metrics])
    ax.set(xlabel="score", xlim=(-0.02, 1.02), ylim=(len(metrics) - 0.45, -0.55))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, fontsize=8, frameon=False)


def _draw_disturbance(ax: Axes, table: pd.DataFrame) -> None:
    """A line for each metric; a dashed line is the score without the disturbance."""
    ax.set(xlabel=f"{table['disturbance'].iloc[0]} ({table['unit'].iloc[0]})", ylabel="score")
    ax.set_ylim(-0.02, 1.02)
    for colour, (metric, rows) in zip(OKABE_ITO, table.groupby("metric", sort=False), strict=False):
        disturbed = rows.dropna(subset="value").sort_values("value")
        _draw_band(ax, disturbed, "value", "mean", colour, label=name_column(metric), marker=".")
        for mean in rows.loc[rows["value"].isna(), "mean"]:
            ax.axhline(mean, color=colour, linestyle="--", linewidth=1)
    ax.legend(fontsize=7, loc="lower left", framealpha=0.6)
