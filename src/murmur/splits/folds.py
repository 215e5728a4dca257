"""Assignment of recordings or segments to the training, validation and test part of each fold."""

import logging
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from murmur.errors import MurmurError
from murmur.sections.split import Split
from murmur.splits.cross_validator import Indices, StratifiedGroups
from murmur.splits.published import read_published_split

logger = logging.getLogger(__name__)


def make_folds(
    recordings: pd.DataFrame, segments: pd.DataFrame, duplicates: pd.DataFrame, options: Split, seed: int
) -> dict[int, pd.DataFrame]:
    """Make the folds of all runs.

    The folds of a run depend on the seed and on the number of the run, not on the other runs.

    Parameters
    ----------
    recordings : DataFrame
        As `RECORDINGS`.
    segments : DataFrame
        As `SEGMENTS`; used only with `group_by: segment`.
    duplicates : DataFrame
        As `DUPLICATES`: pairs of recordings with the same audio.
    options : Split
        Section `split` of params.yaml. With `validate_on: test` there is no validation part: the test part
        selects the epoch, as in some publications, which makes the scores too high.
    seed : int
        Seed of all random draws.

    Returns
    -------
    dict of int to DataFrame
        The table of each run, as `FOLDS`. Recordings without a segment are assigned too, because their
        class must be predicted too; with `group_by: segment` they are missing.

    Raises
    ------
    MurmurError
        If a class has too few groups, a recording has no role (`method: role`), or the file of a published
        split has an error.

    Notes
    -----
    With `inner: K` the training part of a fold (with the validation part of a published split) is divided by
    the same groups into K inner folds. A fold then has K rows for each recording: in inner fold j its role is
    validation if it belongs to inner fold j, test if it belongs to the test part, else train.
    """
    units = _list_units(recordings, segments, options.group_by)
    if options.merge_near_duplicates and options.group_by != "segment":
        n_groups, units["group"] = units["group"].nunique(), _merge_groups(units, duplicates)
        n_merged = units["group"].nunique()
        if options.method in ("kfold", "holdout") and n_merged < n_groups:
            logger.info(
                f"{n_groups} groups become {n_merged}: groups that share near-identical audio are one"
            )
    published = None
    if options.method == "file":
        published = read_published_split(options.file, recordings, options.runs)
    return {run: _make_run(units, published, options, seed, run) for run in options.runs}


def group_persons(recordings: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Group the persons for the bootstrap: persons who share near-identical audio are one group.

    The groups do not depend on the method of the split. Copies of a recording are not independent evidence.

    Parameters
    ----------
    recordings, duplicates : DataFrame
        As `RECORDINGS` and `DUPLICATES`.

    Returns
    -------
    DataFrame
        As `GROUPS`.
    """
    persons = recordings[["recording_id"]].assign(group=recordings["person_id"])
    return persons.assign(group=_merge_groups(persons, duplicates)).reset_index(drop=True)


def _list_units(recordings: pd.DataFrame, segments: pd.DataFrame, group_by: str) -> pd.DataFrame:
    """List the units that are assigned: segments with `group_by: segment`, otherwise recordings.

    The column stratum is the label by which they are stratified, group the name of their group.
    """
    label = "label" if group_by in ("recording", "segment") else "patient_label"
    units = recordings[["recording_id", "patient_id", "person_id", "role"]].assign(stratum=recordings[label])
    if group_by == "segment":
        units = segments[["segment_id", "recording_id"]].merge(units, on="recording_id")
    else:
        units = units.assign(segment_id=None)
    return units.assign(group=units[f"{group_by}_id"]).reset_index(drop=True)


def _merge_groups(units: pd.DataFrame, duplicates: pd.DataFrame) -> np.ndarray:
    """Compute the group of each unit after groups that share audio, directly or through others, are merged.

    A merged group has the name of the first of its groups in alphabetical order.
    """
    names, group = np.unique(units["group"].to_numpy(str), return_inverse=True)
    group_of_recording = pd.Series(group, units["recording_id"])
    first, second = (group_of_recording[duplicates[c]].to_numpy() for c in ("recording_id", "twin_id"))
    edges = coo_array((np.ones(len(first)), (first, second)), shape=(len(names),) * 2)
    _, component = connected_components(edges, directed=False)
    first_name = np.unique(component, return_index=True)[1]
    return names[first_name[component]][group]


def _make_run(
    units: pd.DataFrame, published: pd.DataFrame | None, options: Split, seed: int, run: int
) -> pd.DataFrame:
    """Make the table of all folds of a run, as `FOLDS`."""
    tables = []
    for fold, roles in _assign_roles(units, published, options, seed, run):
        key = (seed, run, fold)
        networks: list[tuple[int | None, np.ndarray]] = [(None, roles)]
        if options.inner:
            networks = _divide_training_part(units, roles, options, key, options.inner)
        elif options.validate_on == "validation" and "validation" not in roles:
            roles[_draw_validation(units, roles, options, key)] = "validation"
        for inner, role in networks:
            table = units[["recording_id", "segment_id"]].assign(run=run, fold=fold, role=role, inner=inner)
            tables.append(table[role != ""].astype({"inner": "Int64"}))
    return pd.concat(tables, ignore_index=True)


def _assign_roles(
    units: pd.DataFrame, published: pd.DataFrame | None, options: Split, seed: int, run: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each fold and the role of each unit, train or test.

    A published split may assign the role validation too, or none: "".
    """
    if published is not None:
        for fold, table in published[published["run"] == run].groupby("fold"):
            roles = units["recording_id"].map(table.set_index("recording_id")["role"]).fillna("")
            yield int(fold), roles.to_numpy(object)
        return
    for fold, (_, test) in enumerate(_split_units(units, options, _derive_seed(seed, run))):
        roles = np.full(len(units), "train", object)
        roles[test] = "test"
        yield fold, roles


def _divide_training_part(
    units: pd.DataFrame, roles: np.ndarray, options: Split, key: tuple[int, int, int], n_inner: int
) -> list[tuple[int | None, np.ndarray]]:
    """List each inner fold with the role of each unit for its network; `key` is seed, run and fold."""
    training = np.flatnonzero((roles == "train") | (roles == "validation"))
    labels, groups = (units[column].to_numpy()[training] for column in ("stratum", "group"))
    splitter = StratifiedGroups(
        n_inner,
        random_state=_derive_seed(*key),
        unit=_name_groups(units, options.group_by),
        key="split.inner",
        context=f"run {key[1]}, fold {key[2]}: the training part has ",
    )
    networks: list[tuple[int | None, np.ndarray]] = []
    for inner, (_, validation) in enumerate(splitter.split(None, labels, groups)):
        role = roles.copy()
        role[training] = "train"
        role[training[validation]] = "validation"
        networks.append((inner, role))
    return networks


def _draw_validation(
    units: pd.DataFrame, roles: np.ndarray, options: Split, key: tuple[int, int, int]
) -> np.ndarray:
    """Draw the rows of the training part that become the validation part; `key` is seed, run and fold."""
    train = np.flatnonzero(roles == "train")
    labels, groups = (units[column].to_numpy()[train] for column in ("stratum", "group"))
    splitter = StratifiedGroups(
        1, test_size=options.validation, random_state=_derive_seed(*key), min_groups=1
    )
    (_, validation), *_ = splitter.split(None, labels, groups)
    if not len(validation):
        unit = _name_groups(units, options.group_by)
        raise MurmurError(
            f"split: run {key[1]}, fold {key[2]}: no class has two {unit}s in the training part, so there is "
            f"none for the validation part: {_suggest_remedy(units, options, unit)}"
        )
    return train[validation]


def _suggest_remedy(units: pd.DataFrame, options: Split, unit: str) -> str:
    """Suggest how a class gets two groups in the training part."""
    counts = units.groupby("stratum")["group"].nunique()
    if options.method == "kfold":
        addition = f"add recordings, so that each class has three {unit}s, and " if counts.min() < 3 else ""
        return f"{addition}set split.folds to 3"
    if options.method == "holdout" and counts.max() > 2:
        return "lower split.test"
    return f"add recordings of other {unit}s to the training part"


def _split_units(units: pd.DataFrame, options: Split, random_state: int) -> Iterator[Indices]:
    """Yield the training and test rows of each fold, by the roles of the data set or by random draws."""
    if options.method == "role":
        yield _split_by_role(units)
        return
    n_splits = options.folds if options.method == "kfold" else 1
    unit = _name_groups(units, options.group_by)
    splitter = StratifiedGroups(n_splits, test_size=options.test, random_state=random_state, unit=unit)
    yield from splitter.split(None, units["stratum"].to_numpy(), units["group"].to_numpy())


def _name_groups(units: pd.DataFrame, group_by: str) -> str:
    """Name a group for error messages: where the persons are unknown, each recording is a group."""
    is_alone = group_by in ("person", "patient") and (units[f"{group_by}_id"] == units["recording_id"]).all()
    return "recording" if is_alone else group_by


def _split_by_role(units: pd.DataFrame) -> Indices:
    if units["role"].isna().any():
        first = units.loc[units["role"].isna(), "recording_id"].iloc[0]
        raise MurmurError(f"split.method role: recording {first} has no role; give all train or test")
    is_test = (units["role"] == "test").to_numpy()
    if is_test.all() or not is_test.any():
        raise MurmurError("split.method role: all recordings have one role; give some train, some test")
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _derive_seed(*key: int) -> int:
    """Derive a seed from several numbers, independent of the seeds of other numbers."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])
