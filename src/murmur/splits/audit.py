"""Leak audit: what the test part of each fold has in common with its training and validation parts."""

import hashlib
import logging
from collections.abc import Iterator

import pandas as pd

from murmur import leaks
from murmur.errors import MurmurError
from murmur.tables.folds import ROLES, combine_inner_folds

logger = logging.getLogger(__name__)

COMPARED = {  # column of the audit: column of the recordings whose values are compared
    "shared_persons": "person_id",
    "shared_patients": "patient_id",
    "shared_recordings": "recording_id",
    "shared_audio": "audio_sha256",
}

ENDS = ("_test", "_rest")  # of the columns of two recordings that are compared

REMEDIES = {  # by `split.method`
    "role": "the data set's own split shares them: split.method kfold or holdout avoids it",
    "file": "correct the roles in split.file",
}


def audit_folds(folds: pd.DataFrame, recordings: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Count what the test part of each fold has in common with its training and validation parts.

    Parameters
    ----------
    folds, recordings, duplicates : DataFrame
        As `murmur.tables.folds.FOLDS`, `murmur.tables.recordings.RECORDINGS` and
        `murmur.tables.duplicates.DUPLICATES`.

    Returns
    -------
    audit : DataFrame
        One row for each fold: run, fold; n_train, n_validation, n_test, the recordings of each part;
        shared_persons, shared_patients, shared_recordings and shared_audio, how many are in the test part and
        in another part (audio: with identical samples); shared_near, the recordings of the test part that
        have a near-duplicate in another part; test_sha256, a hash of the ids in the test part. With inner
        folds n_train is the whole training part, n_validation is 0, and shared_inner is the number of
        recordings that share a person, patient, recording or audio with another inner fold of their fold.
    """
    facts = folds.merge(recordings[["recording_id", "person_id", "patient_id", "audio_sha256"]])
    has_inner, rows = folds["inner"].notna().any(), []
    for (run, fold), networks in facts.groupby(["run", "fold"]):
        table = combine_inner_folds(networks)
        test, rest = _split_off_test(table)
        sizes = table.groupby("role")["recording_id"].nunique()
        row = {"run": run, "fold": fold} | {f"n_{role}": sizes.get(role, 0) for role in ROLES}
        row |= {name: len(set(test[key]) & set(rest[key])) for name, key in COMPARED.items()}
        row["shared_near"] = len(_find_near_duplicates(test, rest, duplicates))
        if has_inner:
            row["shared_inner"] = len(_find_shared_by_inner_folds(networks, duplicates))
        rows.append(row | {"test_sha256": _hash_ids(test)})
    return pd.DataFrame(rows)


def _split_off_test(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the table of a fold into its test part and the other parts."""
    is_test = table["role"] == "test"
    return table[is_test], table[~is_test]


def _find_shared_by_inner_folds(networks: pd.DataFrame, duplicates: pd.DataFrame) -> set[str]:
    """Find the recordings that share something with another inner fold, given the roles for each network."""
    shared: set[str] = set()
    for _, table in networks.groupby("inner"):
        validation, train = (table[table["role"] == role] for role in ("validation", "train"))
        for key in COMPARED.values():
            shared |= set(validation["recording_id"][validation[key].isin(train[key])])
        shared |= _find_near_duplicates(validation, train, duplicates)
    return shared


def _find_near_duplicates(test: pd.DataFrame, rest: pd.DataFrame, duplicates: pd.DataFrame) -> set[str]:
    """Find the recordings of the test part that have a near-duplicate in another part."""
    first, second = duplicates["recording_id"], duplicates["twin_id"]
    test_ids, rest_ids = set(test["recording_id"]), set(rest["recording_id"])
    return {
        *first[first.isin(test_ids) & second.isin(rest_ids)],
        *second[second.isin(test_ids) & first.isin(rest_ids)],
    }


def _hash_ids(test: pd.DataFrame) -> str:
    """Hash the segments and recordings of a test part, whatever their order."""
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
    """Summarise an audit in one sentence, warn of a leak, or refuse folds that leak.

    Parameters
    ----------
    audit : DataFrame
        As `audit_folds`.
    folds, recordings, duplicates : DataFrame
        The tables that were audited.
    on_leak : {"error", "warn"}
        Whether a leak is an error.
    method : str
        `split.method`; the error message's advice depends on it.
    unknown_persons : int
        Number of recordings whose person the data set does not identify (see `DatasetCard`).

    Returns
    -------
    str
        Empty if there is a leak, or if unknown persons may be one; then a warning is logged instead.

    Raises
    ------
    MurmurError
        If there is a leak and `on_leak` is error. The message describes the worst fold and gives an example.
    """
    shared = audit[list(leaks.SHARED)]
    unknown = leaks.describe_unknown_persons(unknown_persons, len(recordings)) if unknown_persons else ""
    inner = audit["shared_inner"] if "shared_inner" in audit else pd.Series(0, audit.index)
    if not shared.any(axis=None) and not inner.any():
        if unknown:
            logger.warning("the parts of the folds share nothing that is known, but %s", unknown)
            return ""
        count = "1 fold" if len(audit) == 1 else f"{len(audit)} folds"
        return f"{count}; nothing is shared between a test part and the training"
    if shared.any(axis=None):
        leak = _describe_leak(audit, folds, recordings, duplicates)
    else:
        worst, method = audit.loc[inner.idxmax()], "inner"  # which no method of the split causes
        leak = (
            f"the inner folds of {(inner > 0).sum()} of {len(audit)} folds leak; in run {worst['run']}, fold "
            f"{worst['fold']} {leaks.describe_sharing(worst['shared_inner'])} with another one"
        )
    if unknown:
        leak += f"; {unknown}"
    if on_leak == "error":
        raise MurmurError(_explain_refusal(leak, method))
    logger.warning("%s", leak)
    return ""


def _describe_leak(
    audit: pd.DataFrame, folds: pd.DataFrame, recordings: pd.DataFrame, duplicates: pd.DataFrame
) -> str:
    """Describe what the test part of the worst fold shares with another part, with an example."""
    shared = audit[list(leaks.SHARED)]
    worst = audit.loc[shared.sum(axis=1).idxmax()]
    fold = combine_inner_folds(folds[(folds["run"] == worst["run"]) & (folds["fold"] == worst["fold"])])
    n_leaky, units = int(shared.any(axis=1).sum()), ", ".join(leaks.list_shared(worst))
    example = _describe_example(fold, recordings, duplicates)
    return (
        f"{n_leaky} of {len(audit)} folds leak; in run {worst['run']}, fold {worst['fold']} the test part "
        f"and another part share {units}, such as {example}"
    )


def _explain_refusal(leak: str, method: str) -> str:
    remedy = REMEDIES.get(method, "split.group_by: person and split.merge_near_duplicates: true avoid it")
    return (
        f"split: {leak}; metrics/audit.csv has every fold. {remedy[:1].upper()}{remedy[1:]}; "
        "split.on_leak: warn continues and marks the results as leaky"
    )


def _describe_example(fold: pd.DataFrame, recordings: pd.DataFrame, duplicates: pd.DataFrame) -> str:
    """Describe a recording of the test part and one of another part that share a person or audio."""
    facts = fold.merge(recordings[list(COMPARED.values())])
    test, rest = (table.add_suffix(end) for table, end in zip(_split_off_test(facts), ENDS, strict=True))
    pair = next(pairs for pairs in _find_pairs(test, rest, duplicates) if len(pairs)).iloc[0]
    return " and ".join(
        f"{pair[f'recording_id{end}']} of patient {pair[f'patient_id{end}']} ({pair[f'role{end}']})"
        for end in ENDS
    )


def _find_pairs(test: pd.DataFrame, rest: pd.DataFrame, duplicates: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield tables of pairs, the columns of one recording with the ending _test, of the other with _rest."""
    for column in COMPARED.values():
        yield test.merge(rest, left_on=f"{column}_test", right_on=f"{column}_rest")
    ids = [f"recording_id{end}" for end in ENDS]
    for columns in (ids, ids[::-1]):
        twins = duplicates[["recording_id", "twin_id"]].set_axis(columns, axis=1)
        yield test.merge(twins).merge(rest)
