"""The outputs in dvc.lock and their objects in the DVC cache, read and compared with their hashes.

DVC names each object of its cache by the MD5 hash of its content, but does not read an object again to
compare the two. Here all files are read.
"""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from murmur.experiments.remote_objects import parse_listing
from murmur.workers import map_threads

OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")  # the name of an object, in a folder of two digits


class Output(NamedTuple):
    """An output in dvc.lock, or in a file that `dvc add` made.

    Attributes
    ----------
    stage : str
        The stage that writes it, or the name of the file.
    path : Path
        The file or folder.
    hash : str
        The hash of its content; ends with ``.dir`` for a folder.
    is_cached : bool
        Whether DVC keeps it; git keeps the others.
    is_made : bool
        Whether a stage makes it; what was added with `dvc add` no stage makes.
    remote : str or None
        The DVC remote, if it is not the default.
    """

    stage: str
    path: Path
    hash: str
    is_cached: bool
    is_made: bool
    remote: str | None


class StoredFiles:
    """The hashes of the files that exist, and of those that should.

    Parameters
    ----------
    repo : dvc.repo.Repo
        The project.
    in_all_objects : bool
        Whether to read every object of the cache, not only those of the outputs.

    Attributes
    ----------
    outputs : list of Output
        In the order of `dvc repro`.
    files : dict of Output to dict of str to Path
        The files of an output that exist, by their names in its folder; "" is the name of a single file.
    listings : dict of str to dict of str to str
        The hashes of the files of a folder, by the hash of the folder, where they are known.
    owners : dict of str to list
        For each hash the outputs that need its object, and their files that should have this content.
    objects : dict of str to Path
        The objects of outputs that exist.
    missing_listings : list of str
        The objects of folders that are not in the cache, although files of the folder are.
    others : set of Path
        The other objects.
    hashes : dict of Path to str
        Of all files; empty for what cannot be read.
    """

    def __init__(self, repo: Any, in_all_objects: bool) -> None:
        self.repo = repo
        self.cache = Path(repo.cache.local.path)
        self.outputs = _list_outputs(repo)
        self.files = {output: self._list_files(output) for output in self.outputs}
        self.hashes = _compute_hashes({path for files in self.files.values() for path in files.values()})
        self.listings = self._read_listings()
        self.owners = self._list_owners()
        paths = {oid: self.locate(oid) for oid in self.owners}
        self.objects = {oid: path for oid, path in paths.items() if os.path.lexists(path)}
        self.missing_listings = self._list_missing_listings()
        self.others = self._list_others() if in_all_objects else set()
        self.hashes |= _compute_hashes({*self.objects.values(), *self.others})

    def locate(self, oid: str) -> Path:
        """Return the path of an object in the cache."""
        return self.cache / oid[:2] / oid[2:]

    def is_intact(self, oid: str) -> bool:
        """Return whether an object of an output is in the cache, undamaged."""
        return oid in self.objects and self.hashes[self.objects[oid]] == oid.removesuffix(".dir")

    def exists(self, output: Output) -> bool:
        """Return whether an output is in the workspace, complete or not."""
        return bool(self.files[output]) or Path(self.repo.root_dir, output.path).is_dir()

    def hash_workspace(self, output: Output) -> str:
        """Return the hash of an output as it is in the workspace."""
        files = self.files[output]
        return self.hashes[files[""]] if "" in files else self._describe_folder(output)[0]

    def list_differences(self, output: Output) -> list[str]:
        """List the files of a folder that are not as recorded; only "" for a file or a folder as a whole."""
        if not self.exists(output) or output.hash == self.hash_workspace(output):
            return []
        listing = self.listings.get(output.hash)
        files = {name: self.hashes[path] for name, path in self.files[output].items()}
        if listing is None or "" in files:
            return [""]
        return sorted({name for name, _ in files.items() ^ listing.items()})

    def find_content(self, oid: str) -> Path | bytes | None:
        """Find the content of an object in the workspace: a file, or the list of the files of a folder."""
        for output, file in self.owners[oid]:
            if file and self.hashes[file] == oid:
                return file
            if oid.endswith(".dir") and "" not in self.files[output]:
                found, content = self._describe_folder(output)
                if found == oid:
                    return content
        return None

    def _list_missing_listings(self) -> list[str]:
        """The objects of folders that are not in the cache, although files of the folder are."""
        return [
            oid
            for oid, listing in self.listings.items()
            if oid not in self.objects and any(member in self.objects for member in listing.values())
        ]

    def is_other_intact(self, path: Path) -> bool:
        """Return whether one of `others` has the content that its name requires."""
        expected = get_oid(path).removesuffix(".dir")
        if self.hashes[path] == expected:
            return True
        if path.is_relative_to(self.cache) or not self.hashes[path]:
            return False
        changed = path.read_bytes().replace(b"\r\n", b"\n")  # DVC 2 changed the ends of lines
        return hash_bytes(changed) == expected

    def _list_others(self) -> set[Path]:
        """The objects that no output needs; earlier versions of DVC have another folder for them."""
        folders = (self.cache, Path(self.repo.cache.legacy.path))
        return {path for folder in folders for path in _list_objects(folder)} - {*self.objects.values()}

    def _list_files(self, output: Output) -> dict[str, Path]:
        path = Path(self.repo.root_dir, output.path)
        if not path.is_dir():
            return {"": path} if path.exists() else {}
        found = map(Path, self.repo.dvcignore.find(self.repo.fs, str(path)))
        return {file.relative_to(path).as_posix(): file for file in sorted(found)}

    def _read_listings(self) -> dict[str, dict[str, str]]:
        """Read the hashes of the files of each folder from its object or, if it is lost, from the folder."""
        listings = {}
        for output in (output for output in self.outputs if output.hash.endswith(".dir")):
            path = self.locate(output.hash)
            if compute_hash(path) == output.hash.removesuffix(".dir"):
                listings[output.hash] = parse_listing(path.read_bytes())
            elif self.hash_workspace(output) == output.hash:
                listings[output.hash] = parse_listing(self._describe_folder(output)[1])
        return listings

    def _list_owners(self) -> dict[str, list[tuple[Output, Path | None]]]:
        owners = defaultdict(list)
        for output in sorted(self.outputs, key=lambda output: not output.is_cached):
            files = self.files[output]
            owners[output.hash].append((output, files.get("")))
            for name, oid in self.listings.get(output.hash, {}).items():
                owners[oid].append((output, files.get(name)))
        return owners

    def _describe_folder(self, output: Output) -> tuple[str, bytes]:
        """The hash and the content of the object that DVC makes of a folder in the workspace."""
        files = {name: self.hashes[path] for name, path in self.files[output].items()}
        entries = [{"md5": value, "relpath": name} for name, value in sorted(files.items())]
        content = json.dumps(entries).encode()
        return f"{hash_bytes(content)}.dir", content


def _list_outputs(repo: Any) -> list[Output]:
    """The outputs with a hash, of the stages that dvc.yaml has and of the files that `dvc add` made."""
    from dvc.repo.reproduce import plan_repro

    return [
        Output(stage.addressing, Path(path), out.hash_info.value, out.use_cache, bool(stage.cmd), out.remote)
        for stage in plan_repro(repo.index.graph)
        for out in stage.outs
        if out.hash_info and not (path := os.path.relpath(out.fs_path, repo.root_dir)).startswith("..")
    ]


def _list_objects(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("[0-9a-f][0-9a-f]/*") if OBJECT.fullmatch(path.name))


def get_oid(path: Path) -> str:
    """Return the hash that an object has as its name."""
    return path.parent.name + path.name


def _compute_hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """The hashes of files, the largest first, so that no thread works alone at the end."""
    largest_first = sorted(paths, key=lambda path: (-path.stat().st_size if path.exists() else 0, path))
    return dict(zip(largest_first, map_threads(compute_hash, largest_first, "reading files"), strict=True))


def compute_hash(path: Path) -> str:
    """Return the MD5 hash of a file in hexadecimal digits; empty if it cannot be read.

    Raises
    ------
    PermissionError
        If this user must not read it: then nothing is known about it.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except PermissionError:
        raise
    except OSError:  # no such file, a folder, or the disk cannot read it
        return ""


def hash_bytes(content: bytes) -> str:
    """Return the MD5 hash of bytes in hexadecimal digits."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
