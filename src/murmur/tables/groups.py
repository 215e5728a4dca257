"""Groups of recordings that the bootstrap resamples together: a person, or persons with the same audio."""

from murmur.tables.parquet import schema, text

GROUPS = schema({"recording_id": text, "group": text}, key="recording_id")
