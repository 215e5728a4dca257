"""Draw the pictures of README.md and docs/python.md in docs/images: `python docs/draw.py` in the project.

The result is drawn from the committed metrics/details.json and metrics/runs.csv; the recording is simulated.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("svg")
import matplotlib.pyplot as plt

import murmur
from murmur.datasets import synthetic

ROOT = Path(__file__).parents[1]
NAMES = {
    "weighted_accuracy_official": "weighted accuracy,\nofficial mix",
    "uar": "unweighted\naverage recall",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1_macro": "F1, macro",
    "roc_auc": "ROC-AUC",
}
BLUE, ORANGE, GREEN, GREY = ("#e6effa", "#2f5d9b"), ("#fcefdc", "#a85b12"), ("#e4f4e6", "#2b7536"), "#57606a"
WIDTH, HEIGHT = 172, 92  # of a box
COLUMNS, ROWS = (12, 234, 456, 678, 900), (12, 184, 356, 528)
BOXES = (  # stage, what it writes, column, row, colours
    ("download", "recordings", 0, 0, BLUE),
    ("clean", "signals", 1, 0, BLUE),
    ("segment", "segments", 2, 0, BLUE),
    ("mel", "spectrograms", 3, 0, BLUE),
    ("label", "frame labels", 4, 1, BLUE),
    ("duplicates", "same audio", 0, 1, ORANGE),
    ("split", "audited folds", 2, 1, ORANGE),
    ("train", "predictions", 3, 2, GREEN),
    ("cycles", "heart cycles", 4, 2, GREEN),
    ("evaluate", "levels, scores", 2, 2, GREEN),
    ("final", "all persons", 3, 3, GREEN),
    ("package", "decision rule", 2, 3, GREEN),
)
ARROWS = (
    *("M184 58 H226", "M406 58 H448", "M628 58 H670"),  # download, clean, segment, mel
    *("M98 104 V176", "M542 104 V176", "M184 230 H448"),  # to duplicates, to split
    *("M696 104 V348", "M781 104 V176", "M781 276 V348"),  # mel to train, also by way of embed
    *("M586 104 V144 H986 V176", "M900 254 H876 V380 H858"),  # segment to label, to train
    *("M628 230 H652 V384 H670", "M678 424 H636", "M456 402 H414"),  # split to train, to evaluate, to results
    *("M850 424 H892", "M986 448 V484 H600 V456"),  # train to cycles, to evaluate
    *("M764 448 V520", "M542 448 V520"),  # train to final, evaluate to package
    *("M678 574 H636", "M456 574 H414"),  # final to package, to the model
)


def draw_pipeline() -> str:
    """Return the stages of dvc.yaml and what passes between them, as SVG."""
    shapes = [
        f'<path d="{d}" fill="none" stroke="{GREY}" stroke-width="3" marker-end="url(#tip)"/>' for d in ARROWS
    ]
    for stage, output, column, row, colours in BOXES:
        shapes.append(_box(COLUMNS[column], ROWS[row], WIDTH, stage, output, colours))
    shapes.append(_box(712, 184, 138, "embed", "optional", BLUE, style='stroke-dasharray="8 6"'))
    shapes.append(_box(12, 356, 394, "metrics, plots", "each figure with its interval", ("#ffffff", GREY)))
    shapes.append(_box(12, 528, 394, "models/murmur", "for murmur predict, serve, export", ("#ffffff", GREY)))
    return "\n".join(
        [
            (
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1084 632"'
                ' font-family="Helvetica, Arial, sans-serif">'
            ),
            '<rect width="1084" height="632" fill="#ffffff"/>',
            (
                '<marker id="tip" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="5" markerHeight="5"'
                ' orient="auto">'
                f'<path d="M0 0 L10 5 L0 10 z" fill="{GREY}"/></marker>'
            ),
            *shapes,
            "</svg>\n",
        ]
    )


def _box(
    x: int,
    y: int,
    width: int,
    name: str,
    text: str,
    colours: tuple[str, str],
    style: str = "",
) -> str:
    fill, line = colours
    middle = x + width / 2
    return "\n".join(
        [
            (
                f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="10" fill="{fill}" '
                f'stroke="{line}" stroke-width="3" {style}/>'
            ),
            (
                f'<text x="{middle}" y="{y + 41}" text-anchor="middle" font-size="27" font-weight="bold"'
                f' fill="{line}">{name}</text>'
            ),
            (
                f'<text x="{middle}" y="{y + 73}" text-anchor="middle" font-size="23"'
                f' fill="#1f2328">{text}</text>'
            ),
        ]
    )


def draw_result(path: Path) -> None:
    """Draw the headline metrics of the committed run, their intervals and the constant-class baseline."""
    details = json.loads((ROOT / "metrics/details.json").read_text(encoding="utf-8"))
    runs = pd.read_csv(ROOT / "metrics/runs.csv").query("level == @details['level']")
    headline, baseline, data = details["headline"], details["baseline"], details["data"]
    plt.rcParams |= {"font.size": 14, "svg.hashsalt": "murmur", "font.family": "DejaVu Sans"}
    figure, axes = plt.subplots(figsize=(7, 5.8), layout="constrained", facecolor="white")
    for row, (name, figures) in enumerate(headline.items()):
        interval = axes.barh(row, figures["high"] - figures["low"], 0.22, figures["low"], color="#a9c6ea")
        (each,) = axes.plot(runs[name], [row + 0.27] * len(runs), "|", markersize=9, color=GREY)
        (mean,) = axes.plot(figures["mean"], row, "o", markersize=9, color=BLUE[1])
        (constant,) = axes.plot(baseline[name], row, "X", markersize=10, color=ORANGE[1])
        axes.text(1.06, row, f"{figures['mean']:.3f}".lstrip("0"), va="center")
    axes.set_yticks(range(len(headline)), [NAMES.get(name, name) for name in headline])
    axes.set(xlim=(-0.03, 1.03), ylim=(len(headline) - 0.4, -0.6))
    axes.set_title(
        f"data set {data['dataset']}, {data['patients']} patients: by {details['level']}", fontsize=14
    )
    axes.grid(axis="x", color="#d8dee4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    key = {
        interval: "95 % interval, over persons",
        each: f"each of {len(runs)} runs",
        mean: "mean of the runs",
        constant: f"always {baseline['answer']}",
    }
    figure.legend(
        *(key.keys(), key.values()), loc="outside lower center", ncols=2, frameon=False, fontsize=12.5
    )
    figure.savefig(path, format="svg", metadata={"Date": None, "Description": json.dumps(headline)})
    plt.close(figure)


def draw_recording(path: Path) -> None:
    """Draw four seconds of a recording of the embedded data set, as on the page docs/python.md."""
    rate = synthetic.SAMPLE_RATE
    samples = synthetic.simulate_recording(0, synthetic.make_visit(0, 1), "AV") / 2**15
    figure = murmur.plot_recording(samples[: 4 * rate], rate)[0].figure
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def draw(folder: Path) -> None:
    """Write all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.svg").write_text(draw_pipeline(), encoding="utf-8")
    draw_recording(folder / "recording.png")
    draw_result(folder / "result.svg")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images")
