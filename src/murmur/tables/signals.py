"""The position of each cleaned recording in the array of samples."""

from murmur.tables.parquet import schema, text, whole

SIGNALS = schema(
    {
        "recording_id": text,
        "offset": whole,  # the index of its first sample in the array
        "n_samples": whole,
    },
    key="recording_id",
)
