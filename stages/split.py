"""Split the recordings into training, validation and test parts, for every run."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

import pandas as pd

from murmur import sections
from murmur.errors import run_stage
from murmur.files import atomic_write
from murmur.splits.audit import audit_folds, check_audit
from murmur.splits.folds import group_persons, make_folds
from murmur.tables import parquet
from murmur.tables.csv_writer import write_csv
from murmur.tables.duplicates import DUPLICATES
from murmur.tables.folds import FOLDS
from murmur.tables.groups import GROUPS
from murmur.tables.recordings import RECORDINGS, read_dataset_card
from murmur.tables.segments import SEGMENTS


def main() -> None:
    p = sections.load("split", "seed")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    card = read_dataset_card("data/recordings.parquet")
    duplicates = parquet.read("data/duplicates.parquet", DUPLICATES)
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    runs = make_folds(recordings, segments, duplicates, p.split, p.seed)
    folds = pd.concat(runs.values())
    audit = audit_folds(folds, recordings, duplicates)
    write_csv(audit, "metrics/audit.csv")  # before the check, so that the user can read it if the check fails
    tables = (audit, folds, recordings, duplicates)
    options = {"method": p.split.method, "unknown_persons": card.unknown_persons}
    summary = check_audit(*tables, p.split.on_leak, **options)
    parquet.write(group_persons(recordings, duplicates), "data/groups.parquet", GROUPS)
    with atomic_write("data/folds") as folder:
        for run, table in runs.items():
            parquet.write(table, folder / f"run_{run}.parquet", FOLDS)
    if summary:
        print(summary)


if __name__ == "__main__":
    run_stage(main)
