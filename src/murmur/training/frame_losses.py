"""The losses of a network that labels frames."""

import logging
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from murmur.devices import place_array
from murmur.errors import MurmurError
from murmur.models import load_module
from murmur.sections.train import Train
from murmur.tables.annotations import PADDING, STATES

logger = logging.getLogger(__name__)


class FrameTargets(NamedTuple):
    """The labels of the frames of all segments.

    Attributes
    ----------
    labels : torch.Tensor of int8, shape [segments, frames]
        The index of the state in `murmur.tables.annotations.STATES`, + 4 where there is also a murmur;
        negative where no state is annotated: `NOT_ANNOTATED`, or `PADDING` after the end of the recording.
    step : int
        The network labels each `step`-th frame.
    device : torch.device
        The device of the network.
    """

    labels: torch.Tensor
    step: int
    device: torch.device

    def take(self, units: torch.Tensor) -> torch.Tensor:
        """Select the labels of segments, on the device of the network."""
        return self.labels[units].to(self.device)


def prepare_targets(
    labels: np.ndarray | None, train: np.ndarray, frames: int, options: Train, device: torch.device
) -> FrameTargets | None:
    """Place the labels of frames as `place_array`, if the training uses them.

    Parameters
    ----------
    labels : np.ndarray of int8, shape [segments, frames], or None
        As `FrameTargets.labels`; None if the data set has no annotations.
    train : np.ndarray of int
        The segments of the training part.
    frames : int
        Number of frames of a spectrogram.
    options : Train
        The section ``train`` of params.yaml.
    device : torch.device
        The device.

    Returns
    -------
    FrameTargets or None
        None if the losses of frames have no weight, or if no frame of the training part is annotated, which
        is logged.

    Raises
    ------
    MurmurError
        If the labels are not those of the frames of the spectrograms.
    """
    if not options.frame_losses:
        return None
    if labels is None or not (labels[train] >= 0).any():
        _log_absence()
        return None
    if labels.shape[1] != frames:
        raise MurmurError(
            f"{options.frame_losses[0]}: the features have {frames} frames, the labels {labels.shape[1]}; "
            "frames are labelled in spectrograms only: set train.features to mel, mel.image to null, and of "
            "several values of mel.hop_length the first to the shortest"
        )
    return FrameTargets(place_array(labels, device), load_module(options.model.name).STEP, device)


@cache  # once in each process
def _log_absence() -> None:
    logger.info("train: no heart cycle is annotated; the network learns only the classes")


def compute_frame_loss(output: Any, labels: torch.Tensor, options: Train) -> torch.Tensor:
    """Compute the weighted sum of the three losses of frames in a batch.

    Parameters
    ----------
    output : murmur.models.frames.FrameOutput
        The output of the network.
    labels : torch.Tensor of int, shape [batch, steps]
        The labels of the frames that the network labels.
    options : Train
        The section ``train`` of params.yaml, with the weights.

    Returns
    -------
    torch.Tensor
        `state_loss` · cross entropy of the states + `murmur_loss` · binary cross entropy of a murmur, both
        the mean over the annotated frames, + `annotation_loss` · binary cross entropy of being annotated, the
        mean over all frames of the recordings. A mean over no frame is 0.

    Raises
    ------
    MurmurError
        If the network has another number of outputs.
    """
    if output.murmur.shape != labels.shape:
        raise MurmurError(
            f"train.model: label_frames labels {output.murmur.shape[1]} frames, but by STEP of its module it "
            f"must label {labels.shape[1]}; correct the module"
        )
    annotated, recorded = labels >= 0, labels != PADDING
    n_annotated, n_recorded = annotated.sum().clamp(min=1), recorded.sum().clamp(min=1)
    states = torch.where(annotated, labels % len(STATES), PADDING).long()
    state_loss = F.cross_entropy(output.states, states, ignore_index=PADDING, reduction="sum") / n_annotated
    has_murmur = (labels >= len(STATES)).float()
    murmur_loss = _binary_cross_entropy(output.murmur, has_murmur, annotated) / n_annotated
    annotation_loss = _binary_cross_entropy(output.annotated, annotated.float(), recorded) / n_recorded
    return (
        options.state_loss * state_loss
        + options.murmur_loss * murmur_loss
        + options.annotation_loss * annotation_loss
    )


def _binary_cross_entropy(logits: torch.Tensor, truth: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the sum over the frames that count."""
    return F.binary_cross_entropy_with_logits(logits, truth, counted.float(), reduction="sum")
