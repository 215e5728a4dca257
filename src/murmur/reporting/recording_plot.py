"""A plot of one recording for notebooks: its waveform and its log-mel spectrogram."""

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from murmur.features.log_mel import LogMel
from murmur.features.mel_scale import mel_frequencies
from murmur.features.one_recording import FeatureParams, clean_recording
from murmur.sections.defaults import load_params

UNITS = {"db": "dB", "ln": "ln", "ln_plus": "ln"}


def plot_recording(samples: np.ndarray, rate: int, params: FeatureParams | None = None) -> np.ndarray:
    """Plot the waveform of a recording and the log-mel spectrogram of the cleaned recording.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The samples of one channel.
    rate : int
        Their sample rate, Hz.
    params : FeatureParams, optional
        From `load_params`; by default the default parameters. The sections `clean` and `mel` are used; the
        spectrogram has the first of several windows, and is of the whole recording, not of its segments.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes, shape (2,)
        Of a new figure, ``axes[0].figure``. A notebook shows the figure below the cell.

    Raises
    ------
    MurmurError, ValueError
        As `clean_recording`.

    Examples
    --------
    >>> axes = murmur.plot_recording(samples, rate)
    >>> axes[0].figure.savefig("recording.png")
    """
    params = params or load_params()
    signal = clean_recording(samples, rate, params)
    (win_length, hop_length), *_ = params.mel.windows
    with threadpool_limits(1):
        transform = LogMel(params.clean.sample_rate, params.mel, win_length, hop_length)
        spectrogram = transform(signal[None])[0]
    times = np.arange(spectrogram.shape[1]) * hop_length / params.clean.sample_rate
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 4.5), layout="constrained")
    axes[0].plot(np.arange(len(samples)) / rate, samples, linewidth=0.5)
    image = axes[1].pcolormesh(times, mel_frequencies(params.mel)[1:-1], spectrogram, cmap="cividis")
    figure.colorbar(image, ax=axes[1], label=UNITS[params.mel.scale], pad=0.01)
    axes[0].set(ylabel="amplitude", xlim=(0, len(samples) / rate))
    axes[1].set(xlabel="time (s)", ylabel="frequency (Hz)")
    return axes
