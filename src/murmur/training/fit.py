"""Training of one fold: from spectrograms to the predicted probabilities of its validation and test parts."""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from murmur.devices import choose_device, choose_precision, place_array
from murmur.errors import MurmurError
from murmur.sections.train import Train
from murmur.training.augmentation import augment_spectrograms, draw_mixup
from murmur.training.checkpoints import Checkpoint
from murmur.training.classifier import Classifier, Inputs, predict_logits, predict_outputs
from murmur.training.frame_losses import FrameTargets, compute_frame_loss, prepare_targets
from murmur.training.live import Recorder
from murmur.training.losses import Loss, compute_class_weights
from murmur.training.network import build
from murmur.training.optimizers import EVERY_EPOCH, make_optimizer, make_scheduler
from murmur.training.sampling import draw_order, limit_segments, split_batches


class Fold(NamedTuple):
    """Indices of the units of a fold. A unit is a segment or a patient.

    Attributes
    ----------
    train : np.ndarray of int
        The training part.
    validation : np.ndarray of int
        The part that selects the best epoch and stops the training. Empty: the network is trained for all
        epochs.
    predict : np.ndarray of int
        The units to predict.
    track : np.ndarray of int
        Those of the units to predict whose frames are returned, if the network labels frames.
    """

    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray
    track: np.ndarray = np.empty(0, int)


class Fit(NamedTuple):
    """The result of a fold.

    Attributes
    ----------
    probabilities : np.ndarray of float32, shape [units, classes]
        Predicted probabilities of the units `Fold.predict`.
    history : pd.DataFrame
        One row for each epoch: epoch, train_loss, learning_rate, validation_loss, validation_uar,
        validation_accuracy, best (1 for the best epoch).
    weights : dict of str to torch.Tensor
        State dict of the best epoch, on the CPU.
    device : str
        Type of the device of the training.
    precision : {"float32", "bfloat16"}
        Precision of the training.
    figures : np.ndarray of float32, shape [units, 4], or None
        `murmur.tables.predictions.FIGURES` of these units; None if the network does not label frames.
    tracks : np.ndarray of float32, shape [tracked units, steps, 6], or None
        Of the units `Fold.track`, for each step: probability of each state, of a murmur, and of being
        annotated. None if the network does not label frames.
    """

    probabilities: np.ndarray
    history: pd.DataFrame
    weights: dict[str, torch.Tensor]
    device: str
    precision: str
    figures: np.ndarray | None = None
    tracks: np.ndarray | None = None


@dataclass
class Loop:
    """What each epoch of a training needs. All tensors are on the device.

    Attributes
    ----------
    model : Classifier
        The network and the standardisation of its input.
    inputs : Inputs
        The features of all units.
    y : torch.Tensor of int, shape [units]
        The class of each unit.
    frames : FrameTargets or None
        The labels of the frames; None if the network learns only the classes.
    draw_order : callable
        Draws the units of an epoch, in their order.
    criterion : Loss
        The loss function of the classes.
    optimizer : torch.optim.Optimizer
    scheduler : torch.optim.lr_scheduler.LRScheduler or None
        The learning-rate schedule.
    options : Train
        The section ``train`` of params.yaml, with the precision that is used for ``auto``.
    recorder : Recorder
        Records the progress.
    checkpoint : Checkpoint
        From which a killed training goes on.
    """

    model: Classifier
    inputs: Inputs
    y: torch.Tensor
    frames: FrameTargets | None
    draw_order: Callable[[], torch.Tensor]
    criterion: Loss
    optimizer: torch.optim.Optimizer
    scheduler: Any
    options: Train
    recorder: Recorder
    checkpoint: Checkpoint


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
    frame_labels: np.ndarray | None = None,
    recordings: np.ndarray | None = None,
    recorder: Recorder | None = None,
    checkpoint: Path | None = None,
) -> Fit:
    """Train a network on one fold, and predict with the weights of its best epoch.

    Parameters
    ----------
    features : np.ndarray, shape [segments, channels, mels, frames]
        The features. On the CPU, or if they are too large for the GPU, batches are read from this array,
        which may be a memory map.
    labels : np.ndarray of int, shape [units]
        The class of each segment or, with `bags`, of each patient.
    fold : Fold
        The units of each part.
    options : Train
        The section ``train`` of params.yaml.
    classes : sequence of str
        The names of the classes.
    weights : sequence of float
        Weight of each class in the metric of the task, for ``balance: metric``.
    seed : int
        Seed of torch's random numbers.
    bags : np.ndarray of int, shape [patients, sites, n], optional
        Rows of `features` of each patient, -1 for padding, for a model that predicts patients.
    frame_labels : np.ndarray of int8, shape [segments, frames], optional
        Labels of the frames, as `FrameTargets.labels`, if the data set has annotations.
    recordings : np.ndarray of int, shape [segments], optional
        Number of the recording of each segment, for ``per_recording``, which also limits the segments that
        score each epoch.
    recorder : Recorder, optional
        Records the progress.
    checkpoint : Path, optional
        File from which the training goes on if it was killed, and which it writes.

    Returns
    -------
    Fit

    Raises
    ------
    MurmurError
        If the device or the precision is not available, a class is absent from the training part, the model
        does not fit the features or does not label frames, or the loss is not finite.
    """
    drawn = limit_segments(fold.train, recordings, options)
    class_weights = _weight_classes(labels[drawn], classes, weights, options)
    loop = _prepare_loop(
        *(features, labels, bags, frame_labels, recordings),
        *(fold.train, options, class_weights, seed, recorder or Recorder()),
        checkpoint,
    )
    validation = limit_segments(fold.validation, recordings, options)
    if not len(validation):
        return _refit(loop, fold)
    history, best = _train(loop, fold._replace(validation=validation))
    loop.model.load_state_dict(best)
    return _predict_fold(loop, fold, history, best)


def _refit(loop: Loop, fold: Fold) -> Fit:
    """Train for all epochs without a validation part, and predict; the history has no row."""
    _train_epochs(loop, range(loop.options.epochs))
    loop.recorder.record_position(loop.options.epochs)
    return _predict_fold(loop, fold, pd.DataFrame(), loop.model.state_dict())


def _predict_fold(loop: Loop, fold: Fold, history: pd.DataFrame, weights: dict[str, torch.Tensor]) -> Fit:
    """Predict with the present weights."""
    logits, figures, tracks = predict_outputs(loop.model, loop.inputs, fold.predict)
    is_tracked = np.isin(fold.predict, fold.track)
    return Fit(
        logits.softmax(dim=1).cpu().numpy(),
        history,
        _copy_to_cpu(weights),
        loop.y.device.type,
        loop.options.precision,
        None if figures is None else figures.cpu().numpy(),
        tracks.cpu().numpy()[is_tracked] if tracks is not None and is_tracked.any() else None,
    )


def fit_epochs(
    features: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    options: Train,
    *,
    epochs: Iterable[int],
    classes: Sequence[str],
    weights: Sequence[float],
    seed: int,
    bags: np.ndarray | None = None,
    frame_labels: np.ndarray | None = None,
    recordings: np.ndarray | None = None,
    checkpoint: Path | None = None,
) -> dict[str, torch.Tensor]:
    """Train a network for a fixed number of epochs, without a validation part.

    The schedule of the learning rate is that of `options.epochs` epochs, as in `fit_network`; ``plateau``
    lowers the rate by the loss of the training part. Stopping rules do not apply.

    Parameters
    ----------
    features, labels, options, classes, weights, seed, bags, frame_labels, recordings, checkpoint
        As for `fit_network`.
    units : np.ndarray of int
        The units of the training part.
    epochs : iterable of int
        The epochs, counted from 0.

    Returns
    -------
    dict of str to torch.Tensor
        State dict after the last epoch, on the CPU.

    Raises
    ------
    MurmurError
        As `fit_network`.
    """
    drawn = limit_segments(units, recordings, options)
    class_weights = _weight_classes(labels[drawn], classes, weights, options)
    loop = _prepare_loop(
        *(features, labels, bags, frame_labels, recordings),
        *(units, options, class_weights, seed, Recorder()),
        checkpoint,
    )
    _train_epochs(loop, epochs)
    return _copy_to_cpu(loop.model.state_dict())


def _train_epochs(loop: Loop, epochs: Iterable[int]) -> None:
    """Train without a validation part."""
    progress = loop.checkpoint.restore()
    loop.recorder.record_restored(progress.epochs)
    for epoch in epochs:
        if epoch < progress.epochs:
            continue
        loss = _train_epoch(loop, epoch)
        _check_finite(loss, epoch)
        _end_epoch(loop, loss)
        progress.epochs = epoch + 1
        loop.checkpoint.save(progress)
    progress.best = loop.model.state_dict()
    loop.checkpoint.finish(progress)


def _copy_to_cpu(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.cpu().contiguous() for name, value in weights.items()}


def _use_deterministic_algorithms(device: torch.device) -> None:
    """Make the results on a GPU repeatable. Those of one CPU thread are so without this slow import."""
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first use of cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")


def _weight_classes(
    labels: np.ndarray, classes: Sequence[str], weights: Sequence[float], options: Train
) -> torch.Tensor:
    """Compute the weight of each class in the loss from the labels of the units of an epoch."""
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        raise MurmurError(f"train: class {classes[int(counts.argmin())]} has no unit in the training part")
    return compute_class_weights(counts, classes, weights, options)


def _move_inputs(
    features: np.ndarray, bags: np.ndarray | None, options: Train, device: torch.device
) -> Inputs:
    """Copy the features to a GPU that has the memory for them."""
    if bags is not None and options.augment.mixup:
        raise MurmurError("train.augment.mixup: patients have not the same sites to mix; set it to 0")
    x = place_array(features, device)
    return Inputs(x, None if bags is None else torch.tensor(bags, device=x.device), device)


def _prepare_loop(
    features: np.ndarray,
    labels: np.ndarray,
    bags: np.ndarray | None,
    frame_labels: np.ndarray | None,
    recordings: np.ndarray | None,
    train: np.ndarray,
    options: Train,
    class_weights: torch.Tensor,
    seed: int,
    recorder: Recorder,
    checkpoint: Path | None,
) -> Loop:
    """Build the network, the loss function, the optimizer and the learning-rate schedule."""
    device = choose_device(options.device, "train.device")
    options = options.model_copy(update={"precision": choose_precision(options.precision, device)})
    torch.manual_seed(seed)
    _use_deterministic_algorithms(device)
    inputs = _move_inputs(features, bags, options, device)
    y = torch.tensor(labels, device=device)
    _, channels, mels, frames = inputs.x.shape
    network = build(options.model, classes=len(class_weights), channels=channels, mels=mels, frames=frames)
    model = Classifier(network, inputs, train, options).to(y.device)
    options.check_labels_frames(hasattr(network, "label_frames"))
    targets = prepare_targets(frame_labels, train, frames, options, device)
    if targets:
        model.frames_learned.fill_(True)
    criterion = Loss(class_weights, options).to(y.device)
    optimizer = make_optimizer(model, options)
    n_units = len(limit_segments(train, recordings, options))
    batches = len(split_batches(torch.arange(n_units), options.batch_size))
    scheduler = make_scheduler(optimizer, options, batches)
    order = partial(draw_order, train, labels, recordings, options)
    saved = Checkpoint(checkpoint, model, optimizer, scheduler, device, options.precision)
    return Loop(model, inputs, y, targets, order, criterion, optimizer, scheduler, options, recorder, saved)


def _train(loop: Loop, fold: Fold) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """Train until the last epoch or until a stopping rule holds.

    Returns
    -------
    history : pd.DataFrame
        As `Fit.history`.
    best : dict of str to torch.Tensor
        State dict of the best epoch.
    """
    progress = loop.checkpoint.restore()
    loop.recorder.record_restored(len(progress.history))
    history, scores = progress.history, [_score(row, loop.options) for row in progress.history]
    for k, row in enumerate(history):
        loop.recorder.record_epoch(row, int(np.argmax(scores[: k + 1])))
    for epoch in range(progress.epochs, 0 if progress.is_finished else loop.options.epochs):
        rate = loop.optimizer.param_groups[0]["lr"]
        loss = _train_epoch(loop, epoch)
        validation, n_predicted = _validate(loop, fold)
        _check_finite(loss + validation["validation_loss"], epoch)
        history.append({"epoch": epoch, "train_loss": loss, "learning_rate": rate, **validation})
        scores.append(_score(history[-1], loop.options))
        if int(np.argmax(scores)) == epoch:
            progress.best = copy.deepcopy(loop.model.state_dict())
        loop.recorder.record_epoch(history[-1], int(np.argmax(scores)))
        _end_epoch(loop, validation["validation_loss"])
        if _should_stop(loop.options, scores, validation["validation_accuracy"], n_predicted):
            break
        progress.epochs = epoch + 1
        loop.checkpoint.save(progress)
    loop.checkpoint.finish(progress)
    table = pd.DataFrame(history)
    return table.assign(best=(table["epoch"] == np.argmax(scores)).astype(int)), progress.best


def _check_finite(loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise MurmurError(
            f"train: the loss is not finite in epoch {epoch + 1}; lower train.lr or set train.clip"
        )


def _score(row: dict[str, float], options: Train) -> float:
    """Return what selects the best epoch, from its row of the history; higher is better."""
    if options.select_on == "last":
        return row["epoch"]
    value = row[f"validation_{options.select_on}"]
    return -value if options.select_on == "loss" else value


def _end_epoch(loop: Loop, validation_loss: float) -> None:
    """Take the step of a schedule that has one after each epoch."""
    if loop.options.schedule == "plateau":
        loop.scheduler.step(validation_loss)
    elif loop.options.schedule in EVERY_EPOCH:
        loop.scheduler.step()


def _should_stop(options: Train, scores: Sequence[float], accuracy: float, n_predicted: int) -> bool:
    """Return whether a stopping rule holds.

    The rules: no better epoch for `patience` epochs, an accuracy of `stop_accuracy`, or only one predicted
    class.
    """
    epochs_since_best = len(scores) - 1 - int(np.argmax(scores))
    return (
        (options.patience is not None and epochs_since_best >= options.patience)
        or (options.stop_accuracy is not None and accuracy >= options.stop_accuracy)
        or (options.stop_one_class and n_predicted == 1)
    )


def _train_epoch(loop: Loop, epoch: int) -> float:
    """Train on the units of an epoch, and return the mean loss."""
    order = loop.draw_order()
    loop.model.train()
    total = torch.zeros((), device=loop.y.device)
    batches = split_batches(order, loop.options.batch_size)
    for k, units in enumerate(batches):
        loop.recorder.record_position(epoch + k / len(batches))
        total += _train_batch(loop, units) * len(units)
    return float(total) / len(order)


def _train_batch(loop: Loop, units: torch.Tensor) -> torch.Tensor:
    """Take one step of the optimizer, and return the loss."""
    loss = _compute_loss(loop, units)
    loop.model.zero_grad()
    loss.backward()
    if loop.options.clip is not None:
        nn.utils.clip_grad_norm_(loop.model.parameters(), loop.options.clip)
    loop.optimizer.step()
    if loop.scheduler and loop.options.schedule not in EVERY_EPOCH:
        loop.scheduler.step()
    return loss.detach()


def _compute_loss(loop: Loop, units: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch after standardisation, augmentation and mixup."""
    options, truth = loop.options, loop.y[units]
    x, present = loop.inputs.take(units)
    x, labels = loop.model.standardise(x), loop.frames.take(units) if loop.frames else None
    augmented, labels = augment_spectrograms(x.flatten(0, -4), options.augment, labels)
    x = augmented.unflatten(0, x.shape[:-3])
    mixup = draw_mixup(len(units), options.augment.mixup) if options.augment.mixup else None
    if mixup:
        partner = x[mixup.partner].mul_(1 - mixup.share)
        x = x.mul_(mixup.share).add_(partner)
    with torch.autocast(loop.y.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
        output = loop.model.label_frames(x) if loop.frames else None
        logits = output.logits if output else loop.model.logits(x, present).float()
    if options.distillation and logits.dim() == 2:
        raise MurmurError("train.distillation: this model has only one output head; set it to 0")

    def compute(target: slice | torch.Tensor) -> torch.Tensor:
        """Return the loss, where these units of the batch are the truth."""
        loss = loop.criterion(logits, truth[target])
        if output is None or labels is None or loop.frames is None:
            return loss
        return loss + compute_frame_loss(output, labels[target, :: loop.frames.step], options)

    if mixup:
        return mixup.share * compute(slice(None)) + (1 - mixup.share) * compute(mixup.partner)
    return compute(slice(None))


@torch.no_grad()
def _validate(loop: Loop, fold: Fold) -> tuple[dict[str, float], int]:
    """Score the validation part.

    Returns
    -------
    scores : dict of str to float
        validation_loss, validation_uar, validation_accuracy.
    n_predicted : int
        Number of different classes among the predictions.
    """
    logits = predict_logits(loop.model, loop.inputs, fold.validation)
    truth, predicted = loop.y[fold.validation], logits.argmax(dim=1)
    total, correct = (
        labels.cpu().bincount(minlength=logits.shape[1]) for labels in (truth, truth[predicted == truth])
    )
    recall = correct[total > 0] / total[total > 0]
    scores = {
        "validation_loss": float(loop.criterion(logits, truth)),
        "validation_uar": float(recall.mean()),
        "validation_accuracy": float(correct.sum() / total.sum()),
    }
    return scores, len(predicted.unique())
