"""The units that an epoch draws from the training part, and their batches."""

import numpy as np
import pandas as pd
import torch

from murmur.sections.train import Train


def limit_segments(units: np.ndarray, recordings: np.ndarray | None, options: Train) -> np.ndarray:
    """Return the first `train.per_recording` segments of each recording; without this limit all units.

    Parameters
    ----------
    units : np.ndarray of int
        Indices of the units.
    recordings : np.ndarray of int, shape [all units], or None
        The number of the recording of each unit.
    options : Train
        The section ``train`` of params.yaml.

    Raises
    ------
    ValueError
        If there is a limit, and `recordings` is None.
    """
    if options.per_recording is None:
        return units
    if recordings is None:
        raise ValueError("train.per_recording needs the number of the recording of each segment")
    before = pd.Series(recordings[units]).groupby(recordings[units]).cumcount().to_numpy()
    return units[before < options.per_recording]


def draw_order(
    train: np.ndarray, labels: np.ndarray, recordings: np.ndarray | None, options: Train
) -> torch.Tensor:
    """Draw the training units of an epoch, and their order.

    Parameters
    ----------
    train : np.ndarray of int
        Indices of the training units.
    labels : np.ndarray of int, shape [all units]
        The class of each unit.
    recordings, options
        As for `limit_segments`. With ``per_recording`` the segments of each recording are drawn without
        replacement. With ``balance: sampler`` the order is drawn from these units with replacement, all
        classes with the same probability.

    Returns
    -------
    torch.Tensor of int
    """
    if options.per_recording is not None:
        train = limit_segments(train[torch.randperm(len(train)).numpy()], recordings, options)
    units = torch.from_numpy(train)
    if options.balance != "sampler":
        return units[torch.randperm(len(units))]
    rarity = (1 / np.bincount(labels[train]).clip(1))[labels[train]]
    return units[torch.multinomial(torch.from_numpy(rarity), len(units), replacement=True)]


def split_batches(units: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Split units into batches. A last batch of one unit joins the batch before: batch norm needs two."""
    batches = list(units.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
