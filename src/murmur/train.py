"""Fit one fold, from spectrograms to the predicted probabilities of its validation and test segments."""

import copy
import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from murmur.augment import augment, mixup
from murmur.errors import MurmurError
from murmur.models import build
from murmur.params import Train

PREDICT_BATCH = 512

# torch's optimizers import its compiler, 4 s in every worker process, only to tell it to stand aside.
# Without the wrapper that does so they are the same.
torch.optim.Optimizer.add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)  # type: ignore[method-assign]
torch.optim.Adam.step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))  # type: ignore[method-assign]


class Fit(NamedTuple):
    """What came of a fold.

    probabilities: of every row asked for, [rows, classes] float32.
    history: a row an epoch: epoch, train_loss, learning_rate, validation_loss, validation_uar, best.
    weights: of the best epoch.
    """

    probabilities: np.ndarray
    history: pd.DataFrame
    weights: dict[str, torch.Tensor]


class Fold(NamedTuple):
    """The rows of the feature array that a fold trains on, stops by, and is asked to predict."""

    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray


@dataclass
class Loop:
    """What an epoch needs, all of it on the device."""

    model: "Classifier"
    x: torch.Tensor
    y: torch.Tensor
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    options: Train


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    fold: Fold,
    options: Train,
    *,
    weights: Sequence[float],
    seed: int,
) -> Fit:
    """Fit one fold; the epoch with the best validation score answers.

    Parameters
    ----------
    features: [segments, channels, mels, frames]; held on the device once, as they are stored.
    labels: class numbers [segments].
    weights: of each class in the task's own metric, for `balance: metric`.

    Raises
    ------
    MurmurError
        If the device or the precision is not to be had, a class is absent from the training part, or the
        loss is no longer finite.
    """
    device = choose_device(options.device)
    check_precision(options.precision, device)
    torch.manual_seed(seed)
    _be_deterministic(device)
    counts = np.bincount(labels[fold.train], minlength=len(weights))
    if not counts.all():
        raise MurmurError(f"train: class number {counts.argmin()} has no segment in the training part")
    x, y = torch.tensor(features, device=device), torch.tensor(labels, device=device)
    model = Classifier(build(options.model, classes=len(weights), **_shape(x)), x, fold.train).to(device)
    criterion = _criterion(counts, weights, options).to(device)
    optimizer = _optimizer(model, options)
    scheduler = _scheduler(optimizer, options, steps=-(-len(fold.train) // options.batch_size))
    history, best = _run(
        Loop(model, x, y, criterion, optimizer, scheduler, options), fold, 1 / counts[labels]
    )
    model.load_state_dict(best)
    probabilities = predict(model, x, fold.predict).softmax(dim=1).cpu().numpy()
    return Fit(probabilities, history, {name: value.cpu().contiguous() for name, value in best.items()})


def _be_deterministic(device: torch.device) -> None:
    """One thread of a CPU is so without asking, which would import half of torch."""
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first use of cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")


def _run(loop: Loop, fold: Fold, chance: np.ndarray) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """All epochs, or as many as `patience` allows: the history, and the weights of the best."""
    history: list[dict[str, float]] = []
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}
    for epoch in range(loop.options.epochs):
        rate = loop.optimizer.param_groups[0]["lr"]
        loss = _epoch(loop, _order(fold.train, chance, loop.options))
        seen = _validate(loop, fold)
        if not np.isfinite(loss + seen["validation_loss"]):
            raise MurmurError(
                f"train: the loss is not finite in epoch {epoch}; lower train.lr or set train.clip"
            )
        history.append({"epoch": epoch, "train_loss": loss, "learning_rate": rate, **seen})
        scores.append(
            -seen["validation_loss"] if loop.options.select_on == "loss" else seen["validation_uar"]
        )
        if int(np.argmax(scores)) == epoch:
            best = copy.deepcopy(loop.model.state_dict())
        if loop.options.schedule == "plateau":
            loop.scheduler.step(seen["validation_loss"])
        if loop.options.patience is not None and epoch - np.argmax(scores) >= loop.options.patience:
            break
    table = pd.DataFrame(history)
    return table.assign(best=(table["epoch"] == np.argmax(scores)).astype(int)), best


class Classifier(nn.Module):
    """A network behind the standardisation of each band by the training part's mean and spread."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, network: nn.Module, x: torch.Tensor, train: np.ndarray):
        super().__init__()
        mean, spread = _band_statistics(x, train)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a quarter faster

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(self.standardise(x))


def _band_statistics(x: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [channels, mels, 1] over the rows, batch by batch in float64."""
    total = squares = torch.zeros(x.shape[1:3], dtype=torch.float64, device=x.device)
    for batch in torch.from_numpy(rows).split(PREDICT_BATCH):
        part = x[batch].double()
        total, squares = total + part.sum((0, 3)), squares + part.square().sum((0, 3))
    n = len(rows) * x.shape[3]
    mean = total / n
    spread = (squares / n - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float()[..., None], spread.float()[..., None]


def _shape(x: torch.Tensor) -> dict[str, int]:
    return {"channels": x.shape[1], "mels": x.shape[2], "frames": x.shape[3]}


def _criterion(counts: np.ndarray, weights: Sequence[float], options: Train) -> nn.Module:
    """Cross entropy. `balance: loss`: all classes have the same say; `metric`: that of the task's metric."""
    size = counts / counts.sum()
    say = {
        "loss": np.full(len(counts), 1 / len(counts)) / size,
        "metric": np.array(weights) / sum(weights) / size,
    }
    weight = say.get(options.balance, np.ones(len(counts)))
    return nn.CrossEntropyLoss(
        torch.tensor(weight, dtype=torch.float32), label_smoothing=options.label_smoothing
    )


def _optimizer(model: nn.Module, options: Train) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    return kind(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)


def _scheduler(optimizer: torch.optim.Optimizer, options: Train, steps: int) -> Any:
    """A schedule that is stepped every batch; plateau, every epoch; None for a constant rate."""
    total = steps * options.epochs
    match options.schedule:
        case "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        case "onecycle":
            return torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total)
        case "plateau":
            return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    return None


def _order(train: np.ndarray, chance: np.ndarray, options: Train) -> torch.Tensor:
    """The rows of one epoch, shuffled; with `balance: sampler` drawn so that classes come equally often."""
    rows = torch.from_numpy(train)
    if options.balance != "sampler":
        return rows[torch.randperm(len(rows))]
    return rows[torch.multinomial(torch.from_numpy(chance[train]), len(rows), replacement=True)]


def _epoch(loop: Loop, order: torch.Tensor) -> float:
    """Train on the rows in this order; the mean loss."""
    loop.model.train()
    total = torch.zeros((), device=loop.x.device)
    for rows in order.split(loop.options.batch_size):
        total += _step(loop, rows) * len(rows)
    return float(total) / len(order)


def _step(loop: Loop, rows: torch.Tensor) -> torch.Tensor:
    options, kind = loop.options, loop.x.device.type
    batch = augment(loop.model.standardise(loop.x[rows]), options.augment)
    share, partner = mixup(len(rows), options.augment.mixup)
    batch = share * batch + (1 - share) * batch[partner]
    with torch.autocast(kind, torch.bfloat16, enabled=options.precision == "bfloat16"):
        logits = loop.model.network(batch)
    logits, truth = logits.float(), loop.y[rows]
    loss = share * loop.criterion(logits, truth) + (1 - share) * loop.criterion(logits, truth[partner])
    loop.model.zero_grad()
    loss.backward()
    if options.clip is not None:
        nn.utils.clip_grad_norm_(loop.model.parameters(), options.clip)
    loop.optimizer.step()
    if loop.scheduler and options.schedule != "plateau":
        loop.scheduler.step()
    return loss.detach()


@torch.no_grad()
def _validate(loop: Loop, fold: Fold) -> dict[str, float]:
    logits, truth = predict(loop.model, loop.x, fold.validation), loop.y[fold.validation]
    hit = truth[logits.argmax(dim=1) == truth]
    there, right = (labels.cpu().bincount(minlength=logits.shape[1]) for labels in (truth, hit))
    recall = right[there > 0] / there[there > 0]
    return {"validation_loss": float(loop.criterion(logits, truth)), "validation_uar": float(recall.mean())}


@torch.no_grad()
def predict(model: nn.Module, x: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Logits [rows, classes] float32; always in float32, whatever the training's precision."""
    model.eval()
    return torch.cat([model(x[batch]) for batch in torch.from_numpy(rows).split(PREDICT_BATCH)])


def choose_device(wanted: str) -> torch.device:
    """`auto` takes CUDA or Apple's GPU where there is one; any other must be there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[wanted]:
        raise MurmurError(f"train.device: this machine has no {wanted}; set it to auto or cpu")
    return torch.device(wanted)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse bfloat16 where the processor would only emulate it, 3 to 20 times slower."""
    if precision == "float32":
        return
    fast = (
        torch.cuda.is_bf16_supported(False)
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported()
    )
    if device.type == "mps" or not fast:
        raise MurmurError(
            f"train.precision: this {device.type} has no bfloat16 in hardware; set it to float32"
        )
