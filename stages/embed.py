"""Encode the spectrogram of every segment with a frozen pretrained model."""

from pathlib import Path

from murmur import params
from murmur.embed import embed
from murmur.errors import run_stage


def main() -> None:
    p = params.load("embed", "mel.format")
    embed(
        Path(f"data/mel.{p.format}"),
        Path(p.embed.weights),
        Path(f"data/embedding.{p.format}"),
        pool=p.embed.pool,
        device=p.embed.device,
    )


if __name__ == "__main__":
    run_stage(main)
