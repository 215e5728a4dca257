"""Find the heart cycles in the recordings of the test parts."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from murmur import sections
from murmur.errors import run_stage
from murmur.evaluation.run_files import find_run_files, remove_other_runs
from murmur.features.run_cycles import find_run_cycles
from murmur.files import atomic_write
from murmur.tables import parquet
from murmur.tables.cycles import CYCLES
from murmur.tables.predictions import make_predictions_schema
from murmur.tables.recordings import read_dataset_card
from murmur.tables.segments import SEGMENTS


def main() -> None:
    p = sections.load("split.runs", "clean.sample_rate", "segment.length", "mel.hop_length")
    schema = make_predictions_schema(read_dataset_card("data/recordings.parquet").classes)
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    predictions = find_run_files("data/predictions", p.runs, ".murmur_predictions.parquet")
    tracks = find_run_files("data/tracks", p.runs, ".murmur_tracks.npy")
    remove_other_runs("data/predictions", predictions.values())
    remove_other_runs("data/tracks", tracks.values())
    options = {"rate": p.sample_rate, "seconds": p.length, "hop_length": p.hop_length}
    with atomic_write("data/cycles") as folder:
        for run in predictions:
            table = parquet.read(predictions[run], schema)
            cycles = find_run_cycles(tracks[run], table, segments, **options)
            parquet.write(cycles, folder / f"run_{run}.parquet", CYCLES)


if __name__ == "__main__":
    run_stage(main)
