"""Folds: whole groups, every class everywhere, the same for a seed; and an audit that finds what leaks."""

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.sections.split import Split
from murmur.splits.audit import audit_folds, check_audit
from murmur.splits.folds import StratifiedGroups, group_persons, make_folds
from tests import made

CLASSES = ("Present", "Unknown", "Absent")
OPTIONS = made.changed({})["split"]
NO_PAIRS = pd.DataFrame({"recording_id": [], "twin_id": []}, dtype=str)


def people(n=60, linked=8):
    """Recordings of n patients, 1 to 4 each; the first patients and the last are the same persons."""
    rng = np.random.default_rng(3)
    rows = []
    for k in range(n):
        label = CLASSES[0 if k % 5 < 2 else 2 if k % 5 < 4 else 1]
        person = k - n + linked if k >= n - linked else k
        for site in ("AV", "PV", "TV", "MV")[: 1 + rng.integers(4)]:
            rows.append((f"{k}_{site}", f"{k}", f"H{person}", label))
    table = pd.DataFrame(rows, columns=["recording_id", "patient_id", "person_id", "patient_label"])
    table["label"] = table["patient_label"]
    return table.assign(role=None, audio_sha256=[f"sha{k}" for k in range(len(table))])


def cut(recordings, n=3):
    ids = recordings["recording_id"].repeat(n)
    return pd.DataFrame({"segment_id": [f"{i}@{k % n}" for k, i in enumerate(ids)], "recording_id": ids})


def deal(recordings, seed=0, segments=None, duplicates=NO_PAIRS, **options):
    segments = cut(recordings) if segments is None else segments
    options = OPTIONS | {"runs": [0], "folds": 5} | options
    runs = make_folds(recordings, segments, duplicates, Split(**options), seed)
    return runs[0] if options["runs"] == [0] else runs


def same(one, other):
    order = ["fold", "recording_id", "segment_id"]
    return one.sort_values(order, ignore_index=True).equals(other.sort_values(order, ignore_index=True))


def groups(folds, recordings, column="person_id"):
    """fold -> role -> the set of persons."""
    known = folds[["fold", "recording_id", "role"]].merge(
        recordings[["recording_id", column]], on="recording_id"
    )
    return {
        fold: {role: set(part[column]) for role, part in table.groupby("role")}
        for fold, table in known.groupby("fold")
    }


@pytest.mark.parametrize("n_splits", [1, 2, 5])
def test_a_cross_validator_like_those_of_scikit_learn(n_splits):
    table = people()
    y, group = table["patient_label"].to_numpy(), table["person_id"].to_numpy()
    splitter = StratifiedGroups(n_splits, test=0.3, random_state=4)
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


def test_a_group_of_two_labels_has_the_commoner():
    y = np.array(["a", "b", "b"] * 4 + ["a"] * 4)
    group = np.array([f"g{k // 3}" for k in range(12)] + [f"h{k}" for k in range(4)])
    for _, test in StratifiedGroups(4).split(None, y, group):
        assert {name[0] for name in group[test]} == {"g", "h"}


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_a_hold_out_has_every_class_on_both_sides(share):
    y = np.repeat(["many", "few"], [40, 2])
    ((train, test),) = StratifiedGroups(1, test=share).split(None, y, np.arange(42))
    assert [list(y[part]).count("few") for part in (train, test)] == [1, 1]
    assert list(y[test]).count("many") == min(max(round(share * 40), 1), 39)


@pytest.mark.parametrize("method, folds", [("kfold", 5), ("kfold", 2), ("holdout", 1)])
def test_persons_are_never_on_two_sides(method, folds):
    table = people()
    found = deal(table, method=method, folds=max(folds, 2), test=0.25, validation=0.25)
    parts = groups(found, table)
    assert list(parts) == list(range(folds))
    for roles in parts.values():
        assert set(roles) == {"train", "validation", "test"}
        assert (
            sum(map(len, roles.values())) == len(set.union(*roles.values())) == table["person_id"].nunique()
        )
    for roles in groups(found, table, "patient_label").values():
        assert all(classes == set(CLASSES) for classes in roles.values())
    if method == "kfold":
        assert sum(len(roles["test"]) for roles in parts.values()) == table["person_id"].nunique()
    assert not found.duplicated(["fold", "recording_id"]).any() and found["segment_id"].isna().all()
    rest = {len(r["train"] | r["validation"]) for r in parts.values()}
    assert all(len(r["validation"]) == pytest.approx(0.25 * max(rest), abs=2) for r in parts.values())
    assert not audit_folds(found, table, NO_PAIRS).filter(like="shared").any(axis=None)


@pytest.mark.parametrize(
    "group_by, leaks",
    [
        ("person", []),
        ("patient", ["persons"]),
        ("recording", ["persons", "patients"]),
        ("segment", ["persons", "patients", "recordings", "audio"]),
    ],
)
def test_the_audit_finds_what_other_groups_leak(group_by, leaks):
    table = people()
    found = deal(table, group_by=group_by)
    audit = audit_folds(found, table, NO_PAIRS)
    shared = audit.filter(like="shared_")
    assert [name.removeprefix("shared_") for name in shared if shared[name].any()] == leaks
    assert (group_by == "segment") == found["segment_id"].notna().all()
    parts = groups(found, table)
    expected = [len(p["test"] & (p["train"] | p["validation"])) for p in parts.values()]
    assert list(audit["shared_persons"]) == expected


def test_the_audit_counts_what_is_planted():
    table = people(linked=0)
    found = deal(table)
    first = found[found["fold"] == 0].set_index("recording_id")["role"]
    tested, trained, stopped = (first.index[first == role] for role in ("test", "train", "validation"))
    by_id = table.set_index("recording_id")
    by_id.loc[trained[0], "person_id"] = by_id.loc[tested[0], "person_id"]
    by_id.loc[stopped[0], "audio_sha256"] = by_id.loc[tested[0], "audio_sha256"]
    by_id.loc[trained[1], "audio_sha256"] = by_id.loc[trained[2], "audio_sha256"]  # on one side: no leak
    row = audit_folds(found, by_id.reset_index(), NO_PAIRS).iloc[0]
    assert [row[f"shared_{what}"] for what in ("persons", "patients", "recordings", "audio")] == [1, 0, 0, 1]
    assert [row[f"n_{role}"] for role in ("train", "validation", "test")] == [
        len(trained),
        len(stopped),
        len(tested),
    ]


@pytest.mark.parametrize("method", ["kfold", "holdout", "role"])
@pytest.mark.parametrize("group_by", ["person", "segment"])
def test_a_run_depends_on_seed_and_run_alone(group_by, method):
    table, how = people(), {"group_by": group_by, "method": method}
    table["role"] = np.where(np.arange(len(table)) % 4, "train", "test")
    runs = deal(table, runs=[0, 1, 2], **how)
    assert same(deal(table, runs=[2], **how)[2], runs[2])
    assert same(deal(table, runs=[7, 2, 0], **how)[2], runs[2])
    shuffled = table.sample(frac=1, random_state=1)
    assert same(deal(shuffled, runs=[2], segments=cut(table)[::-1], **how)[2], runs[2])
    for other in (runs[1].assign(run=2), deal(table, runs=[2], seed=1, **how)[2]):
        assert not same(other, runs[2])
        assert same(*(frame[frame["role"] == "test"] for frame in (other, runs[2]))) == (method == "role")
    assert all(set(frame["run"]) == {run} for run, frame in runs.items())


def test_roles_are_the_data_sets_own():
    table = people(linked=0)
    table["role"] = np.where(table["patient_id"].astype(int) < 40, "train", "test")
    found = deal(table, method="role").merge(table, on="recording_id")
    assert set(found["fold"]) == {0}
    assert ((found["role_x"] == "test") == (found["role_y"] == "test")).all()
    parts = groups(found.rename(columns={"role_x": "role"}), table)[0]
    assert not parts["train"] & parts["validation"] and len(parts["validation"]) == pytest.approx(8, abs=1)
    linked = people(linked=8).assign(role=table["role"])
    assert audit_folds(deal(linked, method="role"), linked, NO_PAIRS)["shared_persons"].tolist() == [8]


def test_recordings_without_a_segment_are_dealt_too_for_they_are_to_be_answered():
    table = people()
    assert same(deal(table, segments=cut(table[3:])), deal(table))
    found = deal(table, segments=cut(table[3:]), group_by="segment")
    assert set(found["recording_id"]) == set(table["recording_id"][3:]), "there is no segment to deal"


def pair(*names):
    return pd.DataFrame([names], columns=["recording_id", "twin_id"])


def chain(table):
    """Patients 20, 21 and 22, other persons, share audio, the first and last by way of the second."""
    one, two, three = (table.loc[table["patient_id"] == str(k), "recording_id"] for k in (20, 21, 22))
    return pd.concat([pair(one.iloc[0], two.iloc[0]), pair(two.iloc[-1], three.iloc[-1])])


@pytest.mark.parametrize("group_by", ["person", "patient", "recording"])
def test_near_duplicates_are_dealt_as_one(group_by, capsys):
    table = people()
    n = table[f"{group_by}_id"].nunique()
    deal(table, duplicates=chain(table), group_by=group_by)
    words = f"note: {n} groups are dealt as {n - 2}: some share near-identical audio"
    assert capsys.readouterr().out.strip() == words
    merged = [deal(table, seed, duplicates=chain(table), group_by=group_by) for seed in range(5)]
    apart = [
        deal(table, seed, duplicates=chain(table), group_by=group_by, merge_near_duplicates=False)
        for seed in range(5)
    ]
    assert not any(audit_folds(folds, table, chain(table))["shared_near"].any() for folds in merged)
    assert any(audit_folds(folds, table, chain(table))["shared_near"].any() for folds in apart)
    assert all(same(folds, deal(table, seed, group_by=group_by)) for seed, folds in enumerate(apart))


def test_the_audit_counts_the_test_recordings_that_sound_like_one_of_the_others():
    table = people()
    found = deal(table)
    role = found[found["fold"] == 0].set_index("recording_id")["role"]
    (a, b, *_), (c, d, *_), (e, *_) = (role.index[role == name] for name in ("test", "train", "validation"))
    twins = pd.concat([pair(a, c), pair(d, a), pair(e, b), pair(c, d)])
    assert audit_folds(found, table, twins)["shared_near"].iloc[0] == 2
    assert audit_folds(found, table, pair(c, e))["shared_near"].iloc[0] == 0


def test_the_digest_of_a_test_part_is_of_its_members_alone():
    table = people()
    digest = audit_folds(deal(table), table, NO_PAIRS)["test_sha256"]
    assert digest.is_unique
    other = audit_folds(deal(table, validation=0.4)[::-1], table, NO_PAIRS)["test_sha256"]
    assert list(other) == list(digest)
    assert not set(audit_folds(deal(table, seed=1), table, NO_PAIRS)["test_sha256"]) & set(digest)


def checked(table, on_leak, **options):
    found = deal(table, **options)
    return check_audit(audit_folds(found, table, NO_PAIRS), found, table, NO_PAIRS, on_leak)


def test_a_leak_is_refused_or_told():
    table = people()
    assert checked(table, "error") == "5 folds; nothing is shared between a test part and the training"
    words = r"5 of 5 folds leak; .* on both sides \d+ persons, such as .*split.on_leak: warn"
    with pytest.raises(MurmurError, match=words) as refused:
        checked(table, "error", group_by="patient")
    said = checked(table, "warn", group_by="patient")
    assert said.startswith("warning: ") and said.removeprefix("warning: ") in str(refused.value)
    named = [name.split(" (")[0] for name in said.split("of patient ")[1:]]
    persons = table.loc[table["patient_id"].isin(named), ["patient_id", "person_id"]].drop_duplicates()
    assert len(persons) == 2 and persons["person_id"].nunique() == 1


def test_unknown_persons_are_never_told_as_clean():
    table = people()
    found = deal(table)
    known = (audit_folds(found, table, NO_PAIRS), found, table, NO_PAIRS)
    n, unknown = len(table), {"unknown_persons": len(table)}
    assert check_audit(*known, "error", **unknown) == (
        f"warning: 5 folds share nothing that is known, but the persons of {n} of {n} recordings are "
        "unknown: no split of these data can be shown to be free of leaks"
    )
    leaky = deal(table, group_by="patient")
    said = check_audit(audit_folds(leaky, table, NO_PAIRS), *(leaky, table, NO_PAIRS), "warn", **unknown)
    assert "5 of 5 folds leak" in said and f"the persons of {n} of {n} recordings are unknown" in said


@pytest.mark.parametrize(
    ("method", "words"),
    [("kfold", "Split.group_by: person and"), ("file", "Correct the roles in split.file"),
     ("role", "The data set's own split shares them: split.method kfold or holdout avoids it")],
)  # fmt: skip
def test_what_avoids_a_leak_depends_on_the_method(method, words):
    table = people()
    found = deal(table, group_by="patient")
    with pytest.raises(MurmurError, match=words):
        check_audit(audit_folds(found, table, NO_PAIRS), *(found, table, NO_PAIRS), "error", method=method)


def test_groups_are_the_persons_with_those_who_share_audio_as_one():
    table = people()
    alone = group_persons(table, NO_PAIRS)
    assert alone["group"].tolist() == table["person_id"].tolist()
    merged = group_persons(table, chain(table))
    assert merged["group"].nunique() == table["person_id"].nunique() - 2
    of_patient = merged.groupby(table["patient_id"].to_numpy())["group"].first()
    assert of_patient["20"] == of_patient["21"] == of_patient["22"]


@pytest.mark.parametrize("method", ["kfold", "holdout"])
@pytest.mark.parametrize("group_by", ["person", "segment"])
def test_validation_on_the_test_part_sets_nothing_else_aside(method, group_by):
    table, how = people(), {"method": method, "group_by": group_by}
    honest, found = deal(table, **how), deal(table, validate_on="test", **how)
    assert set(found["role"]) == {"train", "test"}
    expected = honest.assign(role=honest["role"].replace("validation", "train"))
    assert same(found, expected), "the test parts are the same"
    audit = audit_folds(found, table, NO_PAIRS)
    assert (audit["n_validation"] == 0).all()
    assert (group_by == "person") == (not audit["shared_persons"].any())


def with_copies(table):
    """Segments, then their mirrored copies, as the segment stage writes them."""
    own = cut(table).assign(reversed=False)
    copies = own.assign(segment_id=own["segment_id"] + "r", reversed=True)
    return pd.concat([own, copies], ignore_index=True)


@pytest.mark.parametrize("group_by", ["person", "patient", "recording"])
def test_mirrored_copies_change_no_folds_of_whole_recordings(group_by):
    table = people()
    assert same(deal(table, segments=with_copies(table), group_by=group_by), deal(table, group_by=group_by))


def test_mirrored_copies_are_dealt_like_any_segment_and_the_audit_sees_it():
    table = people()
    found = deal(table, segments=with_copies(table), group_by="segment")
    one = found[found["fold"] == 0].set_index("segment_id")["role"]
    assert len(one) == 6 * len(table)
    twins = [(one[name], one[f"{name}r"]) for name in one.index if not name.endswith("r")]
    assert any("test" in pair and pair != ("test", "test") for pair in twins)
    assert audit_folds(found, table, NO_PAIRS)["shared_recordings"].all()


def few(n):
    table = people(linked=0)
    return table[
        (table["patient_label"] != "Unknown") | table["patient_id"].isin([str(5 * k + 4) for k in range(n)])
    ]


def pairs():
    """Two persons of each class."""
    table = people(linked=0)
    return table[table["patient_id"].isin(["0", "1", "2", "3", "4", "9"])]


@pytest.mark.parametrize(
    "table, options, words",
    [
        (few(4), {}, "class Unknown has 4 groups .* 5 are needed; fewer split.folds, or .* class_map"),
        (few(1), {"method": "holdout"}, "class Unknown has 1 groups to deal out and 2 are needed"),
        (pairs(), {"folds": 2}, "split: run 0, fold 0: no class has two groups to train on"),
        (people().assign(role="train"), {"method": "role"}, "split.method role: all recordings have one"),
        (people(), {"method": "role"}, "split.method role: recording 0_AV has no role; give all"),
    ],
)
def test_what_cannot_be_dealt_is_told(table, options, words):
    with pytest.raises(MurmurError, match=words):
        deal(table, **options)


def test_a_class_of_as_many_persons_as_folds_is_in_every_fold():
    for n in (2, 5):
        parts = groups(deal(few(n), folds=n), few(n), "patient_label").values()
        assert all("Unknown" in roles["test"] & roles["train"] for roles in parts)
        assert all(("Unknown" in roles["validation"]) == (n > 2) for roles in parts), (
            "an only person is trained on"
        )


@pytest.mark.parametrize(("group_by", "column"), [("recording", "label"), ("person", "patient_label")])
def test_what_is_dealt_out_is_stratified_by_its_own_label(group_by, column):
    n = 40
    rows = {"recording_id": [f"r{k}" for k in range(n)], "person_id": [f"p{k}" for k in range(n)]}
    table = pd.DataFrame(rows).assign(patient_id=rows["person_id"], role=None)
    table["label"] = np.where(np.arange(n) % 2 == 0, "ill", "well")
    table["patient_label"] = np.where(np.arange(n) < n // 2, "ill", "well")
    segments = table[["recording_id"]].assign(segment_id=table["recording_id"] + "@0", reversed=False)
    folds = deal(table, segments=segments, group_by=group_by, folds=5, runs=[0])
    folds = folds[0] if isinstance(folds, dict) else folds
    test = folds[folds["role"] == "test"].merge(table, on="recording_id")
    assert (test.groupby(["fold", column]).size() == n / 10).all()
