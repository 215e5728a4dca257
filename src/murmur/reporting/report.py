"""The report: one HTML page with all that an experiment found, from the files in metrics and plots alone.

It holds everything it shows, so that it can be mailed: no file beside it, no script, nothing fetched.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from murmur import formatting, leaks
from murmur.errors import MurmurError
from murmur.files import write_text
from murmur.reporting import cards
from murmur.reporting.cards import Table, figure, label
from murmur.tables.csv_reader import TEXT_COLUMNS, parse_csv

HERE = Path(__file__).parent
FOLDS = "metrics/folds.csv"
COLUMNS = {  # what is read, and the columns that must be there
    "metrics/audit.csv": ("run", "fold", "n_train", "n_validation", "n_test", "test_sha256"),
    FOLDS: ("run", "fold", "level", "n_units", "n_persons", "n_no_answer"),
    "metrics/runs.csv": ("run", "level", "n_units", "n_persons", "n_no_answer"),
    "metrics/subgroups.csv": (
        "group",
        "value",
        "level",
        "n_units",
        "n_persons",
        "metric",
        "mean",
        "low",
        "high",
    ),
    "metrics/operating_points.csv": ("chosen_on", "figure", "mean", "sd", "low", "high"),
    "metrics/calibration.csv": ("run", "fold", "level", "temperature"),
    "metrics/left_out.csv": ("stage", "reason"),
    "plots/confusion.csv": ("actual", "predicted"),
    "plots/roc.csv": ("fpr", "tpr", "low", "high"),
    "plots/precision_recall.csv": ("recall", "precision", "low", "high"),
    "plots/reliability.csv": ("kind", "confidence", "accuracy", "n"),
    "plots/learning_curves.csv": ("curve", "epoch", "mean", "low", "high", "n_fits"),
    "plots/score_per_fold.csv": ("run", "fold"),
}
DETAILS, PICTURES = "metrics/details.json", ("plots/errors.png", "plots/gallery.png")
KEYS = (
    *("level", "rule", "headline", "baseline", "no_answer", "data", "protocol", "scored", "resampled"),
    "parts",
)
CARDS = ("metrics/model_card.md", "metrics/data_card.md")
ROBUSTNESS = "plots/robustness.csv"
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#767676"


def write_report(folder: Path, out: Path) -> None:
    """Write the report of the experiment whose metrics and plots lie in `folder`, as one page of HTML.

    The same files give the same bytes. What other commands made (robustness, figures on other data) is shown
    if it is there and of this experiment; if it is of another, the page says so.

    Raises
    ------
    MurmurError
        Naming a file that is missing or not as this version writes it, and the command that makes it.
    """
    details = _json(folder / DETAILS)
    if missing := [key for key in KEYS if key not in details]:
        raise MurmurError(f"{folder / DETAILS}: no {', '.join(missing)}; make it anew: dvc repro evaluate")
    read = {path: _csv(folder / path, columns) for path, columns in COLUMNS.items()}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        cards=cards,
        details=details,
        leak=leaks.mark_leak(details),
        given=formatting.INTERVAL_NOTE,
        experiment=hash_experiment(folder),
        confusion=_confusion(read["plots/confusion.csv"], details["data"]["classes"]),
        tables=_tables(read, details),
        figures=_figures(read, details),
        pictures=[_uri(_bytes(folder / path), "png") for path in PICTURES],
        cards_html=[_markdown(_text(folder / path)) for path in CARDS],
        **_if_there(folder, details),
    )
    write_text(out, page)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MurmurError(f"{path}: cannot be read; make it: dvc repro evaluate") from error


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise MurmurError(f"{path}: is not UTF-8 ({error}); make it anew: dvc repro evaluate") from error


def _csv(
    path: Path,
    columns: Sequence[str],
    texts: Collection[str] = TEXT_COLUMNS,
    again: str = "dvc repro evaluate",
) -> pd.DataFrame:
    return parse_csv(_text(path), path, columns, words=texts, again=again)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
        if not isinstance(found, dict):
            raise ValueError(f"found {type(found).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise MurmurError(f"{path}: is not JSON ({error}); make it anew: dvc repro evaluate") from error
    return found


def hash_experiment(folder: Path) -> str:
    """What the files of other commands name the experiment by that they are of; in `folder` its metrics/."""
    return hashlib.sha256(_bytes(folder / FOLDS)).hexdigest()


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _markdown(text: str) -> Markup:
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text))


def _plain(table: pd.DataFrame) -> Table:
    return Table(
        [label(str(name)) for name in table],
        [tuple(map(figure, row)) for row in table.itertuples(index=False)],
    )


def _tables(read: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> dict[str, Any]:
    level, runs = details["level"], read["metrics/runs.csv"]
    names = list(details["headline"])
    return {
        "results": cards.results(details),
        "counts": cards.counts(details),
        "audit": _plain(read["metrics/audit.csv"]),
        "runs": _plain(_shown(runs, ["run"], level, names)),
        "folds": _plain(_shown(read[FOLDS], ["run", "fold"], level, names)),
        "levels": _levels(runs, names),
        "classes": _by_class(runs[runs["level"] == level], details["data"]["classes"]),
        "operating_points": cards.operating_points(read["metrics/operating_points.csv"]),
        "subgroups": cards.subgroups(read["metrics/subgroups.csv"]),
        "calibration": cards.calibration(runs, level),
        "temperatures": _plain(read["metrics/calibration.csv"].query("level == @level")),
        "left_out": cards.left_out(read["metrics/left_out.csv"]),
        "items_left_out": _items(read["metrics/left_out.csv"]),
        "sample_rates": cards.sample_rates(details),
    }


def _items(left_out: pd.DataFrame) -> Table:
    """Each item that was left out; empty where none is named."""
    return _plain(left_out if "item" in left_out else left_out[:0])


def _shown(table: pd.DataFrame, keys: list[str], level: str, names: Iterable[str]) -> pd.DataFrame:
    """The columns of folds or runs that fit on a page, at one level."""
    wanted = (*names, "accuracy", "brier", "brier_calibrated", "ece", "ece_calibrated")
    there = [name for name in dict.fromkeys(wanted) if name in table]
    return table.loc[table["level"] == level, [*keys, "n_units", "n_persons", "n_no_answer", *there]]


def _levels(runs: pd.DataFrame, names: list[str]) -> Table:
    """Means over runs at every level."""
    by_level = runs.groupby("level", sort=False)
    means = by_level[["n_units"]].first().join(by_level[names].agg(lambda v: v.mean(skipna=False)))
    return _plain(means.reset_index())


def _by_class(runs: pd.DataFrame, classes: Sequence[str]) -> Table:
    """Mean and SD over runs of each class's own figures."""
    kinds = ("precision", "recall", "f1")
    columns = {c: [runs[f"{kind}_{c}"] for kind in kinds] for c in classes}
    cells = {
        c: [f"{figure(v.mean(skipna=False))} (SD {figure(v.std(skipna=False))})" for v in values]
        for c, values in columns.items()
    }
    return Table(("class", "precision", "recall", "F1"), [(c, *row) for c, row in cells.items()])


def _confusion(answers: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """Counts of all runs and each actual class's shares, with a colour to print them on."""
    others = sorted(set(answers["predicted"]) - set(classes))
    columns = [*classes, *others]
    counts = pd.crosstab(answers["actual"], answers["predicted"]).reindex(
        index=classes, columns=columns, fill_value=0
    )
    cells = {}
    for actual, row in counts.iterrows():
        shares = row / row.sum() if row.sum() else row * np.nan
        cells[actual] = [
            {"n": figure(int(n)), "share": figure(float(share)), **_colours(float(share))}
            for n, share in zip(row, shares, strict=True)
        ]
    return {"columns": columns, "rows": cells}


def _colours(share: float) -> dict[str, str]:
    """Background, from white to the blue of Okabe and Ito, and ink."""
    full = np.nan_to_num(share)
    back = [round(255 + full * (int(OKABE_ITO[0][k : k + 2], 16) - 255)) for k in (1, 3, 5)]
    return {"back": "#{:02x}{:02x}{:02x}".format(*back), "ink": "#fff" if full > 0.9 else "#000"}


def _figures(read: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> dict[str, Any]:
    """Each as a data URI of SVG."""
    answers = read["plots/confusion.csv"]
    positive = float(answers["actual"].isin(details["data"]["positive"]).mean())
    curves = read["plots/learning_curves.csv"]
    panel = curves["curve"].str.replace(r"^(train|validation) ", "", regex=True)
    return {
        "roc": _svg(lambda ax: _roc(ax, read["plots/roc.csv"])),
        "precision_recall": _svg(
            lambda ax: _precision_recall(ax, read["plots/precision_recall.csv"], positive)
        ),
        "reliability": _svg(lambda ax: _reliability(ax, read["plots/reliability.csv"])),
        "scores": _svg(lambda ax: _scores(ax, read["plots/score_per_fold.csv"], details), width=7.2),
        "curves": {
            name: _svg(lambda ax, name=name, part=part: _curves(ax, part, name))  # type: ignore[misc]
            for name, part in curves.groupby(panel, sort=False)
        },
    }


def _svg(draw: Callable[[Axes], None], width: float = 4.2, height: float = 3.8) -> str:
    """One pair of axes, drawn on; the same data give the same bytes."""
    picture = Figure(figsize=(width, height), layout="constrained")
    with rc_context({"text.parse_math": False}):  # a class may be named $x$
        ax = picture.subplots()
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        draw(ax)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "murmur"}):
        FigureCanvasSVG(picture).print_svg(content, metadata={"Date": None, "Creator": None})
    return _uri(content.getvalue(), "svg+xml")


def _unit(ax: Axes, x: str, y: str) -> None:
    ax.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _band(ax: Axes, table: pd.DataFrame, x: str, y: str, colour: str = OKABE_ITO[0], **how: Any) -> None:
    ax.fill_between(table[x], table["low"], table["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(table[x], table[y], color=colour, **how)


def _roc(ax: Axes, table: pd.DataFrame) -> None:
    _unit(ax, "1 - specificity", "sensitivity")
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="by chance")
    _band(ax, table, "fpr", "tpr", label="mean over folds")
    ax.legend(loc="lower right")


def _precision_recall(ax: Axes, table: pd.DataFrame, positive: float) -> None:
    _unit(ax, "recall (sensitivity)", "precision (positive predictive value)")
    ax.axhline(positive, color=GREY, linestyle="--", linewidth=1, label="by chance")
    _band(ax, table, "recall", "precision", label="mean over folds")
    ax.legend(loc="lower left")


def _reliability(ax: Axes, table: pd.DataFrame) -> None:
    _unit(ax, "confidence (highest probability)", "share of right answers")
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    styles = zip(("s--", "o-"), OKABE_ITO[1::-1], table.groupby("kind", sort=False), strict=False)
    for style, colour, (kind, part) in styles:
        ax.plot(part["confidence"], part["accuracy"], style, color=colour, markersize=4, label=kind)
        size = 160 * part["n"] / table["n"].max()
        ax.scatter(part["confidence"], part["accuracy"], s=size, color=colour, alpha=0.25, linewidth=0)
    ax.legend(loc="lower right")


def _curves(ax: Axes, table: pd.DataFrame, name: str) -> None:
    ax.set(xlabel="epoch", ylabel=name)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for colour, (curve, part) in zip(OKABE_ITO, table.groupby("curve", sort=False), strict=False):
        _band(ax, part, "epoch", "mean", colour, label=curve, marker=".")
    ax.legend()


def _scores(ax: Axes, folds: pd.DataFrame, details: Mapping[str, Any]) -> None:
    """A point a fold; the mean over runs with its interval; the constant answer."""
    names, always = list(details["headline"]), details["baseline"]
    place = np.arange(len(names))
    beside_each_other = (np.arange(len(folds)) % 11 - 5) / 30
    for k, name in enumerate(names):
        ax.scatter(k - 0.15 + beside_each_other, folds[name], s=9, color=OKABE_ITO[0], alpha=0.4, linewidth=0)
    mean, low, high = (
        np.array([details["headline"][n][what] for n in names], float) for what in ("mean", "low", "high")
    )
    ax.scatter([], [], s=9, color=OKABE_ITO[0], label="a fold")
    ax.errorbar(
        *(place + 0.2, mean, [mean - low, high - mean]), fmt="o", color=OKABE_ITO[1], capsize=4,
        label=f"mean over runs, 95 % interval over {cards.over(details)}",
    )  # fmt: skip
    constant = np.array([always[n] for n in names], float)
    ax.scatter(place + 0.35, constant, marker="_", s=120, color="black", label=f"always {always['answer']}")
    ax.set_xticks(place, [label(n).replace(" ", "\n") for n in names], fontsize=8)
    ax.set(ylabel="score", ylim=(-0.02, 1.02))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)


def _if_there(folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    """What other commands have made of this experiment; of another, the file and its command (foreign)."""
    foreign, elsewhere, robustness, curves = {}, {}, None, {}
    this = hash_experiment(folder)
    for path in sorted(folder.glob("metrics/elsewhere_*.json")):
        found, dataset = _json(path), path.stem.removeprefix("elsewhere_")
        if found.get("experiment") == this:
            elsewhere[dataset] = _elsewhere(found, details)
        else:
            foreign[path.relative_to(folder).as_posix()] = f"murmur evaluate-on {dataset}"
    if (folder / ROBUSTNESS).exists():
        columns = ("disturbance", "value", "unit", "metric", "mean", "low", "high")
        table = _csv(folder / ROBUSTNESS, columns, TEXT_COLUMNS - {"value"}, "murmur robustness")
        if "experiment" in table and (table["experiment"] == this).all():
            robustness, curves = _robustness_table(table), _robustness_curves(table, details)
        else:
            foreign[ROBUSTNESS] = "murmur robustness"
    return {"foreign": foreign, "elsewhere": elsewhere, "robustness": robustness, "robustness_curves": curves}


def _elsewhere(found: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """Figures there beside those here, of the same classes where not all are there."""
    here, data, always = found.get("here", details["headline"]), found["data"], found["baseline"]
    means = {name: figure(here.get(name, {}).get("mean")) for name in found["headline"]}
    rows = [
        (label(name), means[name], figure(row["mean"]), cards.interval(row), figure(always[name]))
        for name, row in found["headline"].items()
    ]
    counts = ", ".join(f"{n} {name}" for name, n in data["counts"].items())
    at_most = "at most " * bool(data.get("unknown_persons"))
    classes = [f"{name}: {to or 'left out'}" for name, to in found["class_map"].items() if name != to]
    return {
        "table": Table(("figure", "here", "there", "95 % interval", f"always {always['answer']}"), rows),
        "who": f"{data['units']} {found['level']}s ({counts}) of {at_most}{data['persons']} persons.",
        "classes": "; ".join(classes),
        "unasked": ", ".join(found["left_unasked"]),
        "seen": found["seen_in_training"],
    }


def _robustness_table(table: pd.DataFrame) -> Table:
    values = [f"{v:g} {unit}" for v, unit in zip(table["value"], table["unit"], strict=True)]
    there = table.assign(given=np.where(table["value"].isna(), "none", values)).to_dict("records")
    rows = [
        (row["disturbance"], row["given"], label(row["metric"]), figure(row["mean"]), cards.interval(row))
        for row in there
    ]
    return Table(("disturbance", "value", "figure", "mean", "95 % interval"), rows)


def _robustness_curves(table: pd.DataFrame, details: Mapping[str, Any]) -> dict[str, str]:
    """A figure for each disturbance, a line for each of a few metrics; undisturbed is a dashed line."""
    few = (next(iter(details["headline"])), "sensitivity", "specificity")
    table = table[table["metric"].isin(few)]

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        ax.set(xlabel=f"{part['disturbance'].iloc[0]} ({part['unit'].iloc[0]})", ylabel="score")
        ax.set_ylim(-0.02, 1.02)
        for colour, (metric, line) in zip(OKABE_ITO, part.groupby("metric", sort=False), strict=False):
            given = line.dropna(subset="value").sort_values("value")
            _band(ax, given, "value", "mean", colour, label=label(metric), marker=".")
            for mean in line.loc[line["value"].isna(), "mean"]:
                ax.axhline(mean, color=colour, linestyle="--", linewidth=1)
        ax.legend(fontsize=7, loc="lower left", framealpha=0.6)

    return {
        name: _svg(lambda ax, part=part: draw(ax, part))  # type: ignore[misc]
        for name, part in table.groupby("disturbance", sort=False)
    }
