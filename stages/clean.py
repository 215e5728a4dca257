"""Resample, filter and normalise the recordings, and write all samples to one array."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.features import cleaning


def main() -> None:
    p = sections.load("clean")
    signals = cleaning.write_signals(Path("data"), p.clean)
    print(f"{signals['n_samples'].sum() / p.clean.sample_rate / 3600:.2f} h at {p.clean.sample_rate} Hz")


if __name__ == "__main__":
    run_stage(main)
