"""Bring the data set's recordings into data/raw and describe them in one table."""

from murmur import params, tables
from murmur.errors import run_stage
from murmur.files import beside
from murmur.recordings import download


def main() -> None:
    p = params.load("dataset", "task", "class_map", "positive", "download")
    with beside("data/raw") as raw:
        recordings, card, left_out = download.download(**vars(p), raw=raw)
        tables.write(recordings, "data/recordings.parquet", tables.RECORDINGS, card)
        tables.write(left_out, "data/left_out/download.parquet", tables.LEFT_OUT)
    print("\n".join(download.in_words(recordings, card, left_out)))


if __name__ == "__main__":
    run_stage(main)
