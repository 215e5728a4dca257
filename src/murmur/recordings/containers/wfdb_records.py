"""WFDB records (PhysioNet): a header file NAME.hea, and the file of its signals beside it."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from murmur.errors import MurmurError, first_line
from murmur.recordings.containers.checks import check_rate, damaged_error

# WFDB's number of a format: the bits of a sample
COMPRESSED = {"508": 8, "516": 16, "524": 24}  # FLAC
BITS = {"80": 8, "212": 12, "16": 16, "24": 24, "32": 32} | COMPRESSED
PHONOCARDIOGRAM = "PCG"  # the name of the signal that is read from a record with several signals


def read_record(header: Path) -> tuple[np.ndarray, int]:
    """Read the phonocardiogram of a record.

    Parameters
    ----------
    header : Path
        The header file, with the ending .hea.

    Returns
    -------
    samples : ndarray of float32, shape [n_samples, 1]
        The stored values minus the baseline, where 1 is the full scale of the storage format (2^15 for 16
        bits), as in a WAV file.
    rate : int
        The sample rate in Hz.

    Raises
    ------
    MurmurError
        If the record is damaged, shorter or longer than its header states, or has several segments, several
        signals of which not exactly one is named PCG, no length, a rate that is not a positive whole number,
        a missing value (by WFDB's convention the lowest one), or a signal file that is missing or a WAV file.
        The message does not name the header.

    Notes
    -----
    Read by the package `wfdb`, without access to a network. If the header has a checksum (it is not 0), the
    values must have it.
    """
    record, k = _read_header(header)
    bits, per_frame = BITS[record.fmt[k]], record.samps_per_frame[k]
    rate = float(record.fs) * per_frame
    if not rate.is_integer():
        raise MurmurError(f"its sample rate, {rate:g} Hz, is not a whole number; resample the record")
    check_rate(int(rate))
    _check_size(header.parent, record, k)
    try:
        with np.errstate(all="ignore"):
            part = _import_wfdb().rdrecord(
                str(_without_suffix(header)),
                channels=[k],
                physical=False,
                smooth_frames=False,
                ignore_skew=True,
            )
        values = np.asarray(part.e_d_signal[0], np.int64)
    except Exception as error:  # wfdb raises many kinds for a damaged file
        raise damaged_error(f"{record.file_name[k]}: {first_line(error)}") from error
    _check_values(values, record, k, record.sig_len * per_frame)
    samples = (values - (record.baseline[k] or 0)) / 2 ** (bits - 1)
    return samples.astype(np.float32)[:, None], int(rate)


def find_signal_file(header: Path) -> Path:
    """Return the file of the signal that `read_record` reads; errors in the header as there."""
    record, k = _read_header(header)
    return header.parent / record.file_name[k]


def _read_header(header: Path) -> tuple[Any, int]:
    """Return the header and the number of the signal to read."""
    _check_rate_is_positive(header.read_text(encoding="utf-8", errors="replace"))
    try:
        record = _import_wfdb().rdheader(str(_without_suffix(header)))
        segments = getattr(record, "n_seg", None)
        names = [name or f"signal {k}" for k, name in enumerate(getattr(record, "sig_name", None) or [])]
    except Exception as error:  # wfdb raises many kinds for a damaged file
        raise MurmurError(f"not readable as a WFDB header ({first_line(error)}); replace the file") from error
    if segments is not None:
        raise MurmurError("a WFDB record of several segments is not read; name the header of each segment")
    if not names or len(names) != record.n_sig:
        raise damaged_error(f"its header describes {len(names)} of {record.n_sig} signals")
    k = _choose_signal(names)
    _check_signal_file(header.parent, record.file_name[k])
    if record.fmt[k] not in BITS:
        raise MurmurError(
            f"signals in WFDB format {record.fmt[k]} are not read; store them in format 16 (wfdb.wrsamp)"
        )
    if 0 in record.samps_per_frame:
        raise MurmurError(
            f"its header states 0 samples per frame for {names[record.samps_per_frame.index(0)]}; correct it"
        )
    if not record.sig_len:
        raise MurmurError("its header does not state the number of samples; write it after the sample rate")
    return record, k


def _check_rate_is_positive(header: str) -> None:
    """Check the sample rate, the third field of the first line: where it is no number, wfdb takes 250 Hz."""
    lines = (line.split() for line in header.splitlines() if not line.lstrip().startswith("#"))
    fields = next(filter(None, lines), [])
    if len(fields) > 2 and not re.fullmatch(r"(\d+\.?\d*|\.\d+)([/(].*)?", fields[2]):
        raise MurmurError(f"its sample rate, {fields[2]}, is not a positive number; correct the header")


def _choose_signal(names: list[str]) -> int:
    if len(names) == 1:
        return 0
    matches = [k for k, name in enumerate(names) if name.strip().upper() == PHONOCARDIOGRAM]
    if len(matches) != 1:
        raise MurmurError(
            f"holds {len(names)} signals ({', '.join(names)}), and not exactly one is named "
            f"{PHONOCARDIOGRAM}; give this name, in the header, to the signal that is to be read"
        )
    return matches[0]


def _check_signal_file(folder: Path, name: str) -> None:
    """Check that the file of a signal exists and is no WAV file; wfdb refuses names with a folder in them."""
    if not (folder / name).is_file() and (folder / name).exists():
        raise MurmurError(f"its signal file {name} is not an ordinary file; replace it")
    if not (folder / name).is_file():
        raise MurmurError(f"its signal file {name} is missing; add it to the folder of the header")
    if name.lower().endswith((".wav", ".flac")):
        raise MurmurError(f"its signal is in the file {name}; name this file in the table, not the header")


def _check_size(folder: Path, record: Any, k: int) -> None:
    """Check that the file of a signal has the length that the header states."""
    name, form = record.file_name[k], record.fmt[k]
    if form in COMPRESSED:
        return
    in_file = [j for j, other in enumerate(record.file_name) if other == name]
    per_frame = sum(record.samps_per_frame[j] for j in in_file)
    offset, bytes_per_frame = record.byte_offset[k] or 0, per_frame * BITS[form] / 8
    expected = offset + math.ceil(record.sig_len * bytes_per_frame)
    actual = (folder / name).stat().st_size
    if actual < expected:
        raise MurmurError(
            f"cut short: by its header {name} has {expected} bytes, the file has {actual}; fetch it again"
        )
    if actual > expected + (form == "212"):  # a pair of samples in 3 bytes: the last may be half used
        raise MurmurError(
            f"its header states {record.sig_len} samples for each signal, {name} has "
            f"{(actual - offset) / bytes_per_frame:g}; correct the header, or fetch both again"
        )


def _check_values(values: np.ndarray, record: Any, k: int, n_samples: int) -> None:
    """Check the number of the values, their checksum if the header has one, and that none is missing."""
    name = record.file_name[k]
    if len(values) != n_samples:
        raise damaged_error(f"{name} has {len(values)} samples, its header states {n_samples}")
    expected = (record.checksum[k] or 0) % 2**16
    if expected and (actual := int(values.sum()) % 2**16) != expected:
        raise damaged_error(f"the samples in {name} have the checksum {actual}, its header states {expected}")
    lowest = -(2 ** (BITS[record.fmt[k]] - 1))
    if missing := np.flatnonzero(values == lowest).tolist():
        raise MurmurError(
            f"sample {missing[0]} has the value {lowest}, by which WFDB marks a missing sample "
            f"({len(missing)} in all); if these are samples of a clipped recording, raise them by 1"
        )


def _without_suffix(header: Path) -> Path:
    """Return the absolute path of a record as wfdb names it."""
    return header.absolute().with_suffix("")


def _import_wfdb() -> Any:
    """Import wfdb, which takes 0.4 s; its use of methods that pandas 4 will remove concerns no user."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="wfdb")
    import wfdb

    return wfdb
