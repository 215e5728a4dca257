"""Who is trained on and who is tested: repeated stratified folds of whole persons, and their audit."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold

from murmur.errors import MurmurError
from murmur.params import Split
from murmur.tables import ROLES

Indices = tuple[np.ndarray, np.ndarray]


class StratifiedGroups(BaseCrossValidator):
    """Deal whole groups to folds, each class of groups evenly; a scikit-learn cross-validator.

    A group's class is the commonest of its rows' labels. The order of the rows does not matter.

    Parameters
    ----------
    n_splits: folds; 1 for a single hold-out of the share `test` of each class's groups, at least one.
    least: groups that a class must have, or as many as folds; a class's only group is never held out.
    """

    def __init__(self, n_splits: int, *, test: float = 0.2, random_state: int = 0, least: int = 2):
        self.n_splits, self.test, self.random_state, self.least = n_splits, test, random_state, least

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        return self.n_splits

    def split(self, X: object, y: np.ndarray, groups: np.ndarray) -> Iterator[Indices]:  # type: ignore[override]
        """Yield (train, test) row numbers, for labels y [n] and group names [n].

        Raises
        ------
        MurmurError
            If a class has fewer groups than there are folds, or than `least`.
        """
        names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        strata = _commonest(np.asarray(y, dtype=str), member, len(names))
        self._check(strata)
        for test in self._parts(strata):
            tested = np.isin(member, test)
            yield np.flatnonzero(~tested), np.flatnonzero(tested)

    def _parts(self, strata: np.ndarray) -> Iterator[np.ndarray]:
        """The numbers of the groups in each test part."""
        if self.n_splits > 1:
            folds = StratifiedKFold(self.n_splits, shuffle=True, random_state=self.random_state)
            yield from (test for _, test in folds.split(strata, strata))
        else:
            rng = np.random.default_rng(self.random_state)
            classes = [rng.permutation(np.flatnonzero(strata == name)) for name in np.unique(strata)]
            yield np.concatenate([c[: min(max(1, round(self.test * len(c))), len(c) - 1)] for c in classes])

    def _check(self, strata: np.ndarray) -> None:
        least = max(self.n_splits, self.least)
        for name, n in zip(*np.unique(strata, return_counts=True), strict=True):
            if n < least:
                raise MurmurError(
                    f"split: class {name} has {n} groups to deal out and {least} are needed; "
                    "fewer split.folds, or merge the class or leave it out with class_map"
                )


def _commonest(labels: np.ndarray, member: np.ndarray, n_groups: int) -> np.ndarray:
    classes, code = np.unique(labels, return_inverse=True)
    votes = np.zeros((n_groups, len(classes)), int)
    np.add.at(votes, (member, code), 1)
    return classes[votes.argmax(axis=1)]


def split(
    recordings: pd.DataFrame, segments: pd.DataFrame, options: Split, seed: int
) -> dict[int, pd.DataFrame]:
    """The folds table of every run. A run's folds depend on (seed, run) alone, not on the other runs.

    With `validate_on: test` nothing is set aside to stop the training: the test part does (published
    protocols do it; it flatters). Recordings without a segment take no part; the segment stage lists them.

    Raises
    ------
    MurmurError
        Naming the class that has too few groups, or the recording without a role.
    """
    units = _units(recordings, segments, options.group_by)
    return {run: _run(units, options, seed, run) for run in options.runs}


def _units(recordings: pd.DataFrame, segments: pd.DataFrame, group_by: str) -> pd.DataFrame:
    """A row for whatever is dealt out: segments, mirrored or not, if they go one by one, else recordings."""
    label = "label" if group_by in ("recording", "segment") else "patient_label"
    known = recordings[["recording_id", "patient_id", "person_id", "role"]].assign(stratum=recordings[label])
    if group_by == "segment":
        units = segments[["segment_id", "recording_id"]].merge(known, on="recording_id")
    else:
        units = known[known["recording_id"].isin(segments["recording_id"])].assign(segment_id=None)
    return units.assign(group=units[f"{group_by}_id"]).reset_index(drop=True)


def _run(units: pd.DataFrame, options: Split, seed: int, run: int) -> pd.DataFrame:
    labels, groups = units["stratum"].to_numpy(), units["group"].to_numpy()
    tables = []
    for fold, (rest, test) in enumerate(_parts(units, options, _state(seed, run))):
        role = np.full(len(units), "train", object)
        role[test] = "test"
        if options.validate_on == "validation":
            state = _state(seed, run, fold)
            inner = StratifiedGroups(1, test=options.validation, random_state=state, least=1)
            (_, validation), *_ = inner.split(None, labels[rest], groups[rest])
            if not len(validation):
                raise MurmurError(
                    f"split: run {run}, fold {fold}: no class has two groups to train on, so none can stop "
                    "the training; more recordings are needed, fewer split.folds or a smaller split.test"
                )
            role[rest[validation]] = "validation"
        tables.append(units[["recording_id", "segment_id"]].assign(run=run, fold=fold, role=role))
    return pd.concat(tables, ignore_index=True)


def _parts(units: pd.DataFrame, options: Split, state: int) -> Iterator[Indices]:
    if options.method == "role":
        if units["role"].isna().any():
            first = units.loc[units["role"].isna(), "recording_id"].iloc[0]
            raise MurmurError(f"split.method role: recording {first} has no role; give all train or test")
        test = (units["role"] == "test").to_numpy()
        if test.all() or not test.any():
            raise MurmurError("split.method role: all recordings have one role; give some train, some test")
        return iter([(np.flatnonzero(~test), np.flatnonzero(test))])
    n = options.folds if options.method == "kfold" else 1
    cross_validator = StratifiedGroups(n, test=options.test, random_state=state)
    return cross_validator.split(None, units["stratum"].to_numpy(), units["group"].to_numpy())


def _state(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def audit(folds: pd.DataFrame, recordings: pd.DataFrame) -> pd.DataFrame:
    """What each fold's test part shares with its train and validation parts.

    Returns
    -------
    A row a fold: n_test, n_train, n_validation recordings, and how many persons, patients, recordings
    and different pieces of audio (by their samples) stand on both sides.
    """
    shared = {
        "persons": "person_id",
        "patients": "patient_id",
        "recordings": "recording_id",
        "audio": "audio_sha256",
    }
    facts = folds.merge(recordings[[*shared.values()]], on="recording_id")
    rows = []
    for (run, fold), table in facts.groupby(["run", "fold"]):
        test = table["role"] == "test"
        sizes = table.groupby("role")["recording_id"].nunique()
        row = {"run": run, "fold": fold} | {f"n_{role}": sizes.get(role, 0) for role in ROLES}
        for name, column in shared.items():
            row[f"shared_{name}"] = len(set(table.loc[test, column]) & set(table.loc[~test, column]))
        rows.append(row)
    return pd.DataFrame(rows)
