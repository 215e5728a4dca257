"""Parquet files with a declared schema, checked on write and on read."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from murmur.errors import MurmurError
from murmur.files import atomic_write


def schema(
    required: dict[str, pa.DataType], nullable: dict[str, pa.DataType] | None = None, key: str = ""
) -> pa.Schema:
    """`key`: the columns that no two rows share; a table that has a key has rows."""
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in (nullable or {}).items()], {"key": key})


text, whole = pa.string(), pa.int64()


N = TypeVar("N")


def write(frame: pd.DataFrame, path: str | Path, schema: pa.Schema, note: Any = None) -> None:
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
    with atomic_write(path) as part:
        pq.write_table(table, part)


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


def read_metadata(path: str | Path, kind: type[N]) -> N:
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
