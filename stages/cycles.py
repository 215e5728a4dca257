"""Find the heart cycles in the recordings of the test parts."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
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
    with atomic_write("data/cycles") as folder:
        for run in p.runs:
            predictions = parquet.read(f"data/predictions/run_{run}.murmur_predictions.parquet", schema)
            tracks = Path(f"data/tracks/run_{run}.murmur_tracks.npy")
            options = {"rate": p.sample_rate, "seconds": p.length, "hop_length": p.hop_length}
            cycles = find_run_cycles(tracks, predictions, segments, **options)
            parquet.write(cycles, folder / f"run_{run}.parquet", CYCLES)


if __name__ == "__main__":
    run_stage(main)
