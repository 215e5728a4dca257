"""Decide, for every run, who is trained on, who stops the training and who is tested."""

import pandas as pd

from murmur import params, split, tables
from murmur.errors import run_stage
from murmur.files import beside


def main() -> None:
    p = params.load("split", "seed")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    runs = split.split(recordings, segments, p.split, p.seed)
    audit = split.audit(pd.concat(runs.values()), recordings)
    with beside("data/folds") as folder:
        for run, folds in runs.items():
            tables.write(folds, folder / f"run_{run}.parquet", tables.FOLDS)
    tables.write_csv(audit, "metrics/audit.csv")
    shared = audit.filter(like="shared_").max()
    print(f"{len(audit)} folds by {p.split.group_by}; at most shared with a test part: {shared.to_dict()}")


if __name__ == "__main__":
    run_stage(main)
