"""Comparison of two experiments: the tests against published examples and by simulation, errors, texts."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import compare as simulation
from murmur.errors import MurmurError
from murmur.experiments import comparison

A = np.array([0.71, 0.64, 0.77, 0.80, 0.69, 0.75, 0.68, 0.73, 0.79, 0.70])
B = np.array([0.74, 0.65, 0.76, 0.84, 0.73, 0.75, 0.72, 0.71, 0.83, 0.75])
UP = B - A
DATA = {"dataset": "circor", "task": "murmur", "sha256": "d1", "sha256_patients": "p1"}


def texts(
    uar=A, brier=None, *, runs=(0, 1), folds=5, level="patient", leaky=False, flaws="none", test=None, **data
):
    """The three files of an experiment; `test`: what the hash of a test part is of (run, fold)."""
    index = pd.MultiIndex.from_product([runs, range(folds)], names=["run", "fold"])
    keys = index.to_frame(index=False)
    part = [f"{r}{f}e{f}" for r, f in index] if test is None else [test(r, f) for r, f in index]
    scores = keys.assign(level="patient", n_units=40, n_persons=38, uar=uar)
    scores["brier"] = 0.5 if brier is None else brier
    scores = pd.concat([scores, scores.assign(level="segment", uar=scores["uar"] / 2)])
    audit = keys.assign(n_train=130, n_validation=30, n_test=40, shared_persons=0, test_sha256=part)
    details = {
        "data": DATA | data | {"persons": 190},
        "protocol": {"leaky": leaky, "flaws": flaws},
        "level": level,
        "headline": {name: {"mean": 0.7, "sd": 0.1, "low": 0.6, "high": None} for name in ("uar", "brier")},
    }
    frames = {comparison.FOLDS: scores, comparison.AUDIT: audit}
    input_csv = {path: frame.to_csv(index=False) for path, frame in frames.items()}
    return input_csv | {comparison.DETAILS: json.dumps(details)}


def experiment(name, *arguments, **changes):
    return comparison.parse_experiment(name, texts(*arguments, **changes))


def test_both_tests_agree_with_baycomp():
    """Baycomp 1.0.3, CorrelatedTTest(A, B, rope=.01, runs=2): its correction is ours at ratio 1/(5 - 1)."""
    got = comparison.compute_paired_tests(UP, 1 / 4)
    assert got["error"] ** 2 == pytest.approx(0.00021622222222222211)
    chances = (0.02876453962094553, 0.1889966474287076, 0.7822388129503469)
    assert [got[name] for name in ("below", "equivalent", "above")] == pytest.approx(chances)


def test_the_corrected_test_agrees_with_a_calculation_by_hand():
    """Baycomp's own test of its statistics, (4, 2, 6) and (5, 7, 3): variance (16 + 16)/2 (1/3 + 1/2)."""
    got = comparison.compute_paired_tests(np.array([1.0, 5.0, -3.0]), 1 / 2, rope=1.0)
    assert got["difference"] == 1 and got["error"] == pytest.approx(np.sqrt(16 * (1 / 3 + 1 / 2)))
    t = 1 / np.sqrt(40 / 3)
    assert got["t"] == pytest.approx(t)
    assert got["p"] == pytest.approx(1 - t / np.sqrt(2 + t**2))  # Student's with 2 df
    half = 4.302653 * np.sqrt(40 / 3)  # the table's t for 2 df
    assert (got["low"], got["high"]) == pytest.approx((1 - half, 1 + half), rel=1e-6)
    assert got["above"] == pytest.approx(0.5), "the mean equals rope"


def test_the_corrected_test_agrees_with_the_example_of_scikit_learn():
    """plot_grid_search_stats: an SVC with rbf kernel against a linear one, t 0.750, one-sided p 0.227."""
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    scores = [cross_val_score(SVC(kernel=k), x, y, cv=folds, scoring="roc_auc") for k in ("rbf", "linear")]
    got = comparison.compute_paired_tests(scores[0] - scores[1], 10 / 90)
    assert (got["t"], got["p"] / 2) == pytest.approx((0.750, 0.227), abs=5e-4)


def test_without_correction_it_equals_the_paired_t_test():
    got, expected = comparison.compute_paired_tests(UP, 0.0), stats.ttest_rel(B, A)
    assert (got["t"], got["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (got["low"], got["high"]) == pytest.approx(tuple(expected.confidence_interval()))


def test_many_comparisons_at_once_equal_single_ones():
    d = np.random.default_rng(0).normal(size=(3, 2, 8))
    d[1, 1] = 0.0
    together = comparison.compute_paired_tests(d, 0.25)
    for k in np.ndindex(3, 2):
        alone = {name: float(value) for name, value in comparison.compute_paired_tests(d[k], 0.25).items()}
        assert {name: float(value[k]) for name, value in together.items()} == pytest.approx(alone)


@pytest.mark.parametrize(("apart", "p", "equivalent"), [(0.0, 1, 1), (0.1, None, None)])
def test_equal_differences_are_not_tested(apart, p, equivalent):
    b = (A + apart).round(6)
    row = comparison.compare_experiments(experiment("a"), experiment("b", b))["metrics"]["uar"]
    assert (row["p"], row["equivalent"]) == (p, equivalent)
    assert row["difference"] == pytest.approx(apart)
    assert row["worse"] == row["better"] == (0 if p else None)


def test_differences_by_rounding_count_as_equal():
    a = np.round(np.arange(10) / 30, 6)
    b = np.round(np.arange(10) / 30 + 1 / 30, 6)
    assert len(set((b - a).round(6))) > 1
    verdict = comparison.compare_experiments(experiment("a", a), experiment("b", b))["verdict"]
    assert verdict == "no test: uar differs by +0.033 in each fold; without any spread it cannot be tested"


def test_the_ratio_comes_from_the_audit():
    result = comparison.compare_experiments(experiment("a"), experiment("b", B))
    assert result["ratio"] == 40 / 160
    given = texts(B)
    given[comparison.AUDIT] = given[comparison.AUDIT].replace(",130,30,", ",70,30,")
    few = comparison.parse_experiment("b", given)
    assert comparison.compare_experiments(experiment("a"), few)["ratio"] == pytest.approx(
        (40 / 160 + 40 / 100) / 2
    )
    expected = comparison.compute_paired_tests(UP, 40 / 160)
    row = result["metrics"]["uar"]
    assert [row[name] for name in ("p", "low")] == pytest.approx([float(expected[k]) for k in ("p", "low")])
    assert (row["a"], row["b"]) == pytest.approx((A.mean(), B.mean()))


@pytest.mark.parametrize("turned", [False, True])
def test_a_lower_error_is_better(turned):
    up, down = 0.5 + 0.1 + UP, 0.5 - 0.1 - UP
    a, b = experiment("a", 0.5 * A, 0.5), experiment("b", 0.5 * A, down if turned else up)
    result = comparison.compare_experiments(a, b, metrics=["brier"])
    row = result["metrics"]["brier"]
    assert result["verdict"].startswith(f"{'B' if turned else 'A'} is better: brier differs by ")
    assert (row["better"] > 0.97) == turned and (row["worse"] > 0.97) == (not turned)
    assert "brier (lower is better)" in comparison.format_text(result)


def test_the_verdict_describes_the_first_metric():
    def get_verdict(b):
        return comparison.compare_experiments(experiment("a"), experiment("b", b))["verdict"]

    assert get_verdict(A) == "no difference: uar is the same in every fold"
    assert get_verdict(B).startswith(
        "no significant difference: uar differs by +0.022 [-0.011, +0.055], p 0.169"
    )
    assert get_verdict(A + 3 * UP + 0.1).startswith("B is better: uar differs by +0.166 [")
    assert get_verdict(A - 3 * UP - 0.1).startswith("A is better: uar differs by -0.166 [")
    near = get_verdict(A + UP / 50)
    assert near.startswith("no significant difference") and "within ±0.01 with a probability of 1.00" in near
    assert "within" not in get_verdict(B)


def test_undefined_folds_are_left_out_and_counted():
    a, b = A.copy(), B.copy()
    a[2], b[7], b[2] = np.nan, np.nan, np.nan
    result = comparison.compare_experiments(experiment("a", a), experiment("b", b))
    row, remaining = result["metrics"]["uar"], np.delete(UP, [2, 7])
    assert (row["pairs"], row["undefined"]) == (8, 2)
    assert row["p"] == pytest.approx(float(comparison.compute_paired_tests(remaining, 0.25)["p"]))
    assert row["a"] == pytest.approx(np.delete(A, [2, 7]).mean())
    assert "uar is undefined in 2 of 10 folds (a class is absent there): left out" in result["notes"]
    assert result["metrics"]["brier"]["undefined"] == 0


@pytest.mark.parametrize(
    ("defined", "message"), [(1, "no test: one pair of scores; uar differs by +0.030"), (0, "no")]
)
def test_too_few_defined_folds_are_no_test(defined, message):
    b = np.where(np.arange(10) < defined, B, np.nan)
    result = comparison.compare_experiments(experiment("a"), experiment("b", b))
    row = result["metrics"]["uar"]
    assert result["verdict"].startswith(message) and row["p"] is None and row["pairs"] == defined
    assert (row["difference"] is None) == (defined == 0)
    assert "uar" in comparison.format_text(result) and json.dumps(result, allow_nan=False)


def test_one_hold_out_run_is_one_pair():
    a, b = (experiment("x", uar, runs=[0], folds=1) for uar in (0.7, 0.75))
    result = comparison.compare_experiments(a, b)
    assert result["verdict"].startswith(
        "no test: one pair of scores; uar differs by +0.050; use more split.runs"
    )
    assert "| uar | 0.700 | 0.750 | +0.050 | - | - | - | - | - |" in comparison.format_markdown(result)
    assert not any("one run is" in note for note in result["notes"])
    assert comparison.compare_experiments(a, a)["metrics"]["uar"]["p"] is None, "equal, but still one pair"


def test_one_run_of_folds_is_tested_with_a_note():
    a, b = (experiment("x", uar[:5], runs=[3]) for uar in (A, B))
    result = comparison.compare_experiments(a, b)
    assert result["metrics"]["uar"]["pairs"] == 5 and result["metrics"]["uar"]["p"] is not None
    assert any(note.startswith("one run is one random split; more split.runs") for note in result["notes"])
    assert not any(
        "one run is" in note
        for note in comparison.compare_experiments(experiment("a"), experiment("b"))["notes"]
    )


def test_runs_with_one_test_part_count_once():
    runs = range(10)
    a, b = (experiment("x", uar, runs=runs, folds=1, test=lambda r, f: "role") for uar in (A, B))
    result = comparison.compare_experiments(a, b)
    row = result["metrics"]["uar"]
    assert (row["pairs"], row["p"]) == (1, None) and row["difference"] == pytest.approx(UP.mean())
    assert result["notes"][0].startswith("10 folds have 1 different test part:")


def test_only_common_runs_are_compared():
    a, b = experiment("a", A, runs=(0, 1)), experiment("b", np.append(B, B), runs=(0, 1, 2, 3))
    result = comparison.compare_experiments(a, b)
    assert result["runs"] == [0, 1] and result["metrics"]["uar"]["pairs"] == 10
    assert "only B has run 2, 3: compared is run 0, 1" in result["notes"]


def test_the_order_of_the_rows_does_not_matter():
    given = texts(B)
    mixed = given | {
        path: pd.read_csv(io.StringIO(given[path]), dtype=str).iloc[::-1].to_csv(index=False)
        for path in (comparison.FOLDS, comparison.AUDIT)
    }
    a = experiment("a")
    assert comparison.compare_experiments(
        a, comparison.parse_experiment("b", mixed)
    ) == comparison.compare_experiments(a, comparison.parse_experiment("b", given))


def test_a_leaky_side_is_marked():
    result = comparison.compare_experiments(
        experiment("a"), experiment("b", B, leaky=True, flaws="validate_on")
    )
    assert result["b"]["leaky"] and not result["a"]["leaky"]
    warning = "WARNING: B (b) is LEAKY (the test part selects the epoch)"
    assert warning in comparison.format_text(result) and warning in comparison.format_markdown(result)
    assert any(
        line.split()[:4] == ["metric", "A", "B", "(LEAKY)"]
        for line in comparison.format_text(result).split("\n")
    )
    assert "| metric | A | B (LEAKY) |" in comparison.format_markdown(result)
    result = comparison.compare_experiments(experiment("a", leaky=True), experiment("b", B))
    assert "WARNING: A (a) is LEAKY (test and training parts share something" in result["notes"][0]


def test_both_sides_need_the_same_level():
    a, b = experiment("a", A), experiment("b", B, level="segment")
    with pytest.raises(
        MurmurError, match=r"of A \(a\) is of the patient level, that of B \(b\) of the segment"
    ):
        comparison.compare_experiments(a, b)
    assert comparison.compare_experiments(a, b, level="segment")["metrics"]["uar"]["a"] == pytest.approx(
        A.mean() / 2
    )
    with pytest.raises(MurmurError, match=r"A \(a\) has no recording level; there are patient, segment"):
        comparison.compare_experiments(a, b, level="recording")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sha256_patients": "p2"},
            r"A \(a\) and B \(b\) are not of the same data and task: sha256_patients p1 / p2; run both",
        ),
        ({"dataset": "pascal", "task": "outcome"}, "dataset circor / pascal, task murmur / outcome"),
        ({"runs": (7, 8)}, r"no run in common: 0, 1 / 7, 8; run both with the same split.runs"),
        (
            {"test": lambda r, f: "zz" if (r, f) == (1, 2) else f"{r}{f}e{f}"},
            r"run 1, fold 2: A \(a\) and B \(b\) differ in their test part: 12e2 / zz \(1 such of 10 folds\)",
        ),
    ],
)
def test_experiments_on_other_data_or_splits_are_refused(changes, message):
    with pytest.raises(MurmurError, match=message):
        comparison.compare_experiments(experiment("a"), experiment("b", **changes))


def test_other_labels_of_recordings_do_not_matter_at_the_level_of_patients():
    a, b = experiment("a"), experiment("b", sha256="d2")
    assert comparison.compare_experiments(a, b)["level"] == "patient"
    with pytest.raises(MurmurError, match="sha256 d1 / d2"):
        comparison.compare_experiments(a, b, level="segment")


def test_test_parts_of_other_sizes_are_refused():
    given = texts(B)
    given[comparison.FOLDS] = given[comparison.FOLDS].replace("1,3,patient,40,", "1,3,patient,39,")
    with pytest.raises(MurmurError, match=r"run 1, fold 3: .* differ in their number of units: 40 / 39"):
        comparison.compare_experiments(experiment("a"), comparison.parse_experiment("b", given))


def test_an_unknown_metric_is_refused():
    with pytest.raises(MurmurError, match=r"A \(a\) has no metric uwr, n_units; .* there are uar, brier$"):
        comparison.compare_experiments(experiment("a"), experiment("b"), metrics=["uwr", "uar", "n_units"])


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (comparison.AUDIT, ("test_sha256", "other"), "test_sha256"),
        (comparison.AUDIT, ("\n1,4,", "\n9,4,"), "audit.csv lacks run 1, fold 4"),
        (comparison.DETAILS, ('"level"', '"lvl"'), "KeyError: 'level'"),
        (comparison.DETAILS, ("{", "["), "JSONDecodeError"),
        (comparison.FOLDS, ("run,fold", "run,fild"), "fold"),
    ],
)
def test_files_of_another_version_are_refused(path, change, message):
    given = texts()
    given[path] = given[path].replace(*change)
    with pytest.raises(MurmurError, match=rf"^old: its files in metrics/ do not fit .*{message}.*dvc repro"):
        comparison.parse_experiment("old", given)


def test_a_word_among_the_numbers_is_named():
    given = texts()
    lines = given[comparison.FOLDS].splitlines()
    given[comparison.FOLDS] = "\n".join([*lines[:3], lines[3].replace("0.5", "half"), *lines[4:]])
    message = r"HEAD: metrics/folds.csv: row 4, column brier: 'half' is not a number"
    with pytest.raises(MurmurError, match=message):
        comparison.parse_experiment("HEAD", given)


def test_the_tables_show_all_metrics():
    result = comparison.compare_experiments(
        experiment("HEAD", A), experiment("workspace", A + 3 * UP + 0.1), rope=0.02
    )
    lines = comparison.format_text(result).splitlines()
    assert lines[0].startswith("B is better: uar") and lines[1] == "A: HEAD   B: workspace"
    assert lines[2] == (
        "patient level, mean of 10 folds of 2 runs; worse, better: B by more than 0.02, equivalent: within it"
    )
    assert lines[-2].split()[:4] == ["uar", "0.726", "0.892", "+0.166"] and "< 0.001" not in lines[-1]
    assert sum("the first row decides" in line for line in lines) == 1
    table = [line for line in comparison.format_markdown(result).splitlines() if line.startswith("|")]
    assert table[0].count("|") == table[1].count("|") == table[2].count("|") == 10
    alone = comparison.compare_experiments(experiment("a"), experiment("b", B), metrics=["uar"])
    assert not alone["notes"]


def test_the_corrected_test_has_few_false_alarms():
    d = simulation.simulate_differences(simulation.MAIN, 2000, seed=1)
    assert d.shape == (2000, 50)
    corrected, plain, _ = simulation.count_significant(d, simulation.MAIN)
    assert 0.02 <= corrected <= 0.06
    assert plain > 0.06, "the plain test must fail here, or this shows nothing"
    assert abs(d.mean()) < 3 * d.mean(1).std() / np.sqrt(2000), "the learners are not worth the same"


def test_the_simulated_advantage_has_the_requested_size():
    setting = simulation.MAIN._replace(correlation=0.9)
    d = simulation.simulate_differences(setting, 1000, seed=2, advantage=0.03)
    assert d.mean() == pytest.approx(0.03, abs=3 * d.mean(1).std() / np.sqrt(1000))
    assert simulation.compute_power(0.0, 1.0, 49) == pytest.approx(0.05)
    assert simulation.compute_power(2.8, 1.0, 10**6) == pytest.approx(stats.norm.cdf(2.8 - 1.96), abs=1e-3)
