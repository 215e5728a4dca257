"""Heart cycles of a recording and the murmur in them, from the output of networks that label frames."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from murmur.features.run_cycles import find_recording_cycles
from murmur.inference.model_info import ModelInfo
from murmur.inference.recording import SegmentOutput

PARTS = {  # of the heart cycle: event and column of `find_cycles`
    "early systole": ("systole", "early"),
    "mid systole": ("systole", "middle"),
    "late systole": ("systole", "late"),
    "diastole": ("diastole", "murmur"),
}


class HeartSounds(NamedTuple):
    """The heart cycles of a recording.

    Attributes
    ----------
    cycles : DataFrame
        A row for each interval, from `find_cycles`: start, end (s), event (S1, systole, S2 or diastole),
        murmur, the mean probability of a murmur in it, and early, middle, late, that in each third.
        Parts without clear heart sounds have no row.
    murmur_track : ndarray, shape (n, 2)
        Time, s, and the probability of a murmur at that time.
    """

    cycles: pd.DataFrame
    murmur_track: np.ndarray


class MurmurPhase(NamedTuple):
    """The part of the heart cycle in which a murmur is most probable.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    probability : float
        The mean probability of a murmur in this part of all cycles.
    """

    part: str
    probability: float


def find_heart_sounds(output: SegmentOutput, info: ModelInfo, seconds: float) -> HeartSounds | None:
    """Find the heart cycles of a recording.

    Parameters
    ----------
    output : SegmentOutput
        Of the recording.
    info : ModelInfo
        Of the model.
    seconds : float
        Length of the recording, s.

    Returns
    -------
    HeartSounds or None
        None if the network does not label frames, or the recording has no segment.
    """
    if output.states is None or output.murmur is None or output.annotated is None:
        return None
    options = info.params
    (_, hop), *_ = options.mel.windows
    frames = -(-info.shape[2] // output.murmur.shape[1])  # of the spectrogram for each step
    step = frames * hop / options.clean.sample_rate
    end = min(seconds, output.starts[-1] + options.segment.length)
    tracks = np.concatenate([output.states, np.stack([output.murmur, output.annotated], axis=2)], axis=2)
    cycles, murmur = find_recording_cycles(tracks, output.starts, step, end)
    return HeartSounds(cycles, np.stack([np.arange(len(murmur)) * step, murmur], axis=1))


def locate_murmur(sounds: HeartSounds) -> MurmurPhase | None:
    """Find the part of the heart cycle in which a murmur is most probable.

    Parameters
    ----------
    sounds : HeartSounds

    Returns
    -------
    MurmurPhase or None
        None without a systole or diastole.
    """
    means = {
        part: sounds.cycles.loc[sounds.cycles["event"] == event, column].mean()
        for part, (event, column) in PARTS.items()
    }
    found = [MurmurPhase(part, float(mean)) for part, mean in means.items() if not np.isnan(mean)]
    return max(found, key=lambda phase: phase.probability, default=None)


def describe_phase(phase: MurmurPhase) -> str:
    """Describe in a few words where in the heart cycle a murmur is most probable."""
    return f"murmur most probable in {phase.part} ({phase.probability:.2f})"
