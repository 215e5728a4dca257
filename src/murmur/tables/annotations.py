"""Annotated heart cycles of the recordings: heart sounds, the intervals between them, and murmurs."""

import pyarrow as pa

from murmur.tables.parquet import declare_schema, text

STATES = ("S1", "systole", "S2", "diastole")
EVENTS = (*STATES, "murmur")
NOT_ANNOTATED, PADDING = -1, -2  # labels of frames without a state
ANNOTATIONS = declare_schema(  # no row for a recording, or a part of it, that is not annotated
    {
        "recording_id": text,
        "start": pa.float64(),  # s from the beginning of the recording
        "end": pa.float64(),  # s
        "event": text,  # one of EVENTS; a murmur is in addition to the state at this time
    }
)
