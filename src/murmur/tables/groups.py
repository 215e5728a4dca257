"""Groups of recordings that the bootstrap resamples together: a person, or persons with the same audio."""

from murmur.tables.parquet import declare_schema, text

GROUPS = declare_schema({"recording_id": text, "group": text}, key="recording_id")
