"""Find recordings with the same audio, so that a split keeps them in the same part."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.recordings.duplicates import find_pairs
from murmur.tables import parquet
from murmur.tables.duplicates import DUPLICATES
from murmur.tables.recordings import RECORDINGS


def main() -> None:
    p = sections.load("duplicates")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    pairs = find_pairs(recordings, Path("data/raw"), p.duplicates)
    parquet.write(pairs, "data/duplicates.parquet", DUPLICATES)
    table = recordings.set_index("recording_id")[["patient_id", "person_id", "label"]]
    first, second = (table.loc[pairs[name]].reset_index(drop=True) for name in ("recording_id", "twin_id"))
    differ = (first != second).sum()
    n = pairs["identical"].sum()
    print(
        f"pairs of recordings with identical audio: {n}, with nearly identical audio: {len(pairs) - n}; "
        f"of two patients: {differ['patient_id']}, of two persons: {differ['person_id']}, "
        f"with two labels: {differ['label']}"
    )


if __name__ == "__main__":
    run_stage(main)
