"""The segments of the recordings."""

import pyarrow as pa

from murmur.tables.parquet import declare_schema, integer, text

SEGMENTS = declare_schema(
    {
        "segment_id": text,
        "recording_id": text,
        "start": integer,  # the first sample, counted from the beginning of the recording
        "n_samples": integer,
        "reversed": pa.bool_(),  # whether it is the time-reversed copy of another segment
    },
    key="segment_id",
)
