"""Resample, filter and normalise the recordings into one flat array."""

from pathlib import Path

from murmur import params, tables
from murmur.errors import run_stage
from murmur.features import cleaning as clean


def main() -> None:
    p = params.load("clean")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    signals = clean.clean(recordings, Path("data/raw"), p.clean, Path("data/signals.npy"))
    tables.write(signals, "data/signals.parquet", tables.SIGNALS)
    print(f"{signals['n_samples'].sum() / p.clean.sample_rate / 3600:.2f} h at {p.clean.sample_rate} Hz")


if __name__ == "__main__":
    run_stage(main)
