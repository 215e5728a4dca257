"""The model card and the data card: figures, counts, intervals, licence and limits of the experiment."""

import copy
from types import SimpleNamespace

import pandas as pd
import pytest

from murmur import formatting
from murmur.reporting import cards, descriptions
from murmur.reporting.limits import describe_limits
from murmur.reporting.result_tables import WHY_UNDEFINED, format_cell
from murmur.sections.experiment import Params
from tests import made

NAN = float("nan")
CLASSES = ["Present", "Unknown", "Absent"]
HEADLINE = {
    "weighted_accuracy_official": {"mean": 0.7631, "sd": 0.0334, "low": 0.7194, "high": 0.8066},
    "uar": {"mean": 0.7567, "sd": 0.0504, "low": 0.6759, "high": 0.8403},
    "roc_auc": {"mean": 0.9028, "sd": 0.0137, "low": 0.8527, "high": 0.9487},
}
DETAILS = {
    "level": "patient",
    "rule": {"rule": "mean_probability", "thresholds": None, "sensitivity": 0.9, "prevalence": 0.1},
    "headline": HEADLINE,
    "baseline": {"answer": "Present", "weighted_accuracy_official": 0.4989, "uar": 0.3333, "roc_auc": 0.5},
    "validation": {
        "metric": "weighted_accuracy_official",
        "mean": 0.7712,
        "sd": 0.0251,
        "undefined_because": None,
    },
    "missed": 2,
    "no_answer": {"recording": 0, "patient": 0},
    "absent": {},
    "data": {
        "dataset": "circor",
        "task": "murmur",
        "classes": CLASSES,
        "positive": ["Present"],
        "recordings": 902,
        "patients": 272,
        "persons": 253,
        "segments": 8000,
        "left_out": 1,
        "sha256": "ecb0e5e6ab570486",
        "licence": "ODC-By 1.0.",
        "shareable": True,
        "hours": 5.567,
        "counts": {
            "Present": {"recordings": 391, "patients": 114, "persons": 107},
            "Unknown": {"recordings": 71, "patients": 33, "persons": 30},
            "Absent": {"recordings": 440, "patients": 125, "persons": 115},
        },
        "sites": {"AV": 450, "PV": 452},
        "sex": {"Female": 140, "Male": 132},
        "age_group": {"Child": 272},
        "source": {"CC2014": 400, "CC2015": 502},
        "unknown_persons": 0,
        "sample_rates": {"4000": {"Present": 391, "Unknown": 71, "Absent": 440}},
    },
    "protocol": {
        "method": "kfold",
        "folds": 2,
        "runs": 2,
        "group_by": "person",
        "validate_on": "validation",
        "merge_near_duplicates": True,
        "on_leak": "error",
        "person": "Linked ids are one person.",
        "leaky": False,
        "flaws": "none",
        "shared_persons": 0,
        "shared_audio": 0,
        "shared_near": 0,
        "select_on": "loss",
        "stops": "none",
    },
    "scored": {
        "units": 272,
        "of": 272,
        "least_runs": 2,
        "most_runs": 2,
        "in_parts": False,
        "lowest_level": "segment",
    },
    "resampled": {"groups": 253, "persons": 253},
    "parts": {"folds": 4, "without_validation": 0, "test_parts": 4},
    "device": "cpu",
    "precision": "float32",
    "versions": {"python": "3.11.7", "torch": "2.11.0"},
}
RUNS = pd.DataFrame(
    [
        {"run": r, "level": level, "n_units": n, "n_persons": 9, "n_no_answer": 0}
        | {name: row["mean"] + r / 100 - n / 1000 for name, row in HEADLINE.items()}
        | {f"{kind}_{c}": 0.5 + r / 10 + n / 999 for kind in ("precision", "recall", "f1") for c in CLASSES}
        | {
            "accuracy": 0.7123,
            "brier": 0.41 + r / 50,
            "brier_calibrated": 0.36,
            "ece": 0.2,
            "ece_calibrated": 0.1,
        }
        for r in (0, 1)
        for level, n in (("recording", 30), ("patient", 10))
    ]
)
SUBGROUPS = pd.DataFrame(
    [
        {"group": g, "value": v, "level": level, "n_units": n, "n_persons": n - 1, "metric": m}
        | {"mean": x, "sd": 0.1, "low": x - 0.1, "high": x + 0.1}
        for g, v, level, n, x in (
            ("site", "AV", "recording", 450, 0.6513),
            ("site", "PV", "recording", 452, 0.6891),
            ("sex", "Male", "patient", 132, NAN),
        )
        for m in HEADLINE
    ]
)
POINTS = pd.DataFrame(
    [
        {
            "chosen_on": "validation",
            "figure": "sensitivity",
            "mean": 0.821,
            "sd": 0.05,
            "low": 0.72,
            "high": 0.9,
        },
        {"chosen_on": "curve", "figure": "ppv", "mean": 0.2113, "sd": 0.01, "low": NAN, "high": NAN},
    ]
)
ERRORS = pd.DataFrame(
    [
        {"metric": metric, "group": group, "value": value, "level": level, "n_units": n, "n_persons": n}
        | {"mean": x, "sd": 0.1, "low": low, "high": min(1.0, x + 0.1)}
        for metric, group, value, level, n, x, low in (
            ("sensitivity", "all", "all", "patient", 52, 0.71, 0.61),
            ("sensitivity", "murmur_grade", "I/VI", "patient", 40, 0.62, 0.52),
            ("sensitivity", "murmur_grade", "III/VI", "patient", 12, 1.0, 1.0),
            ("sensitivity", "site", "AV", "recording", 30, 0.5, 0.4),
            ("specificity", "all", "all", "patient", 158, 0.9, 0.85),
            ("specificity", "annotated", "0-25 %", "patient", 20, 0.8, NAN),
        )
    ]
)
MISSED = pd.DataFrame(
    {
        "patient_id": ["0007", "12"],
        "label": "Present",
        "predicted": "Absent",
        "n_runs": 2,
        "n_wrong": 2,
        "probability": [0.1, 0.2],
        "recording_id": ["0007_AV", "12_PV"],
        "site": ["AV", "PV"],
        "murmur_grade": ["I/VI", None],
        "murmur_timing": None,
        "murmur_pitch": None,
        "annotated": 0.25,
        "sex": "Male",
        "age_group": None,
    }
)
AUDIT = pd.DataFrame(
    [
        {"run": r, "fold": f, "n_train": 120 + f, "n_validation": 30, "n_test": 40 + r}
        | {"shared_persons": 0, "shared_audio": 0, "shared_near": 0, "test_sha256": f"00{r}{f}e7"}
        for r in (0, 1)
        for f in (0, 1)
    ]
)
LEFT_OUT = pd.DataFrame({"stage": ["segment"] * 2, "item": ["a", "b"], "reason": ["too short"] * 2})
ANNOTATED = "Heart cycles are annotated in 9 of 902 recordings."


def changed(changes):
    """The details with some dotted keys changed."""
    return made.put(copy.deepcopy(DETAILS), changes)


def parameters():
    p = Params(**made.changed({"train.model": {"name": "cnn", "width": 24}, "train.lr": 0.0123}))
    return SimpleNamespace(
        **{name: getattr(p, name) for name in ("clean", "segment", "mel", "split", "train")}
    )


def model_card(details=DETAILS, subgroups=SUBGROUPS):
    return cards.format_model_card(details, parameters(), ERRORS, subgroups, POINTS, RUNS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.76317, "0.763"), (1.0, "1.000"), (0.0, "0.000"), (7, "7"), (None, "undefined"), (NAN, "undefined")],
)
def test_figures_have_three_digits_and_undefined_is_not_zero(value, expected):
    assert format_cell(value) == expected


def test_the_model_card_shows_figures_with_intervals_beside_the_constant_class_baseline():
    text = model_card()
    assert "| weighted accuracy (official mix) | 0.763 | 0.033 | 0.719-0.807 | 0.499 |" in text
    assert "| ROC-AUC | 0.903 | 0.014 | 0.853-0.949 | 0.500 |" in text
    assert "experiments): weighted accuracy (official mix) 0.771, SD over runs 0.025" in text, (
        "of the validation parts"
    )
    assert "0.763 (95 % interval over persons 0.719-0.807); always predicting Present gives 0.499" in text
    assert "| validation | sensitivity | 0.821 | 0.050 | 0.720-0.900 |" in text
    assert "| curve | positive predictive value | 0.211 | 0.010 | - |" in text
    assert "| Brier score | 0.420 | 0.014 |" in text, "mean and SD of the two runs at patient level"
    assert "| AV | 450 | 449 | 0.651 (0.551-0.751) |" in text and "| PV | 452 | 451 | 0.689" in text
    assert "| Male | 132 | 131 | undefined | undefined | undefined |" in text
    assert text.count(WHY_UNDEFINED) == 1, "below the table with undefined cells"
    assert "nan" not in text and "None" not in text


def test_the_model_card_describes_the_errors_in_words():
    text = model_card().partition("## What the errors are")[2].partition("##")[0]
    assert "- Patients recognised as Present: 71 % of 52 (61-81 %). 2 are missed in more than half of" in text
    grades = "I/VI: 62 % of 40 (52-72 %); III/VI: 100 % of 12 (100-100 %)"
    assert f"- Patients recognised as Present, by murmur grade: {grades}." in text
    assert "- Recordings recognised as Present, by site: AV: 50 % of 30 (40-60 %)." in text
    assert "- Patients with a false alarm (Present): 10 % of 158 (0-15 %)." in text
    assert "by annotated fraction: 0-25 %: 20 % of 20 (interval undefined)." in text
    hidden = changed({"data.shareable": False})
    assert "metrics/missed.csv" not in model_card(hidden) and "(not listed here)" in model_card(hidden)


def test_the_model_card_describes_network_and_data():
    text = model_card()
    assert "cnn: width 24" in text and "lr: 0.0123" in text and "sample_rate: 2000" in text
    assert "902 recordings (5.567 h, 8000 segments) of 272 patients, 253 persons" in text
    assert "2-fold cross-validation, repeated 2 times, split by person, with merging" in text
    assert "Linked ids are one person." in text and "torch 2.11.0" in text
    assert "Not a medical device; not for diagnosis." in text


@pytest.mark.parametrize(
    "card", [model_card, lambda d: cards.format_data_card(d, AUDIT, LEFT_OUT, ANNOTATED)]
)
def test_both_cards_state_counts_and_licence(card):
    text = card(DETAILS)
    for line in ("Present | 391 | 114 | 107", "Unknown | 71 | 33 | 30", "Absent | 440 | 125 | 115"):
        assert f"| {line} |" in text
    assert "Licence: ODC-By 1.0. The recordings may be shared." in text
    assert "must NOT be shared" in card(changed({"data.shareable": False}))


def test_the_data_card_counts_what_is_included_and_left_out():
    text = cards.format_data_card(DETAILS, AUDIT, LEFT_OUT, ANNOTATED)
    assert "| AV | 450 |" in text and "| CC2015 | 502 |" in text and "| Female | 140 |" in text
    assert "4 folds; recordings in training, validation and test part: 120-121, 30, 40-41." in text
    assert "| segment | too short | 2 |" in text and "Linked ids are one person." in text
    free = "In no fold do the test part and the training parts share a person, a recording or audio."
    assert free in text and "`ecb0e5e6ab570486`" in text
    assert f"persons. {ANNOTATED}\n" in text
    assert "Nothing." in cards.format_data_card(DETAILS, AUDIT, LEFT_OUT[:0], ANNOTATED)


@pytest.mark.parametrize(
    ("dataset", "origin"),
    [
        ("circor", "Task murmur of circor. Authors and purpose: see its publication."),
        ("synthetic", "Task murmur of synthetic. Simulated by this project to test the pipeline."),
        ("folder", "Task murmur of folder."),
    ],
)
def test_only_published_data_refer_to_a_publication(dataset, origin):
    text = cards.format_data_card(changed({"data.dataset": dataset}), AUDIT, LEFT_OUT, ANNOTATED)
    assert f"## Motivation\n\n{origin}\n\n" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol.leaky": True, "protocol.flaws": "validate_on"}, "Flaw: the test part selects the epoch"),
        (
            {"protocol.leaky": True, "protocol.shared_near": 3},
            "In the worst fold the test part and the training parts share 3 near-duplicates.",
        ),
        ({"data.counts.Unknown.persons": 29}, "Small class: Unknown has 29 persons; its figures"),
        ({"data.dataset": "synthetic"}, "The data are simulated"),
        (
            {"data.sites": {"AV": 900, "not stated": 2}},
            "All recordings with a stated auscultation site come from one auscultation site (AV)",
        ),
        ({"data.source": {"CC2014": 902}}, "All recordings come from one source (CC2014)."),
        ({"data.sex": {}}, "Not stated: sex;"),
        ({"data.age_group": {"not stated": 272}}, "Not stated: age groups;"),
        (
            {"headline.weighted_accuracy_official.low": 0.70},
            "Wide interval: weighted accuracy (official mix)",
        ),
        ({"headline.weighted_accuracy_official.low": None}, "has no interval"),
        ({"no_answer.recording": 3}, "Without a usable segment: 3 recordings; such a unit"),
        ({"absent": {"Unknown": 4}}, "Class Unknown is absent from the test part of 4 folds"),
        ({"protocol.runs": 1}, "One run:"),
    ],
)
def test_each_limit_is_stated_only_where_it_holds(changes, words):
    assert words in "\n".join(describe_limits(changed(changes)))
    assert words not in "\n".join(describe_limits(DETAILS))


@pytest.mark.parametrize("method", ["kfold", "holdout", "role", "file"])
@pytest.mark.parametrize("rule", ["mean_probability", "mean_logit", "maximum", "any_present", "regression"])
def test_every_split_method_and_rule_has_a_description(method, rule):
    details = changed({"protocol.method": method, "rule.rule": rule, "rule.thresholds": "uar"})
    text = " ".join(descriptions.write_protocol(details))
    assert "2" in text and "fitted for unweighted average recall (UAR) on each validation part" in text


def test_a_regression_and_expected_values_are_described():
    details = changed({"rule.rule": "regression", "rule.thresholds": "expected_uar"})
    text = " ".join(descriptions.write_protocol(details))
    assert "logistic regression on figures of the recordings, fitted in each fold to" in text
    assert "product of calibrated probability and value in unweighted average recall (UAR)" in text


@pytest.mark.parametrize(
    ("thresholds", "begin", "end"),
    [
        ("weighted_accuracy", "class weights fitted for", "on each validation part"),
        ("expected_weighted_accuracy", "product of calibrated probability and value in", "is predicted"),
    ],
)
def test_the_share_of_the_uar_in_the_decision_is_described(thresholds, begin, end):
    details = changed({"rule.thresholds": thresholds, "rule.uar_share": 0.15})
    text = " ".join(descriptions.write_protocol(details))
    assert f"{begin} weighted accuracy (share 0.85) and UAR (share 0.15) {end}" in text
    details = changed({"rule.thresholds": thresholds, "rule.uar_share": 0.0})
    assert "(share" not in " ".join(descriptions.write_protocol(details))


def test_the_test_part_that_selects_the_epoch_is_named():
    tested = changed({"protocol.validate_on": "test", "parts.without_validation": 4})
    assert "In each fold the test part selects the epoch" in " ".join(descriptions.write_protocol(tested))


SPLITS = [  # changes of the details; texts that the description has; texts that it does not have
    (
        {},
        [
            "split by person, with merging",
            "a separate validation part selects the epoch, by the lowest loss",
            "no rule stops the training early",
            "272 of 272 patients are scored, each in every run, by the model of the fold",
            "by the model of the fold in which they were tested",
        ],
        [],
    ),
    (
        {"protocol.runs": 1, "scored.least_runs": 1, "scored.most_runs": 1},
        ["2-fold cross-validation, once", "The figures are those of one run; the 95 % interval"],
        ["SD"],
    ),
    (
        {"protocol.runs": 1, "protocol.method": "file", "parts.folds": 1},
        ["a published split from a file, one run of 1 fold."],
        [],
    ),
    (
        {"no_answer.patient": 2},
        [
            "272 of 272 patients are scored, each in every run, 270 by the model of the fold in which they",
            "were tested; 2 by no model, for lack of a usable segment (predicted as Unknown).",
        ],
        [],
    ),
    (
        {"no_answer.patient": 2, "data.classes": ["ill", "well"], "scored.units": 99},
        ["which they were tested, or, without a usable segment (2 of 272), counted as wrong."],
        [],
    ),
    (
        {"protocol.group_by": "segment", "scored.in_parts": True},
        ["split by segment.", "a patient that several test parts share is scored in each"],
        ["merging"],
    ),
    ({"protocol.merge_near_duplicates": False}, ["split by person, without merging"], []),
    (
        {"protocol.method": "holdout", "scored.units": 99, "scored.least_runs": 1},
        [
            "2 times one test part, drawn again each time, split by person",
            "99 of 272 patients are scored, each in 1 to 2 of 2",
        ],
        ["in every run"],
    ),
    (
        {"protocol.method": "role", "scored.units": 40, "parts.folds": 2, "parts.test_parts": 1},
        [
            "training and test part of the data set, 2 trainings.",
            "40 of 272 patients are scored, each in every run",
            "a validation part, drawn from the training part by person, with merging",
        ],
        ["separate validation", "split by"],
    ),
    (
        {"protocol.method": "role", "protocol.group_by": "segment"},
        ["a validation part, drawn from the training part by segment, selects"],
        ["merging", "split by"],
    ),
    (
        {"protocol.method": "file", "scored.units": 40, "parts.folds": 3},
        [
            "a published split from a file, 2 runs, 3 folds in all.",
            "40 of 272 patients",
            "a validation part, that of the published split or else drawn from the training part by person",
        ],
        ["split by"],
    ),
    (
        {"protocol.method": "file", "protocol.validate_on": "test"},
        ["In each fold the validation part of the published split selects the epoch"],
        ["the test part selects", "merging"],
    ),
    (
        {"protocol.method": "file", "protocol.validate_on": "test", "parts.without_validation": 1},
        ["the test part (1 of 4 folds) or the validation part of the published split selects the epoch"],
        ["merging", "split by"],
    ),
    (
        {"protocol.validate_on": "test", "parts.without_validation": 4, "protocol.stops": "patience 3"},
        [
            "In each fold the test part selects the epoch, by the lowest loss",
            "and stops the training (patience 3)",
        ],
        ["validation part", "no rule"],
    ),
    (
        {"protocol.stops": "patience 3, stop_accuracy 0.9", "protocol.select_on": "uar"},
        ["by the highest UAR, and stops the training (patience 3, stop accuracy 0.9)"],
        ["no rule"],
    ),
    (
        {"protocol.select_on": "last"},
        ["No epoch is selected: the weights are those of the last epoch; no rule stops the training early"],
        ["selects the epoch"],
    ),
    (
        {"protocol.stops": "stop_accuracy 0.9", "protocol.select_on": "last"},
        ["those of the last epoch; a separate validation part stops the training (stop accuracy 0.9)."],
        ["selects the epoch"],
    ),
    (
        {"scored.lowest_level": "patient"},
        ["The model predicts the class of a patient as a whole; the most probable"],
        ["its parts"],
    ),
    (
        {"resampled": {"groups": 233, "persons": 1000}, "data.unknown_persons": 902},
        ["resamples 233 groups of at most 1000 persons (persons with near-identical audio are one group)"],
        [],
    ),
]


@pytest.mark.parametrize(("changes", "stated", "others"), SPLITS)
def test_the_description_of_the_protocol_holds_for_every_split(changes, stated, others):
    details = changed(changes)
    text = " ".join(descriptions.write_protocol(details))
    assert not [words for words in stated if words.lower() not in text.lower()], text
    assert not [words for words in others if words in text], text
    assert "every patient is scored" not in text and "  " not in text and ".." not in text
    limits = "\n".join(describe_limits(details))
    unscored = details["scored"]["of"] - details["scored"]["units"]
    assert (f"{unscored} of 272 patients are in no test part" in limits) == (unscored > 0)
    assert ("Runs share their test parts" in limits) == ("parts.test_parts" in changes)


def test_leaky_figures_are_marked_in_every_section():
    leaky = changed({"protocol.leaky": True, "protocol.flaws": "validate_on", "protocol.shared_persons": 7})
    text = model_card(leaky)
    why = "the worst fold shares 7 persons; the test part selects the epoch"
    mark = f"**LEAKY, the figures may be too optimistic: {why}.**"
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")}
    for name in ("Results", "Operating points", "Calibration", "Factors: subgroups"):
        assert mark in sections[name], name
        assert "LEAKY" not in model_card() and "flatter" not in model_card()
    for name in ("Results", "Operating points", "Factors: subgroups"):
        assert formatting.INTERVAL_NOTE in sections[name], "what the intervals leave out"


def test_without_a_validation_part_nothing_is_chosen_or_calibrated():
    text = model_card(changed({"protocol.validate_on": "test", "parts.without_validation": 4}))
    assert (
        "Threshold chosen on validation: undefined, since there are folds without a validation part" in text
    )
    assert descriptions.UNCALIBRATED in text and "fitted on its validation part" not in text
    some = model_card(changed({"parts.without_validation": 1}))
    assert "1 of 4 folds have no validation part: their units are left out of the calibrated figures" in some


def test_unknown_persons_are_counted_and_never_called_free_of_leaks():
    details = changed(
        {
            "data.unknown_persons": 902,
            "protocol.leaky": True,
            "protocol.flaws": "data set",
            "data.persons": 902,
            "resampled": {"groups": 902, "persons": 902},
        }
    )
    unknown = (
        "the persons of 902 of 902 recordings are unknown: no split of these data can be shown to be free"
    )
    for text in (model_card(details), cards.format_data_card(details, AUDIT, LEFT_OUT, ANNOTATED)):
        assert unknown in text and "share a known person, a recording or audio. Flaw:" in text
        assert "In no fold do the test part and the training parts share a known person" in text
        assert "share a person" not in text and "at most 902 persons" in text
        assert "| class | recordings | patients | persons, at most |" in text


@pytest.mark.parametrize(
    ("rates", "alone"),
    [
        ({"4000": {"Present": 391, "Unknown": 71, "Absent": 440}}, []),
        (
            {"1000": {"Present": 391}, "4000": {"Unknown": 71, "Absent": 440}},
            ["Present was recorded at 1000 Hz (391"],
        ),
        (
            {"1000": {"Present": 390}, "4000": {"Present": 1, "Absent": 511}},
            ["Present was recorded at 1000 Hz (390"],
        ),
        ({"1000": {"Present": 1, "Absent": 2}, "4000": {"Present": 1, "Absent": 511}}, []),
    ],
)
def test_sampling_rates_are_counted_by_class_and_those_of_a_single_class_are_named(rates, alone):
    full = {rate: {c: row.get(c, 0) for c in CLASSES} for rate, row in rates.items()}
    text = cards.format_data_card(changed({"data.sample_rates": full}), AUDIT, LEFT_OUT, ANNOTATED)
    assert "| sample rate (Hz) | Present | Unknown | Absent |" in text
    for rate, row in full.items():
        assert f"| {rate} | {row['Present']} | {row['Unknown']} | {row['Absent']} |" in text
    assert text.count("Only class") == len(alone) and all(words in text for words in alone)


def test_items_left_out_of_private_data_are_counted_without_names():
    counted = pd.DataFrame({"stage": ["segment"], "reason": ["too short for a segment"], "n_items": [7]})
    text = cards.format_data_card(DETAILS, AUDIT, counted, ANNOTATED)
    assert "| segment | too short for a segment | 7 |" in text and descriptions.ITEMS_NOT_NAMED in text
    assert descriptions.ITEMS_NOT_NAMED not in cards.format_data_card(DETAILS, AUDIT, LEFT_OUT, ANNOTATED)


def test_a_bar_or_a_new_line_in_a_name_does_not_break_a_table():
    text = cards.format_data_card(changed({"data.sites": {"A|V\nx": 3}}), AUDIT, LEFT_OUT, ANNOTATED)
    assert "| A\\|V x | 3 |" in text


def test_names_in_the_data_are_neither_html_nor_links():
    details = changed({"data.sites": {"<b>x": 3, "![i](http://x)": 2}, "data.source": {"[l](http://x)": 2}})
    details["data"]["counts"]["<i>"] = {"recordings": 1, "patients": 1, "persons": 1}
    text = cards.format_data_card(details, AUDIT, LEFT_OUT, ANNOTATED)
    assert "<b>" not in text and "<i>" not in text and "](" not in text.replace("\\](", "")
    assert "| &lt;b>x | 3 |" in text and "Small class: &lt;i> has 1 person;" in text


def test_without_subgroups_the_card_states_it():
    assert descriptions.NO_SUBGROUPS in model_card(subgroups=SUBGROUPS[:0])
