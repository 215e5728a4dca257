"""Compute the embedding of every segment with a frozen pretrained model."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.features import embedding


def main() -> None:
    embedding.write_embeddings(Path("data"), sections.load("embed").embed)


if __name__ == "__main__":
    run_stage(main)
