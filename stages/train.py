"""Train the models of all folds of one run: stages/train.py --run RUN."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

import sys
from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.files import atomic_write
from murmur.models import _pretrained
from murmur.tables import parquet
from murmur.tables.csv_writer import write_csv
from murmur.tables.folds import FOLDS
from murmur.tables.predictions import make_predictions_schema
from murmur.tables.recordings import RECORDINGS, check_recordings, read_dataset_card
from murmur.tables.segments import SEGMENTS
from murmur.training import checkpoint_folders, live
from murmur.training.run import fit_run, prepare_run


def main() -> None:
    p = sections.load("train", "seed")
    name = f"run_{int(sys.argv[-1])}"
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    card = read_dataset_card("data/recordings.parquet")
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    folds = parquet.read(f"data/folds/{name}.parquet", FOLDS)
    for table, path in ((segments, "data/segments.parquet"), (folds, f"data/folds/{name}.parquet")):
        check_recordings(table, recordings, path, "data/recordings.parquet")
    features = Path("data", p.train.features)
    frame_labels = Path("data/frame_labels.npy")
    run = prepare_run(recordings, segments, folds, card, features, p.train, p.seed, frame_labels)
    _pretrained.check_hashes()
    checkpoints = checkpoint_folders.find_folder(vars(run) | {"pretrained": _pretrained.HASHES})
    with atomic_write(f"models/{name}.murmur_weights") as weights:
        tracks = Path(f"data/tracks/{name}.murmur_tracks.npy")
        predictions, history, note = fit_run(run, weights, live.FOLDER, tracks, checkpoints)
        schema = make_predictions_schema(card.classes)
        parquet.write(predictions, f"data/predictions/{name}.murmur_predictions.parquet", schema, note)
        write_csv(history, f"data/history/{name}.murmur_history.csv")
    checkpoint_folders.remove_folder(checkpoints)


if __name__ == "__main__":
    run_stage(main)
