"""What a model can predict: audio files, and samples in arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from murmur.features.one_recording import FeatureParams, clean_recording
from murmur.inference.reading import read_any
from murmur.inference.recording import Recording

Source = str | Path | np.ndarray


class NamedRecording(NamedTuple):
    """A recording with its name.

    Attributes
    ----------
    name : str
        Name of the file; of an array "recording", or "recording K" if there are several recordings.
    path : str or None
        The file; None for an array.
    recording : Recording
        The samples.
    """

    name: str
    path: str | None
    recording: Recording


def load_recordings(
    recordings: Source | Sequence[Source] | Mapping[str, Source],
    rate: int | None,
    sites: Sequence[str | None] | None,
    params: FeatureParams,
) -> list[NamedRecording]:
    """Read and clean the recordings of a patient.

    Parameters
    ----------
    recordings, rate, sites
        As for `Model.predict`.
    params : FeatureParams
        Of the model.

    Returns
    -------
    list of NamedRecording

    Raises
    ------
    MurmurError, ValueError
        As `Model.predict`.
    """
    if isinstance(recordings, Mapping):
        sources, sites = list(recordings.values()), list(recordings)
    elif isinstance(recordings, str | Path | np.ndarray):
        sources = [recordings]
    else:
        sources = list(recordings)
    if not sources:
        raise ValueError("recordings: expected one recording or more, found none")
    sites = list(sites) if sites is not None else [None] * len(sources)
    if len(sites) != len(sources):
        raise ValueError(f"sites: expected {len(sources)}, one for each recording, found {len(sites)}")
    numbers = [""] if len(sources) == 1 else [f" {k}" for k in range(1, len(sources) + 1)]
    return [
        _load(source, f"recording{number}", rate, site, params)
        for source, number, site in zip(sources, numbers, sites, strict=True)
    ]


def _load(
    source: Source, name: str, rate: int | None, site: str | None, params: FeatureParams
) -> NamedRecording:
    """Read and clean a recording; `name` is that of an array."""
    path = None
    if isinstance(source, np.ndarray):
        if rate is None or rate <= 0 or rate != int(rate):
            raise ValueError(f"rate: an array needs its sample rate, a whole number of Hz; found {rate}")
        if not np.issubdtype(source.dtype, np.floating):
            raise ValueError(f"recordings: expected floats in the range -1 to 1, found {source.dtype}")
        samples, rate = np.asarray(source, np.float32), int(rate)
    else:
        name, path = Path(source).name, str(source)
        samples, rate = read_any(source)
    return NamedRecording(name, path, Recording(samples, rate, clean_recording(samples, rate, params), site))
