"""Reproducible heart-murmur classification from phonocardiograms.

For one recording, in a program or a notebook (docs/python.md); imported when they are first used:

read_recording
    Read a WAV or FLAC file or a WFDB record.
plot_recording
    Plot its waveform and its log-mel spectrogram.
clean_recording, cut_into_segments, compute_log_mel
    Compute its features as the stages of the pipeline do.
load_params
    Load the parameters of these functions.
load_model
    Load a trained model, which predicts recordings.
MurmurError
    An error that the user can fix.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from murmur.version import __version__ as __version__

if TYPE_CHECKING:
    from murmur.errors import MurmurError as MurmurError
    from murmur.features.one_recording import clean_recording as clean_recording
    from murmur.features.one_recording import compute_log_mel as compute_log_mel
    from murmur.features.one_recording import cut_into_segments as cut_into_segments
    from murmur.features.one_recording import read_recording as read_recording
    from murmur.inference.prediction import load_model as load_model
    from murmur.reporting.recording_plot import plot_recording as plot_recording
    from murmur.sections.defaults import load_params as load_params

_MODULES = {
    "MurmurError": "murmur.errors",
    "clean_recording": "murmur.features.one_recording",
    "compute_log_mel": "murmur.features.one_recording",
    "cut_into_segments": "murmur.features.one_recording",
    "load_model": "murmur.inference.prediction",
    "load_params": "murmur.sections.defaults",
    "plot_recording": "murmur.reporting.recording_plot",
    "read_recording": "murmur.features.one_recording",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'murmur' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
