"""What a fit is punished for."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from murmur.errors import MurmurError
from murmur.sections.train import Train


class Loss(nn.Module):
    """Mean loss of logits [batch, classes] or, of a network with several heads, [batch, heads, classes].

    Cross entropy, or focal loss (Lin et al. 2017): cross entropy · (1 - p of the truth)^gamma. Classes weigh
    as `weight` says; the mean is the weighted one, as torch's own cross entropy has it. The heads' mean
    logits answer; with `distillation` d the loss is (1 - d) of theirs and d of the heads' mean
    Kullback-Leibler divergence from them.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, options: Train):
        super().__init__()
        self.register_buffer("weight", weight)
        self.gamma = options.focal_gamma if options.loss == "focal" else 0.0
        self.smoothing, self.distillation = options.label_smoothing, options.distillation

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        whole = average_heads(logits)
        if not self.gamma:
            loss = F.cross_entropy(whole, truth, self.weight, label_smoothing=self.smoothing)
        else:
            each = F.cross_entropy(
                whole, truth, self.weight, reduction="none", label_smoothing=self.smoothing
            )
            p = whole.softmax(dim=1).gather(1, truth[:, None])[:, 0]
            wrong = (1 - p).clamp(min=torch.finfo(p.dtype).eps)  # at 0 a gamma below 1 has no gradient
            loss = (each * wrong**self.gamma).sum() / self.weight[truth].sum()
        if logits.dim() == 2 or not self.distillation:
            return loss
        return (1 - self.distillation) * loss + self.distillation * _divergence(logits, whole)


def average_heads(logits: torch.Tensor) -> torch.Tensor:
    """[batch, classes]: the mean over heads, where there are several."""
    return logits.mean(dim=1) if logits.dim() == 3 else logits


def _divergence(logits: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    teacher = whole.detach().log_softmax(dim=1)[:, None].expand_as(logits)
    each = F.kl_div(logits.log_softmax(dim=2), teacher, reduction="none", log_target=True).sum(dim=2)
    return each.mean()


def compute_class_weights(
    counts: np.ndarray, classes: Sequence[str], metric: Sequence[float], options: Train
) -> torch.Tensor:
    """The weight of each class, of `counts` training units.

    `balance: loss`: all classes have the same say, n / (classes · n_c); `metric`: that of the task's metric.
    `class_weights` multiplies them. A class not named there keeps its own.

    Raises
    ------
    MurmurError
        If `class_weights` names no class.
    """
    named = options.class_weights or {}
    if unknown := sorted(set(named) - set(classes)):
        raise MurmurError(f"train.class_weights: no class {unknown[0]}; there are {', '.join(classes)}")
    size = counts / counts.sum()
    say = {
        "loss": np.full(len(counts), 1 / len(counts)) / size,
        "metric": np.array(metric) / sum(metric) / size,
    }
    own = np.array([named.get(name, 1.0) for name in classes])
    return torch.tensor(say.get(options.balance, np.ones(len(counts))) * own, dtype=torch.float32)
