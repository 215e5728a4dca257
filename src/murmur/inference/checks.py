"""Reasons for which no class is predicted for a recording."""

from collections.abc import Sequence

import numpy as np

from murmur.inference.familiarity import Reference, compute_distance, describe_signal
from murmur.inference.model_info import ModelParams
from murmur.inference.quality import Quality

TOO_SHORT, SILENT = "too short", "silent"
MAX_CLIPPED = 0.01  # fraction of the samples


def find_faults(samples: np.ndarray, signal: np.ndarray, params: ModelParams) -> tuple[str, ...]:
    """List why the probabilities of a recording cannot be computed: it is silent or too short.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The recording as it was read.
    signal : ndarray, shape (m,)
        The cleaned recording.
    params : ModelParams
        Of the model.

    Returns
    -------
    tuple of str
        Empty, or one reason.
    """
    if samples.min() == samples.max():
        return (f"{SILENT}: all samples are {samples[0]:g}",)
    rate, options = params.clean.sample_rate, params.segment
    required = options.length if options.short == "drop" else min(options.length, options.min_length)
    if len(signal) < max(1, round(required * rate)):
        return (f"{TOO_SHORT}: {len(signal) / rate:.2f} s; the model needs {required:g} s",)
    return ()


def describe_missing_sites(sites: Sequence[str]) -> str:
    """Describe that no usable recording was made at a site that the model uses."""
    return f"no usable recording at any site of the model: {', '.join(sites)}"


def find_doubts(signal: np.ndarray, rate: int, quality: Quality, reference: Reference) -> tuple[str, ...]:
    """List why the prediction for a recording cannot be trusted.

    Parameters
    ----------
    signal : ndarray, shape (m,)
        The cleaned recording.
    rate : int
        Its sample rate, Hz.
    quality : Quality
        From `measure_quality`.
    reference : Reference
        Of the training data.

    Returns
    -------
    tuple of str
        Empty, or one reason or more.
    """
    doubts = []
    if quality.clipped > MAX_CLIPPED:
        doubts.append(f"clipped: {quality.clipped:.0%} of the samples are at the limit")
    if (distance := compute_distance(describe_signal(signal, rate), reference)) > reference.limit:
        doubts.append(
            f"unlike the training data: distance {distance:.1f}, the limit is {reference.limit:.1f}"
        )
    return tuple(doubts)
