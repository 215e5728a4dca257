"""Files that the table names but that are missing, and files that no table names."""

from collections import Counter
from os.path import isfile
from pathlib import Path

import pandas as pd

from murmur.datasets import Reading
from murmur.errors import MurmurError

SUFFIXES = {".wav", ".flac"}


def list_audio_files(folder: Path) -> list[Path]:
    """Return all WAV and FLAC files in a folder and its subfolders, and the headers of other WFDB records."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    stems = {path.with_suffix("") for path in paths}
    return paths + [path for path in folder.rglob("*.hea") if path.with_suffix("") not in stems]


def find_unnamed_files(root: Path, reading: Reading) -> list[tuple[str, str]]:
    """Find audio files in `root` that are neither in the table nor among the items left out.

    Returns
    -------
    list of (path relative to `root`, reason)
        Sorted.
    """
    paths = {path.relative_to(root).as_posix() for path in list_audio_files(root)}
    named = {*reading.recordings["path"], *(item for item, _ in reading.left_out)}
    return [(path, "no table names this file") for path in sorted(paths - named)]


def drop_missing_files(
    table: pd.DataFrame, root: Path, allowed: bool
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Leave out the recordings whose file is missing.

    Parameters
    ----------
    table : DataFrame
        The recordings; `path` is relative to `root`.
    root : Path
        The data set's folder.
    allowed : bool
        Whether some files may be missing.

    Returns
    -------
    table : DataFrame
        The recordings whose file exists.
    left_out : list of (recording_id, reason)
        The others.

    Raises
    ------
    MurmurError
        If all files are missing, or some although they must not be. The message names the first of them.
    """
    exists = pd.Series([isfile(root / path) for path in table["path"]], index=table.index, dtype=bool)
    if len(table) and not exists.any():
        first = root / table["path"].iloc[0]
        raise MurmurError(
            f"{first}: none of the files that the table names ({len(table)}) exists; "
            f"expected in {first.parent}{_describe_other_files(root, first.parent)}"
        )
    if not exists.all() and not allowed:
        missing = table["path"][~exists]
        raise MurmurError(
            f"{root / missing.iloc[0]}: the table names this file, but it is missing ({len(missing)} missing "
            "in all); add the file or remove its row from the table"
        )
    return table[exists], [(name, "the file is missing") for name in table["recording_id"][~exists]]


def _describe_other_files(root: Path, expected: Path) -> str:
    """Describe where audio files were found instead of `expected`, and what to do."""
    paths = list_audio_files(root)
    if names := sorted(path.name for path in paths if path.parent == expected):
        return (
            f"; it holds other files ({len(names)}), such as {names[0]}: give them the names in the table, "
            "with the same suffix"
        )
    folders = Counter(path.parent for path in paths).most_common()
    if not folders:
        return "; the data set's folder holds no WAV or FLAC file: put the recordings into it"
    listed = ", ".join(f"{n} in {folder}" for folder, n in folders[:3])
    return f"; other audio files were found ({listed}): move them if an archive was unpacked too deep"
