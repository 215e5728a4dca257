"""The role of each recording or segment in each fold."""

import pandas as pd

from murmur.tables.parquet import declare_schema, integer, text

ROLES = ("train", "validation", "test")
FOLDS = declare_schema(
    {"run": integer, "fold": integer, "recording_id": text, "role": text},
    {
        "segment_id": text,  # null: all segments of the recording
        "inner": integer,  # the inner fold to which the role belongs; null: the fold has no inner folds
    },
    key="run fold recording_id segment_id inner",
)


def combine_inner_folds(folds: pd.DataFrame) -> pd.DataFrame:
    """Combine the inner folds of each fold into one training part.

    Parameters
    ----------
    folds : DataFrame
        As `FOLDS`, also with more columns.

    Returns
    -------
    DataFrame
        One row for each unit of a fold. The role is train or test where a fold has inner folds; other folds
        are returned as they are.
    """
    if folds["inner"].isna().all():
        return folds
    role = folds["role"].where((folds["role"] == "test") | folds["inner"].isna(), "train")
    return folds.assign(role=role).drop_duplicates(["run", "fold", "recording_id", "segment_id"])
