"""The role of each recording or segment in each fold."""

from murmur.tables.parquet import declare_schema, integer, text

ROLES = ("train", "validation", "test")
FOLDS = declare_schema(
    {"run": integer, "fold": integer, "recording_id": text, "role": text},
    {
        "segment_id": text,  # null: all segments of the recording
        "inner": integer,  # inner fold, of which the role is; null: the fold has no inner folds
    },
    key="run fold recording_id segment_id inner",
)
