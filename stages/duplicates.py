"""Find the recordings that hold the same audio, so that no split deals them to two sides."""

from pathlib import Path

from murmur import params, tables
from murmur.errors import run_stage
from murmur.recordings import duplicates


def main() -> None:
    p = params.load("duplicates")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    pairs = duplicates.find(recordings, Path("data/raw"), p.duplicates)
    tables.write(pairs, "data/duplicates.parquet", tables.DUPLICATES)
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
