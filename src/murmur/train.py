"""Fit one fold, from spectrograms to the predicted probabilities of its validation and test segments."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import recall_score
from torch import nn

from murmur.augment import augment
from murmur.errors import MurmurError
from murmur.models import build
from murmur.params import Train

PREDICT_BATCH = 512


class Fit(NamedTuple):
    """probabilities: of every row asked for, [rows, classes] float32. history: a row an epoch."""

    probabilities: np.ndarray
    history: pd.DataFrame
    weights: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Fold:
    """The rows of the feature array that a fold trains on, stops by, and is asked to predict."""

    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray


def fit(features: np.ndarray, labels: np.ndarray, n_classes: int, fold: Fold, options: Train, seed: int) -> Fit:
    """Fit one fold; the weights of the epoch with the best validation score answer.

    Parameters
    ----------
    features: [segments, channels, mels, frames]; held on the device once, as they are stored.
    labels: class numbers [segments].

    Raises
    ------
    MurmurError
        If the device or the precision is not to be had, or the loss is no longer finite.
    """
    device = choose_device(options.device)
    check_precision(options.precision, device)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    x = torch.tensor(features, device=device)
    y = torch.tensor(labels, device=device)
    train = torch.from_numpy(fold.train)
    model = Classifier(build(options.model, classes=n_classes, **_shape(x)), x, fold.train)
    model = model.to(device, memory_format=torch.channels_last)  # a quarter faster on a CPU
    counts = np.bincount(labels[fold.train], minlength=n_classes)
    criterion = _criterion(counts, options).to(device)
    steps = -(-len(train) // options.batch_size)
    optimizer = _optimizer(model, options)
    scheduler = _scheduler(optimizer, options, steps)
    best, history, since = None, [], 0
    for epoch in range(options.epochs):
        rate = optimizer.param_groups[0]["lr"]
        loss = _epoch(model, x, y, _order(train, labels, counts, options), criterion, optimizer, scheduler, options)
        row = {"epoch": epoch, "train_loss": loss, "learning_rate": rate, **_validate(model, x, y, fold, criterion)}
        history.append(row)
        if not np.isfinite(loss):
            raise MurmurError(f"train: the loss is {loss} in epoch {epoch}; lower train.lr or set train.clip")
        score = -row["validation_loss"] if options.select_on == "loss" else row["validation_uar"]
        since += 1
        if best is None or score > best[0]:
            best, since = (score, epoch, copy.deepcopy(model.state_dict())), 0
        if options.schedule == "plateau":
            scheduler.step(row["validation_loss"])
        if options.patience is not None and since >= options.patience:
            break
    assert best is not None
    model.load_state_dict(best[2])
    probabilities = predict(model, x, fold.predict).softmax(dim=1).cpu().numpy()
    table = pd.DataFrame(history).assign(best=[int(row["epoch"] == best[1]) for row in history])
    return Fit(probabilities, table, {k: v.cpu().contiguous() for k, v in best[2].items()})


class Classifier(nn.Module):
    """A network behind the standardisation of its input, band by band, by the training part's mean and spread."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, network: nn.Module, x: torch.Tensor, train: np.ndarray):
        super().__init__()
        mean, spread = _band_statistics(x, train)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.network = network

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


def _criterion(counts: np.ndarray, options: Train) -> nn.Module:
    """Cross entropy; with `balance: loss` each class weighs n / (classes · its size)."""
    weight = counts.sum() / (len(counts) * np.maximum(counts, 1)) if options.balance == "loss" else np.ones(len(counts))
    return nn.CrossEntropyLoss(torch.tensor(weight, dtype=torch.float32), label_smoothing=options.label_smoothing)


def _optimizer(model: nn.Module, options: Train) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    return kind(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)


def _scheduler(optimizer: torch.optim.Optimizer, options: Train, steps: int):  # noqa: ANN202
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


def _order(train: torch.Tensor, labels: np.ndarray, counts: np.ndarray, options: Train) -> torch.Tensor:
    """The rows of one epoch: a permutation, or drawn so that every class comes equally often."""
    if options.balance != "sampler":
        return train[torch.randperm(len(train))]
    chance = torch.from_numpy(1 / counts[labels[train]])
    return train[torch.multinomial(chance, len(train), replacement=True)]


def _epoch(model, x, y, order, criterion, optimizer, scheduler, options: Train) -> float:  # noqa: ANN001
    model.train()
    total = torch.zeros((), device=x.device)
    for rows in order.split(options.batch_size):
        if len(rows) == 1:
            continue  # batch normalisation has nothing to normalise over
        batch = augment(model.standardise(x[rows]), options.augment)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            logits = model.network(batch)
        loss = criterion(logits.float(), y[rows])
        optimizer.zero_grad()
        loss.backward()
        if options.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        if scheduler and options.schedule != "plateau":
            scheduler.step()
        total += loss.detach() * len(rows)
    return float(total) / len(order)


def _validate(model, x, y, fold: Fold, criterion) -> dict[str, float]:  # noqa: ANN001
    logits, truth = predict(model, x, fold.validation), y[fold.validation]
    uar = recall_score(truth.cpu(), logits.argmax(dim=1).cpu(), average="macro", zero_division=0)
    return {"validation_loss": float(criterion(logits, truth)), "validation_uar": float(uar)}


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
    fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    if device.type == "mps" or not fast:
        raise MurmurError(f"train.precision: this {device.type} has no bfloat16 in hardware; set it to float32")
