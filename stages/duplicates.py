"""Find the recordings that hold the same audio, so that no split deals them to two sides."""

from pathlib import Path

from murmur import params
from murmur.errors import run_stage
from murmur.recordings import duplicates
from murmur.tables import parquet
from murmur.tables.duplicates import DUPLICATES
from murmur.tables.recordings import RECORDINGS


def main() -> None:
    p = params.load("duplicates")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    pairs = duplicates.find_pairs(recordings, Path("data/raw"), p.duplicates)
    parquet.write(pairs, "data/duplicates.parquet", DUPLICATES)
    whose = recordings.set_index("recording_id")[["patient_id", "person_id", "label"]]
    one, other = (whose.loc[pairs[name]].reset_index(drop=True) for name in ("recording_id", "twin_id"))
    across = (one != other).sum()
    same = pairs["identical"].sum()
    print(
        f"{same} pairs of recordings hold identical audio, {len(pairs) - same} nearly identical; "
        f"{across['patient_id']} across patients, {across['person_id']} across persons, "
        f"{across['label']} under two labels"
    )


if __name__ == "__main__":
    run_stage(main)
