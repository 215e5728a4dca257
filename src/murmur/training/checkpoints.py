"""Checkpoints, from which a training that was killed goes on and ends in the same bytes.

A checkpoint is a file of a network: its weights, those of the best epoch, the states of the optimizer and of
the random numbers as safetensors, the rest as JSON in one of the tensors, and a hash of all this. When the
training has ended, it has only the weights for the predictions.
"""

import hashlib
import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from murmur.files import atomic_write

logger = logging.getLogger(__name__)
INTERVAL = 60  # s of training that a kill may cost, or an epoch if it is longer
DIGEST = hashlib.sha256().digest_size  # bytes at the end of a file

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """How far the training of a network has come.

    Attributes
    ----------
    epochs : int
        Number of epochs trained.
    history : list of dict
        The rows of `murmur.training.fit.Fit.history`, without the column ``best``.
    best : dict of str to torch.Tensor
        State dict for the predictions: of the best epoch or, without a validation part, of the last one.
    is_finished : bool
        Whether the training has ended.
    """

    epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    is_finished: bool = False


class Checkpoint:
    """The checkpoint of a network.

    Parameters
    ----------
    path : Path or None
        The file; None: none is read or written.
    model : nn.Module
        The network.
    optimizer : torch.optim.Optimizer
    scheduler : torch.optim.lr_scheduler.LRScheduler or None
        The learning-rate schedule.
    device : torch.device
        The device of the training.
    precision : {"float32", "bfloat16"}
        The precision of the training.
    """

    def __init__(
        self,
        path: Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        device: torch.device,
        precision: str,
    ) -> None:
        self._path = path
        self._model, self._optimizer, self._scheduler = model, optimizer, scheduler
        self._device = device.type
        # another type of processor computes other last digits
        name = torch.cuda.get_device_name(device) if self._device == "cuda" else self._device
        self._processor = f"{name} {torch.backends.cpu.get_cpu_capability()} {precision}"
        self._written = self._epoch_began = time.monotonic()

    def restore(self) -> Progress:
        """Set the network, optimizer, schedule and random numbers to those of the checkpoint.

        Without a checkpoint, or with one that is damaged, or of another processor or precision, nothing
        changes.
        """
        found = _read(self._path) if self._path else None
        if not found or found[1]["processor"] != self._processor:
            return Progress()
        tensors, state = found
        progress = Progress(**state["progress"], best=_select(tensors, "best."))
        if progress.is_finished:
            self._model.load_state_dict(progress.best)
            return progress
        self._model.load_state_dict(_select(tensors, "model."))
        self._restore_optimizer(_select(tensors, "optimizer."), state["groups"])
        if self._scheduler:
            self._scheduler.load_state_dict(state["scheduler"])
        for name, value in _select(tensors, "random.").items():
            _generator(name).set_rng_state(value)
        return progress

    def save(self, progress: Progress) -> None:
        """Write the checkpoint after an epoch, unless the next one ends within `INTERVAL` of the last."""
        now = time.monotonic()
        next_end, self._epoch_began = now + (now - self._epoch_began), now
        if next_end - self._written > INTERVAL:
            self._write(progress, self._list_tensors(), self._describe())
            self._written = time.monotonic()

    def finish(self, progress: Progress) -> None:
        """Write the weights for the predictions; the training has ended."""
        if not progress.is_finished:
            progress.is_finished = True
            self._write(progress, {}, {})

    def _list_tensors(self) -> Tensors:
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        for k, parameter in enumerate(self._list_parameters()):
            # `state_dict` of an optimizer would import the compiler of torch
            for name, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer.{k}.{name}"] = value
        return tensors | {
            f"random.{name}": _generator(name).get_rng_state() for name in {"cpu", self._device}
        }

    def _describe(self) -> dict[str, Any]:
        groups = self._optimizer.param_groups
        return {
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in groups],
            "scheduler": self._scheduler.state_dict() if self._scheduler else None,
        }

    def _restore_optimizer(self, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
        """Set the state of the optimizer; its tensors get the memory format of their parameter, as before."""
        for k, parameter in enumerate(self._list_parameters()):
            self._optimizer.state[parameter] = {
                name: torch.empty_like(parameter).copy_(value)
                if value.shape == parameter.shape
                else value.to(parameter.device)
                for name, value in _select(tensors, f"{k}.").items()
            }
        for group, saved in zip(self._optimizer.param_groups, groups, strict=True):
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()})

    def _list_parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _write(self, progress: Progress, tensors: Tensors, state: dict[str, Any]) -> None:
        if not self._path:
            return
        content = {k: v for k, v in vars(progress).items() if k != "best"}
        state |= {"processor": self._processor, "progress": content}
        tensors |= {f"best.{name}": value for name, value in progress.best.items()}
        tensors["json"] = torch.frombuffer(bytearray(json.dumps(state), "ascii"), dtype=torch.uint8)
        data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
        try:
            with atomic_write(self._path) as part, part.open("wb") as file:
                file.write(data)
                file.write(hashlib.sha256(data).digest())
        except OSError as error:
            # in a worker process, only warnings are printed
            logger.warning(f"{self._path}: {error.strerror}; if the training is killed, it starts again")
            self._path = None


def _generator(name: str) -> Any:
    """Return the module of the random numbers of a type of device."""
    return torch if name == "cpu" else getattr(torch, name)


def _read(path: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """Read a checkpoint; None if there is none, or if it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data = content[:-DIGEST]
    if hashlib.sha256(data).digest() != content[-DIGEST:]:
        return None
    tensors = load(data)
    return tensors, json.loads(tensors.pop("json").numpy().tobytes())


def _select(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
