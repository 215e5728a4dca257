"""Pairs of recordings with the same audio."""

import pyarrow as pa

from murmur.tables.parquet import declare_schema, text

DUPLICATES = declare_schema(
    {
        "recording_id": text,
        "twin_id": text,  # the other recording of the pair
        "correlation": pa.float64(),  # of the samples that both have
        "lag": pa.float64(),  # s; how much later the common samples begin in recording_id than in twin_id
        "identical": pa.bool_(),  # whether all samples are the same
    }
)
