"""Leak audit: what the two sides of each fold share."""

import hashlib

import pandas as pd

from murmur import leaks
from murmur.errors import MurmurError
from murmur.tables.folds import ROLES

ID_COLUMNS = {
    "persons": "person_id",
    "patients": "patient_id",
    "recordings": "recording_id",
    "audio": "audio_sha256",
}


REMEDIES = {
    "role": "the data set's own split shares them: split.method kfold or holdout avoids it",
    "file": "correct the roles in split.file",
}


SHARED_UNITS = {
    "persons": "persons",
    "patients": "patients",
    "recordings": "recordings",
    "audio": "identical pieces of audio",
    "near": "recordings with near-identical audio",
}


def audit_folds(folds: pd.DataFrame, recordings: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """What each fold's test part shares with its train and validation parts.

    Returns
    -------
    A row a fold: n_train, n_validation, n_test recordings; how many persons, patients, recordings and
    different pieces of audio (by their samples) stand on both sides; shared_near, the test recordings that
    sound like one on the other side (`murmur.duplicates`); test_sha256, of the names in the test part.
    """
    facts = folds.merge(recordings[["recording_id", "person_id", "patient_id", "audio_sha256"]])
    rows = []
    for (run, fold), table in facts.groupby(["run", "fold"]):
        test, rest = (table[(table["role"] == "test") == side] for side in (True, False))
        sizes = table.groupby("role")["recording_id"].nunique()
        row = {"run": run, "fold": fold} | {f"n_{role}": sizes.get(role, 0) for role in ROLES}
        shared = {name: len(set(test[key]) & set(rest[key])) for name, key in ID_COLUMNS.items()}
        shared["near"] = len(_sounding_like(test, rest, duplicates))
        row |= {f"shared_{name}": n for name, n in shared.items()}
        rows.append(row | {"test_sha256": _digest(test)})
    return pd.DataFrame(rows)


def _sounding_like(test: pd.DataFrame, rest: pd.DataFrame, duplicates: pd.DataFrame) -> set[str]:
    """The recordings of the test part that have a near-duplicate in the rest."""
    one, other = duplicates["recording_id"], duplicates["twin_id"]
    tested, trained = set(test["recording_id"]), set(rest["recording_id"])
    return {*one[one.isin(tested) & other.isin(trained)], *other[other.isin(tested) & one.isin(trained)]}


def _digest(test: pd.DataFrame) -> str:
    names = test["segment_id"].fillna("") + "@" + test["recording_id"]
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def check_audit(
    audit: pd.DataFrame,
    folds: pd.DataFrame,
    recordings: pd.DataFrame,
    duplicates: pd.DataFrame,
    on_leak: str,
    *,
    method: str = "kfold",
    unknown_persons: int = 0,
) -> str:
    """The audit in a sentence; with `on_leak: error` a leak is refused.

    Parameters
    ----------
    method: as in the section split, for the advice.
    unknown_persons: recordings whose person the data set does not name (`tables.Card`).

    Raises
    ------
    MurmurError
        Naming the worst fold, what it shares, an example, and what cures it.
    """
    shared = audit[[f"shared_{name}" for name in SHARED_UNITS]]
    worst = audit.loc[shared.sum(axis=1).idxmax()]
    found = [f"{n} {word}" for name, word in SHARED_UNITS.items() if (n := worst[f"shared_{name}"])]
    unknown = leaks.describe_unknown_persons(unknown_persons, len(recordings)) if unknown_persons else ""
    if not found and unknown:
        return f"warning: {len(audit)} folds share nothing that is known, but {unknown}"
    if not found:
        return f"{len(audit)} folds; nothing is shared between a test part and the training"
    leaky = int((shared.sum(axis=1) > 0).sum())
    fold = folds[(folds["run"] == worst["run"]) & (folds["fold"] == worst["fold"])]
    said = (
        f"{leaky} of {len(audit)} folds leak; run {worst['run']}, fold {worst['fold']} has on both sides "
        f"{', '.join(found)}, such as {_example(fold, recordings, duplicates)}"
    ) + (f"; {unknown}" if unknown else "")
    if on_leak == "error":
        cure = REMEDIES.get(method, "split.group_by: person and split.merge_near_duplicates: true avoid it")
        raise MurmurError(
            f"split: {said}; metrics/audit.csv has every fold. {cure[:1].upper()}{cure[1:]}; "
            "split.on_leak: warn goes on, marked leaky"
        )
    return f"warning: {said}"


def _example(fold: pd.DataFrame, recordings: pd.DataFrame, duplicates: pd.DataFrame) -> str:
    facts = fold.merge(recordings[["recording_id", "patient_id", "person_id"]])
    test, rest = (facts[(facts["role"] == "test") == side] for side in (True, False))
    both = test.merge(rest, on="person_id").head(1)
    for one, other in (("recording_id", "twin_id"), ("twin_id", "recording_id")):
        if both.empty:
            pairs = test.merge(duplicates, left_on="recording_id", right_on=one, suffixes=("", "_pair"))
            both = pairs.merge(rest, left_on=other, right_on="recording_id", suffixes=("_x", "_y")).head(1)
    one = both.iloc[0]
    return " and ".join(
        f"{one[f'recording_id_{side}']} of patient {one[f'patient_id_{side}']} ({one[f'role_{side}']})"
        for side in "xy"
    )
