"""Options, samples and librosa's spectrograms, for the tests of the log-mel transform and of its files."""

import librosa
import numpy as np
import pandas as pd

from murmur.features import log_mel, mel, store
from murmur.features.segmentation import cut_segments
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment
from tests import made

OPTIONS = Mel(
    n_mels=20,
    n_fft=256,
    win_length=128,
    hop_length=50,
    f_min=25,
    f_max=800,
    edges="zeros",
    scale="db",
    reference="max",
    top_db=80,
    fill="floor",
    normalise="none",
    image=None,
    dtype="float32",
    format="npy",
)
LENGTH = 1000  # samples in a segment
N_FRAMES = 21


def noise(n, seed=0):
    return made.noise(n, seed).astype(np.float32)


def change(**changes):
    """OPTIONS with changes."""
    return OPTIONS.model_copy(update=changes)


def compute_with_librosa(x, rate, o):
    """The log-mel spectrogram [mels, frames] of x [n]."""
    power = librosa.feature.melspectrogram(
        y=x,
        sr=rate,
        n_fft=o.n_fft,
        win_length=o.win_length,
        hop_length=o.hop_length,
        n_mels=o.n_mels,
        fmin=o.f_min,
        fmax=o.f_max,
        pad_mode={"zeros": "constant", "reflect": "reflect"}[o.edges],
    )
    if o.scale == "ln_plus":
        return np.log(power + 2**-23)
    reference = np.max if o.reference == "max" else o.reference
    if o.scale == "db":
        return librosa.power_to_db(power, ref=reference, top_db=o.top_db)
    return librosa.power_to_db(power, ref=reference, top_db=None) * np.log(10) / 10


def count_frames(length, options):
    """Frames of a segment, centred as in librosa, at the shortest hop."""
    return 1 + (length - options.n_fft % 2) // min(hop for _, hop in options.windows)


def make_log_mel(rate, options):
    """The transform of the first window."""
    return log_mel.LogMel(rate, options, *options.windows[0])


def make_recordings(sizes):
    """Recordings of these numbers of samples: their samples, and tables of signals and of segments.

    The segments overlap, and the last of a recording may be shorter than the others.
    """
    names = [f"r{k}" for k in range(len(sizes))]
    offsets = np.cumsum([0, *sizes[:-1]])
    signals = pd.DataFrame({"recording_id": names, "offset": offsets, "n_samples": sizes})
    return noise(sum(sizes)), signals, cut(signals)


def cut(signals, short="pad"):
    """Segments of LENGTH samples that overlap by half."""
    options = {"length": LENGTH / 2000, "overlap": 0.5, "min_length": 0, "first": None, "first_of": []}
    labels = pd.Series("ill", index=signals["recording_id"])
    return cut_segments(signals, labels, 2000, Segment(**options, short=short, mirror=False))[0]


def write(flat, signals, segments, out, options=OPTIONS, wrap=False):
    """Compute the spectrograms, write them to `out` and read them."""
    samples = out.with_name("signals.npy")
    np.save(samples, flat)
    mel.compute_spectrograms(
        signals, samples, segments, rate=2000, length=LENGTH, wrap=wrap, options=options, out=out
    )
    return store.read_array(out)
