"""Train the final networks on all persons."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.evaluation.run_files import find_run_files, remove_other_runs
from murmur.inference.final_fit import choose_epochs, fit_networks, prepare_final
from murmur.models import _pretrained
from murmur.tables import parquet
from murmur.tables.csv_reader import read_csv
from murmur.tables.recordings import RECORDINGS, check_recordings, read_dataset_card
from murmur.tables.segments import SEGMENTS
from murmur.training import checkpoint_folders


def main() -> None:
    p = sections.load("train", "seed", "final", "split.runs")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    card = read_dataset_card("data/recordings.parquet")
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    check_recordings(segments, recordings, "data/segments.parquet", "data/recordings.parquet")
    histories = find_run_files(Path("data/history"), p.runs, ".murmur_history.csv")
    remove_other_runs(Path("data/history"), histories.values())
    tables = [read_csv(path, ("fold", "epoch", "best"), may_be_empty=False) for path in histories.values()]
    features = Path("data", p.train.features)
    frame_labels = Path("data/frame_labels.npy")
    run = prepare_final(recordings, segments, card, features, p.train, p.seed, frame_labels)
    epochs = choose_epochs(tables)
    _pretrained.check_hashes()
    inputs = vars(run) | {"epochs": epochs, "pretrained": _pretrained.HASHES}
    checkpoints = checkpoint_folders.find_folder(inputs)
    fit_networks(run, epochs, p.final.ensemble, Path("models/final.safetensors"), checkpoints)
    checkpoint_folders.remove_folder(checkpoints)


if __name__ == "__main__":
    run_stage(main)
