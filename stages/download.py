"""Import the data set's recordings into data/raw and describe them in one table."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from murmur import sections
from murmur.errors import run_stage
from murmur.files import atomic_write
from murmur.recordings.download import import_recordings
from murmur.recordings.summary import log_rate_differences, summarise_recordings
from murmur.tables import parquet
from murmur.tables.annotations import ANNOTATIONS, describe_annotations
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.recordings import RECORDINGS


def main() -> None:
    p = sections.load("dataset", "task", "class_map", "positive", "download")
    with atomic_write("data/raw") as raw:
        recordings, card, left_out, annotations = import_recordings(**vars(p), raw=raw)
        parquet.write(recordings, "data/recordings.parquet", RECORDINGS, card)
        parquet.write(left_out, "data/left_out/download.parquet", LEFT_OUT)
        parquet.write(annotations, "data/annotations.parquet", ANNOTATIONS)
    print("\n".join(summarise_recordings(recordings, card, left_out)))
    print(describe_annotations(annotations, recordings))
    log_rate_differences(recordings)


if __name__ == "__main__":
    run_stage(main)
