"""Optimizers and learning-rate schedules."""

import inspect
from typing import Any

import torch
from torch import nn

from murmur.sections.train import Train

EVERY_EPOCH = ("step", "plateau")  # schedules with a step after each epoch; others: after each batch


def make_optimizer(model: nn.Module, options: Train) -> torch.optim.Optimizer:
    """Return the optimizer of `train.optimizer` for the parameters that are not frozen.

    Parameters
    ----------
    model : nn.Module
        The model, on the device of the training.
    options : Train
        The section ``train`` of params.yaml.
    """
    skip_compiler_import()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return kind(trained, lr=options.lr, weight_decay=options.weight_decay, fused=True)  # faster, also on CPUs


def make_scheduler(optimizer: torch.optim.Optimizer, options: Train, batches: int) -> Any:
    """Return the learning-rate schedule of `train.schedule`, or None for a constant rate.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        The optimizer whose learning rate changes.
    options : Train
        The section ``train`` of params.yaml.
    batches : int
        Number of batches in an epoch.
    """
    schedules, epochs = torch.optim.lr_scheduler, options.schedule_epochs or options.epochs
    match options.schedule:
        case "cosine":
            return schedules.CosineAnnealingLR(optimizer, batches * epochs)
        case "onecycle":
            return schedules.OneCycleLR(optimizer, options.lr, batches * options.epochs)
        case "step":
            return schedules.StepLR(optimizer, epochs, options.schedule_factor)
        case "plateau":
            return schedules.ReduceLROnPlateau(optimizer, factor=options.schedule_factor, patience=epochs)
    return None


def skip_compiler_import() -> None:
    """Let torch's optimizers work without importing torch's compiler, which nothing here uses.

    A decorator of `Optimizer.add_param_group` and `Adam.step` imports the compiler (``torch._dynamo``) only
    to exclude these functions from compilation. Without the decorator they compute the same. In each worker
    process this saves 0.9 s of CPU time and 110 MiB of memory.
    """
    add_param_group, step = torch.optim.Optimizer.add_param_group, torch.optim.Adam.step
    torch.optim.Optimizer.add_param_group = inspect.unwrap(add_param_group)  # type: ignore[method-assign]
    torch.optim.Adam.step = torch.no_grad()(inspect.unwrap(step))  # type: ignore[method-assign]
