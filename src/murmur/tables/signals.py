"""The position of each cleaned recording in the array of samples."""

from murmur.tables.parquet import declare_schema, integer, text

SIGNALS = declare_schema(
    {
        "recording_id": text,
        "offset": integer,  # the index of its first sample in the array
        "n_samples": integer,
    },
    key="recording_id",
)
