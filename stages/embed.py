"""Encode the spectrogram of every segment with a frozen pretrained model."""

from pathlib import Path

from murmur import params
from murmur.errors import run_stage
from murmur.features import mel
from murmur.features.embedding import embed
from murmur.files import beside


def main() -> None:
    p = params.load("embed")
    features = mel.file_in("data/mel")
    with beside("data/embedding") as folder:
        out = folder / features.name
        embed(features, Path(p.embed.weights), out, pool=p.embed.pool, device=p.embed.device)


if __name__ == "__main__":
    run_stage(main)
