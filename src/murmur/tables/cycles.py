"""The heart cycles that networks found in the recordings of their test parts."""

import pyarrow as pa

from murmur.tables.parquet import declare_schema, integer, text

CYCLES = declare_schema(  # no rows if the network does not label frames
    {
        "run": integer,
        "fold": integer,
        "recording_id": text,
        "start": pa.float64(),  # s from the beginning of the recording
        "end": pa.float64(),  # s
        "event": text,  # one of annotations.STATES
        "murmur": pa.float64(),  # mean probability of a murmur in the interval
        "early": pa.float64(),  # probability of a murmur in the middle of the first third of the interval
        "middle": pa.float64(),
        "late": pa.float64(),
    }
)
