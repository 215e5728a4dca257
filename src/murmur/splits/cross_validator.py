"""A stratified cross-validator of whole groups."""

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold

from murmur.errors import MurmurError

Indices = tuple[np.ndarray, np.ndarray]  # row numbers of the training part and of the test part


class StratifiedGroups(BaseCrossValidator):
    """Scikit-learn cross-validator that assigns whole groups to folds, stratified by the class of the groups.

    The class of a group is the most frequent label of its rows. The order of the rows does not matter.

    Parameters
    ----------
    n_splits : int
        Number of folds; 1 for a single hold-out split.
    test_size : float
        Share of the groups of each class in the test part of a hold-out split: at least one group, and never
        all groups of a class.
    random_state : int
        Seed of the assignment.
    min_groups : int
        Groups that each class must have at least. More are required where there are more folds.
    unit : str
        What a group is, for error messages: person, patient, recording or segment.
    key, context : str
        For error messages: the parameter that sets the number of folds, and what is divided into folds.
    """

    def __init__(
        self,
        n_splits: int,
        *,
        test_size: float = 0.2,
        random_state: int = 0,
        min_groups: int = 2,
        unit: str = "group",
        key: str = "split.folds",
        context: str = "",
    ):
        self.n_splits, self.test_size = n_splits, test_size
        self.random_state, self.min_groups, self.unit = random_state, min_groups, unit
        self.key, self.context = key, context

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds."""
        return self.n_splits

    def split(self, X: object, y: np.ndarray, groups: np.ndarray) -> Iterator[Indices]:
        """Yield the training part and the test part of each fold.

        Parameters
        ----------
        X : object
            Not used.
        y : ndarray, shape (n,)
            Labels.
        groups : ndarray, shape (n,)
            Names of the groups.

        Yields
        ------
        train, test : ndarray
            Row numbers.

        Raises
        ------
        MurmurError
            If a class has fewer groups than folds, or than `min_groups`.
        """
        names, group_of_row = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        strata = _majority_labels(np.asarray(y, dtype=str), group_of_row, len(names))
        self._check_strata(strata)
        for test_groups in self._split_groups(strata):
            is_test = np.isin(group_of_row, test_groups)
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def _split_groups(self, strata: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the numbers of the groups in each test part, given the class of each group."""
        if self.n_splits > 1:
            folds = StratifiedKFold(self.n_splits, shuffle=True, random_state=self.random_state)
            yield from (test for _, test in folds.split(strata, strata))
            return
        rng = np.random.default_rng(self.random_state)
        test_parts = []
        for name in np.unique(strata):
            groups = rng.permutation(np.flatnonzero(strata == name))
            n_test = min(max(1, round(self.test_size * len(groups))), len(groups) - 1)
            test_parts.append(groups[:n_test])
        yield np.concatenate(test_parts)

    def _check_strata(self, strata: np.ndarray) -> None:
        """Refuse classes with too few groups; the message names all of them."""
        minimum = max(self.n_splits, self.min_groups)
        counts = zip(*np.unique(strata, return_counts=True), strict=True)
        few = [f"{n} {self.unit}{'' if n == 1 else 's'} of class {name}" for name, n in counts if n < minimum]
        if few:
            folds = "inner folds" if self.key == "split.inner" else "folds"
            parts = f"{self.n_splits} {folds}" if self.n_splits > 1 else "a training part and a test part"
            remedy = f"lower {self.key}, " * (self.n_splits > 2)
            remedy += "set split.inner to null, " * (self.key == "split.inner")
            raise MurmurError(
                f"split: {self.context}{', '.join(few)}; {parts} need {minimum} of each class: {remedy}merge "
                "classes or leave one out with class_map, or add recordings"
            )


def _majority_labels(labels: np.ndarray, group_of_row: np.ndarray, n_groups: int) -> np.ndarray:
    """Compute the most frequent label of each group; of several, the first in alphabetical order."""
    classes, code = np.unique(labels, return_inverse=True)
    counts = np.zeros((n_groups, len(classes)), int)
    np.add.at(counts, (group_of_row, code), 1)
    return classes[counts.argmax(axis=1)]
