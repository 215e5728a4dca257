"""Folds: whole groups, every class in every part, and the same folds for the same seed."""

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.splits.audit import audit_folds
from murmur.splits.folds import group_persons
from murmur.tables.folds import combine_inner_folds
from tests.cohort import CLASSES, NO_PAIRS, collect_by_role, make_pair, make_recordings, make_segments, split


def are_equal(folds, others):
    order = ["fold", "recording_id", "segment_id"]
    return folds.sort_values(order, ignore_index=True).equals(others.sort_values(order, ignore_index=True))


@pytest.mark.parametrize(("method", "folds"), [("kfold", 5), ("kfold", 2), ("holdout", 1)])
def test_a_person_is_in_one_part_of_a_fold_only(method, folds):
    table = make_recordings()
    found = split(table, method=method, folds=max(folds, 2), test=0.25, validation=0.25)
    parts = collect_by_role(found, table)
    assert list(parts) == list(range(folds))
    for roles in parts.values():
        assert set(roles) == {"train", "validation", "test"}
        assert (
            sum(map(len, roles.values())) == len(set.union(*roles.values())) == table["person_id"].nunique()
        )
    for roles in collect_by_role(found, table, "patient_label").values():
        assert all(classes == set(CLASSES) for classes in roles.values())
    if method == "kfold":
        assert sum(len(roles["test"]) for roles in parts.values()) == table["person_id"].nunique()
    assert not found.duplicated(["fold", "recording_id"]).any() and found["segment_id"].isna().all()
    rest = {len(r["train"] | r["validation"]) for r in parts.values()}
    assert all(len(r["validation"]) == pytest.approx(0.25 * max(rest), abs=2) for r in parts.values())
    assert not audit_folds(found, table, NO_PAIRS).filter(like="shared").any(axis=None)


@pytest.mark.parametrize("method", ["kfold", "holdout", "role"])
@pytest.mark.parametrize("group_by", ["person", "segment"])
def test_the_folds_of_a_run_depend_on_seed_and_run_only(group_by, method):
    table, options = make_recordings(), {"group_by": group_by, "method": method}
    table["role"] = np.where(np.arange(len(table)) % 4, "train", "test")
    runs = split(table, runs=[0, 1, 2], **options)
    assert are_equal(split(table, runs=[2], **options)[2], runs[2])
    assert are_equal(split(table, runs=[7, 2, 0], **options)[2], runs[2])
    shuffled = table.sample(frac=1, random_state=1)
    assert are_equal(split(shuffled, runs=[2], segments=make_segments(table)[::-1], **options)[2], runs[2])
    for other in (runs[1].assign(run=2), split(table, runs=[2], seed=1, **options)[2]):
        assert not are_equal(other, runs[2])
        test_parts = (frame[frame["role"] == "test"] for frame in (other, runs[2]))
        assert are_equal(*test_parts) == (method == "role")
    assert all(set(frame["run"]) == {run} for run, frame in runs.items())


@pytest.mark.parametrize("method", ["kfold", "holdout", "role"])
def test_inner_folds_divide_the_training_part_by_person(method):
    table = make_recordings(linked=0)
    table["role"] = np.where(table["patient_id"].astype(int) < 40, "train", "test")
    chain = make_chain(table)
    options = {"method": method, "inner": 3, "duplicates": chain}
    found, whole = (
        split(table, **options | changes) for changes in ({}, {"inner": None, "validate_on": "test"})
    )
    shuffled = split(table.sample(frac=1, random_state=1), **options)
    order = ["fold", "inner", "recording_id"]
    assert found.sort_values(order, ignore_index=True).equals(shuffled.sort_values(order, ignore_index=True))
    assert are_equal(combine_inner_folds(found).assign(inner=None), whole.assign(inner=None))
    validated = found[found["role"] == "validation"]
    training = whole[whole["role"] == "train"]
    assert sorted(zip(validated["fold"], validated["recording_id"], strict=True)) == sorted(
        zip(training["fold"], training["recording_id"], strict=True)
    )
    for _, part in found.groupby(["fold", "inner"]):
        persons = part.merge(table, on="recording_id").groupby("role_x")["person_id"].unique()
        classes = part.merge(table, on="recording_id").groupby("role_x")["patient_label"].nunique()
        assert sum(map(len, persons)) == len(set().union(*persons)) and (classes == 3).all()
    audits = [audit_folds(folds, table, chain) for folds in (found, whole)]
    assert not audits[0].filter(like="shared_").any(axis=None)
    common = ["n_train", "n_validation", "n_test", "test_sha256"]
    assert audits[0][common].equals(audits[1][common])


def test_with_method_role_the_roles_are_those_of_the_data_set():
    table = make_recordings(linked=0)
    table["role"] = np.where(table["patient_id"].astype(int) < 40, "train", "test")
    found = split(table, method="role").merge(table, on="recording_id")
    assert set(found["fold"]) == {0}
    assert ((found["role_x"] == "test") == (found["role_y"] == "test")).all()
    parts = collect_by_role(found.rename(columns={"role_x": "role"}), table)[0]
    assert not parts["train"] & parts["validation"] and len(parts["validation"]) == pytest.approx(8, abs=1)
    linked = make_recordings(linked=8).assign(role=table["role"])
    assert audit_folds(split(linked, method="role"), linked, NO_PAIRS)["shared_persons"].tolist() == [8]


def test_recordings_without_a_segment_are_assigned_too():
    """Their class must be predicted too; by segment there is nothing to assign."""
    table = make_recordings()
    segments = make_segments(table[3:])
    assert are_equal(split(table, segments=segments), split(table))
    found = split(table, segments=segments, group_by="segment")
    assert set(found["recording_id"]) == set(table["recording_id"][3:])


def make_chain(table):
    """Patients 20, 21 and 22, three persons, share audio: 20 with 21, and 21 with 22."""
    first, second, third = (table.loc[table["patient_id"] == str(k), "recording_id"] for k in (20, 21, 22))
    return pd.concat([make_pair(first.iloc[0], second.iloc[0]), make_pair(second.iloc[-1], third.iloc[-1])])


@pytest.mark.parametrize("group_by", ["person", "patient", "recording"])
def test_near_duplicates_are_assigned_together(group_by, capsys):
    table = make_recordings()
    chain, n = make_chain(table), table[f"{group_by}_id"].nunique()
    split(table, duplicates=chain, group_by=group_by)
    note = f"note: {n} groups become {n - 2}: groups that share near-identical audio are one"
    assert capsys.readouterr().out.strip() == note
    merged = [split(table, seed, duplicates=chain, group_by=group_by) for seed in range(5)]
    apart = [
        split(table, seed, duplicates=chain, group_by=group_by, merge_near_duplicates=False)
        for seed in range(5)
    ]
    assert not any(audit_folds(folds, table, chain)["shared_near"].any() for folds in merged)
    assert any(audit_folds(folds, table, chain)["shared_near"].any() for folds in apart)
    assert all(are_equal(folds, split(table, seed, group_by=group_by)) for seed, folds in enumerate(apart))


def test_persons_who_share_audio_are_one_group_of_the_bootstrap():
    table = make_recordings()
    alone = group_persons(table, NO_PAIRS)
    assert alone["group"].tolist() == table["person_id"].tolist()
    merged = group_persons(table, make_chain(table))
    assert merged["group"].nunique() == table["person_id"].nunique() - 2
    of_patient = merged.groupby(table["patient_id"].to_numpy())["group"].first()
    assert of_patient["20"] == of_patient["21"] == of_patient["22"]


@pytest.mark.parametrize("method", ["kfold", "holdout"])
@pytest.mark.parametrize("group_by", ["person", "segment"])
def test_validation_on_the_test_part_leaves_no_validation_part(method, group_by):
    table, options = make_recordings(), {"method": method, "group_by": group_by}
    separate, found = split(table, **options), split(table, validate_on="test", **options)
    assert set(found["role"]) == {"train", "test"}
    expected = separate.assign(role=separate["role"].replace("validation", "train"))
    assert are_equal(found, expected), "the test parts are the same"
    audit = audit_folds(found, table, NO_PAIRS)
    assert (audit["n_validation"] == 0).all()
    assert (group_by == "person") == (not audit["shared_persons"].any())


def make_mirrored(table):
    """Segments, then their reversed copies, as the segment stage writes them."""
    segments = make_segments(table).assign(reversed=False)
    copies = segments.assign(segment_id=segments["segment_id"] + "r", reversed=True)
    return pd.concat([segments, copies], ignore_index=True)


@pytest.mark.parametrize("group_by", ["person", "patient", "recording"])
def test_mirrored_copies_do_not_change_the_folds_of_whole_recordings(group_by):
    table = make_recordings()
    mirrored = split(table, segments=make_mirrored(table), group_by=group_by)
    assert are_equal(mirrored, split(table, group_by=group_by))


def test_by_segment_a_mirrored_copy_may_be_in_another_part_and_the_audit_finds_it():
    table = make_recordings()
    found = split(table, segments=make_mirrored(table), group_by="segment")
    roles = found[found["fold"] == 0].set_index("segment_id")["role"]
    assert len(roles) == 6 * len(table)
    copies = [(roles[name], roles[f"{name}r"]) for name in roles.index if not name.endswith("r")]
    assert any("test" in pair and pair != ("test", "test") for pair in copies)
    assert audit_folds(found, table, NO_PAIRS)["shared_recordings"].all()


def make_with_few_unknown(n):
    """The class Unknown has n patients."""
    table = make_recordings(linked=0)
    return table[
        (table["patient_label"] != "Unknown") | table["patient_id"].isin([str(5 * k + 4) for k in range(n)])
    ]


def make_two_of_each_class():
    table = make_recordings(linked=0)
    return table[table["patient_id"].isin(["0", "1", "2", "3", "4", "9"])]


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (
            make_with_few_unknown(4),
            {},
            "split: 4 persons of class Unknown; 5 folds need 5 of each class: lower split.folds",
        ),
        (
            make_with_few_unknown(1),
            {"method": "holdout"},
            "split: 1 person of class Unknown; a training part and a test part need 2 of each class: merge",
        ),
        (
            make_two_of_each_class(),
            {"folds": 2},
            r"fold 0: no class has two persons .* each class has three persons, and set split\.folds to 3$",
        ),
        (
            make_with_few_unknown(5),
            {"inner": 5},
            "has 4 persons of class Unknown; 5 inner folds need 5 of each class: lower split.inner, set",
        ),
        (
            make_recordings().assign(role="train"),
            {"method": "role"},
            "split.method role: all recordings have one",
        ),
        (make_recordings(), {"method": "role"}, "split.method role: recording 0_AV has no role; give all"),
    ],
)
def test_a_data_set_that_cannot_be_split_is_refused(table, options, words):
    with pytest.raises(MurmurError, match=words):
        split(table, **options)


def test_a_class_of_as_many_persons_as_folds_is_in_every_fold():
    """If two persons remain for training, one of them validates; a single one trains."""
    for n in (2, 5):
        table = make_with_few_unknown(n)
        parts = collect_by_role(split(table, folds=n), table, "patient_label").values()
        assert all("Unknown" in roles["test"] & roles["train"] for roles in parts)
        assert all(("Unknown" in roles["validation"]) == (n > 2) for roles in parts)


@pytest.mark.parametrize(("group_by", "column"), [("recording", "label"), ("person", "patient_label")])
def test_folds_are_stratified_by_the_label_of_the_assigned_units(group_by, column):
    n = 40
    rows = {"recording_id": [f"r{k}" for k in range(n)], "person_id": [f"p{k}" for k in range(n)]}
    table = pd.DataFrame(rows).assign(patient_id=rows["person_id"], role=None)
    table["label"] = np.where(np.arange(n) % 2 == 0, "ill", "well")
    table["patient_label"] = np.where(np.arange(n) < n // 2, "ill", "well")
    segments = table[["recording_id"]].assign(segment_id=table["recording_id"] + "@0", reversed=False)
    folds = split(table, segments=segments, group_by=group_by)
    test = folds[folds["role"] == "test"].merge(table, on="recording_id")
    assert (test.groupby(["fold", column]).size() == n / 10).all()
