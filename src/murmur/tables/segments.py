"""The segments of the recordings."""

import pyarrow as pa

from murmur.tables.parquet import schema, text, whole

SEGMENTS = schema(
    {
        "segment_id": text,
        "recording_id": text,
        "start": whole,  # the first sample, counted from the beginning of the recording
        "n_samples": whole,
        "reversed": pa.bool_(),  # whether it is the time-reversed copy of another segment
    },
    key="segment_id",
)
