"""Groups of recordings that the bootstrap resamples together."""

from murmur.tables.parquet import schema, text

GROUPS = schema(
    {"recording_id": text, "group": text}, key="recording_id"
)  # what the bootstrap resamples as one
