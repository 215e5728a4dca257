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

text, integer = pa.string(), pa.int64()
Metadata = TypeVar("Metadata")


def declare_schema(
    required: dict[str, pa.DataType], nullable: dict[str, pa.DataType] | None = None, key: str = ""
) -> pa.Schema:
    """Declare the schema of a table.

    Parameters
    ----------
    required : dict
        Name and type of the columns without null values.
    nullable : dict, optional
        Name and type of the columns that may have null values; they come after the others.
    key : str
        Names of columns, with spaces between them, whose values together identify a row. A table with a key
        has at least one row.
    """
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in (nullable or {}).items()], {"key": key})


def write(frame: pd.DataFrame, path: str | Path, schema: pa.Schema, note: Any = None) -> None:
    """Write a table as Parquet, completely or not at all.

    Parameters
    ----------
    frame : DataFrame
        The table; the order of its columns does not matter.
    path : path-like
        The file.
    schema : pyarrow.Schema
        The columns that the table must have.
    note : dataclass instance, optional
        Written to the metadata of the file; `read_metadata` reads it.

    Raises
    ------
    MurmurError
        Naming the file and the column: missing, of another type, null although required, not in the schema.
    """
    if unknown := sorted(set(frame.columns) - set(schema.names)):
        raise MurmurError(f"{path}: unknown column {', '.join(unknown)}; known are {', '.join(schema.names)}")
    for field in schema:
        _check_column(frame, field, path)
    metadata = {"murmur": json.dumps(asdict(note))} if note else None
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        table = table.replace_schema_metadata(metadata)
        table.validate(full=True)
    except pa.ArrowException as error:
        raise MurmurError(f"{path}: {error}") from error
    with atomic_write(path) as part:
        pq.write_table(table, part)


def _check_column(frame: pd.DataFrame, field: pa.Field, path: str | Path) -> None:
    if field.name not in frame:
        raise MurmurError(f"{path}: column {field.name} is missing")
    if not field.nullable and (empty := frame[field.name].isna().to_numpy()).any():
        raise MurmurError(f"{path}: column {field.name} is empty in row {empty.argmax()}")


def read(path: str | Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a table that `write` wrote.

    Raises
    ------
    MurmurError
        Naming the file, if it is missing or not Parquet, if its columns are not those of `schema`, if it has
        a key but no row, two rows with the same key, or a number below 0.
    """
    table = _open(pq.read_table, path)
    if not table.schema.remove_metadata().equals(schema.remove_metadata()):
        different = sorted(f"{field.name} ({field.type})" for field in {*table.schema} ^ {*schema})
        raise MurmurError(
            f"{path}: not the columns expected: {', '.join(different) or 'their order'}; "
            "run its stage: dvc repro"
        )
    frame = table.to_pandas()
    _check_rows(frame, schema, path)
    return frame


def _check_rows(frame: pd.DataFrame, schema: pa.Schema, path: str | Path) -> None:
    if error := _find_negative(frame, schema) or _find_key_error(frame, schema):
        raise MurmurError(f"{path}: {error}; run its stage again: dvc repro")


def _find_negative(frame: pd.DataFrame, schema: pa.Schema) -> str:
    for name in (field.name for field in schema if field.type == integer):
        negative = (frame[name] < 0).to_numpy()
        if negative.any():
            return f"column {name} is below 0 in row {negative.argmax()}"
    return ""


def _find_key_error(frame: pd.DataFrame, schema: pa.Schema) -> str:
    key = schema.metadata[b"key"].decode().split()
    if not key:
        return ""
    if frame.empty:
        return "it has no row"
    repeated = frame.duplicated(key).to_numpy()
    return f"row {repeated.argmax()} has the {', '.join(key)} of another row" if repeated.any() else ""


def read_metadata(path: str | Path, kind: type[Metadata]) -> Metadata:
    """Read the dataclass instance that `write` wrote to the metadata of a file.

    Parameters
    ----------
    path : path-like
        The file.
    kind : type
        The dataclass.

    Raises
    ------
    MurmurError
        Naming the file, if it has no such metadata or its fields are not those of `kind`.
    """
    metadata = _open(pq.read_schema, path).metadata or {}
    if b"murmur" not in metadata:
        raise MurmurError(f"{path}: no note in its metadata; run the stage that writes it again")
    try:
        items: Any = json.loads(metadata[b"murmur"]).items()
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in items
        }
        return kind(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise MurmurError(
            f"{path}: the note in its metadata is of another version ({error}); "
            "run its stage again: dvc repro"
        ) from error


def _open(reader: Callable[[Any], Any], path: str | Path) -> Any:
    """Call a reader of pyarrow; its errors become a MurmurError that names the file."""
    if not Path(path).exists():
        raise MurmurError(f"{path}: cannot be read (it does not exist); run its stage again: dvc repro")
    try:
        return reader(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise MurmurError(f"{path}: cannot be read ({reason}); run its stage again: dvc repro") from error
