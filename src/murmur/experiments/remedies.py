"""Commands that get damaged outputs back.

Each command works as it is printed, and deletes nothing: a damaged file is moved to ``.dvc/tmp/damaged``.
What replaces it was read and is intact, or a stage makes it again.
"""

import shlex
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from murmur.errors import MurmurError
from murmur.experiments import lock_file, project
from murmur.experiments.remote_objects import RemoteObjects
from murmur.experiments.stored_files import Output, StoredFiles, compute_hash, hash_bytes

REPAIR = "murmur verify --repair"
DAMAGED = Path(".dvc/tmp/damaged")  # what is replaced


class Remedy(NamedTuple):
    """How to get a damaged file back.

    Attributes
    ----------
    source : str
        Where it comes from.
    command : str
        The command; empty if there is none.
    """

    source: str
    command: str


class Remedies:
    """The commands that get outputs back.

    Parameters
    ----------
    stored : StoredFiles
        What is in the workspace and in the cache.
    remotes : RemoteObjects
        What is in the remotes.
    """

    def __init__(self, stored: StoredFiles, remotes: RemoteObjects) -> None:
        self.stored = stored
        self.remotes = remotes

    def find_for_output(self, output: Output) -> Remedy:
        """Find how to get an output back, in the workspace if it is there and else in the cache."""
        path, name = shlex.quote(str(output.path)), self.remotes.name(output.remote)
        lacking = self._list_lacking(output)
        if not output.is_cached and not _find_git_problem(output):
            return Remedy("the last commit has it", f"{self._move(output)}git checkout HEAD -- {path}")
        if output.is_cached and not lacking:
            before = self._repair(output) + self._move(output)
            return Remedy("the cache has it", f"{before}dvc checkout {path}")
        if self._agrees_with_committed_lock(output):
            return Remedy("dvc.lock of the last commit has the hash of this file", lock_file.format_restore())
        problem = self._find_problem(output, lacking)
        if not problem:
            get = "pull" if self.stored.exists(output) else "fetch"
            command = f"{self._repair(output)}{self._move(output)}dvc {get} {path}"
            return Remedy(f"the remote {name} has it", command)
        return self._run_stage(output, problem)

    def _run_stage(self, output: Output, problem: str) -> Remedy:
        """Make an output again."""
        run = f"dvc repro {shlex.quote(output.stage)}"
        is_in_cache = output.is_cached and self._is_in_cache(output)
        if not output.is_made and is_in_cache:
            return Remedy(f"but the cache has it as it is: {output.stage} may be damaged", "")
        if not output.is_made:
            return Remedy(f"no stage makes it, and {problem}: get it from a backup", "")
        if is_in_cache:
            return Remedy("but the cache has it as it is: dvc.lock may be damaged", run)
        return Remedy(
            f"its stage makes it again ({problem})", f"{self._repair(output)}{self._move(output)}{run}"
        )

    def _is_in_cache(self, output: Output) -> bool:
        """Return whether the cache has an output as it is in the workspace."""
        value = self.stored.hash_workspace(output) if self.stored.exists(output) else ""
        path = self.stored.locate(value)
        return bool(value) and compute_hash(path) == value.removesuffix(".dir")

    def _list_objects(self, output: Output) -> list[str]:
        """List the objects of an output; only its own if those of its files are not known."""
        listing = self.stored.listings.get(output.hash)
        if listing is None and output.hash.endswith(".dir") and output.is_cached:
            listing = self.remotes.read_listing(output.hash, output.remote)
        return [output.hash, *(listing or {}).values()]

    def _list_lacking(self, output: Output) -> list[str]:
        """List the objects of an output that the cache does not have, also after its repair."""
        return [oid for oid in self._list_objects(output) if not self._is_in_reach(oid)]

    def _is_in_reach(self, oid: str) -> bool:
        if self._is_repaired(oid):
            return self.stored.find_content(oid) is not None
        return self.stored.is_intact(oid)

    def _is_repaired(self, oid: str) -> bool:
        """Return whether `repair` replaces or moves an object."""
        is_damaged = oid in self.stored.objects and not self.stored.is_intact(oid)
        return is_damaged or oid in self.stored.missing_listings

    def _find_problem(self, output: Output, lacking: list[str]) -> str:
        """Return why the remote cannot give objects; empty if it has all of them."""
        if not output.is_cached:
            return _find_git_problem(output)
        problems = (self.remotes.find_problem(oid, output.remote) for oid in lacking)
        return next((problem for problem in problems if problem), "")

    def _repair(self, output: Output) -> str:
        """The command that must be first if an object of the output is damaged: DVC would use it."""
        return f"{REPAIR} && " if any(map(self._is_repaired, self._list_objects(output))) else ""

    def _move(self, output: Output) -> str:
        """The command that must be before: DVC does not replace a file with the time that it knows.

        It deletes nothing, as the file may have been edited, and a folder may hold other files.
        """
        if not self.stored.exists(output):
            return ""
        free = project.find_free_path(DAMAGED / output.path.as_posix().replace("/", "_"))
        return f"mkdir -p {DAMAGED} && mv -n {shlex.quote(str(output.path))} {shlex.quote(str(free))} && "

    def _agrees_with_committed_lock(self, output: Output) -> bool:
        """Return whether the last commit has the hash that the output has: then dvc.lock is damaged."""
        if not output.is_made or not self.stored.exists(output):
            return False
        committed = lock_file.list_hashes(self._committed.get(output.stage))
        return committed.get(output.path.as_posix()) == self.stored.hash_workspace(output)

    @cached_property
    def _committed(self) -> dict[str, Any]:
        return lock_file.read_committed_stages()


def _find_git_problem(output: Output) -> str:
    """Return why git cannot give an output; empty if the last commit has it."""
    try:
        content = project.read_committed_bytes("HEAD", output.path.as_posix())
    except MurmurError as error:  # without git
        return str(error)
    is_same = content is not None and hash_bytes(content) == output.hash
    return "" if is_same else "the last commit does not have it"
