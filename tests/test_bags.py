"""Bags: every segment is in the bag of its patient once, and no fold divides a patient."""

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.training.bags import check_patients_undivided, make_bags

#        patient, site, reversed
ROWS = [
    ("b", "PV", False),  # 0
    ("a", "AV", False),
    ("b", "AV", False),
    ("a", "AV", False),
    ("c", "Phc", False),
    ("a", "TV", False),  # 5
    ("a", "AV", False),
    ("b", "AV", True),
    ("a", "TV", True),
]
FACTS = pd.DataFrame(ROWS, columns=["patient_id", "site", "reversed"])


def test_every_segment_is_in_the_bag_of_its_patient():
    patients, bags = make_bags(FACTS[:7], ["AV", "PV", "TV"])
    assert list(patients["patient_id"]) == ["b", "a", "c"] and list(patients.index) == [0, 1, 4]
    assert bags.tolist() == [
        [[2, -1, -1], [0, -1, -1], [-1, -1, -1]],
        [[1, 3, 6], [-1, -1, -1], [5, -1, -1]],
        [[-1, -1, -1]] * 3,
    ]


def test_sites_have_the_given_order_and_other_sites_are_not_used():
    _, bags = make_bags(FACTS, ["TV", "Phc"])
    assert bags.tolist() == [[[-1], [-1]], [[5], [-1]], [[-1], [4]]]


def test_reversed_segments_are_not_used():
    sites = ["AV", "PV", "TV"]
    (patients, bags), (others, same) = make_bags(FACTS, sites), make_bags(FACTS[:7], sites)
    assert (bags == same).all() and patients.equals(others)


def test_patients_without_a_segment_at_the_sites_are_kept_and_logged(capsys):
    _, bags = make_bags(FACTS, ["AV", "PV"])
    assert (bags[2] == -1).all()
    words = "patients without a recording at any of AV, PV: 1; their prediction is arbitrary"
    assert capsys.readouterr().out == f"note: {words}\n"
    make_bags(FACTS, ["AV", "PV", "Phc"])
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        (["AV", "MV"], "no recording was made at MV; this data set has the sites AV, PV, Phc, TV"),
        ([], "no recording was made at any, for none is named; this data set has"),
    ],
)
def test_missing_sites_are_an_error(sites, words):
    with pytest.raises(MurmurError, match=rf"train\.model\.sites: {words}"):
        make_bags(FACTS, sites)


def test_bags_of_a_random_table_have_every_segment_once():
    rng = np.random.default_rng(0)
    facts = pd.DataFrame(
        {
            "patient_id": rng.choice([f"p{k}" for k in range(20)], 200),
            "site": rng.choice(["AV", "MV", "PV", "Phc"], 200),
            "reversed": rng.random(200) < 0.3,
        }
    )
    patients, bags = make_bags(facts, ["PV", "AV"])
    expected_rows = facts[~facts["reversed"]].groupby(["patient_id", "site"]).indices
    for patient, bag in zip(patients["patient_id"], bags, strict=True):
        for site, rows in zip(["PV", "AV"], bag, strict=True):
            expected = facts[~facts["reversed"]].index[expected_rows.get((patient, site), [])]
            assert list(rows[rows >= 0]) == list(expected) and (rows[len(expected) :] == -1).all()
    assert bags.shape[2] == max((bag >= 0).sum(axis=1).max() for bag in bags)


def test_folds_that_do_not_divide_patients_are_accepted():
    role = FACTS["patient_id"].map({"a": "train", "b": "test", "c": "validation"}).to_numpy(str)
    without = np.where(FACTS["reversed"] & (role != "train"), "", role)
    assert check_patients_undivided(FACTS, {0: role[None], 1: without[None]}) is None


def test_a_fold_that_divides_a_patient_is_refused():
    role = FACTS["patient_id"].map({"a": "train", "b": "test", "c": "validation"}).to_numpy(str)
    divided = role.copy()
    divided[5] = "validation"
    words = r"fold 3: patient a is in two parts.*set split\.group_by to person or patient"
    with pytest.raises(MurmurError, match=words):
        check_patients_undivided(FACTS, {0: role[None], 3: np.stack([role, divided])})
