"""Cut the recordings into segments of equal length."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.features import segmentation


def main() -> None:
    p = sections.load("segment", "clean.sample_rate")
    segments, left_out = segmentation.write_segments(Path("data"), p.segment, rate=p.sample_rate)
    print(f"segments: {len(segments)}; pieces left out: {len(left_out)}")


if __name__ == "__main__":
    run_stage(main)
