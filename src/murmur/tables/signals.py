"""Where each cleaned recording lies in the array of samples."""

from murmur.tables.parquet import schema, text, whole

SIGNALS = schema({"recording_id": text, "offset": whole, "n_samples": whole}, key="recording_id")
