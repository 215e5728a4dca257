"""Import of a data set's recordings into one folder and one table."""

import logging
import shutil
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
from pydantic import BaseModel

from murmur import cluster, input_csv, workers
from murmur.datasets import Reading, Task, _checksums, find_worst_labels, load_reader
from murmur.errors import MurmurError
from murmur.logs import escape_unprintable
from murmur.params.validation import validate
from murmur.recordings import audio
from murmur.recordings.classes import check_remaining_classes, map_classes
from murmur.recordings.containers import wfdb_records
from murmur.recordings.licences import check_remote
from murmur.recordings.missing_files import drop_missing_files, find_unnamed_files, list_audio_files
from murmur.sections.download import Download
from murmur.tables.annotations import ANNOTATIONS
from murmur.tables.recordings import RECORDINGS, DatasetCard

logger = logging.getLogger(__name__)

DETAILS = ("quality", "murmur_timing", "murmur_grade", "murmur_pitch")  # columns that a reader may leave out
TOLERANCE = 0.001  # s by which an annotation may end after the end of its recording

LeftOut = list[tuple[str, str]]  # item (a recording_id or a path), reason


def import_recordings(
    *,
    dataset: str,
    task: str,
    class_map: dict[str, str | None],
    positive: list[str] | None,
    download: Download,
    raw: Path,
) -> tuple[pd.DataFrame, DatasetCard, pd.DataFrame, pd.DataFrame]:
    """Copy a data set's recordings into a folder and describe them in a table.

    Every recording is decoded completely, so that damaged files are found before any training.

    Parameters
    ----------
    dataset, task, class_map, positive, download
        The keys of params.yaml.
    raw : Path
        The folder for the recordings; it must not exist.

    Returns
    -------
    recordings : DataFrame
        As `murmur.tables.recordings.RECORDINGS`.
    card : DatasetCard
        The description of the data set.
    left_out : DataFrame
        As `murmur.tables.left_out.LEFT_OUT`.
    annotations : DataFrame
        As `murmur.tables.annotations.ANNOTATIONS`.

    Raises
    ------
    MurmurError
        Naming the file, row or key, and what to do.
    """
    reader = load_reader(dataset)
    options = _read_options(reader, dataset, download)
    shareable = check_remote(reader, dataset, options, download.remote)
    if reader.TASKS and task not in reader.TASKS:
        raise MurmurError(f"task: {dataset} has no task {task!r}; it has {', '.join(reader.TASKS)}")
    _log_unused_folder(dataset, download)
    raw.mkdir(parents=True)
    root = reader.fetch(options, raw, download.limit)
    reading: Reading = reader.read(root, options, task)
    table, mapped, left_out = _select_recordings(
        reading, root, reader.TASKS.get(task), class_map, positive, download
    )
    annotations = _select_annotations(reading.annotations, table, root)
    _copy_recordings(table["path"], root, raw)
    card = DatasetCard(
        dataset=dataset,
        task=task,
        classes=mapped.classes,
        positive=mapped.positive,
        weights=mapped.weights,
        persons=reading.persons or reader.PERSONS,
        licence=reader.LICENCE,
        shareable=shareable,
        unknown_persons=int(table["person_id"].isna().sum()),
    )
    return _complete_columns(table, dataset), card, _tabulate_left_out(left_out), annotations


def _read_options(reader: ModuleType, dataset: str, section: Download) -> BaseModel:
    """Read and check the options of the data set, the key `download.<dataset>` of params.yaml."""
    values = (section.model_extra or {}).get(dataset)
    if values is None:
        raise MurmurError(f"params.yaml: key download.{dataset} is missing: the options of this data set")
    return validate(reader.Options, values, f"params.yaml: download.{dataset}")


def _log_unused_folder(dataset: str, section: Download) -> None:
    """Log a note if the folder on which this stage always depends holds recordings that are not used."""
    folder = (section.model_extra or {}).get("folder", {}).get("path")
    if dataset != "folder" and folder and (n := len(list_audio_files(Path(folder)))):
        logger.info(
            f"{folder} holds {n} recordings, and dvc.lock records its size with every data set, so that it "
            "differs between clones: move them, such as to data/own (download.folder.path)"
        )


def _select_recordings(
    reading: Reading,
    root: Path,
    task: Task | None,
    class_map: dict[str, str | None],
    positive: list[str] | None,
    download: Download,
) -> tuple[pd.DataFrame, Task, LeftOut]:
    """Leave out recordings that are beyond the limit, of a class that is left out, missing or damaged."""
    reasons = [reason for name, reason in reading.absent.items() if class_map.get(name, name) is not None]
    if reasons:
        raise MurmurError(reasons[0])
    unnamed = find_unnamed_files(root, reading)
    table, beyond_limit = _limit_patients(reading.recordings, download.limit)
    table, mapped, unwanted = map_classes(table, task, class_map, positive)
    table, missing = drop_missing_files(table, root, allowed=reading.in_parts)
    table, damaged = _inspect_recordings(table, root, reading.checksums, download.on_bad)
    if reading.severity and damaged:
        remaining = reading.recordings.set_index("recording_id").loc[table["recording_id"]]
        labels = find_worst_labels(remaining, reading.severity)
        table["patient_label"] = [class_map.get(label, label) for label in labels]
    left_out = [*reading.left_out, *unnamed, *beyond_limit, *unwanted, *missing, *damaged]
    check_remaining_classes(table, mapped.classes, left_out)
    return table, mapped, left_out


def _limit_patients(table: pd.DataFrame, limit: int | None) -> tuple[pd.DataFrame, LeftOut]:
    """Keep the recordings of the first `limit` patients."""
    within = table["patient_id"].isin(table["patient_id"].unique()[:limit])
    return table[within], [
        (name, f"beyond download.limit {limit}") for name in table["recording_id"][~within]
    ]


def _inspect_recordings(
    table: pd.DataFrame, root: Path, checksums: dict[str, str], on_bad: str
) -> tuple[pd.DataFrame, LeftOut]:
    """Add the columns of `AudioFacts`; damaged files are left out, or all are named in one error."""

    def inspect(job: tuple[str, dict[str, str]]) -> audio.AudioFacts | MurmurError:
        path, checksum = job
        try:
            _checksums.verify(root, [path], checksum)
            return audio.inspect_file(root / path)
        except MurmurError as error:
            return error

    jobs = [(path, {path: checksums[path]} if path in checksums else {}) for path in table["path"]]
    results = cluster.map_recordings(inspect, jobs, "reading recordings")
    facts = [result for result in results if isinstance(result, audio.AudioFacts)]
    is_good = [isinstance(result, audio.AudioFacts) for result in results]
    damaged = [
        (name, str(result))
        for name, result in zip(table["recording_id"], results, strict=True)
        if isinstance(result, MurmurError)
    ]
    if damaged and on_bad == "error":
        subject = "1 recording" if len(damaged) == 1 else f"{len(damaged)} recordings"
        remedy = "fix the files, or set download.on_bad: leave_out to continue without them"
        lines = [f"{subject} cannot be used; {remedy}", *(message for _, message in damaged)]
        raise MurmurError("\n  ".join(lines))
    columns = pd.DataFrame(facts, columns=list(audio.AudioFacts._fields))
    return pd.concat([table[is_good].reset_index(drop=True), columns], axis=1), damaged


def _select_annotations(
    annotations: pd.DataFrame | None, recordings: pd.DataFrame, root: Path
) -> pd.DataFrame:
    """Return the annotations of these recordings; none may end after the end of its recording."""
    if annotations is None:
        return ANNOTATIONS.empty_table().to_pandas()
    durations = dict(
        zip(recordings["recording_id"], recordings["n_samples"] / recordings["sample_rate"], strict=True)
    )
    selected = annotations[annotations["recording_id"].isin(recordings["recording_id"])]
    is_beyond = selected["end"] > selected["recording_id"].map(durations) + TOLERANCE
    for name, start, end, event in selected.loc[is_beyond, ANNOTATIONS.names].to_numpy():
        raise MurmurError(
            f"{root}: recording {name} has {event} from {start:g} to {end:g} s in its annotations, but it is "
            f"{durations[name]:g} s long; correct or delete its annotations"
        )
    return selected.reset_index(drop=True)


def _copy_recordings(paths: pd.Series, root: Path, raw: Path) -> None:
    """Copy the recordings to `raw`, unless it is their folder, and delete all other WAV files in `raw`."""
    if root != raw:
        workers.map_threads(partial(_copy, root, raw), paths, "copying to data/raw")
    for path in set(raw.rglob("*.wav")) - {raw / path for path in paths}:
        path.unlink()


def _copy(root: Path, raw: Path, path: str) -> None:
    (raw / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / path, raw / path)
    if path.endswith(".hea"):
        signals = wfdb_records.find_signal_file(root / path)
        shutil.copyfile(signals, (raw / path).with_name(signals.name))


def _complete_columns(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the columns of `RECORDINGS`: a recording of an unknown person is a person of its own."""
    return table.assign(
        person_id=table["person_id"].fillna(table["patient_id"]),
        source=table.get("source", dataset),
        **{name: table.get(name) for name in DETAILS},
    )[RECORDINGS.names]


def _tabulate_left_out(left_out: LeftOut) -> pd.DataFrame:
    rows = [(_make_safe(item), reason) for item, reason in left_out]
    return pd.DataFrame(rows, columns=["item", "reason"]).assign(stage="download")


def _make_safe(item: str) -> str:
    """Return an item without control characters, changed if a spreadsheet would read it as a formula."""
    safe = escape_unprintable(item)
    return f"./{safe}" if input_csv.SPREADSHEET_FORMULA.match(item) else safe
