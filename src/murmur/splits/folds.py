"""Who is trained on and who is tested: repeated stratified folds of whole persons, and their audit."""

import logging
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold

from murmur.errors import MurmurError
from murmur.sections.split import Split
from murmur.splits.published import read_published_split

logger = logging.getLogger(__name__)

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


def make_folds(
    recordings: pd.DataFrame, segments: pd.DataFrame, duplicates: pd.DataFrame, options: Split, seed: int
) -> dict[int, pd.DataFrame]:
    """The folds table of every run. A run's folds depend on (seed, run) alone, not on the other runs.

    With `validate_on: test` nothing is set aside to stop the training: the test part does (published
    protocols do it; it flatters). A recording without a segment is dealt like any other, for it is to be
    answered too; where segments go one by one it has none to deal.

    Parameters
    ----------
    duplicates: pairs of recordings with the same audio, as in `murmur.tables`.

    Raises
    ------
    MurmurError
        Naming the class that has too few groups, the recording without a role, or the row of a published
        split that is wrong.
    """
    units = _units(recordings, segments, options.group_by)
    if options.merge_near_duplicates and options.group_by != "segment":
        n, units["group"] = units["group"].nunique(), _merged(units, duplicates)
        if options.method in ("kfold", "holdout") and (merged := units["group"].nunique()) < n:
            logger.info(f"{n} groups are dealt as {merged}: some share near-identical audio")
    fixed = read_published_split(options.file, recordings, options.runs) if options.method == "file" else None
    return {run: _run(units, fixed, options, seed, run) for run in options.runs}


def group_persons(recordings: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """recording_id, group: the persons, those who share near-identical audio as one group.

    They are what the bootstrap resamples, however the folds were made: copies are no independent evidence.
    """
    persons = recordings[["recording_id"]].assign(group=recordings["person_id"])
    return persons.assign(group=_merged(persons, duplicates)).reset_index(drop=True)


def _units(recordings: pd.DataFrame, segments: pd.DataFrame, group_by: str) -> pd.DataFrame:
    """A row for whatever is dealt out: segments, mirrored or not, if they go one by one, else recordings."""
    label = "label" if group_by in ("recording", "segment") else "patient_label"
    units = recordings[["recording_id", "patient_id", "person_id", "role"]].assign(stratum=recordings[label])
    if group_by == "segment":
        units = segments[["segment_id", "recording_id"]].merge(units, on="recording_id")
    else:
        units = units.assign(segment_id=None)
    return units.assign(group=units[f"{group_by}_id"]).reset_index(drop=True)


def _merged(units: pd.DataFrame, duplicates: pd.DataFrame) -> np.ndarray:
    """Group names where groups that share audio, directly or by a third, have the first one's name."""
    names, group = np.unique(units["group"].to_numpy(str), return_inverse=True)
    of_recording = pd.Series(group, units["recording_id"])
    one, other = (of_recording[duplicates[column]].to_numpy() for column in ("recording_id", "twin_id"))
    edges = coo_array((np.ones(len(one)), (one, other)), shape=(len(names),) * 2)
    together = connected_components(edges, directed=False)[1]
    first = np.unique(together, return_index=True)[1]
    return names[first[together]][group]


def _run(
    units: pd.DataFrame, fixed: pd.DataFrame | None, options: Split, seed: int, run: int
) -> pd.DataFrame:
    tables = []
    for fold, role in _roles(units, fixed, options, seed, run):
        if options.validate_on == "validation" and "validation" not in role:
            role[_stops(units, role, options, (seed, run, fold))] = "validation"
        table = units[["recording_id", "segment_id"]].assign(run=run, fold=fold, role=role)
        tables.append(table[role != ""])
    return pd.concat(tables, ignore_index=True)


def _roles(
    units: pd.DataFrame, fixed: pd.DataFrame | None, options: Split, seed: int, run: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Each fold and the role of every unit, "" for none; as yet without validation, if none is given."""
    if fixed is not None:
        for fold, given in fixed[fixed["run"] == run].groupby("fold"):
            role = units["recording_id"].map(given.set_index("recording_id")["role"]).fillna("")
            yield int(fold), role.to_numpy(object)
        return
    for fold, (_, test) in enumerate(_parts(units, options, _state(seed, run))):
        role = np.full(len(units), "train", object)
        role[test] = "test"
        yield fold, role


def _stops(units: pd.DataFrame, role: np.ndarray, options: Split, key: tuple[int, int, int]) -> np.ndarray:
    """The rows of the training part that are set aside to stop the training."""
    rest = np.flatnonzero(role == "train")
    labels, groups = (units[column].to_numpy()[rest] for column in ("stratum", "group"))
    inner = StratifiedGroups(1, test=options.validation, random_state=_state(*key), least=1)
    (_, validation), *_ = inner.split(None, labels, groups)
    if not len(validation):
        raise MurmurError(
            f"split: run {key[1]}, fold {key[2]}: no class has two groups to train on, so none can stop "
            "the training; more recordings are needed, fewer split.folds or a smaller split.test"
        )
    return rest[validation]


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
