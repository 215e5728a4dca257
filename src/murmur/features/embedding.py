"""Embeddings of all segments, computed by a pretrained model whose weights are not trained."""

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
    """Compute the embeddings of all segments of a data folder.

    Parameters
    ----------
    data : Path
        A folder with mel/; embedding/array.npy or embedding/array.parquet is written into it, in the format
        of the spectrograms.
    options : Embed
        Section `embed` of params.yaml.

    Raises
    ------
    MurmurError
        As `compute_embeddings`.
    """
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
    """Compute the embeddings of spectrograms and write them into one array.

    Parameters
    ----------
    features : Path
        The spectrograms, shape (segments, 1, n_mels, frames). A .npy file is read batch by batch, a .parquet
        file into memory.
    weights : Path
        A checkpoint of M2D.
    out : Path
        The .npy or .parquet file to write: shape (segments, 1, dims, time), float32.
    pool : {"mean", "none"}
        Whether to average over time, so that time is 1.
    device : {"auto", "cpu", "cuda", "mps"}
        On the CPU the bytes do not depend on the number of workers.

    Raises
    ------
    MurmurError
        If the device is not available, or if the weights or the spectrograms cannot be read or do not fit
        each other.
    """
    chosen = choose_device(device, "embed.device")
    encoder = m2d.load_encoder(weights).to(chosen).eval()
    spectrograms = store.read_array(features)

    def encode_batch(first: int) -> np.ndarray:
        # A .npy file is opened for each batch: mapped pages count as memory in use.
        array = store.read_array(features) if isinstance(spectrograms, np.memmap) else spectrograms
        return _encode(encoder, torch.tensor(array[first : first + BATCH], device=chosen), pool)

    n_segments, *segment_shape = spectrograms.shape
    shape = _encode(encoder, torch.zeros(1, *segment_shape, device=chosen), pool).shape[1:]
    firsts, n_threads = range(0, n_segments, BATCH), None if chosen.type == "cpu" else 1
    with store.open_writer(out, (n_segments, *shape), np.dtype("float32")) as write, single_thread():
        for batch in workers.stream_threads(encode_batch, firsts, "embeddings", n_threads):
            write(batch)


def encode_segments(encoder: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray, pool: str) -> np.ndarray:
    """Encode spectrograms in batches, on the CPU.

    Parameters
    ----------
    encoder : callable
        From `m2d.load_encoder`.
    x : ndarray, shape (k, 1, n_mels, frames)
        The spectrograms.
    pool : {"mean", "none"}
        As for `compute_embeddings`.

    Returns
    -------
    ndarray, shape (k, 1, dims, time), float32
    """
    firsts = range(0, len(x), BATCH)
    return np.concatenate([_encode(encoder, torch.tensor(x[k : k + BATCH]), pool) for k in firsts])


@torch.no_grad()
def _encode(encoder: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, pool: str) -> np.ndarray:
    """Encode spectrograms, shape (k, 1, n_mels, frames), into embeddings, shape (k, 1, dims, time)."""
    y = encoder(x.float())
    y = y.mean(dim=1, keepdim=True) if pool == "mean" else y
    return y.transpose(1, 2)[:, None].contiguous().cpu().numpy()
