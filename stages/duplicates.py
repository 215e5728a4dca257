"""Find the recordings that share audio, so that a split keeps them on one side."""

from pathlib import Path

from murmur import params
from murmur.errors import run_stage
from murmur.recordings.duplicates import find_pairs
from murmur.tables import parquet
from murmur.tables.duplicates import DUPLICATES
from murmur.tables.recordings import RECORDINGS


def main() -> None:
    p = params.load("duplicates")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    pairs = find_pairs(recordings, Path("data/raw"), p.duplicates)
    parquet.write(pairs, "data/duplicates.parquet", DUPLICATES)
    columns = recordings.set_index("recording_id")[["patient_id", "person_id", "label"]]
    first, second = (columns.loc[pairs[name]].reset_index(drop=True) for name in ("recording_id", "twin_id"))
    n_different = (first != second).sum()
    n_identical = pairs["identical"].sum()
    print(
        f"{n_identical} pairs of recordings hold identical audio, {len(pairs) - n_identical} nearly "
        f"identical; {n_different['patient_id']} across patients, "
        f"{n_different['person_id']} across persons, {n_different['label']} with different labels"
    )


if __name__ == "__main__":
    run_stage(main)
