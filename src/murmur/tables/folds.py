"""The role of each recording or segment in each fold."""

from murmur.tables.parquet import schema, text, whole

ROLES = ("train", "validation", "test")
FOLDS = schema(
    {"run": whole, "fold": whole, "recording_id": text, "role": text},
    {"segment_id": text},  # null: all segments of the recording
    key="run fold recording_id segment_id",
)
