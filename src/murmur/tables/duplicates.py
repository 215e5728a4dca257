"""Pairs of recordings with the same audio."""

import pyarrow as pa

from murmur.tables.parquet import schema, text

DUPLICATES = (
    schema(  # a row a pair; lag: how much later, s, what they share begins in the first than in the second
        {
            "recording_id": text,
            "twin_id": text,
            "correlation": pa.float64(),
            "lag": pa.float64(),
            "identical": pa.bool_(),
        }
    )
)
