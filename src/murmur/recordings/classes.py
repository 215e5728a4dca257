"""The classes of a task: merging and leaving out by `class_map`, and checks of their names."""

import re
import unicodedata
from collections import Counter

import pandas as pd

from murmur import input_csv
from murmur.datasets import Task
from murmur.errors import MurmurError
from murmur.tables.levels import LEVELS

# Words that tables of results and commands use together with names of classes: f1_macro, --map X=null.
RESERVED = {"macro", "no answer", "null", "undefined", *LEVELS}


def map_classes(
    table: pd.DataFrame, task: Task | None, class_map: dict[str, str | None], positive: list[str] | None
) -> tuple[pd.DataFrame, Task, list[tuple[str, str]]]:
    """Merge classes or leave them out, for labels of recordings and of patients alike.

    Parameters
    ----------
    table : DataFrame
        The recordings, with `recording_id`, `label` and `patient_label`.
    task : Task or None
        The task of the data set; None: the classes are the labels in the table, sorted.
    class_map : dict
        {class: new name}; None as the new name leaves the class out.
    positive : list of str or None
        The classes counted as positive, after merging; None: those of the task.

    Returns
    -------
    table : DataFrame
        The recordings of the remaining classes, with their new names.
    task : Task
        The remaining classes.
    left_out : list of (recording_id, reason)
        The recordings that were left out.

    Raises
    ------
    MurmurError
        If a class is unknown or has a reserved name, if fewer than two classes remain, or if the positive
        classes are none or all of them.
    """
    names = task.classes if task else tuple(sorted({*table["label"], *table["patient_label"]}))
    if unknown := sorted(set(class_map) - set(names)):
        raise MurmurError(f"class_map: no class {', '.join(unknown)}; the classes are {', '.join(names)}")
    mapping = {name: class_map.get(name, name) for name in names}
    classes = tuple(dict.fromkeys(name for name in mapping.values() if name is not None))
    check_class_names(classes)
    if len(classes) < 2:
        cause = "class_map leaves" if class_map else "the recordings have"
        raise MurmurError(
            f"{cause} {len(classes)} class ({', '.join(classes)}), and a task needs two: add recordings of "
            "another class" + (", or change class_map" if class_map else "")
        )
    if positive is None:
        positive = [new for name in (task.positive if task else ()) if (new := mapping[name]) is not None]
    _check_positive(positive, classes)
    table, left_out = _drop_classes(table, {name for name, new in mapping.items() if new is None})
    table = table.assign(**{column: table[column].map(mapping) for column in ("label", "patient_label")})
    weights = _merge_weights(task, mapping, classes)
    return table, Task(classes, tuple(dict.fromkeys(positive)), weights), left_out


def _check_positive(positive: list[str], classes: tuple[str, ...]) -> None:
    if not positive or not set(positive) < set(classes):
        given = f"{list(dict.fromkeys(positive))} is not a choice" if positive else "no class is named"
        raise MurmurError(
            f"positive: {given}; name some, not all, of the classes {', '.join(classes)}: those counted as "
            "positive, with -S 'positive=[CLASS]'"
        )


def _drop_classes(table: pd.DataFrame, dropped: set[str]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Leave out recordings that are of a dropped class, or whose patient is."""
    by_patient, by_label = table["patient_label"].isin(dropped), table["label"].isin(dropped)
    is_dropped = by_patient | by_label
    name = table["patient_label"].where(by_patient, table["label"])
    items = zip(table["recording_id"][is_dropped], name[is_dropped], strict=True)
    return table[~is_dropped], [(item, f"class {name} is left out by class_map") for item, name in items]


def check_class_names(classes: tuple[str, ...]) -> None:
    """Refuse names of classes that are reserved, unsafe in files, or hard to distinguish from each other.

    Raises
    ------
    MurmurError
        Naming the first such class and the reason.
    """
    previous: dict[str, str] = {}
    for name in classes:
        folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        fault = _find_fault(name, folded)
        if not fault and folded in previous:
            fault = f"differs from {previous[folded]!r} only in case, spaces or the form of its letters"
        if fault:
            raise MurmurError(f"class {name!r} {fault}; class_map renames or merges it (OLD: NEW)")
        previous[folded] = name


def _find_fault(name: str, folded: str) -> str:
    """Return what is wrong with a class name, or ""; `folded` is the name without case and extra spaces."""
    if not folded or folded.replace("_", " ") in RESERVED:
        return "is empty or a reserved word in tables and commands"
    if name != name.strip() or not name.isprintable():
        return "has a space at an end or a character that cannot be printed"
    if name.startswith(("/", "\\")) or {".", ".."} & {*re.split(r"[/\\]", name)}:
        return "would be a path to another folder"
    if input_csv.SPREADSHEET_FORMULA.match(name):
        return "begins like a formula of a spreadsheet"
    if re.search(r"<[/!]", name):
        return "would end the script in the page that `dvc plots` writes"
    return ""


def _merge_weights(
    task: Task | None, mapping: dict[str, str | None], classes: tuple[str, ...]
) -> tuple[float, ...]:
    """Return the weight of each class; merged classes add up."""
    if task is None or not task.weights:
        return ()
    weights = dict(zip(task.classes, task.weights, strict=True))
    return tuple(sum(w for name, w in weights.items() if mapping[name] == new) for new in classes)


def check_remaining_classes(
    table: pd.DataFrame, classes: tuple[str, ...], left_out: list[tuple[str, str]]
) -> None:
    """Check that every class still has a recording.

    Raises
    ------
    MurmurError
        Naming the classes without a recording, and the most frequent reasons why recordings were left out.
    """
    if not (empty := [name for name in classes if name not in {*table["label"]}]):
        return
    n_patients = int(table.loc[table["patient_label"] == empty[0], "patient_id"].nunique())
    patients = f" ({empty[0]} is only the patient_label of {n_patients})" if n_patients else ""
    counts = Counter(reason for _, reason in left_out).most_common(3)
    reasons = "; ".join(f"{n} x {reason}" for reason, n in counts) or "nothing"
    raise MurmurError(
        f"class_map: no recording of class {', '.join(empty)} is left{patients}; leave it out "
        f"({empty[0]}: null) or raise download.limit. Left out: {reasons}"
    )
