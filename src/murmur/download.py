"""From a data set, wherever it lies, to data/raw and one table of its recordings."""

import importlib
import re
import shutil
import unicodedata
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
from pydantic import BaseModel

from murmur import audio, fetch, params, workers
from murmur.datasets import Reading, Task
from murmur.errors import MurmurError
from murmur.tables import LEVELS, RECORDINGS, Card

RESERVED = {
    "macro",
    "no answer",
    "null",
    "undefined",
    *LEVELS,
}  # f1_macro; --map X=null; words beside classes
AUDIO = {".wav", ".flac"}
SAYS = "mend the files, or set download.on_bad: leave_out to go on without them"


def reader(name: str) -> ModuleType:
    """The reader of a data set: the module murmur.datasets.<name>."""
    known = sorted(p.stem for p in (Path(__file__).parent / "datasets").glob("[!_]*.py"))
    if name not in known:
        raise MurmurError(f"dataset: no data set {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"murmur.datasets.{name}")


def download(
    *,
    dataset: str,
    task: str,
    class_map: dict[str, str | None],
    positive: list[str] | None,
    download: params.Download,
    raw: Path,
) -> tuple[pd.DataFrame, Card, pd.DataFrame]:
    """Bring a data set's recordings into the folder `raw` and describe them.

    Every recording is read once, whole: what is broken is found here, not in the middle of a training.

    Returns
    -------
    recordings, card, left_out
        As `tables.RECORDINGS`, `tables.Card` and `tables.LEFT_OUT`.

    Raises
    ------
    MurmurError
        Naming the file, row or key, and what to do.
    """
    source = reader(dataset)
    options = _options(source, dataset, download)
    _check_remote(source, dataset, download.remote)
    if source.TASKS and task not in source.TASKS:
        raise MurmurError(f"task: {dataset} has no task {task!r}; it has {', '.join(source.TASKS)}")
    raw.mkdir(parents=True)
    root = source.fetch(options, raw, download.limit)
    reading: Reading = source.read(root, options, task)
    left_out = reading.left_out + _unnamed(root, reading)
    table, dropped = _first_patients(reading.recordings, download.limit)
    left_out += dropped
    table, classes, dropped = _map_classes(table, source.TASKS.get(task), class_map, positive)
    left_out += dropped
    table, dropped = _without_missing(table, root, allowed=reading.in_parts)
    left_out += dropped
    table, dropped = _inspect(table, root, reading.checksums, download.on_bad)
    left_out += dropped
    _check_classes(table, classes, left_out)
    if root != raw:
        workers.threads(partial(_copy, root, raw), table["path"], f"copying to {raw.stem}")
    for path in set(raw.rglob("*.wav")) - {raw / path for path in table["path"]}:
        path.unlink()
    card = Card(
        *(dataset, task, *classes, source.PERSONS, source.LICENCE),
        shareable=getattr(source, "MAY_BE_PASSED_ON", True),
        unknown_persons=int(table["person_id"].isna().sum()),
    )
    table["person_id"] = table["person_id"].fillna(table["patient_id"])
    gone = pd.DataFrame(left_out, columns=["item", "reason"]).assign(stage="download")
    given = {"source": table.get("source", dataset), "quality": table.get("quality")}
    return table.assign(**given)[RECORDINGS.names], card, gone


def _options(source: ModuleType, dataset: str, section: params.Download) -> BaseModel:
    given = (section.model_extra or {}).get(dataset)
    if given is None:
        raise MurmurError(f"params.yaml: key download.{dataset} is missing: the options of this data set")
    return params.check(source.Options, given, f"params.yaml: download.{dataset}")


def _check_remote(source: ModuleType, dataset: str, remote: str | None) -> None:
    if remote is None and not getattr(source, "MAY_BE_PASSED_ON", True):
        raise MurmurError(
            f"download.remote: {dataset}'s licence ({source.LICENCE}) does not let its data be passed on: "
            "name a DVC remote that is yours alone (-S download.remote=private); where there is none of that "
            "name, `dvc push` refuses"
        )


def _first_patients(table: pd.DataFrame, limit: int | None) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    keep = table["patient_id"].isin(table["patient_id"].unique()[:limit])
    return table[keep], [(i, f"beyond download.limit {limit}") for i in table["recording_id"][~keep]]


def _map_classes(
    table: pd.DataFrame, task: Task | None, class_map: dict[str, str | None], positive: list[str] | None
) -> tuple[pd.DataFrame, Task, list[tuple[str, str]]]:
    """Merge or leave out classes, of recordings and of patients alike."""
    names = task.classes if task else tuple(sorted({*table["label"], *table["patient_label"]}))
    if unknown := sorted(set(class_map) - set(names)):
        raise MurmurError(f"class_map: no class {', '.join(unknown)}; there are {', '.join(names)}")
    mapping = {name: class_map.get(name, name) for name in names}
    classes = tuple(dict.fromkeys(c for c in mapping.values() if c is not None))
    _check_names(classes)
    if len(classes) < 2:
        raise MurmurError(f"class_map: {len(classes)} class is left ({', '.join(classes)}); a task needs two")
    found = positive if positive is not None else [mapping[c] for c in (task.positive if task else ())]
    wanted = tuple(c for c in dict.fromkeys(found) if c is not None)
    if not wanted or not set(wanted) < set(classes):
        raise MurmurError(
            f"positive: {list(wanted)} must name some, not all, of the classes {', '.join(classes)}: "
            f"those that sensitivity speaks of, such as -S 'positive=[{classes[0]}]'"
        )
    out = {name for name, c in mapping.items() if c is None}
    gone = table["label"].isin(out) | table["patient_label"].isin(out)
    culprit = table["patient_label"].where(table["patient_label"].isin(out), table["label"])[gone]
    items = zip(table["recording_id"][gone], culprit, strict=True)
    said = [(i, f"class {c} is left out by class_map") for i, c in items]
    mapped = table.assign(**{column: table[column].map(mapping) for column in ("label", "patient_label")})
    return mapped[~gone], Task(classes, wanted, _merge_weights(task, mapping, classes)), said


def _check_names(classes: tuple[str, ...]) -> None:
    """Refuse names of classes that tables and commands cannot tell from other words or from each other."""
    known: dict[str, str] = {}
    for name in classes:
        folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        fault = ""
        if not folded or folded.replace("_", " ") in RESERVED:
            fault = "has a meaning of its own in tables and commands"
        elif name != name.strip() or not name.isprintable():
            fault = "has a space at an end or a character that cannot be printed"
        elif name.startswith(("/", "\\")) or {".", ".."} & {*re.split(r"[/\\]", name)}:
            fault = "would be a folder elsewhere"
        elif folded in known:
            fault = f"differs from {known[folded]!r} only in case, spaces or the form of its letters"
        if fault:
            raise MurmurError(f"class {name!r} {fault}; class_map renames or merges it (OLD: NEW)")
        known[folded] = name


def _merge_weights(
    task: Task | None, mapping: dict[str, str | None], classes: tuple[str, ...]
) -> tuple[float, ...]:
    if task is None or not task.weights:
        return ()
    old = dict(zip(task.classes, task.weights, strict=True))
    return tuple(sum(w for name, w in old.items() if mapping[name] == c) for c in classes)


def _unnamed(root: Path, reading: Reading) -> list[tuple[str, str]]:
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix.lower() in AUDIO}
    known = {*reading.recordings["path"], *(item for item, _ in reading.left_out)}
    return [(path, "no table names this file") for path in sorted(found - known)]


def _without_missing(
    table: pd.DataFrame, root: Path, allowed: bool
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    there = pd.Series([(root / path).is_file() for path in table["path"]], index=table.index, dtype=bool)
    if not there.all() and not allowed:
        names = table["path"][~there]
        raise MurmurError(
            f"{root / names.iloc[0]}: the table names it, but it is not there ({len(names)} missing); "
            "put it there or take its row out of the table"
        )
    return table[there], [(i, "the file is not there") for i in table["recording_id"][~there]]


def _inspect(
    table: pd.DataFrame, root: Path, checksums: dict[str, str], on_bad: str
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Add what the audio tells; broken files stop the run, all named at once, or are left out."""

    def one(path: str) -> audio.Facts | MurmurError:
        try:
            fetch.verify(root, [path], checksums)
            return audio.inspect(root / path)
        except MurmurError as error:
            return error

    found = workers.threads(one, table["path"], "reading recordings")
    good = [isinstance(f, audio.Facts) for f in found]
    bad = [(i, str(f)) for i, f, ok in zip(table["recording_id"], found, good, strict=True) if not ok]
    if bad and on_bad == "error":
        head = f"{len(bad)} recordings cannot be used; {SAYS}"
        raise MurmurError("\n  ".join([head, *(why for _, why in bad)]))
    facts = pd.DataFrame([f for f in found if isinstance(f, audio.Facts)], columns=list(audio.Facts._fields))
    return pd.concat([table[good].reset_index(drop=True), facts], axis=1), bad


def _check_classes(table: pd.DataFrame, task: Task, left_out: list[tuple[str, str]]) -> None:
    if gone := [c for c in task.classes if c not in {*table["label"], *table["patient_label"]}]:
        reasons = Counter(reason for _, reason in left_out).most_common(3)
        raise MurmurError(
            f"class_map: no recording of class {', '.join(gone)} is left; leave it out ({gone[0]}: null) or "
            f"raise download.limit. Left out: {'; '.join(f'{n} x {why}' for why, n in reasons) or 'nothing'}"
        )


def _copy(root: Path, raw: Path, path: str) -> None:
    (raw / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / path, raw / path)
