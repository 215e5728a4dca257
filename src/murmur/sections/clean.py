"""Section `clean` of params.yaml."""

from typing import Annotated, Literal

from murmur.params.types import Hertz, Samples, Section, real, whole


class Bandpass(Section):
    order: Annotated[int, whole(1, 100)]
    low: Hertz
    high: Hertz


class Denoise(Section):
    n_fft: Samples
    time_smooth_ms: Annotated[float, real(gt=0, le=60_000)]
    frequency_smooth_hz: Hertz


class Clean(Section):
    sample_rate: Annotated[int, whole(1, 1_000_000)]
    denoise: Denoise | None
    bandpass: Bandpass | None
    normalise: Literal["peak", "rms", "none"]
