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

from murmur.devices import check_precision, choose_device
from murmur.errors import MurmurError
from murmur.models._construction import build
from murmur.sections.train import Train
from murmur.training.augmentation import augment_spectrograms, draw_mixup
from murmur.training.classifier import Classifier, Inputs, predict_logits
from murmur.training.losses import Loss, compute_class_weights

EVERY_EPOCH = ("step", "plateau")  # schedules that are stepped once an epoch

# torch's optimizers import its compiler, 4 s in every worker process, only to tell it to stand aside.
# Without the wrapper that does so they are the same.
torch.optim.Optimizer.add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)  # type: ignore[method-assign]
torch.optim.Adam.step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))  # type: ignore[method-assign]


class Fit(NamedTuple):
    """What came of a fold.

    probabilities: of every row asked for, [rows, classes] float32.
    history: a row an epoch: epoch, train_loss, learning_rate, validation_loss,
        validation_uar, validation_accuracy, best.
    weights: of the best epoch.
    device: on which it was fitted.
    """

    probabilities: np.ndarray
    history: pd.DataFrame
    weights: dict[str, torch.Tensor]
    device: str


class Fold(NamedTuple):
    """The units that a fold trains on, stops by, and is asked to predict."""

    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray


@dataclass
class Loop:
    """What an epoch needs, all of it on the device."""

    model: Classifier
    inputs: Inputs
    y: torch.Tensor
    criterion: Loss
    optimizer: torch.optim.Optimizer
    scheduler: Any
    options: Train


def fit_network(
    features: np.ndarray,
    labels: np.ndarray,
    fold: Fold,
    options: Train,
    *,
    classes: Sequence[str],
    weights: Sequence[float],
    seed: int,
    bags: np.ndarray | None = None,
) -> Fit:
    """Fit one fold; the epoch with the best validation score answers.

    Parameters
    ----------
    features: [segments, channels, mels, frames]; held on the device once, as they are stored.
    labels: class numbers [units]: of the segments, or of the patients that `bags` make of them.
    weights: of each class in the task's own metric, for `balance: metric`.
    bags: rows of `features` [patients, sites, n], -1 for none, for a model that speaks of patients.

    Raises
    ------
    MurmurError
        If the device or the precision is not to be had, a class is absent from the training part, the model
        does not fit the features, or the loss is no longer finite.
    """
    device = choose_device(options.device, "train.device")
    check_precision(options.precision, device)
    torch.manual_seed(seed)
    _be_deterministic(device)
    counts = np.bincount(labels[fold.train], minlength=len(classes))
    if not counts.all():
        raise MurmurError(f"train: class {classes[int(counts.argmin())]} has no unit in the training part")
    x, y = torch.tensor(features, device=device), torch.tensor(labels, device=device)
    inputs = Inputs(x, None if bags is None else torch.tensor(bags, device=device))
    if bags is not None and options.augment.mixup:
        raise MurmurError("train.augment.mixup: patients have not the same sites to blend; set it to 0")
    model = Classifier(build(options.model, classes=len(classes), **_shape(x)), inputs, fold.train, options)
    criterion = Loss(compute_class_weights(counts, classes, weights, options), options).to(device)
    optimizer = _optimizer(model.to(device), options)
    steps = len(_batches(torch.from_numpy(fold.train), options.batch_size))
    loop = Loop(model, inputs, y, criterion, optimizer, _scheduler(optimizer, options, steps), options)
    history, best = _run(loop, fold, 1 / counts[labels])
    model.load_state_dict(best)
    probabilities = predict_logits(model, inputs, fold.predict).softmax(dim=1).cpu().numpy()
    weights_of_best = {name: value.cpu().contiguous() for name, value in best.items()}
    return Fit(probabilities, history, weights_of_best, device.type)


def _be_deterministic(device: torch.device) -> None:
    """One thread of a CPU is so without asking, which would import half of torch."""
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first use of cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")


def _run(loop: Loop, fold: Fold, chance: np.ndarray) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """All epochs, or as many as the stopping rules allow: the history, and the weights of the best."""
    history: list[dict[str, float]] = []
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}
    for epoch in range(loop.options.epochs):
        rate = loop.optimizer.param_groups[0]["lr"]
        loss = _epoch(loop, _order(fold.train, chance, loop.options))
        seen, answers = _validate(loop, fold)
        if not np.isfinite(loss + seen["validation_loss"]):
            raise MurmurError(
                f"train: the loss is not finite in epoch {epoch}; lower train.lr or set train.clip"
            )
        history.append({"epoch": epoch, "train_loss": loss, "learning_rate": rate, **seen})
        sign = -1 if loop.options.select_on == "loss" else 1
        scores.append(sign * seen[f"validation_{loop.options.select_on}"])
        if int(np.argmax(scores)) == epoch:
            best = copy.deepcopy(loop.model.state_dict())
        if loop.options.schedule in EVERY_EPOCH:
            loop.scheduler.step(*[seen["validation_loss"]] * (loop.options.schedule == "plateau"))
        if _stops(loop.options, scores, seen["validation_accuracy"], answers):
            break
    table = pd.DataFrame(history)
    return table.assign(best=(table["epoch"] == np.argmax(scores)).astype(int)), best


def _stops(options: Train, scores: Sequence[float], accuracy: float, answers: int) -> bool:
    """No better epoch for long, accurate enough, or one class only is ever answered."""
    stale = len(scores) - 1 - int(np.argmax(scores))
    return (
        (options.patience is not None and stale >= options.patience)
        or (options.stop_accuracy is not None and accuracy >= options.stop_accuracy)
        or (options.stop_one_class and answers == 1)
    )


def _shape(x: torch.Tensor) -> dict[str, int]:
    return {"channels": x.shape[1], "mels": x.shape[2], "frames": x.shape[3]}


def _optimizer(model: nn.Module, options: Train) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return kind(learning, lr=options.lr, weight_decay=options.weight_decay)


def _scheduler(optimizer: torch.optim.Optimizer, options: Train, steps: int) -> Any:
    """A schedule that is stepped every batch, or every epoch if in EVERY_EPOCH; None for a constant rate."""
    schedules, epochs = torch.optim.lr_scheduler, options.schedule_epochs or options.epochs
    match options.schedule:
        case "cosine":
            return schedules.CosineAnnealingLR(optimizer, steps * epochs)
        case "onecycle":
            return schedules.OneCycleLR(optimizer, options.lr, steps * options.epochs)
        case "step":
            return schedules.StepLR(optimizer, epochs, options.schedule_factor)
        case "plateau":
            return schedules.ReduceLROnPlateau(optimizer, factor=options.schedule_factor, patience=epochs)
    return None


def _order(train: np.ndarray, chance: np.ndarray, options: Train) -> torch.Tensor:
    """The rows of one epoch, shuffled; with `balance: sampler` drawn so that classes come equally often."""
    rows = torch.from_numpy(train)
    if options.balance != "sampler":
        return rows[torch.randperm(len(rows))]
    return rows[torch.multinomial(torch.from_numpy(chance[train]), len(rows), replacement=True)]


def _epoch(loop: Loop, order: torch.Tensor) -> float:
    """Train on the units in this order; the mean loss."""
    loop.model.train()
    total = torch.zeros((), device=loop.y.device)
    for units in _batches(order, loop.options.batch_size):
        total += _step(loop, units) * len(units)
    return float(total) / len(order)


def _batches(units: torch.Tensor, size: int) -> list[torch.Tensor]:
    """A last batch of one joins the one before it: batch norm needs two."""
    parts = list(units.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _step(loop: Loop, units: torch.Tensor) -> torch.Tensor:
    options, kind, truth = loop.options, loop.y.device.type, loop.y[units]
    x, there = loop.inputs.take(units)
    x = loop.model.standardise(x)
    batch = augment_spectrograms(x.flatten(0, -4), options.augment).unflatten(0, x.shape[:-3])
    share, partner = draw_mixup(len(units), options.augment.mixup) if options.augment.mixup else (1.0, None)
    if partner is not None:
        batch = share * batch + (1 - share) * batch[partner]
    with torch.autocast(kind, torch.bfloat16, enabled=options.precision == "bfloat16"):
        logits = loop.model.logits(batch, there).float()
    if options.distillation and logits.dim() == 2:
        raise MurmurError("train.distillation: this model has no heads to hold together; set it to 0")
    loss = loop.criterion(logits, truth)
    if partner is not None:
        loss = share * loss + (1 - share) * loop.criterion(logits, truth[partner])
    loop.model.zero_grad()
    loss.backward()
    if options.clip is not None:
        nn.utils.clip_grad_norm_(loop.model.parameters(), options.clip)
    loop.optimizer.step()
    if loop.scheduler and options.schedule not in EVERY_EPOCH:
        loop.scheduler.step()
    return loss.detach()


@torch.no_grad()
def _validate(loop: Loop, fold: Fold) -> tuple[dict[str, float], int]:
    """Loss, UAR and accuracy of the validation part, and how many classes were answered."""
    logits, truth = predict_logits(loop.model, loop.inputs, fold.validation), loop.y[fold.validation]
    said = logits.argmax(dim=1)
    there, right = (
        labels.cpu().bincount(minlength=logits.shape[1]) for labels in (truth, truth[said == truth])
    )
    recall = right[there > 0] / there[there > 0]
    seen = {
        "validation_loss": float(loop.criterion(logits, truth)),
        "validation_uar": float(recall.mean()),
        "validation_accuracy": float(right.sum() / there.sum()),
    }
    return seen, len(said.unique())
