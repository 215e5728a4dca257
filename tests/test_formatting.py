"""Numbers and tables as text, and the sentences about leaks."""

import math

import pytest

from murmur import errors, formatting, leaks


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_an_undefined_figure_is_a_dash_or_the_given_text(value):
    assert formatting.format_figure(value) == "-"
    assert formatting.format_figure(value, "+", undefined="undefined") == "undefined"


def test_a_figure_has_three_digits_and_a_sign_if_wanted():
    assert formatting.format_figure(0.12345) == "0.123"
    assert formatting.format_figure(0.5, "+") == "+0.500" and formatting.format_figure(-0.5, "+") == "-0.500"


@pytest.mark.parametrize("bounds", [(None, None), (math.nan, 0.5), (0.5, None)])
def test_an_interval_without_a_bound_is_undefined(bounds):
    row = dict(zip(("low", "high"), bounds, strict=True))
    assert formatting.format_interval(row) == "-"
    assert formatting.format_interval(row, undefined="undefined") == "undefined"
    assert formatting.format_with_interval({"mean": 0.2, **row}) == "0.200"
    assert formatting.format_with_interval({"mean": 0.2, **row}, no_interval="(none)") == "0.200 (none)"


def test_an_interval_is_its_two_bounds():
    row = {"low": 0.1, "high": 0.25}
    assert formatting.format_interval(row) == "0.100-0.250"
    assert formatting.format_interval(row, formatting.BRACKETED, "+") == "[+0.100, +0.250]"


def test_a_figure_may_have_its_interval():
    row = {"mean": 0.2, "low": 0.1, "high": 0.25}
    assert formatting.format_with_interval(row) == "0.200 (0.100-0.250)"
    assert formatting.format_with_interval(row, formatting.BRACKETED) == "0.200 [0.100, 0.250]"
    assert formatting.format_with_interval(row | {"mean": None}, undefined="undefined") == "undefined"


@pytest.mark.parametrize(
    ("flaws", "expected"),
    [
        ("none", []),
        ("validate_on", ["the test part selects the epoch"]),
        (
            "validate_on, first_of",
            ["the test part selects the epoch", "the label decides which segments are kept"],
        ),
        ("data set", ["the data set does not name the recorded persons"]),
    ],
)
def test_each_flaw_of_a_protocol_is_a_clause(flaws, expected):
    assert leaks.list_flaws({"protocol": {"flaws": flaws}}) == expected


def test_line_breaks_are_escaped_unless_they_are_wanted():
    assert errors.escape_unprintable("a\nb\x1b") == "a\\nb\\x1b"
    assert errors.escape_unprintable("a\nb\x1b", lines=True) == "a\nb\\x1b"
