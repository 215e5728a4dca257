"""One decision a patient: the auscultation sites as tokens of a small transformer."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

TRUNK = (32, 64, 128)  # channels of our own convolutions


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    sites: Sequence[str],
    trunk: Literal["none", "cnn"] = "none",
    width: int = 512,
    layers: int = 4,
    attention_heads: int = 4,
    feedforward: int = 1024,
    dropout: float = 0.2,
    heads: int = 3,
    missing: Literal["masked", "zero"] = "masked",
    drop_sites: float = 0.0,
    late_fusion: bool = False,
) -> nn.Module:
    """A transformer over the sites, attention pooling, the mean of several heads.

    sites: in their order; segments heard elsewhere take no part.
    trunk: what turns a segment into a vector: its embedding as it is (none: the mean over frames), or our own
        convolutions, trained with the rest.
    missing: a site that was not heard is hidden from the others, or, as once published, only zero.
    drop_sites: chance that a site is hidden in training; never a patient's last.
    late_fusion: the mean of this and a plain network over the mean of the sites.
    """
    features = nn.Flatten() if trunk == "none" else Convolutions(channels)
    inputs = channels * mels if trunk == "none" else TRUNK[-1]
    layer = nn.TransformerEncoderLayer(width, attention_heads, feedforward, dropout, batch_first=True)
    encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
    outputs = nn.ModuleList(nn.Linear(width, classes) for _ in range(heads))
    plain = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, classes))
    return SiteTransformer(
        features,
        nn.Linear(inputs, width),
        encoder,
        outputs,
        plain if late_fusion else None,
        missing,
        drop_sites,
    )


class SiteTransformer(nn.Module):
    """x [batch, sites, n, channels, mels, frames], there [batch, sites, n] -> [batch, heads, classes]."""

    def __init__(
        self,
        features: nn.Module,
        project: nn.Linear,
        encoder: nn.TransformerEncoder,
        heads: nn.ModuleList,
        plain: nn.Module | None,
        missing: str,
        drop_sites: float,
    ):
        super().__init__()
        self.features, self.project, self.encoder, self.heads = features, project, encoder, heads
        self.pool = nn.Linear(project.out_features, 1)
        self.plain, self.masked, self.drop_sites = plain, missing == "masked", drop_sites

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        tokens, heard = self._tokens(x, there)
        hidden = ~heard & heard.any(dim=1, keepdim=True)  # of a patient heard nowhere, nothing is hidden
        if not self.masked:
            hidden = torch.zeros_like(hidden)
        z = self.encoder(self.project(tokens), src_key_padding_mask=hidden)
        share = self.pool(z).masked_fill(hidden[..., None], -torch.inf).softmax(dim=1)
        pooled = (share * z).sum(dim=1)
        logits = torch.stack([head(pooled) for head in self.heads], dim=1)
        if self.plain is None:
            return logits
        mean = (tokens * heard[..., None]).sum(dim=1) / heard.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.stack([logits.mean(dim=1), self.plain(mean)], dim=1)

    def _tokens(self, x: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean vector of each site [batch, sites, inputs], zero if it was not heard; what was heard."""
        vectors = self.features(x[there].mean(dim=-1) if isinstance(self.features, nn.Flatten) else x[there])
        every = vectors.new_zeros(*there.shape, vectors.shape[1])
        every[there] = vectors
        n = there.sum(dim=2)
        heard = self._dropped(n > 0)
        tokens = every.sum(dim=2) / n.clamp(min=1)[..., None]
        return tokens * heard[..., None], heard

    def _dropped(self, heard: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.drop_sites):
            return heard
        kept = heard & (torch.rand(heard.shape) >= self.drop_sites).to(heard.device)
        return torch.where(kept.any(dim=1, keepdim=True), kept, heard)


class Convolutions(nn.Sequential):
    """[batch, channels, mels, frames] -> [batch, TRUNK[-1]]."""

    def __init__(self, channels: int):
        layers: list[nn.Module] = []
        for inside, outside in zip((channels, *TRUNK), TRUNK, strict=False):
            layers += [nn.Conv2d(inside, outside, 3, 2, 1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
