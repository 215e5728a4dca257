"""Segments of the recordings."""

import pyarrow as pa

from murmur.tables.parquet import schema, text, whole

SEGMENTS = schema(
    {"segment_id": text, "recording_id": text, "start": whole, "n_samples": whole, "reversed": pa.bool_()},
    key="segment_id",
)
