"""Compute the log-mel spectrogram of every segment."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.features import mel


def main() -> None:
    p = sections.load("mel", "clean.sample_rate", "segment.length", "segment.short")
    wrap = p.short == "wrap"
    mel.write_spectrograms(Path("data"), p.mel, rate=p.sample_rate, seconds=p.length, wrap=wrap)


if __name__ == "__main__":
    run_stage(main)
