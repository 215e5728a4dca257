"""Checks and messages that WAV and FLAC share."""

from murmur.errors import MurmurError

LOWEST_RATE, HIGHEST_RATE = 100, 768_000  # Hz
CONVERT = "convert it, for example `ffmpeg -i FILE new.wav`"


def damaged_error(reason: str) -> MurmurError:
    """Return the error for a damaged file."""
    return MurmurError(f"damaged: {reason}; replace the file")


def check_rate(rate: int) -> None:
    """Raise a `MurmurError` if a sample rate (Hz) is outside `LOWEST_RATE` to `HIGHEST_RATE`."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise damaged_error(f"its rate is {rate} Hz, not within {LOWEST_RATE} to {HIGHEST_RATE} Hz")
