"""The report: every figure is that of the files, the page needs no other file, and errors name the file."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation import scores
from murmur.evaluation.segmentation_score import SCORES
from murmur.experiments.current import hash_experiment
from murmur.reporting import descriptions, drawings, report, report_files, spectrograms, terms
from murmur.reporting.result_tables import WHY_UNDEFINED, name_column
from murmur.tables.csv_reader import TEXT_COLUMNS
from murmur.tables.csv_writer import write_csv
from tests import made
from tests.test_cards import (
    AUDIT,
    CLASSES,
    DETAILS,
    ERRORS,
    HEADLINE,
    LEFT_OUT,
    MISSED,
    NAN,
    POINTS,
    RUNS,
    SUBGROUPS,
    changed,
)

WRITTEN = "Written 2026-11-26 by a test."
LEVELS = "By segment, recording and patient, mean over runs"
VOID = {"meta", "img", "br", "hr", "link", "input"}
FOLDS = pd.concat([RUNS.assign(fold=f, uar=RUNS["uar"] - f / 50) for f in (0, 1)], ignore_index=True)
BAND = pd.DataFrame({"x": np.linspace(0, 1, 11), "y": np.linspace(0.2, 1, 11)}).assign(
    low=0.1, high=1.0, chance=0.5
)

SEGMENTATION = pd.DataFrame([dict.fromkeys(SCORES, 0.5) | {"run": 0, "n_recordings": 7}])
LOCATION = pd.DataFrame([{"label": "Present", "timing": "all", "n_recordings": 7, "mid_systole": 0.812}])


def make_tables():
    """Path -> table, of a small experiment."""
    curves = [
        {"curve": c, "epoch": e, "mean": 1.0 - e / 9, "low": 0.4, "high": 1.1, "n_fits": 4}
        for c in ("train loss", "validation loss", "validation UAR", "learning rate")
        for e in range(1, 4)
    ]
    kinds = [("as predicted", 0.4, 0.5, 7), ("as predicted", 0.9, 0.8, 9), ("calibrated", 0.6, 0.6, 16)]
    at_level = FOLDS[FOLDS["level"] == "patient"]
    counts = {pair: int(pair[0] == pair[1]) for pair in product(CLASSES, [*CLASSES, "no answer"])}
    counts |= {("Present", "Absent"): 2, ("Unknown", "no answer"): 1, ("Absent", "Absent"): 2}
    weights = {"temperature": 1.2345, "weight_Present": 1.5, "weight_Unknown": 1.0, "weight_Absent": 1.0}
    return {
        "metrics/audit.csv": AUDIT,
        "metrics/folds.csv": FOLDS,
        "metrics/runs.csv": RUNS,
        "metrics/subgroups.csv": SUBGROUPS,
        "metrics/errors.csv": ERRORS,
        "metrics/missed.csv": MISSED,
        "metrics/operating_points.csv": POINTS,
        "metrics/calibration.csv": AUDIT[["run", "fold"]].assign(level="patient", **weights),
        "metrics/segmentation.csv": SEGMENTATION,
        "metrics/murmur_location.csv": LOCATION,
        "metrics/left_out.csv": LEFT_OUT,
        "plots/confusion.csv": tabulate_counts(counts),
        "plots/roc.csv": BAND.rename(columns={"x": "fpr", "y": "tpr"}),
        "plots/precision_recall.csv": BAND.rename(columns={"x": "recall", "y": "precision"}),
        "plots/reliability.csv": pd.DataFrame(kinds, columns=["kind", "confidence", "accuracy", "n"]),
        "plots/learning_curves.csv": pd.DataFrame(curves),
        "plots/score_per_fold.csv": at_level[["run", "fold", *HEADLINE]],
    }


def tabulate_counts(counts):
    return pd.DataFrame([(*pair, n) for pair, n in counts.items()], columns=["actual", "predicted", "n"])


def write_experiment(folder, details=DETAILS, **replaced):
    """Write all files of an experiment; `replaced`: tables by the stem of their file."""
    for path, table in make_tables().items():
        write_csv(replaced.get(Path(path).stem, table), folder / path)
    (folder / "metrics/details.json").write_text(json.dumps(details))
    for name in ("model_card", "data_card", "reporting"):
        (folder / f"metrics/{name}.md").write_text(f"# {name}\n\n| a | b |\n|---|---|\n| 1 | <i>2</i> |\n")
    for name in ("errors", "gallery", "cycles"):
        spectrograms.draw_notice(name, folder / f"plots/{name}.png")
    return folder


def write_page(folder, *args, **kwargs):
    write_experiment(folder, *args, **kwargs)
    return rewrite_page(folder)


def rewrite_page(folder):
    report.write_report(folder, folder / "report.html", WRITTEN)
    return (folder / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tables by caption or summary, what is linked, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.links, self.text, self.name, self.cell = [], {}, [], "", "", None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [
            (tag, name, value) for name, value in attrs if name in ("src", "href", "srcset", "data")
        ]
        if tag in ("caption", "summary"):
            self.name = ""
        if tag == "tr":
            self.tables.setdefault(self.name.partition(" (")[0], []).append([])
        if tag in ("td", "th"):
            self.tables[self.name.partition(" (")[0]][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes another"

    def handle_data(self, data):
        self.text += data
        if {"caption", "summary"} & set(self.open):
            self.name += data
        if {"td", "th"} & set(self.open):
            rows = self.tables[self.name.partition(" (")[0]]
            rows[-1][-1] += (" " if rows[-1][-1] else "") + " ".join(data.split())


def format_expected(value):
    if isinstance(value, float):
        return "undefined" if np.isnan(value) else f"{value:.3f}"
    return str(value)


def list_rows(table):
    """A table's cells as the page must show them."""
    return [[format_expected(value) for value in row] for row in table.itertuples(index=False)]


@pytest.fixture
def without_drawings(monkeypatch):
    """Without the drawings, which take a second; for tests of the text."""
    monkeypatch.setattr(drawings, "_to_svg", lambda draw, **size: "data:image/svg+xml;base64,")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    return Page(write_page(folder))


def test_runs_and_folds_are_those_of_the_files(page):
    shown = [*HEADLINE, "accuracy"]
    for name, table, keys in (("Every run", RUNS, ["run"]), ("Every fold", FOLDS, ["run", "fold"])):
        at_level = table[table["level"] == "patient"].round(6)
        header, *rows = page.tables[name]
        assert rows == list_rows(at_level[[*keys, "n_units", "n_persons", "n_no_answer", *shown]])
        assert header[-len(shown) :] == [name_column(n) for n in shown]


def test_headline_and_constant_class_baseline_are_those_of_the_files(page):
    always = DETAILS["baseline"]
    expected = [
        [
            name_column(n),
            format_expected(r["mean"]),
            format_expected(r["sd"]),
            f"{r['low']:.3f}-{r['high']:.3f}",
            format_expected(always[n]),
        ]
        for n, r in HEADLINE.items()
    ]
    assert page.tables["Headline figures by patient"][1:] == expected
    counts = DETAILS["data"]["counts"].items()
    assert page.tables["Classes"][1:] == [[c, *map(str, n.values())] for c, n in counts]


def test_the_other_tables_are_those_of_the_files(page):
    (audit,) = (rows for name, rows in page.tables.items() if name.startswith("What each test part shares"))
    assert audit[1:] == list_rows(AUDIT)
    (given,) = (
        rows for name, rows in page.tables.items() if name.startswith("Fitted on each validation part")
    )
    assert given[1] == ["0", "0", "patient", "1.234", "1.500", "1.000", "1.000"]
    assert page.tables["Operating points"][1:] == [
        ["validation", "sensitivity", "0.821", "0.050", "0.720-0.900"],
        ["curve", "positive predictive value", "0.211", "0.010", "-"],
    ]
    assert page.tables["By site, recording level: mean over runs"][1:] == [
        ["AV", "450", "449", *["0.651 (0.551-0.751)"] * 3],
        ["PV", "452", "451", *["0.689 (0.589-0.789)"] * 3],
    ]
    assert page.tables["Items left out"][1:] == list_rows(LEFT_OUT)
    assert page.tables["Items left out, by reason"][1:] == [["segment", "too short", "2"]]


def test_means_over_runs_are_those_of_the_files(page):
    expected = RUNS.groupby("level", sort=False)[["n_units", *HEADLINE]].mean().reset_index()
    assert page.tables[LEVELS][1:] == list_rows(expected.astype({"n_units": int}))
    recalls = RUNS.loc[RUNS["level"] == "patient", "recall_Unknown"]
    unknown = page.tables["Each class, by patient, mean over runs"][2]
    assert unknown[:3:2] == ["Unknown", f"{recalls.mean():.3f} (SD {recalls.std():.3f})"]
    brier = page.tables["Before and after calibration"][1]
    assert brier == ["Brier score", "0.420", "0.014"]


def test_predictions_are_counted_with_shares_and_no_answer(page):
    (table,) = (rows for name, rows in page.tables.items() if name.startswith("Predictions on"))
    assert table[0][1:] == [*CLASSES, "no answer"]
    assert table[1][1:] == ["1 0.333", "0 0.000", "2 0.667", "0 0.000"]
    assert table[2][1:] == ["0 0.000", "1 0.500", "0 0.000", "1 0.500"]
    assert table[3][1:] == ["0 0.000", "0 0.000", "2 1.000", "0 0.000"]


@pytest.mark.parametrize(
    "names", [("0", "1"), ("True", "False"), ("1.0", "2.0"), ("nan", "None"), ("-1", "1e5")]
)
def test_names_that_look_like_numbers_are_unchanged(tmp_path, without_drawings, names):
    answers = tabulate_counts(dict.fromkeys(product(names, names), 1))
    runs = RUNS.assign(**{f"{k}_{c}": 0.5 for k in ("precision", "recall", "f1") for c in names})
    items = LEFT_OUT.assign(item=["0000", "0001"])
    counts = {name: {"recordings": 2, "patients": 2, "persons": 2} for name in names}
    details = changed({"data.classes": list(names), "data.positive": [names[1]], "data.counts": counts})
    page = Page(write_page(tmp_path, details, confusion=answers, runs=runs, left_out=items))
    (table,) = (rows for name, rows in page.tables.items() if name.startswith("Predictions on"))
    assert table[0][1:] == list(names)
    assert [row[1:] for row in table[1:]] == [["1 0.500", "1 0.500"]] * 2
    assert [row[1] for row in page.tables["Items left out"][1:]] == ["0000", "0001"]


@pytest.mark.parametrize("name", ["folds", "runs", "calibration", "audit", "subgroups", "score_per_fold"])
def test_a_word_among_the_numbers_is_named(tmp_path, without_drawings, name):
    write_experiment(tmp_path)
    (path,) = tmp_path.glob(f"*/{name}.csv")
    head, first, *rest = path.read_text().splitlines()
    column = next(c for c in reversed(head.split(",")) if c not in TEXT_COLUMNS)
    cells = dict(zip(head.split(","), first.split(","), strict=True)) | {column: "high"}
    path.write_text("\n".join([head, ",".join(cells.values()), *rest]))
    with pytest.raises(
        MurmurError, match=rf"{name}.csv: row 2, column {column}: 'high' is not a .*dvc repro"
    ):
        rewrite_page(tmp_path)


def test_the_page_needs_no_other_file(page, tmp_path):
    assert len(page.links) > 20
    for tag, name, value in page.links:
        assert tag in ("img", "a") and value.startswith("data:image/" if name == "src" else "#"), (tag, value)
    text = write_page(tmp_path)
    assert "<script" not in text and "@import" not in text and "url(" not in text
    drawn = [base64.b64decode(uri) for uri in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)', text)]
    assert len(drawn) == 7, "ROC, precision and recall, reliability, scores, loss, UAR, learning rate"
    assert not any(tree.tag.endswith("image") for svg in drawn for tree in ET.fromstring(svg).iter())


def test_the_same_files_give_the_same_page_from_any_folder(tmp_path, monkeypatch):
    first = write_page(tmp_path)
    monkeypatch.chdir(tmp_path / "plots")
    assert rewrite_page(tmp_path) == first


@pytest.mark.parametrize(
    "path",
    [*report_files.COLUMNS, "metrics/details.json", *report_files.CARDS.values(), *report_files.IMAGES],
)
def test_a_missing_file_is_named_and_nothing_is_written(tmp_path, path, without_drawings):
    write_experiment(tmp_path)
    (tmp_path / path).unlink()
    with pytest.raises(MurmurError, match=re.escape(path) + r": .*make it: dvc repro evaluate"):
        rewrite_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_file_of_another_version_is_named(tmp_path, without_drawings):
    write_experiment(tmp_path, roc=BAND)
    with pytest.raises(MurmurError, match=r"roc.csv: no column fpr, tpr; .*dvc repro evaluate"):
        rewrite_page(tmp_path)
    (tmp_path / "metrics/details.json").write_text('{"level": "patient"}')
    with pytest.raises(MurmurError, match=r"details.json: no rule, headline, .*dvc repro evaluate"):
        rewrite_page(tmp_path)
    for key in ("headline", "baseline", "validation", "protocol", "resampled", "data.counts"):
        (tmp_path / "metrics/details.json").write_text(json.dumps(changed({key: {}})))
        with pytest.raises(MurmurError, match=rf"^\S+details.json: {key}[^\n]+; make it again: dvc repro"):
            rewrite_page(tmp_path)
    (tmp_path / "metrics/details.json").write_text(json.dumps(changed({"data.counts": {"Present": 3}})))
    with pytest.raises(MurmurError, match=r"details.json: data.counts.Present: .*dictionary; make it again"):
        rewrite_page(tmp_path)
    for text in ("{", "[" * 100_000, "[]"):
        (tmp_path / "metrics/details.json").write_text(text)
        with pytest.raises(MurmurError, match=r"details.json: is not JSON .*dvc repro evaluate"):
            rewrite_page(tmp_path)


def test_a_leak_is_shown_in_a_box_above_the_figures(tmp_path, without_drawings):
    leaky = changed({"protocol.leaky": True, "protocol.shared_persons": 7, "protocol.flaws": "validate_on"})
    text = write_page(tmp_path, leaky)
    box = text.index('<div class="warning leaky"')
    assert (
        box < text.index("weighted accuracy") and "the test part selects the epoch" in text[box : box + 600]
    )
    assert "7 persons" in text[box : box + 600]
    assert '<div class="warning leaky"' not in write_page(tmp_path)


def test_every_table_and_drawing_of_leaky_figures_is_marked(tmp_path, without_drawings):
    write_experiment(tmp_path, changed({"protocol.leaky": True, "protocol.flaws": "validate_on"}))
    write_other_results(tmp_path, hash_experiment(tmp_path))
    page = Page(rewrite_page(tmp_path))
    facts = (
        "Classes",
        "Sampling rates",
        "What each test part",
        "Items left out",
        "Model card",
        "Data card",
        "Reporting items",
    )
    figures = [name for name in page.tables if not name.startswith(facts)]
    assert len(figures) > 10 and all(name.startswith("LEAKY: ") for name in figures), figures
    assert not [name for name in write_page(tmp_path).split("<") if name.startswith("caption>LEAKY")]


def test_the_limits_of_the_intervals_are_stated_below_them(page):
    assert page.text.count(formatting.INTERVAL_NOTE) == 3, "results, operating points, subgroups"


def test_items_of_private_data_are_counted_and_not_named(tmp_path, without_drawings):
    counted = pd.DataFrame({"stage": ["segment"], "reason": ["too short for a segment"], "n_items": [7]})
    page = Page(write_page(tmp_path, changed({"data.shareable": False}), left_out=counted))
    assert "The wrong predictions with" not in page.text and "None: the data must not be shared." in page.text
    assert page.tables["Items left out, by reason"][1:] == [["segment", "too short for a segment", "7"]]
    assert "Items left out" not in page.tables and descriptions.ITEMS_NOT_NAMED in page.text


def test_a_class_name_with_a_formula_is_drawn_unchanged(tmp_path):
    details = changed({"baseline.answer": r"$\frac{a$"})
    assert r"always $\frac{a$" in Page(write_page(tmp_path, details)).text


def test_simulated_data_are_announced_above_the_figures(tmp_path, without_drawings):
    banner = "Simulated data: the figures have no clinical meaning."
    page = Page(write_page(tmp_path, changed({"data.dataset": "synthetic"})))
    assert -1 < page.text.find(banner) < page.text.index("0.763")
    assert banner not in Page(write_page(tmp_path)).text and WRITTEN in page.text


@pytest.mark.parametrize("method", ["kfold", "holdout", "role", "file"])
def test_every_term_and_metric_is_explained(method):
    names = [*scores.LEADS, "accuracy", *scores.HEADLINE]
    headline = dict.fromkeys(names, HEADLINE["uar"])
    found = terms.explain_terms(changed({"headline": headline, "protocol.method": method}))
    assert list(found)[-len(names) :] == [descriptions.capitalise(name_column(name)) for name in names]
    assert found["Unit"] == "What gets one prediction and counts once: here a patient."
    assert "179 Present, 68 Unknown, 695 Absent" in found["Weighted accuracy (official mix)"]
    assert not [text for text in found.values() if "{" in text or not text.endswith(".")]


@pytest.mark.parametrize(
    ("refit", "networks"),
    [
        (0, "the mean of these networks"),
        (1, "one more network, trained on the whole training part"),
        (2, "the mean of 2 more networks, trained on the whole training part"),
    ],
)
def test_the_networks_that_predict_the_test_part_are_explained(refit, networks):
    found = terms.explain_terms(changed({"protocol.inner": 3, "protocol.refit": refit}))
    assert found["Inner fold"].endswith(f"The test part is predicted by {networks}.")


def test_the_captions_of_learning_curves_state_the_time_and_the_number_of_trainings(page):
    for caption in (
        "Loss after each epoch, mean over 4 trainings. Band: one SD.",
        "Learning rate at the start of each epoch, mean over 4 trainings. Band: one SD.",
    ):
        assert caption in page.text
    curve = pd.DataFrame({"mean": [0.1, 0.2], "low": [0.1, 0.2], "high": [0.1, 0.2], "n_fits": [5, 3]})
    stopped = "mean over the trainings that reach it (of 5, at last 3). Nearly the same in all of them."
    assert drawings._describe_learning_curves(curve, "learning rate").endswith(stopped)


def test_the_first_column_of_a_table_stays_and_the_others_scroll(page, tmp_path, without_drawings):
    text = write_page(tmp_path)
    assert text.count('<div class="wide" tabindex="0" role="region" aria-label="') == text.count("<table") - 3
    assert ".wide tr > :first-child { position: sticky" in text
    assert text.count("<img") == text.count(' alt="') - text.count(' alt=""')


def test_unknown_persons_of_external_data_are_stated(tmp_path, without_drawings):
    write_experiment(tmp_path)
    write_other_results(tmp_path, hash_experiment(tmp_path))
    path = tmp_path / "metrics/elsewhere_cinc2016.json"
    result = json.loads(path.read_text())
    result["data"]["unknown_persons"] = 40
    path.write_text(json.dumps(result))
    assert "40 patients (10 Present, 30 Absent) of at most 39 persons" in Page(rewrite_page(tmp_path)).text


def test_undefined_figures_have_a_reason_and_are_never_zero(tmp_path):
    nothing = {"mean": None, "sd": None, "low": None, "high": None}
    runs = RUNS.assign(roc_auc=RUNS["roc_auc"].where(RUNS["run"] == 0))
    folds = FOLDS.assign(uar=FOLDS["uar"].where(FOLDS["fold"] == 0))
    text = write_page(tmp_path, changed({"headline.roc_auc": nothing}), runs=runs, folds=folds)
    page = Page(text)
    assert page.tables["Headline figures by patient"][3] == ["ROC-AUC", *["undefined"] * 3, "0.500"]
    uar = page.tables["Every fold"][0].index(name_column("uar"))
    assert [row[uar] for row in page.tables["Every fold"][1:]].count("undefined") == 2
    assert page.tables[LEVELS][1][-1] == "undefined"
    assert text.count(WHY_UNDEFINED) >= 4 and not re.search(r"\b(nan|None)\b", page.text)


def test_a_class_without_units_has_no_share(tmp_path, without_drawings):
    counts = dict.fromkeys(product(CLASSES, CLASSES), 0) | {("Present", "Absent"): 1}
    page = Page(write_page(tmp_path, confusion=tabulate_counts(counts)))
    (table,) = (rows for name, rows in page.tables.items() if name.startswith("Predictions on"))
    assert table[2][1:] == ["0 undefined"] * 3


def test_one_run_and_nothing_left_out_give_a_page(tmp_path):
    tables = {
        "runs": RUNS[RUNS["run"] == 0],
        "folds": FOLDS[:2],
        "left_out": LEFT_OUT[:0],
        "audit": AUDIT[:1],
    }
    page = Page(write_page(tmp_path, subgroups=SUBGROUPS[:0], **tables))
    assert "Items left out" not in page.tables and descriptions.NO_SUBGROUPS in page.text
    assert page.tables["Each class, by patient, mean over runs"][1][1].endswith("(SD undefined)")


def test_names_of_the_data_are_text_not_html(tmp_path, without_drawings):
    hostile = '<img src="http://x/y">'
    text = write_page(tmp_path, changed({"data.dataset": hostile}), left_out=LEFT_OUT.assign(reason=hostile))
    assert "http:" not in "".join(str(value) for *_, value in Page(text).links)
    assert "&lt;img" in text and "&lt;i&gt;2&lt;/i&gt;" in text, "nor is the text of a card"


def write_other_results(folder, experiment):
    """Robustness and figures on another data set, as other commands write them."""
    rows = [
        {"experiment": experiment, "disturbance": "noise", "value": v, "unit": "dB SNR", "metric": m}
        | {"mean": 0.7, "low": 0.6, "high": 0.8, "n_units": 9}
        for v in (NAN, 0, 20)
        for m in HEADLINE
    ]
    write_csv(pd.DataFrame(rows), folder / "plots/robustness.csv")
    result = {
        "experiment": experiment,
        "level": "patient",
        "left_unasked": ["Unknown"],
        "seen_in_training": 5,
        "class_map": {"Abnormal": "Present", "Noise": None, "Absent": "Absent"},
        "headline": {"uar": HEADLINE["uar"] | {"mean": 0.4321}},
        "here": {"uar": {"mean": 0.8765}},
        "baseline": {"answer": "Absent", "uar": 0.5},
        "data": {"units": 40, "persons": 39, "counts": {"Present": 10, "Absent": 30}},
    }
    (folder / "metrics/elsewhere_cinc2016.json").write_text(json.dumps(result))


def test_results_of_other_commands_are_shown(tmp_path):
    write_experiment(tmp_path)
    assert "Not evaluated" in rewrite_page(tmp_path)
    write_other_results(tmp_path, hashlib.sha256((tmp_path / "metrics/folds.csv").read_bytes()).hexdigest())
    text = rewrite_page(tmp_path)
    page = Page(text)
    assert page.tables["Figures on the own data and on cinc2016"] == [
        ["metric", "own data", "external data", "95 % interval", "always Absent"],
        [name_column("uar"), "0.876", "0.432", "0.676-0.840", "0.500"],
    ]
    for words in ("40 patients (10 Present, 30 Absent) of 39 persons", "Abnormal: Present; Noise: left out."):
        assert words in page.text
    assert "so never predicted, in both columns: Unknown" in page.text and "5 recordings" in page.text
    table = page.tables["Scores on disturbed recordings"]
    assert ["noise", "none", name_column("uar"), "0.700", "0.600-0.800"] in table
    assert ["noise", "20 dB SNR", name_column("uar"), "0.700", "0.600-0.800"] in table
    assert "disturbed recordings: noise" in page.text and "Not evaluated" not in text


def test_results_of_another_experiment_are_named_and_not_shown(tmp_path, without_drawings):
    write_experiment(tmp_path)
    write_other_results(tmp_path, "0" * 64)
    text = rewrite_page(tmp_path)
    for path, command in (
        ("plots/robustness.csv", "murmur robustness"),
        ("metrics/elsewhere_cinc2016.json", "murmur evaluate-on cinc2016"),
    ):
        assert re.search(f"{re.escape(path)} is of another experiment .*{command}<", text)
    assert "0.432" not in text and "disturbed recordings: noise" not in text


def test_make_report_sets_up_first_and_git_ignores_the_page():
    assert re.search(
        r"^report: setup  ## .+\n\tmurmur report$", (made.ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert "/report.html" in (made.ROOT / ".gitignore").read_text().splitlines()


def test_the_plot_of_dvc_shows_the_metrics_of_every_task():
    template = json.loads((made.ROOT / ".dvc/plots/score_per_fold.json").read_text())
    assert {*scores.HEADLINE, *scores.LEADS, "accuracy"} == set(template["transform"][0]["fold"])


@pytest.mark.parametrize(
    "name", ["band", "confusion_matrix", "reliability", "learning_curves", "score_per_fold"]
)
def test_the_plot_templates_are_used_and_have_the_anchors_of_dvc(name):
    text = (made.ROOT / f".dvc/plots/{name}.json").read_text()
    assert json.loads(text)["data"] == {"values": "<DVC_METRIC_DATA>"} and "<DVC_METRIC_TITLE>" in text
    assert f"template: {name}\n" in (made.ROOT / "dvc.yaml").read_text()


def test_heart_cycles_have_a_section_if_the_model_labels_frames(tmp_path):
    scores = SEGMENTATION.iloc[0].to_dict() | {"tolerance": 0.06, "heart_rate_error": 1.25}
    text = write_page(tmp_path, DETAILS | {"segmentation": scores})
    assert 'id="heart-cycles"' in text and "within 60 ms" in text and "error 1.2/min" in text
    assert "mid systole" in text and "0.812" in text
    unknown = scores | {"f1": None, "heart_rate_error": None, "heart_rates": None}
    assert "No heart rate is compared" in write_page(tmp_path, DETAILS | {"segmentation": unknown})
    assert "heart-cycles" not in write_page(tmp_path)
