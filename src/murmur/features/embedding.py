"""What a frozen pretrained model hears in each segment, written once for all folds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from murmur import workers
from murmur.devices import choose_device, single_thread
from murmur.features import store
from murmur.files import atomic_write
from murmur.models import m2d
from murmur.sections.embed import Embed

BATCH = 16  # segments encoded at once: 0.3 GB for ten seconds each with vit_base


def write_embeddings(data: Path, options: Embed) -> None:
    """Encode the spectrograms in the folder `data` into its embedding/array.npy or .parquet."""
    spectrograms = store.find_array(data / "mel")
    with atomic_write(data / "embedding") as folder:
        compute_embeddings(
            spectrograms,
            Path(options.weights),
            folder / spectrograms.name,
            pool=options.pool,
            device=options.device,
        )


def compute_embeddings(features: Path, weights: Path, out: Path, *, pool: str, device: str) -> None:
    """Write the embeddings of all spectrograms to `out`: array [segments, 1, dims, time] float32.

    Parameters
    ----------
    features: what the mel stage wrote, [segments, 1, mels, frames]. A .npy is read piece by piece; a .parquet
        is held whole.
    pool: "mean" over time, so that time is 1, or "none".
    device: auto, cpu, cuda or mps. On the CPU the bytes do not depend on the number of workers.

    Raises
    ------
    MurmurError
        If the device is not to be had, the weights cannot be used, or the spectrograms do not fit them.
    """
    chosen = choose_device(device, "embed.device")
    encoder = m2d.load(weights).to(chosen).eval()
    whole = store.read_array(features)

    def one(first: int) -> np.ndarray:
        # Mapped anew for each batch: what is mapped counts as memory in use.
        rows = store.read_array(features) if isinstance(whole, np.memmap) else whole
        return _encode(encoder, torch.tensor(rows[first : first + BATCH], device=chosen), pool)

    shape = _encode(encoder, torch.zeros(1, *whole.shape[1:], device=chosen), pool).shape[1:]
    firsts, threads = range(0, len(whole), BATCH), None if chosen.type == "cpu" else 1
    with store.open_writer(out, (len(whole), *shape), np.dtype("float32")) as write, single_thread():
        for batch in workers.stream_threads(one, firsts, "embeddings", threads):
            write(batch)


@torch.no_grad()
def _encode(encoder: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, pool: str) -> np.ndarray:
    """[batch, 1, mels, frames] -> [batch, 1, dims, time]."""
    y = encoder(x.float())
    y = y.mean(dim=1, keepdim=True) if pool == "mean" else y
    return y.transpose(1, 2)[:, None].contiguous().cpu().numpy()
