"""The cross-validator: whole groups, and every class in every part."""

import numpy as np
import pytest

from murmur.splits.cross_validator import StratifiedGroups
from tests.cohort import CLASSES, make_recordings


@pytest.mark.parametrize("n_splits", [1, 2, 5])
def test_a_cross_validator_like_those_of_scikit_learn(n_splits):
    table = make_recordings()
    y, group = table["patient_label"].to_numpy(), table["person_id"].to_numpy()
    splitter = StratifiedGroups(n_splits, test_size=0.3, random_state=4)
    assert splitter.get_n_splits() == n_splits
    parts = list(splitter.split(np.zeros(len(y)), y, group))
    assert len(parts) == n_splits
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(len(y)))
        assert not set(group[train]) & set(group[test])
        assert set(y[train]) == set(y[test]) == set(CLASSES)
    if n_splits > 1:
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(y)))
    shares = [len(set(group[test])) / len(set(group)) for _, test in parts]
    assert shares == pytest.approx([0.3 if n_splits == 1 else 1 / n_splits] * n_splits, abs=0.04)


def test_the_class_of_a_group_is_its_most_frequent_label():
    y = np.array(["a", "b", "b"] * 4 + ["a"] * 4)
    group = np.array([f"g{k // 3}" for k in range(12)] + [f"h{k}" for k in range(4)])
    for _, test in StratifiedGroups(4).split(None, y, group):
        assert {name[0] for name in group[test]} == {"g", "h"}


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_both_parts_of_a_hold_out_contain_every_class(share):
    y = np.repeat(["many", "few"], [40, 2])
    ((train, test),) = StratifiedGroups(1, test_size=share).split(None, y, np.arange(42))
    assert [list(y[part]).count("few") for part in (train, test)] == [1, 1]
    assert list(y[test]).count("many") == min(max(round(share * 40), 1), 39)
