"""Masked Modeling Duo (Niizumi et al. 2023, arXiv:2210.14648): a Vision Transformer pretrained on AudioSet.

Reads the checkpoints of github.com/nttcslab/m2d and does with them what its `examples/portable_m2d.py` does.
The spectrograms must be as that file makes them: 16 kHz, 80 bands from 50 to 8000 Hz, windows of 400 samples,
one every 160, the ends reflected, ln(power + 2^-23); not standardised, the encoder does that.
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
DEFAULT = f"data/weights/{OFFICIAL}/checkpoint-300.pth"
VITS = {"vit_tiny": (192, 12), "vit_small": (384, 12), "vit_base": (768, 12), "vit_large": (1024, 24)}
HEAD = 64  # numbers in an attention head, in each of these
NORM_STATS = torch.tensor([-7.1, 4.2])  # mean and SD of AudioSet; checkpoints of 2022 do not repeat them


def build(*, classes: int, channels: int, mels: int, frames: int, weights: str = DEFAULT) -> nn.Module:
    """The pretrained encoder, mean over time, linear; for spectrograms of any number of frames."""
    encoder = load(Path(weights))
    encoder.check(channels, mels)
    return nn.Sequential(encoder, MeanOverTime(), nn.Linear(encoder.dims, classes))


class MeanOverTime(nn.Module):
    """[batch, time, dims] -> [batch, dims]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1)


class Sizes(NamedTuple):
    """model: one of VITS; input: bands and frames of the longest piece seen at once; patch: of a patch."""

    model: str
    input: tuple[int, int]
    patch: tuple[int, int]


class Encoder(nn.Module):
    """Log-mel [batch, 1, mels, frames] -> [batch, time, dims], a time step for each `patch` frames.

    dims are the patches of a time step, lowest bands first, `width` numbers each. The names of the parameters
    are those of the official checkpoints; the position embedding is fixed.
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
        """Standardise, fill up the last patch with zeros, encode in pieces of at most `frames` frames."""
        self.check(*x.shape[1:3])
        starts = range(0, x.shape[3], self.frames)  # what is filled up begins no new piece
        mean, sd = self.norm_stats
        x = pad((x - mean) / sd, (0, -(x.shape[3] % self.frames) % self.patch[1]))
        return torch.cat([self.encode(x[..., k : k + self.frames]) for k in starts], dim=1)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """A piece, standardised: [batch, 1, mels, frames] -> [batch, time, dims]."""
        x = self.patch_embed(x)
        _, _, bands, steps = x.shape
        where = self.pos_embed[:, 1:].unflatten(1, (bands, -1))[:, :, :steps]
        x = (x.permute(0, 2, 3, 1) + where).flatten(1, 2)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = self.norm(self.blocks(torch.cat([cls, x], dim=1)))[:, 1:]
        return x.unflatten(1, (bands, steps)).transpose(1, 2).flatten(2)

    def check(self, channels: int, mels: int) -> None:
        """Raise a MurmurError unless spectrograms of this shape fit."""
        if channels != 1:
            raise MurmurError(f"M2D takes spectrograms of 1 channel, these have {channels}; see section mel")
        if mels != self.mels:
            raise MurmurError(
                f"M2D takes {self.mels} mel bands, these spectrograms have {mels}; set mel.n_mels"
            )


def load(weights: Path) -> Encoder:
    """The encoder of an official checkpoint, whose folder's name gives its sizes.

    Raises
    ------
    MurmurError
        If there is no such file, it is not a checkpoint, or one of another architecture.
    """
    if not weights.is_file():
        raise MurmurError(
            f"{weights}: no such file; download {OFFICIAL}.zip or another from the releases of "
            f"https://github.com/nttcslab/m2d, unpack it as {DEFAULT} and name that path"
        )
    shape = sizes(weights.parent.name)
    with torch.device("meta"):
        encoder = Encoder(shape)
    found = _encoder_part(_read(weights), weights)
    check_keys(found, encoder.state_dict(), weights)
    encoder.load_state_dict(found, assign=True)
    return encoder


def sizes(folder: str) -> Sizes:
    """The sizes that a name like `m2d_vit_base-80x608p16x16-220930-mr7_enconly` gives."""
    match = re.match(r"(?:\w+_)?(vit_[a-z]+)" + "-{0}x{0}p{0}x{0}(?:p|-|$)".format(r"([1-9]\d{0,4})"), folder)
    if not match or match[1] not in VITS:
        raise MurmurError(
            f"{folder or '.'}: this folder's name must give the sizes of the model, like {OFFICIAL}; "
            f"models are {', '.join(VITS)}"
        )
    mels, frames, *patch = (int(number) for number in match.groups()[1:])
    return Sizes(match[1], (mels, frames), (patch[0], patch[1]))


def _read(weights: Path) -> dict[str, Any]:
    """The state dict in a file: bare, or under `model` beside an optimizer and its argparse.Namespace."""
    try:
        check_stored(weights)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost any (KeyError, struct.error, ...)
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MurmurError(f"{weights}: cannot be read as weights ({reason}); fetch it again") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise MurmurError(f"{weights}: expected a state dict, found {type(content).__name__}")
    return content


def _encoder_part(state: dict[str, Any], weights: Path) -> dict[str, torch.Tensor]:
    """The encoder's tensors by name; decoder, target network, projectors and heads are left out.

    A fine-tuned model has the encoder under `backbone` or `module.ar.runtime.backbone`.
    """
    part = {"norm_stats": NORM_STATS.clone()}
    for key, value in state.items():
        name = re.sub(r"^(module\.ar\.runtime\.)?backbone\.", "", str(key))
        if name.startswith(("patch_embed.", "cls_token", "pos_embed", "blocks.", "norm.", "norm_stats")):
            if not isinstance(value, torch.Tensor):
                raise MurmurError(f"{weights}: {name} is no tensor; fetch it again")
            part[name] = value if value.is_complex() else value.float()  # told by check_keys
    return part
