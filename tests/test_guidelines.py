"""metrics/reporting.md: all items of the guidelines, figures of the tables, and no name of a recording."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from murmur.reporting import guidelines
from murmur.reporting.guideline_items import GUIDELINES, STARD_AI, TRIPOD_AI
from tests.test_cards import (
    AUDIT,
    CLASSES,
    DETAILS,
    LEFT_OUT,
    POINTS,
    RUNS,
    SUBGROUPS,
    changed,
    parameters,
)

PREDICTED = pd.crosstab(pd.Series(CLASSES * 5), pd.Series([*CLASSES * 4, *["Absent"] * 3]))
CONFUSION = pd.DataFrame([(a, p, PREDICTED.loc[a, p]) for a in CLASSES for p in CLASSES])
CONFUSION.columns = ["actual", "predicted", "n"]
TABLES = {"audit": AUDIT, "left_out": LEFT_OUT, "subgroups": SUBGROUPS, "operating_points": POINTS}
TABLES |= {"runs": RUNS, "confusion": CONFUSION}


def write(details=DETAILS, **tables):
    return guidelines.format_reporting_items(details, parameters(), TABLES | tables)


def read_sections(text):
    """The text of each section, by heading without the numbers of items."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {heading.partition(" (")[0]: content for heading, _, content in parts}


def collect_numbers(content):
    """All numbers in mappings and tables."""
    if isinstance(content, dict):
        return [n for value in content.values() for n in collect_numbers(value)]
    if isinstance(content, pd.DataFrame):
        return content.select_dtypes("number").to_numpy().ravel().tolist()
    return [content] if isinstance(content, int | float) else []


def test_every_item_is_listed_once_with_content_or_a_task_for_the_author():
    assert (len(TRIPOD_AI), len(STARD_AI)) == (52, 48)
    sections = read_sections(write())
    for name, last in (("TRIPOD+AI", 27), ("STARD-AI", 40)):
        numbers = [item.number for item in GUIDELINES[name]]
        assert len({*numbers}) == len(numbers)
        assert list(dict.fromkeys(re.sub(r"\D", "", n) for n in numbers)) == [str(n + 1) for n in range(last)]
        rows = re.findall(r"^\| (\d+[a-g]?) \| .+ \| (.+) \|$", sections[f"Items of {name}"], re.MULTILINE)
        assert [number for number, _ in rows] == numbers
        assert all(content.startswith(("see ", guidelines.AUTHOR)) for _, content in rows)
        for item in GUIDELINES[name]:
            assert set(item.sections) <= set(sections), item
            assert item.sections or item.author


def test_a_section_names_its_items():
    assert "\n## Missing data (TRIPOD+AI 11, 20b, 27a; STARD-AI 19, 20)\n" in write()
    assert "\n## Cross-tabulation (STARD-AI 30)\n" in write()


def test_every_figure_is_one_of_the_tables():
    text = re.sub(r"```yaml.*?```|https://\S+|\d+\.\d+\.\d+", "", write(), flags=re.DOTALL)
    at_level = RUNS[RUNS["level"] == "patient"].select_dtypes("number")
    moments = [*at_level.mean(), *at_level.std()]
    known = [*collect_numbers(DETAILS), *collect_numbers(TABLES), *moments]
    figures = set(re.findall(r"\d\.\d{3}", text))
    assert len(figures) > 30 and figures <= {f"{number:.3f}" for number in known}


def test_the_flow_starts_with_the_recordings_found():
    rows = [("download", f"{k}.wav", "has no label") for k in range(7)]
    rows += [
        ("download", "x", "x.wav: is damaged"),
        ("segment", "y", "last piece is too short for a segment: 3 s"),
    ]
    left_out = pd.DataFrame(rows, columns=["stage", "item", "reason"])
    expected = """\
| recordings found | 910 |
| recordings left out: cannot be used | 1 |
| recordings left out: has no label | 7 |
| recordings used | 902 |
| pieces of recordings left out: too short for a segment | 1 |
| patients before recordings were left out | to be completed by the author |
| segments | 8000 |
| patients | 272 |
| persons | 253 |
| patients scored | 272 of 272 |
"""
    text = write(left_out=left_out)
    assert expected in text and "wav" not in text
    counted = left_out.assign(n_items=2).drop(columns="item")
    assert "| recordings found | 918 |" in write(left_out=counted)


def test_the_flow_counts_patients_that_no_model_scores():
    text = write(changed({"no_answer.patient": 2}))
    scored = "| patients scored | 272 of 272 |\n"
    assert f"{scored}| patients without a usable segment, predicted as Unknown | 2 of 272 |\n" in text
    assert "patients without a usable segment" not in write()


def test_predictions_are_counted_by_actual_and_predicted_class():
    assert (
        "| actual | Present | Unknown | Absent |\n| --- | --- | --- | --- |\n| Present | 4 | 0 | 1 |"
        in write()
    )


def test_missing_data_are_counted():
    missing = read_sections(write(changed({"no_answer.recording": 3, "data.age_group": {}})))["Missing data"]
    assert (
        "Without a usable segment: 3 recordings and 0 patients. Such a unit is predicted as Unknown."
        in missing
    )
    assert "- Sex not stated: 0 of 272 patients." in missing
    assert "- Age group not stated: 272 of 272 patients." in missing


def test_the_input_is_described():
    p = parameters()
    sites = p.train.model.model_copy(update={"sites": ["AV"]})
    train = p.train.model_copy(update={"model": sites})
    text = guidelines.format_reporting_items(DETAILS, SimpleNamespace(**vars(p) | {"train": train}), TABLES)
    assert "spectrograms of the recordings with their auscultation sites: no" in text
    assert "spectrograms of the recordings: no" in write() and "lr: 0.0123" in write()


@pytest.mark.parametrize(
    ("changes", "stated"),
    [
        (
            {"protocol.leaky": True, "protocol.flaws": "validate_on"},
            "**LEAKY, the figures may be too",
        ),
        ({"protocol.runs": 1, "parts.folds": 2}, "One run: how much the figures depend"),
        ({"protocol.method": "file", "scored.units": 40}, "a published split from a file, 2 runs, 4 folds"),
        ({"data.unknown_persons": 9}, "| persons, at most | 253 |"),
        ({"protocol.shared_near": 3}, "| near-duplicates | 3 |"),
    ],
)
def test_the_protocol_is_stated(changes, stated):
    runs = RUNS[RUNS["run"] == 0] if changes.get("protocol.runs") == 1 else RUNS
    sections = read_sections(write(changed(changes), runs=runs, subgroups=SUBGROUPS[:0]))
    assert stated.lower() in "".join(sections.values()).lower() and stated not in write()
    if "LEAKY" in stated:
        for name in ("Results", "Operating points", "Calibration", "Cross-tabulation"):
            assert stated in sections[name], name
