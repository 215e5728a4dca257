"""Annotated heart cycles of the recordings: heart sounds, the intervals between them, and murmurs."""

import pandas as pd
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


def describe_annotations(annotations: pd.DataFrame, recordings: pd.DataFrame) -> str:
    """Describe in a sentence how much of the recordings is annotated.

    Parameters
    ----------
    annotations : DataFrame
        As `ANNOTATIONS`.
    recordings : DataFrame
        As `murmur.tables.recordings.RECORDINGS`.
    """
    if annotations.empty:
        return "No heart cycles are annotated."
    states = annotations[annotations["event"] != "murmur"]
    seconds = (states["end"] - states["start"]).sum()
    share = seconds / (recordings["n_samples"] / recordings["sample_rate"]).sum()
    n_murmurs = annotations.loc[annotations["event"] == "murmur", "recording_id"].nunique()
    return (
        f"Heart cycles are annotated in {states['recording_id'].nunique()} of {len(recordings)} recordings "
        f"({seconds / 3600:.2f} h, {share:.0%}), with a murmur in {n_murmurs} of them."
    )
