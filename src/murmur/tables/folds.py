"""The role of each recording or segment in each fold."""

from murmur.tables.parquet import schema, text, whole

FOLDS = schema(
    {"run": whole, "fold": whole, "recording_id": text, "role": text},
    {"segment_id": text},
    key="run fold recording_id segment_id",
)


ROLES = ("train", "validation", "test")
