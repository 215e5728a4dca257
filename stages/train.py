"""Fit the folds of one run: stages/train.py --run RUN"""

import sys
from pathlib import Path

from murmur import params, tables
from murmur.errors import run_stage
from murmur.files import beside
from murmur.training import run as runs


def main() -> None:
    p = params.load("train", "seed")
    name = f"run_{int(sys.argv[-1])}"
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    card = tables.read_card("data/recordings.parquet")
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    folds = tables.read(f"data/folds/{name}.parquet", tables.FOLDS)
    for table, path in ((segments, "data/segments.parquet"), (folds, f"data/folds/{name}.parquet")):
        tables.check_recordings(table, recordings, path, "data/recordings.parquet")
    features = Path("data", p.train.features)
    run = runs.prepare(recordings, segments, folds, card, features, p.train, p.seed)
    with beside(f"models/{name}.murmur_weights") as weights:
        predictions, history, note = runs.fit_run(run, weights)
        schema = tables.predictions_schema(card.classes)
        tables.write(predictions, f"data/predictions/{name}.murmur_predictions.parquet", schema, note)
        tables.write_csv(history, f"data/history/{name}.murmur_history.csv")


if __name__ == "__main__":
    run_stage(main)
