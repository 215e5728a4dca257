"""Checks and messages that WAV and FLAC share."""

import re
import shlex
from pathlib import Path

from murmur.errors import MurmurError

UNKNOWN = "not readable as audio (neither WAV nor FLAC); replace the file"
LOWEST_RATE, HIGHEST_RATE = 100, 768_000  # Hz
CONVERT = "convert it: ffmpeg -i INPUT OUTPUT"  # `name_files` inserts the names
OTHER_SUFFIXES = re.compile(  # of audio and video files that ffmpeg converts
    r"\.(3gp|aac|ac3|aif|aifc|aiff|amr|ape|au|avi|caf|m4a|m4b|mka|mkv|mov|mp2|mp3|mp4|mpeg|mpg|oga|ogg|opus"
    r"|ra|snd|spx|w64|webm|wma|wmv|wv)$",
    re.IGNORECASE,
)


def name_files(message: str, path: Path) -> str:
    """Insert the names of the file and of its WAV version into a command in an error message.

    Parameters
    ----------
    message : str
        The message, which may contain `CONVERT`.
    path : Path
        The file. If its content is unknown but its suffix is that of audio or video, the command is added.
    """
    if OTHER_SUFFIXES.match(path.suffix):
        message = message.replace(UNKNOWN, f"{UNKNOWN.partition(';')[0]}; if it is audio, {CONVERT}")
    wav = path.with_suffix(".wav")
    if wav == path:
        wav = path.with_stem(f"{path.stem}_new")
    command = f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(wav))}"
    return message.replace("ffmpeg -i INPUT OUTPUT", command)


def damaged_error(reason: str) -> MurmurError:
    """Return the error for a damaged file."""
    return MurmurError(f"damaged: {reason}; replace the file")


def describe_error(error: Exception) -> str:
    """Return the message of an error; of libsndfile's without the address of the object that was read."""
    return (getattr(error, "error_string", None) or str(error)).rstrip(".")


def check_rate(rate: int) -> None:
    """Raise a `MurmurError` if a sample rate (Hz) is outside `LOWEST_RATE` to `HIGHEST_RATE`."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise damaged_error(f"its rate is {rate} Hz, not within {LOWEST_RATE} to {HIGHEST_RATE} Hz")
