"""One prediction for each patient: a transformer whose tokens are the auscultation sites."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from murmur.models import Rate, Size

TRUNK = (32, 64, 128)  # channels of `Convolutions`


def build(
    *,
    classes: int,
    channels: int,
    mels: int,
    frames: int,
    sites: Sequence[str],
    trunk: Literal["none", "cnn"] = "none",
    width: Size = 512,
    layers: Size = 4,
    attention_heads: Size = 4,
    feedforward: Size = 1024,
    dropout: Rate = 0.2,
    heads: Size = 3,
    missing: Literal["masked", "zero"] = "masked",
    drop_sites: Rate = 0.0,
    late_fusion: bool = False,
) -> nn.Module:
    """Build a transformer over the sites of a patient, attention pooling, and several output heads.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of a segment's spectrogram or embedding.
    sites : sequence of str
        The sites in their order. Segments of other sites are not used.
    trunk : {"none", "cnn"}
        How a segment becomes a vector: ``none`` takes the mean over frames, for embeddings; ``cnn`` trains
        `Convolutions`.
    width, layers, attention_heads, feedforward, dropout
        Size of the transformer.
    heads : int
        Number of linear layers whose mean logits are the prediction.
    missing : {"masked", "zero"}
        ``masked`` excludes a site without a recording from the attention; ``zero`` includes it as a zero
        vector, as one published system does.
    drop_sites : float
        Probability that a site is dropped in training; at least one site of a patient remains.
    late_fusion : bool
        Average the prediction with that of a two-layer perceptron on the mean over the sites.

    Returns
    -------
    SiteTransformer
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
    """Transformer over the auscultation sites of a patient.

    Attributes
    ----------
    features : nn.Module
        Maps a segment to a vector.
    project : nn.Linear
        Maps the mean vector of a site to a token.
    encoder : nn.TransformerEncoder
    pool : nn.Linear
        Score of each token; their softmax are the weights of the pooling.
    heads : nn.ModuleList
        The output layers.
    plain : nn.Module or None
        The perceptron of the late fusion.
    masked : bool
        Whether missing sites are excluded from the attention.
    drop_sites : float
        Probability that a site is dropped in training.
    """

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

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Predict patients from all their segments.

        Parameters
        ----------
        x : torch.Tensor, shape [batch, sites, n, channels, mels, frames]
            The segments of each site.
        present : torch.Tensor of bool, shape [batch, sites, n]
            False for padding, whose values have no effect.

        Returns
        -------
        torch.Tensor, shape [batch, heads, classes]
            The logits; with late fusion, those of the transformer and those of the perceptron.
        """
        vectors, recorded = self._average_sites(x, present)
        excluded = ~recorded & recorded.any(dim=1, keepdim=True)  # of no site at all, attention is undefined
        if not self.masked:
            excluded = torch.zeros_like(excluded)
        tokens = self.encoder(self.project(vectors), src_key_padding_mask=excluded)
        weights = self.pool(tokens).masked_fill(excluded[..., None], -torch.inf).softmax(dim=1)
        pooled = (weights * tokens).sum(dim=1)
        logits = torch.stack([head(pooled) for head in self.heads], dim=1)
        if self.plain is None:
            return logits
        n_sites = recorded.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (vectors * recorded[..., None]).sum(dim=1) / n_sites
        return torch.stack([logits.mean(dim=1), self.plain(mean)], dim=1)

    def _average_sites(self, x: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean vector of each site [batch, sites, inputs], and which sites have one.

        The vector of a site without segments is zero, and that of a dropped site too.
        """
        segments = x[present].mean(dim=-1) if isinstance(self.features, nn.Flatten) else x[present]
        vectors = self.features(segments)
        padded = vectors.new_zeros(*present.shape, vectors.shape[1])
        padded[present] = vectors
        n_segments = present.sum(dim=2)
        recorded = self._drop_sites(n_segments > 0)
        mean = padded.sum(dim=2) / n_segments.clamp(min=1)[..., None]
        return mean * recorded[..., None], recorded

    def _drop_sites(self, recorded: torch.Tensor) -> torch.Tensor:
        """Drop sites at random in training; a patient who would lose all sites keeps all."""
        if not (self.training and self.drop_sites):
            return recorded
        remaining = recorded & (torch.rand(recorded.shape) >= self.drop_sites).to(recorded.device)
        return torch.where(remaining.any(dim=1, keepdim=True), remaining, recorded)


class Convolutions(nn.Sequential):
    """Strided convolutions and mean pooling: [batch, channels, mels, frames] -> [batch, TRUNK[-1]]."""

    def __init__(self, channels: int):
        layers: list[nn.Module] = []
        for channels_in, channels_out in zip((channels, *TRUNK), TRUNK, strict=False):
            layers.append(nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1))
            layers += [nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
