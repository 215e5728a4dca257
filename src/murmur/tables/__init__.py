"""The tables that pass between stages: one declared Arrow schema each, checked on write and on read."""

import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from murmur.errors import MurmurError
from murmur.files import beside, write_text


def _schema(
    required: dict[str, pa.DataType], nullable: dict[str, pa.DataType] | None = None, key: str = ""
) -> pa.Schema:
    """`key`: the columns that no two rows share; a table that has a key has rows."""
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in (nullable or {}).items()], {"key": key})


text, whole = pa.string(), pa.int64()

RECORDINGS = _schema(
    {
        "recording_id": text,
        "path": text,  # relative to data/raw
        "patient_id": text,  # the data set's own number: scores are given by it
        "person_id": text,  # who was recorded: folds are grouped by it
        "site": text,
        "label": text,  # what is to be heard in this recording
        "patient_label": text,
        "sample_rate": whole,  # Hz, as recorded
        "n_samples": whole,  # at that rate, one channel
        "audio_sha256": text,  # of the samples, whatever the container
        "source": text,
    },
    {"role": text, "sex": text, "age_group": text, "quality": text},  # quality: good, poor
    key="recording_id",
)
DUPLICATES = (
    _schema(  # a row a pair; lag: how much later, s, what they share begins in the first than in the second
        {
            "recording_id": text,
            "twin_id": text,
            "correlation": pa.float64(),
            "lag": pa.float64(),
            "identical": pa.bool_(),
        }
    )
)
SIGNALS = _schema({"recording_id": text, "offset": whole, "n_samples": whole}, key="recording_id")
SEGMENTS = _schema(
    {"segment_id": text, "recording_id": text, "start": whole, "n_samples": whole, "reversed": pa.bool_()},
    key="segment_id",
)
FOLDS = _schema(
    {"run": whole, "fold": whole, "recording_id": text, "role": text},
    {"segment_id": text},
    key="run fold recording_id segment_id",
)
GROUPS = _schema(
    {"recording_id": text, "group": text}, key="recording_id"
)  # what the bootstrap resamples as one
LEFT_OUT = _schema({"stage": text, "item": text, "reason": text})

ROLES = ("train", "validation", "test")
LEVELS = ("segment", "recording", "patient")
WORDS = frozenset(  # the columns of CSV files that hold text; all others hold numbers
    {
        *("level", "group", "value", "metric", "figure", "chosen_on", "stage", "item", "reason", "curve"),
        *("kind", "actual", "predicted", "disturbance", "unit", "experiment", "test_sha256"),
    }
)
NUMBER = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,2})?"


def predictions_schema(classes: Sequence[str]) -> pa.Schema:
    """The schema of a predictions table: one `p_<class>` column (float32) a class, in their order."""
    fields = {"run": whole, "fold": whole, "role": text, "level": text, "unit_id": text}
    return _schema(fields | {f"p_{c}": pa.float32() for c in classes}, key="run fold level unit_id")


@dataclass(frozen=True)
class Card:
    """What a data set says of itself; it travels in the metadata of the recordings table."""

    dataset: str
    task: str
    classes: tuple[str, ...]
    positive: tuple[str, ...]  # the classes that sensitivity speaks of
    weights: tuple[float, ...]  # of each class in the task's own metric; () is equal
    persons: str  # what person_id is, in one sentence
    licence: str
    shareable: bool = True  # whether what is made from it may be passed on
    unknown_persons: int = 0  # recordings whose person the data set does not name

    @property
    def leak_free(self) -> bool:
        """Whether a split can be shown to keep each person on one side."""
        return self.unknown_persons == 0


@dataclass(frozen=True)
class Note:
    """On what a run was trained; it travels in the metadata of its predictions."""

    device: str
    precision: str
    versions: dict[str, str]


N = TypeVar("N", Card, Note)


def write(frame: pd.DataFrame, path: str | Path, schema: pa.Schema, note: Card | Note | None = None) -> None:
    """Write `frame` to `path` as Parquet, `note` in its metadata; the file appears whole or not at all.

    Raises
    ------
    MurmurError
        Naming the file and the column, if a column is missing, of another type, null where it may
        not be, or unknown to the schema.
    """
    if unknown := sorted(set(frame.columns) - set(schema.names)):
        raise MurmurError(f"{path}: unknown column {', '.join(unknown)}; known are {', '.join(schema.names)}")
    for field in schema:
        _check_column(frame, field, path)
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(
            {"murmur": json.dumps(asdict(note))} if note else None
        )
        table.validate(full=True)
    except pa.ArrowException as error:
        raise MurmurError(f"{path}: {error}") from error
    with beside(path) as part:
        pq.write_table(table, part)


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table for people and for `dvc plots`."""
    write_text(path, csv_text(frame))


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV: six digits after the point, the same bytes on every system."""
    return frame.round(6).to_csv(index=False, lineterminator="\n")


def read_csv(
    path: str | Path, columns: Sequence[str] = (), *, again: str = "dvc repro", may_be_empty: bool = True
) -> pd.DataFrame:
    """Read a table that `write_csv` wrote; see `parse_csv`."""
    try:
        text = Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise MurmurError(f"{path}: cannot be read ({error}); make it again: {again}") from error
    table = parse_csv(text, path, columns, again=again)
    if table.empty and not may_be_empty:
        raise MurmurError(f"{path}: it has no row; make it again: {again}")
    return table


def parse_csv(
    text: str,
    name: str | Path,
    columns: Sequence[str] = (),
    *,
    words: Collection[str] = WORDS,
    again: str = "dvc repro",
) -> pd.DataFrame:
    """A table from its CSV text: `words` as they are written, counts as whole numbers, the rest as floats.

    Ids, labels and other names stay text whatever they look like (`0001`, `True`, `nan`).

    Parameters
    ----------
    name, again: the file, and the command that makes it, for messages.
    columns: those that must be there.

    Raises
    ------
    MurmurError
        Naming the file, the row and the column, if a cell is not the number that it must be.
    """
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise MurmurError(f"{name}: cannot be read as CSV ({error}); make it again: {again}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise MurmurError(f"{name}: a row has too many fields; make it again: {again}")
    if missing := [column for column in columns if column not in table]:
        raise MurmurError(f"{name}: no column {', '.join(missing)}; make it anew: {again}")
    numbers = [column for column in table if column not in words]
    try:
        return table.assign(**{column: _numbers(table[column]) for column in numbers})
    except ValueError as error:
        raise MurmurError(f"{name}: {error}; make it again: {again}") from None


def _numbers(cells: pd.Series) -> pd.Series:
    """The numbers in a column of text: whole where it counts or numbers something, else NaN where empty."""
    column = str(cells.name)
    whole = column in ("run", "fold", "epoch", "n") or column.startswith(("n_", "shared_"))
    texts = cells.fillna("").astype(object)
    good = texts.str.fullmatch("[0-9]{1,15}" if whole else f"({NUMBER})?").astype(bool)
    if not good.all():
        row = int(good.to_numpy().argmin())
        what = "a whole number" if whole else "a number"
        cell = texts.iloc[row]
        shown = repr(cell if len(cell) <= 100 else f"{cell[:100]}…")
        raise ValueError(f"row {row + 2}, column {column}: {shown} is not {what}")
    return texts.astype("int64") if whole else texts.replace("", "nan").astype(float)


def read(path: str | Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a table that `write` wrote.

    Raises
    ------
    MurmurError
        Naming the file, if it is missing, is not Parquet, has other columns than `schema`, no row where it
        must have some, a row twice or a number below 0.
    """
    table = _open(pq.read_table, path)
    if not table.schema.remove_metadata().equals(schema.remove_metadata()):
        odd = sorted(f"{f.name} ({f.type})" for f in {*table.schema} ^ {*schema})
        raise MurmurError(
            f"{path}: not the columns expected: {', '.join(odd) or 'their order'}; run its stage: dvc repro"
        )
    frame = table.to_pandas()
    _check_rows(frame, schema, path)
    return frame


def check_recordings(frame: pd.DataFrame, known: pd.DataFrame, path: str | Path, other: str | Path) -> None:
    """Refuse a table at `path` that names a recording which `known`, the table at `other`, does not have."""
    unknown = ~frame["recording_id"].isin(known["recording_id"])
    if unknown.any():
        name = frame["recording_id"][unknown].iloc[0]
        raise MurmurError(f"{path}: recording {name} is not in {other}; they are of two runs: dvc repro")


def read_card(path: str | Path) -> Card:
    """The data set's card from the metadata of the recordings table at `path`."""
    return _read_metadata(path, Card)


def read_note(path: str | Path) -> Note:
    """On what the run whose predictions lie at `path` was trained."""
    return _read_metadata(path, Note)


def _read_metadata(path: str | Path, kind: type[N]) -> N:
    metadata = _open(pq.read_schema, path).metadata or {}
    if b"murmur" not in metadata:
        raise MurmurError(f"{path}: no note in its metadata; run the stage that writes it again")
    try:
        fields: Any = json.loads(metadata[b"murmur"]).items()
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields}
        return kind(**given)
    except (ValueError, TypeError, AttributeError) as error:
        raise MurmurError(
            f"{path}: the note in it is of another version ({error}); run its stage again: dvc repro"
        ) from error


def _open(how: Callable[[Any], Any], path: str | Path) -> Any:
    try:
        return how(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise MurmurError(f"{path}: cannot be read ({reason}); run its stage again: dvc repro") from error


def _check_column(frame: pd.DataFrame, field: pa.Field, path: str | Path) -> None:
    if field.name not in frame:
        raise MurmurError(f"{path}: column {field.name} is missing")
    if not field.nullable and (empty := frame[field.name].isna().to_numpy()).any():
        raise MurmurError(f"{path}: column {field.name} is empty in row {empty.argmax()}")


def _check_rows(frame: pd.DataFrame, schema: pa.Schema, path: str | Path) -> None:
    key = schema.metadata[b"key"].decode().split()
    wrong = [
        f"column {field.name} is below 0 in row {(frame[field.name] < 0).to_numpy().argmax()}"
        for field in schema
        if field.type == whole and (frame[field.name] < 0).any()
    ]
    if key and frame.empty:
        wrong.append("it has no row")
    elif key and (twice := frame.duplicated(key)).any():
        wrong.append(f"row {twice.to_numpy().argmax()} has the {', '.join(key)} of another row")
    if wrong:
        raise MurmurError(f"{path}: {wrong[0]}; run its stage again: dvc repro")
