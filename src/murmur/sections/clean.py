"""Section `clean` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Hertz, Samples, Section, real_number, whole_number


class Bandpass(Section):
    """A Butterworth band-pass filter; the frequencies are in Hz."""

    order: Annotated[int, whole_number(1, 100)]
    low: Hertz
    high: Hertz


class Denoise(Section):
    """Spectral gating with noisereduce."""

    n_fft: Samples
    time_smooth_ms: Annotated[float, real_number(gt=0, le=60_000)]
    frequency_smooth_hz: Hertz


class Clean(Section):
    """Section `clean`."""

    sample_rate: Annotated[int, whole_number(1, 1_000_000)]
    denoise: Denoise | None
    bandpass: Bandpass | None
    normalise: Literal["peak", "rms", "none"]
