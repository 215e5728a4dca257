"""The audit finds every leak of a fold, and describes it."""

import pandas as pd
import pytest

from murmur import leaks
from murmur.errors import MurmurError
from murmur.evaluation.protocol import describe_leaks
from murmur.splits.audit import audit_folds, check_audit
from tests.cohort import NO_PAIRS, collect_by_role, make_pair, make_recordings, split


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("person", []),
        ("patient", ["persons"]),
        ("recording", ["persons", "patients"]),
        ("segment", ["persons", "patients", "recordings", "audio"]),
    ],
)
def test_each_way_to_group_leaks_what_it_does_not_keep_together(group_by, expected):
    table = make_recordings()
    found = split(table, group_by=group_by)
    audit = audit_folds(found, table, NO_PAIRS)
    shared = audit.filter(like="shared_")
    assert [name.removeprefix("shared_") for name in shared if shared[name].any()] == expected
    assert list(shared) == list(leaks.SHARED)
    assert (group_by == "segment") == found["segment_id"].notna().all()
    parts = collect_by_role(found, table)
    counts = [len(p["test"] & (p["train"] | p["validation"])) for p in parts.values()]
    assert list(audit["shared_persons"]) == counts


def test_leaks_that_were_put_in_are_counted():
    table = make_recordings(linked=0)
    found = split(table)
    roles = found[found["fold"] == 0].set_index("recording_id")["role"]
    test, train, validation = (roles.index[roles == name] for name in ("test", "train", "validation"))
    by_id = table.set_index("recording_id")
    by_id.loc[train[0], "person_id"] = by_id.loc[test[0], "person_id"]
    by_id.loc[validation[0], "audio_sha256"] = by_id.loc[test[0], "audio_sha256"]
    by_id.loc[train[1], "audio_sha256"] = by_id.loc[train[2], "audio_sha256"]  # in one part: no leak
    row = audit_folds(found, by_id.reset_index(), NO_PAIRS).iloc[0]
    assert [row[f"shared_{what}"] for what in ("persons", "patients", "recordings", "audio")] == [1, 0, 0, 1]
    assert [row[f"n_{role}"] for role in ("train", "validation", "test")] == [
        len(train),
        len(validation),
        len(test),
    ]


def test_test_recordings_with_a_near_duplicate_in_another_part_are_counted():
    table = make_recordings()
    found = split(table)
    roles = found[found["fold"] == 0].set_index("recording_id")["role"]
    (a, b, *_), (c, d, *_), (e, *_) = (roles.index[roles == name] for name in ("test", "train", "validation"))
    pairs = pd.concat([make_pair(a, c), make_pair(d, a), make_pair(e, b), make_pair(c, d)])
    assert audit_folds(found, table, pairs)["shared_near"].iloc[0] == 2
    assert audit_folds(found, table, make_pair(c, e))["shared_near"].iloc[0] == 0


def test_the_hash_of_a_test_part_depends_on_its_members_only():
    table = make_recordings()
    hashes = audit_folds(split(table), table, NO_PAIRS)["test_sha256"]
    assert hashes.is_unique
    others = audit_folds(split(table, validation=0.4)[::-1], table, NO_PAIRS)["test_sha256"]
    assert list(others) == list(hashes)
    assert not set(audit_folds(split(table, seed=1), table, NO_PAIRS)["test_sha256"]) & set(hashes)


def audit_and_check(table, on_leak, **options):
    found = split(table, **options)
    return check_audit(audit_folds(found, table, NO_PAIRS), found, table, NO_PAIRS, on_leak)


def test_a_leak_is_an_error_or_a_warning(capsys):
    table = make_recordings()
    clean = audit_and_check(table, "error")
    assert clean == "5 folds; nothing is shared between a test part and the training"
    assert capsys.readouterr().out == ""
    words = (
        r"5 of 5 folds leak; in run 0, fold \d the test part and another part share \d+ persons, such as "
        r".*split.on_leak: warn"
    )
    with pytest.raises(MurmurError, match=words) as refused:
        audit_and_check(table, "error", group_by="patient")
    assert audit_and_check(table, "warn", group_by="patient") == ""
    warning = capsys.readouterr().out.strip()
    assert warning.startswith("warning: ") and warning.removeprefix("warning: ") in str(refused.value)
    patients = [name.split(" (")[0] for name in warning.split("of patient ")[1:]]
    persons = table.loc[table["patient_id"].isin(patients), ["patient_id", "person_id"]].drop_duplicates()
    assert len(persons) == 2 and persons["person_id"].nunique() == 1


def test_inner_folds_that_share_persons_are_refused(capsys):
    table = make_recordings(linked=0)
    table["role"] = ["train" if int(patient) < 40 else "test" for patient in table["patient_id"]]
    options = {"method": "role", "group_by": "recording", "inner": 3}
    found = split(table, **options)
    audit = audit_folds(found, table, NO_PAIRS)
    inner = found[found["role"] == "validation"].merge(table, on="recording_id")
    divided = inner.groupby("person_id")["inner"].transform("nunique") > 1
    assert audit["shared_inner"].tolist() == [divided.sum()] and divided.any()
    assert not audit[list(leaks.SHARED)].any(axis=None)
    words = (
        r"the inner folds of 1 of 1 folds leak; in run 0, fold 0 \d+ recordings? shares? a person or audio"
    )
    with pytest.raises(MurmurError, match=words + r".*group_by: person"):
        audit_and_check(table, "error", **options)
    assert audit_and_check(table, "warn", **options) == ""
    assert "the inner folds of" in capsys.readouterr().out
    assert "another inner fold" in leaks.describe_leak({"protocol": describe_leaks(audit, {})})


def audit_first_fold(table, duplicates, found):
    audit = audit_folds(found, table, duplicates)[:1]
    assert check_audit(audit, found, table, duplicates, "warn") == ""


@pytest.mark.parametrize("shared", ["recording_id", "twin_id", "audio_sha256", "patient_id"])
def test_a_leak_of_any_kind_has_an_example(shared, capsys):
    """Not only of a person: a near-duplicate (first or second of its pair), the samples, the patient."""
    table = make_recordings(linked=0)
    found = split(table)
    roles = found[found["fold"] == 0].set_index("recording_id")["role"]
    (a, *_), (b, *_) = (roles.index[roles == name] for name in ("test", "train"))
    pairs = {"recording_id": make_pair(a, b), "twin_id": make_pair(b, a)}
    facts = table.set_index("recording_id", drop=False)
    if shared not in pairs:
        facts.loc[b, shared] = facts.loc[a, shared]
    audit_first_fold(facts.reset_index(drop=True), pairs.get(shared, NO_PAIRS), found)
    warning = capsys.readouterr().out.strip()
    units = {"audio_sha256": "1 piece of audio", "patient_id": "1 patient"}.get(shared, "1 near-duplicate")
    assert warning.startswith(
        f"warning: 1 of 1 folds leak; in run 0, fold 0 the test part and another part share {units}, such as "
    )
    names = [f"{name} of patient {facts.loc[name, 'patient_id']}" for name in (a, b)]
    if shared == "patient_id":  # any of the patient's recordings
        assert warning.count(f" of patient {facts.loc[a, 'patient_id']} (") == 2
    else:
        assert warning.endswith(f"such as {names[0]} (test) and {names[1]} (train)")


def test_folds_of_unknown_persons_are_never_reported_as_clean(capsys):
    table = make_recordings()
    found = split(table)
    tables = (audit_folds(found, table, NO_PAIRS), found, table, NO_PAIRS)
    n, unknown = len(table), {"unknown_persons": len(table)}
    assert check_audit(*tables, "error", **unknown) == ""
    assert capsys.readouterr().out.strip() == (
        f"warning: the parts of the folds share nothing that is known, but the persons of {n} of {n} "
        "recordings are unknown: no split of these data can be shown to be free of leaks"
    )
    leaky = split(table, group_by="patient")
    audit = audit_folds(leaky, table, NO_PAIRS)
    assert check_audit(audit, leaky, table, NO_PAIRS, "warn", **unknown) == ""
    warning = capsys.readouterr().out
    assert warning.startswith("warning: ")
    assert "5 of 5 folds leak" in warning
    assert f"the persons of {n} of {n} recordings are unknown" in warning


@pytest.mark.parametrize(
    ("method", "words"),
    [("kfold", "Split.group_by: person and"), ("file", "Correct the roles in split.file"),
     ("role", "The data set's own split shares them: split.method kfold or holdout avoids it")],
)  # fmt: skip
def test_the_advice_depends_on_the_method(method, words):
    table = make_recordings()
    found = split(table, group_by="patient")
    with pytest.raises(MurmurError, match=words):
        check_audit(audit_folds(found, table, NO_PAIRS), found, table, NO_PAIRS, "error", method=method)
