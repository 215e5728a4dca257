"""Decide, for every run, who is trained on, who validates and who is tested."""

import pandas as pd

from murmur import params, tables
from murmur.errors import run_stage
from murmur.files import beside
from murmur.splits import folds as split


def main() -> None:
    p = params.load("split", "seed")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    card = tables.read_card("data/recordings.parquet")
    duplicates = tables.read("data/duplicates.parquet", tables.DUPLICATES)
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    runs = split.split(recordings, segments, duplicates, p.split, p.seed)
    folds = pd.concat(runs.values())
    audit = split.audit(folds, recordings, duplicates)
    tables.write_csv(audit, "metrics/audit.csv")  # first, so that whoever is refused can look at it
    found = (audit, folds, recordings, duplicates, p.split.on_leak)
    print(split.check(*found, method=p.split.method, unknown_persons=card.unknown_persons))
    tables.write(split.groups(recordings, duplicates), "data/groups.parquet", tables.GROUPS)
    with beside("data/folds") as folder:
        for run, table in runs.items():
            tables.write(table, folder / f"run_{run}.parquet", tables.FOLDS)


if __name__ == "__main__":
    run_stage(main)
