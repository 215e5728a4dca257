"""Compute the log-mel spectrogram of every segment."""

from pathlib import Path

from murmur import params, tables
from murmur.errors import run_stage
from murmur.features import mel
from murmur.files import beside


def main() -> None:
    p = params.load("mel", "clean.sample_rate", "segment.length", "segment.short")
    signals = tables.read("data/signals.parquet", tables.SIGNALS)
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    tables.check_recordings(segments, signals, "data/segments.parquet", "data/signals.parquet")
    with beside("data/mel") as folder:
        mel.mel(
            signals,
            Path("data/signals.npy"),
            segments,
            rate=p.sample_rate,
            length=round(p.length * p.sample_rate),
            wrap=p.short == "wrap",
            options=p.mel,
            out=folder / f"array.{p.mel.format}",
        )


if __name__ == "__main__":
    run_stage(main)
