"""Objects in the DVC remotes, read and compared with their hashes."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from murmur.errors import first_line

CHUNK = 1 << 20  # bytes


class RemoteObjects:
    """The objects in the remotes of a project. Each is read at most once, and not kept.

    Parameters
    ----------
    repo : dvc.repo.Repo
        The project.
    """

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._open = cache(repo.cloud.get_remote_odb)
        self._unreadable: dict[str | None, str] = {}
        self.find_problem = cache(self._find_problem)
        self.read_listing = cache(self._read_listing)

    def name(self, remote: str | None) -> str:
        """Return the name of a remote; None is the default remote."""
        return remote or self._repo.config["core"].get("remote") or ""

    def _find_problem(self, oid: str, remote: str | None) -> str:
        """Return why a remote cannot give an object; empty if it has it undamaged."""
        if not self.name(remote):
            return "there is no default remote"
        if remote in self._unreadable:  # another attempt may take as long until it fails
            return self._unreadable[remote]
        try:
            return self._read(oid, remote)[0]
        except Exception as error:  # noqa: BLE001  # each kind of remote has its own
            self._unreadable[remote] = f"the remote {self.name(remote)} cannot be read ({first_line(error)})"
            return self._unreadable[remote]

    def _read(self, oid: str, remote: str | None, *, keep: bool = False) -> tuple[str, bytes]:
        """Return what is wrong with an object and, if it is to be kept, its content."""
        store, content = self._open(remote), b""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with store.fs.open(store.oid_to_path(oid), "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    content += chunk if keep else b""
        except FileNotFoundError:
            _check_folder_exists(store)
            return f"the remote {self.name(remote)} does not have it", b""
        is_intact = digest.hexdigest() == oid.removesuffix(".dir")
        return "" if is_intact else f"the remote {self.name(remote)} has a damaged copy", content

    def _read_listing(self, oid: str, remote: str | None) -> dict[str, str]:
        """Return the hashes of the files of a folder that the remote holds, by name; empty if it does not."""
        if self.find_problem(oid, remote):
            return {}
        return parse_listing(self._read(oid, remote, keep=True)[1])


def parse_listing(content: bytes) -> dict[str, str]:
    """Return the hashes of the files of a folder, by name, from its object."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}


def _check_folder_exists(store: Any) -> None:
    """Check that the folder of a remote on a disk exists: the disk may not be mounted.

    Raises
    ------
    FileNotFoundError
        Naming the folder.
    """
    folder = Path(store.path).parents[1]  # of files/md5
    if store.fs.protocol == "local" and not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
