"""From a data set, wherever it lies, to data/raw and one table of its recordings."""

import logging
import re
import shutil
import unicodedata
from collections import Counter
from functools import partial
from os.path import isfile
from pathlib import Path
from types import ModuleType

import pandas as pd
from pydantic import BaseModel

from murmur import input_csv, workers
from murmur.datasets import Reading, Task, _fetch, is_shareable, load_reader, worst_labels
from murmur.errors import MurmurError, escape_unprintable
from murmur.params.validation import check
from murmur.recordings import audio
from murmur.sections.download import Download
from murmur.tables.levels import LEVELS
from murmur.tables.recordings import RECORDINGS, Card

logger = logging.getLogger(__name__)

RESERVED = {
    "macro",
    "no answer",
    "null",
    "undefined",
    *LEVELS,
}  # f1_macro; --map X=null; words beside classes
AUDIO = {".wav", ".flac"}
TELLING = 0.05  # unweighted average recall above chance
SAYS = "mend the files, or set download.on_bad: leave_out to go on without them"


def import_recordings(
    *,
    dataset: str,
    task: str,
    class_map: dict[str, str | None],
    positive: list[str] | None,
    download: Download,
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
    source = load_reader(dataset)
    options = _options(source, dataset, download)
    shareable = is_shareable(source, options.model_dump())
    if not shareable and download.remote is None:
        raise MurmurError(_remote_needed(source, dataset))
    if source.TASKS and task not in source.TASKS:
        raise MurmurError(f"task: {dataset} has no task {task!r}; it has {', '.join(source.TASKS)}")
    _note_own_folder(dataset, download)
    raw.mkdir(parents=True)
    root = source.fetch(options, raw, download.limit)
    reading: Reading = source.read(root, options, task)
    if absent := [why for name, why in reading.absent.items() if class_map.get(name, name) is not None]:
        raise MurmurError(absent[0])
    left_out = reading.left_out + _unnamed(root, reading)
    table, dropped = _first_patients(reading.recordings, download.limit)
    left_out += dropped
    table, classes, dropped = _map_classes(table, source.TASKS.get(task), class_map, positive)
    left_out += dropped
    table, dropped = _without_missing(table, root, allowed=reading.in_parts)
    left_out += dropped
    table, dropped = _inspect(table, root, reading.checksums, download.on_bad)
    left_out += dropped
    if reading.severity and dropped:
        kept = reading.recordings.set_index("recording_id").loc[table["recording_id"]]
        worst = worst_labels(kept, reading.severity)
        table["patient_label"] = [class_map.get(label, label) for label in worst]
    _check_classes(table, classes, left_out)
    if root != raw:
        workers.map_threads(partial(_copy, root, raw), table["path"], "copying to data/raw")
    for path in set(raw.rglob("*.wav")) - {raw / path for path in table["path"]}:
        path.unlink()
    card = Card(
        *(dataset, task, *classes, reading.persons or source.PERSONS, source.LICENCE),
        shareable=shareable,
        unknown_persons=int(table["person_id"].isna().sum()),
    )
    table["person_id"] = table["person_id"].fillna(table["patient_id"])
    shown = [(_item(item), reason) for item, reason in left_out]
    gone = pd.DataFrame(shown, columns=["item", "reason"]).assign(stage="download")
    given = {"source": table.get("source", dataset), "quality": table.get("quality")}
    return table.assign(**given)[RECORDINGS.names], card, gone


def _options(source: ModuleType, dataset: str, section: Download) -> BaseModel:
    given = (section.model_extra or {}).get(dataset)
    if given is None:
        raise MurmurError(f"params.yaml: key download.{dataset} is missing: the options of this data set")
    return check(source.Options, given, f"params.yaml: download.{dataset}")


def _note_own_folder(dataset: str, section: Download) -> None:
    """Tell if recordings lie in the folder on which this stage depends for any data set, and are not read."""
    folder = (section.model_extra or {}).get("folder", {}).get("path")
    if dataset != "folder" and folder and (n := len(_audio(Path(folder)))):
        logger.info(
            f"{folder} holds {n} recordings, and dvc.lock names its size whatever the data set, so "
            "that it differs from that of other clones: move them, such as to data/own (download.folder.path)"
        )


def _remote_needed(source: ModuleType, dataset: str) -> str:
    owner = "; if their owner lets others have them: -S download.folder.may_be_passed_on=true"
    return (
        f"download.remote: {dataset}'s licence ({source.LICENCE}) does not let its data be passed on: "
        "name a DVC remote that is yours alone (-S download.remote=private); until it has an address, "
        f"`dvc push` refuses{owner if dataset == 'folder' else ''}"
    )


def summarise(recordings: pd.DataFrame, card: Card, left_out: pd.DataFrame) -> list[str]:
    """What there is, what is left out and why, in lines for the console."""
    n, unknown = len(recordings), card.unknown_persons
    some = f", {'all' if unknown == n else unknown} of unknown persons"
    persons = some if unknown else f" of {recordings['person_id'].nunique()} persons"
    lines = [f"{n} recordings{persons}; {len(left_out)} left out"]
    reasons = left_out["reason"].where(~left_out["reason"].str.contains(": "), "cannot be used")
    lines += [f"left out: {n} x {why}" for why, n in reasons.value_counts(sort=False).items()]
    return lines + _rates_by_class(recordings)


def _rates_by_class(recordings: pd.DataFrame) -> list[str]:
    """A note where the recorded rate tells the classes apart: models may answer by its traces."""
    shares = pd.crosstab(recordings["label"], recordings["sample_rate"], normalize="index")
    recall = shares.max().sum() / len(shares)  # the best that answers by the rate alone can reach
    if recall - 1 / len(shares) <= TELLING:
        return []
    counts = recordings.groupby(["label", "sample_rate"]).size()
    rates = [
        f"{label} {', '.join(f'{rate} Hz ({n})' for rate, n in counts[label].items())}"
        for label in shares.index
    ]
    return [
        f"note: recorded rates differ by class: {'; '.join(rates)}; answers by the rate alone would have an "
        f"unweighted average recall of {recall:.2f} ({1 / len(shares):.2f} by chance)"
    ]


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
        elif input_csv.FORMULA.match(name):
            fault = "begins as a spreadsheet's formula"
        elif re.search(r"<[/!]", name):
            fault = "would end the script that holds it in the page of `dvc plots`"
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


def _audio(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix.lower() in AUDIO]


def _where_audio_is(root: Path, expected: Path) -> str:
    found = _audio(root)
    if here := sorted(path.name for path in found if path.parent == expected):
        return f"; {len(here)} others are, such as {here[0]}: give them the table's names, endings included"
    folders = Counter(path.parent for path in found).most_common()
    if not folders:
        return "; there is no WAV or FLAC file in that data set's folder: put the recordings there"
    listed = ", ".join(f"{n} in {folder}" for folder, n in folders[:3])
    return f"; there are other audio files ({listed}): move them if an archive was unpacked too deep"


def _item(name: str) -> str:
    """A file's name or an id as a table lists it: no control character, no formula of a spreadsheet."""
    return "./" * bool(input_csv.FORMULA.match(name)) + escape_unprintable(name)


def _unnamed(root: Path, reading: Reading) -> list[tuple[str, str]]:
    found = {path.relative_to(root).as_posix() for path in _audio(root)}
    known = {*reading.recordings["path"], *(item for item, _ in reading.left_out)}
    return [(path, "no table names this file") for path in sorted(found - known)]


def _without_missing(
    table: pd.DataFrame, root: Path, allowed: bool
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    there = pd.Series([isfile(root / path) for path in table["path"]], index=table.index, dtype=bool)
    if len(table) and not there.any():
        expected = (root / table["path"].iloc[0]).parent
        raise MurmurError(
            f"{root / table['path'].iloc[0]}: none of the {len(table)} files that the table names is there; "
            f"expected at {expected}{_where_audio_is(root, expected)}"
        )
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

    def one(path: str) -> audio.AudioFacts | MurmurError:
        try:
            _fetch.verify(root, [path], checksums)
            return audio.inspect(root / path)
        except MurmurError as error:
            return error

    found = workers.map_threads(one, table["path"], "reading recordings")
    good = [isinstance(f, audio.AudioFacts) for f in found]
    bad = [(i, str(f)) for i, f, ok in zip(table["recording_id"], found, good, strict=True) if not ok]
    if bad and on_bad == "error":
        head = f"{len(bad)} recordings cannot be used; {SAYS}"
        raise MurmurError("\n  ".join([head, *(why for _, why in bad)]))
    facts = pd.DataFrame(
        [f for f in found if isinstance(f, audio.AudioFacts)], columns=list(audio.AudioFacts._fields)
    )
    return pd.concat([table[good].reset_index(drop=True), facts], axis=1), bad


def _check_classes(table: pd.DataFrame, task: Task, left_out: list[tuple[str, str]]) -> None:
    if gone := [c for c in task.classes if c not in {*table["label"]}]:
        only = int(table.loc[table["patient_label"] == gone[0], "patient_id"].nunique())
        also = f" ({gone[0]} is only the patient_label of {only})" if only else ""
        reasons = Counter(reason for _, reason in left_out).most_common(3)
        why_gone = "; ".join(f"{n} x {why}" for why, n in reasons) or "nothing"
        raise MurmurError(
            f"class_map: no recording of class {', '.join(gone)} is left{also}; leave it out "
            f"({gone[0]}: null) or raise download.limit. Left out: {why_gone}"
        )


def _copy(root: Path, raw: Path, path: str) -> None:
    (raw / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / path, raw / path)
