"""Section `mel` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from murmur.params.types import Hertz, Positive, Samples, Section, real_number, whole_number


class Image(Section):
    """A square colour image of the spectrogram; `size` is in pixels."""

    size: Annotated[int, whole_number(1, 4096)]
    colours: Literal["grey", "viridis", "magma"]


class Mel(Section):
    """Section `mel`."""

    n_mels: Annotated[int, whole_number(1, 4096)]
    n_fft: Samples
    win_length: Samples | Annotated[list[Samples], Field(min_length=1, max_length=16)]
    hop_length: Samples | Annotated[list[Samples], Field(min_length=1, max_length=16)]
    f_min: Annotated[float, real_number(ge=0, le=1_000_000)]
    f_max: Hertz
    edges: Literal["zeros", "reflect"]
    scale: Literal["db", "ln", "ln_plus"]
    reference: Literal["max"] | Positive
    top_db: Annotated[float, real_number(gt=0, le=1000)] | None
    fill: Literal["floor", "max"]
    normalise: Literal["none", "minmax", "bands"]
    image: Image | None
    dtype: Literal["float16", "float32"]
    format: Literal["npy", "parquet"]

    @property
    def windows(self) -> list[tuple[int, int]]:
        """Length of the window and hop of each channel, in samples."""
        return list(zip(_as_list(self.win_length), _as_list(self.hop_length), strict=True))

    @model_validator(mode="after")
    def _check_windows(self) -> "Mel":
        windows, hops = _as_list(self.win_length), _as_list(self.hop_length)
        if len(windows) != len(hops):
            raise ValueError(
                f"mel.win_length has {len(windows)} windows and mel.hop_length {len(hops)}: one for each"
            )
        longest = max(windows)
        if longest > self.n_fft:
            raise ValueError(f"mel.win_length {longest} is longer than mel.n_fft {self.n_fft}; lower it")
        if self.image and len(windows) > 1:
            raise ValueError("mel.image: an image is made of one window; mel.win_length has several")
        return self


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
