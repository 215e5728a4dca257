"""Masked Modeling Duo (M2D): a Vision Transformer that was pretrained on AudioSet.

Reads the checkpoints of https://github.com/nttcslab/m2d and computes what its `examples/portable_m2d.py`
computes. The spectrograms must be those of that file: sampling rate 16 kHz, 80 mel bands from 50 to 8000 Hz,
windows of 400 samples every 160 samples, reflected edges, ln(power + 2^-23). They are not standardised
before: the encoder does that.

References
----------
Niizumi et al. (2023), Masked Modeling Duo, arXiv:2210.14648
"""

import argparse
import re
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn.functional import pad

from murmur.errors import MurmurError
from murmur.models._weights import check_keys, check_stored

OFFICIAL = "m2d_vit_base-80x608p16x16-220930-mr7_enconly"
DEFAULT = f"data/weights/{OFFICIAL}/checkpoint-300.pth"  # also in _requirements.py
VITS = {"vit_tiny": (192, 12), "vit_small": (384, 12), "vit_base": (768, 12), "vit_large": (1024, 24)}
HEAD = 64  # dimensions of an attention head, in each of these
NORM_STATS = torch.tensor([-7.1, 4.2])  # mean and SD of AudioSet; the checkpoints of 2022 do not contain them


def build(*, classes: int, channels: int, mels: int, frames: int, weights: str = DEFAULT) -> nn.Module:
    """Build the pretrained encoder, the mean over time, and a linear layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a spectrogram. Any number of frames is accepted.
    weights : str
        Path of a checkpoint.

    Returns
    -------
    nn.Sequential
        [batch, 1, mels, frames] -> logits [batch, classes].

    Raises
    ------
    MurmurError
        If the checkpoint cannot be used, or expects spectrograms of another shape.
    """
    encoder = load_encoder(Path(weights))
    encoder.check(channels, mels)
    return nn.Sequential(encoder, MeanOverTime(), nn.Linear(encoder.dims, classes))


class MeanOverTime(nn.Module):
    """The mean over time steps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, time, dims] to [batch, dims]."""
        return x.mean(dim=1)


class Sizes(NamedTuple):
    """Sizes of an encoder.

    Attributes
    ----------
    model : str
        A key of VITS: the width and the number of transformer blocks.
    input : tuple of int
        Mel bands, and number of frames that are encoded at once.
    patch : tuple of int
        Mel bands and frames of a patch.
    """

    model: str
    input: tuple[int, int]
    patch: tuple[int, int]


class Encoder(nn.Module):
    """The Vision Transformer: log-mel spectrogram [batch, 1, mels, frames] -> [batch, time, dims].

    A time step covers `patch[1]` frames. Its `dims` numbers are the outputs of its patches, from the lowest
    mel bands to the highest. The parameters have the names that they have in the official checkpoints. The
    position embedding is not trained.

    Attributes
    ----------
    mels, frames : int
        Mel bands, and number of frames that are encoded at once.
    patch : tuple of int
        Mel bands and frames of a patch.
    dims : int
        Dimensions of a time step: the width of the transformer times the patches of a time step.
    norm_stats : torch.Tensor, shape [2]
        Mean and standard deviation with which spectrograms are standardised.
    """

    norm_stats: torch.Tensor

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, depth = VITS[sizes.model]
        (self.mels, self.frames), self.patch = sizes.input, sizes.patch
        bands, steps = self.mels // self.patch[0], self.frames // self.patch[1]
        self.dims = bands * width
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(1, width, self.patch, self.patch)))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + bands * steps, width), requires_grad=False)
        blocks = [Block(width, width // HEAD, qkv_bias=True, norm_layer=norm) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm(width)
        self.register_buffer("norm_stats", NORM_STATS.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise spectrograms and encode them in chunks of at most `frames` frames.

        The last patch is padded with zeros. Padding never begins a new chunk.

        Parameters
        ----------
        x : torch.Tensor, shape [batch, 1, mels, frames]
            Log-mel spectrograms.

        Returns
        -------
        torch.Tensor, shape [batch, time, dims]

        Raises
        ------
        MurmurError
            If the spectrograms have another number of channels or mel bands.
        """
        self.check(*x.shape[1:3])
        starts = range(0, x.shape[3], self.frames)
        mean, sd = self.norm_stats
        x = pad((x - mean) / sd, (0, -(x.shape[3] % self.frames) % self.patch[1]))
        return torch.cat([self.encode(x[..., k : k + self.frames]) for k in starts], dim=1)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Encode one standardised chunk: [batch, 1, mels, frames] -> [batch, time, dims]."""
        x = self.patch_embed(x)
        _, _, bands, steps = x.shape
        positions = self.pos_embed[:, 1:].unflatten(1, (bands, -1))[:, :, :steps]
        x = (x.permute(0, 2, 3, 1) + positions).flatten(1, 2)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = self.norm(self.blocks(torch.cat([cls, x], dim=1)))[:, 1:]
        return x.unflatten(1, (bands, steps)).transpose(1, 2).flatten(2)

    def check(self, channels: int, mels: int) -> None:
        """Raise a MurmurError unless spectrograms have 1 channel and the encoder's number of mel bands."""
        if channels != 1:
            raise MurmurError(f"M2D takes spectrograms of 1 channel, these have {channels}; see section mel")
        if mels != self.mels:
            raise MurmurError(
                f"M2D takes {self.mels} mel bands, these spectrograms have {mels}; set mel.n_mels"
            )


def load_encoder(weights: Path) -> Encoder:
    """Load the encoder of an official checkpoint.

    Parameters
    ----------
    weights : Path
        The checkpoint. The name of its folder contains the sizes of the encoder.

    Returns
    -------
    Encoder

    Raises
    ------
    MurmurError
        If the file is missing, is not a checkpoint, or is one of another architecture.
    """
    if not weights.is_file():
        raise MurmurError(
            f"{weights}: no such file; download {OFFICIAL}.zip or another from the releases of "
            f"https://github.com/nttcslab/m2d, unpack it as {DEFAULT} and name that path"
        )
    shape = parse_sizes(weights.parent.name)
    with torch.device("meta"):
        encoder = Encoder(shape)
    state = _select_encoder(_read_checkpoint(weights), weights)
    check_keys(state, encoder.state_dict(), weights)
    encoder.load_state_dict(state, assign=True)
    return encoder


def parse_sizes(folder: str) -> Sizes:
    """Read the sizes of an encoder from the name of its folder.

    Parameters
    ----------
    folder : str
        Like ``m2d_vit_base-80x608p16x16-220930-mr7_enconly``: model, mel bands x frames, patch.

    Returns
    -------
    Sizes

    Raises
    ------
    MurmurError
        If the name does not contain the sizes.
    """
    match = re.match(r"(?:\w+_)?(vit_[a-z]+)" + "-{0}x{0}p{0}x{0}(?:p|-|$)".format(r"([1-9]\d{0,4})"), folder)
    if not match or match[1] not in VITS:
        raise MurmurError(
            f"{folder or '.'}: the name of this folder must contain the sizes of the model, like {OFFICIAL}; "
            f"models are {', '.join(VITS)}"
        )
    mels, frames, *patch = (int(number) for number in match.groups()[1:])
    return Sizes(match[1], (mels, frames), (patch[0], patch[1]))


def _read_checkpoint(weights: Path) -> dict[str, Any]:
    """Read a state dict: the content of the file, or its entry `model` (the others are not needed)."""
    try:
        check_stored(weights)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost any exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MurmurError(f"{weights}: cannot be read as weights ({reason}); fetch it again") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise MurmurError(f"{weights}: expected a state dict, found {type(content).__name__}")
    return content


def _select_encoder(state: dict[str, Any], weights: Path) -> dict[str, torch.Tensor]:
    """Select the tensors of the encoder; decoder, target network, projectors and heads are left out.

    In a fine-tuned model the keys of the encoder begin with `backbone` or `module.ar.runtime.backbone`.
    """
    encoder = {"norm_stats": NORM_STATS.clone()}
    for key, value in state.items():
        name = re.sub(r"^(module\.ar\.runtime\.)?backbone\.", "", str(key))
        if name.startswith(("patch_embed.", "cls_token", "pos_embed", "blocks.", "norm.", "norm_stats")):
            if not isinstance(value, torch.Tensor):
                raise MurmurError(f"{weights}: {name} is no tensor; fetch it again")
            encoder[name] = value if value.is_complex() else value.float()  # check_keys refuses these
    return encoder
