"""Cut the recordings into segments of equal length."""

from murmur import params, tables
from murmur.errors import run_stage
from murmur.features import segmentation as segment


def main() -> None:
    p = params.load("segment", "clean.sample_rate")
    labels = tables.read("data/recordings.parquet", tables.RECORDINGS).set_index("recording_id")["label"]
    signals = tables.read("data/signals.parquet", tables.SIGNALS)
    segments, left_out = segment.segment(signals, labels, p.sample_rate, p.segment)
    tables.write(segments, "data/segments.parquet", tables.SEGMENTS)
    tables.write(left_out, "data/left_out/segment.parquet", tables.LEFT_OUT)
    print(f"{len(segments)} segments; {len(left_out)} pieces left out")


if __name__ == "__main__":
    run_stage(main)
