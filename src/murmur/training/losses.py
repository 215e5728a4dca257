"""Loss functions and class weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from murmur.errors import MurmurError
from murmur.sections.train import Train


class Loss(nn.Module):
    """Cross entropy or focal loss with class weights, and distillation between output heads.

    Parameters
    ----------
    weight : torch.Tensor, shape [classes]
        Weight of each class.
    options : Train
        The section ``train`` of params.yaml.

    Attributes
    ----------
    weight : torch.Tensor, shape [classes]
    gamma : float
        Exponent of the focal loss; 0 is cross entropy.
    smoothing : float
        Label smoothing.
    distillation : float
        Share of the distillation in the loss.

    Notes
    -----
    Focal loss is cross entropy · (1 - p)^gamma, where p is the probability of the true class. The mean over a
    batch is weighted by the weights of the classes, as in `torch.nn.CrossEntropyLoss`.

    With several output heads the prediction is the mean of their logits. With ``distillation`` d the loss is
    (1 - d) · loss of the prediction + d · mean Kullback-Leibler divergence of the heads from the prediction.

    References
    ----------
    Lin et al. (2017), Focal Loss for Dense Object Detection, ICCV
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, options: Train):
        super().__init__()
        self.register_buffer("weight", weight)
        self.gamma = options.focal_gamma if options.loss == "focal" else 0.0
        self.smoothing, self.distillation = options.label_smoothing, options.distillation

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        logits : torch.Tensor, shape [batch, classes] or [batch, heads, classes]
            The output of the network.
        truth : torch.Tensor of int, shape [batch]
            The true classes.
        """
        mean_logits = average_heads(logits)
        if self.gamma:
            loss = self._focal_loss(mean_logits, truth)
        else:
            loss = F.cross_entropy(mean_logits, truth, self.weight, label_smoothing=self.smoothing)
        if logits.dim() == 2 or not self.distillation:
            return loss
        return (1 - self.distillation) * loss + self.distillation * _divergence(logits, mean_logits)

    def _focal_loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        losses = F.cross_entropy(logits, truth, self.weight, reduction="none", label_smoothing=self.smoothing)
        p = logits.softmax(dim=1).gather(1, truth[:, None])[:, 0]
        error = (1 - p).clamp(min=torch.finfo(p.dtype).eps)  # at 0 the gradient is infinite for gamma < 1
        return (losses * error**self.gamma).sum() / self.weight[truth].sum()


def average_heads(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean over output heads: [batch, heads, classes] or [batch, classes] -> [batch, classes]."""
    return logits.mean(dim=1) if logits.dim() == 3 else logits


def _divergence(logits: torch.Tensor, mean_logits: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of each head from the mean, which has no gradient."""
    target = mean_logits.detach().log_softmax(dim=1)[:, None].expand_as(logits)
    terms = F.kl_div(logits.log_softmax(dim=2), target, reduction="none", log_target=True)
    return terms.sum(dim=2).mean()


def compute_class_weights(
    counts: np.ndarray, classes: Sequence[str], metric: Sequence[float], options: Train
) -> torch.Tensor:
    """Compute the weight of each class in the loss.

    Parameters
    ----------
    counts : np.ndarray of int, shape [classes]
        Training units of each class.
    classes : sequence of str
        The names of the classes.
    metric : sequence of float
        Weight of each class in the metric of the task.
    options : Train
        The section ``train`` of params.yaml. With ``balance: loss`` the weight of class c is n / (classes ·
        n_c), so that the weights of all units of a class have the same sum for each class. With ``balance:
        metric`` these sums are proportional to `metric`. Otherwise the weight is 1. Weights in
        ``class_weights`` multiply these.

    Returns
    -------
    torch.Tensor of float32, shape [classes]

    Raises
    ------
    MurmurError
        If ``class_weights`` names an unknown class.
    """
    factors = options.class_weights or {}
    if unknown := sorted(set(factors) - set(classes)):
        raise MurmurError(f"train.class_weights: no class {unknown[0]}; there are {', '.join(classes)}")
    shares = counts / counts.sum()
    weights = np.ones(len(counts))
    if options.balance == "loss":
        weights = np.full(len(counts), 1 / len(counts)) / shares
    elif options.balance == "metric":
        weights = np.array(metric) / sum(metric) / shares
    weights = weights * np.array([factors.get(name, 1.0) for name in classes])
    return torch.tensor(weights, dtype=torch.float32)
