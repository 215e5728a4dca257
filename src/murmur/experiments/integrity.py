"""Damaged files: outputs of stages, objects of the DVC cache and entries of the run-cache.

DVC names each object of its cache by the MD5 hash of its content, but does not read an object again to
compare the two. Here all files are read.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from murmur.errors import MurmurError, first_line
from murmur.experiments import project
from murmur.files import atomic_write
from murmur.progress import track
from murmur.workers import map_threads

REPAIR = "murmur verify --repair"
OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")  # the name of an object, in a folder of two digits
RUN = re.compile(r"[0-9a-f]{64}")


class Output(NamedTuple):
    """An output in dvc.lock.

    Attributes
    ----------
    stage : str
        The stage that writes it.
    path : Path
        The file or folder.
    hash : str
        The hash of its content; ends with ``.dir`` for a folder.
    is_cached : bool
        Whether DVC keeps it; git keeps the others.
    remote : str or None
        The DVC remote, if it is not the default.
    """

    stage: str
    path: Path
    hash: str
    is_cached: bool
    remote: str | None


class Damage(NamedTuple):
    """A damaged file.

    Attributes
    ----------
    path : str
        The output, or the file in the cache.
    problem : str
        What is wrong.
    remedy : str
        How to get it back.
    stored : Path or None
        The file in the cache, which `repair` replaces or removes.
    content : Path or bytes or None
        The content that `stored` should have: a file of the workspace with it, or the list of a folder.
    """

    path: str
    problem: str
    remedy: str
    stored: Path | None = None
    content: Path | bytes | None = None


class Check(NamedTuple):
    """What was read, and what is damaged.

    Attributes
    ----------
    n_files, n_bytes : int
        How much was read.
    n_missing : int
        Objects that dvc.lock names and the cache lacks.
    damages : list of Damage
        The damaged files.
    """

    n_files: int
    n_bytes: int
    n_missing: int
    damages: list[Damage]


def find_damage(*, in_all_objects: bool) -> Check:
    """Compare files with their hashes: the outputs in dvc.lock, their objects in the cache, the run-cache.

    Outputs of stages that dvc.yaml no longer has are among the other objects.

    Parameters
    ----------
    in_all_objects : bool
        Whether to read every object of the cache, not only those that dvc.lock names.

    Raises
    ------
    MurmurError
        If DVC cannot read dvc.yaml or dvc.lock.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return _Reading(repo, in_all_objects).compare()
    except DvcException as error:
        remedy = "; if dvc.lock is damaged: git checkout dvc.lock"
        raise MurmurError(f"dvc: {first_line(error)}{remedy}") from error


def repair(damages: Iterable[Damage]) -> None:
    """Replace damaged files of the cache by what the workspace holds; remove those that it does not hold."""
    for path, content in {damage.stored: damage.content for damage in damages if damage.stored}.items():
        if content is None:
            path.unlink(missing_ok=True)
            continue
        with atomic_write(path) as part:
            if isinstance(content, Path):
                shutil.copyfile(content, part)
            else:
                part.write_bytes(content)
            part.chmod(0o444)  # as DVC protects objects


class _Reading:
    """The hashes of the files that exist, and of those that should.

    Parameters
    ----------
    repo : dvc.repo.Repo
        The project.
    in_all_objects : bool
        See `find_damage`.
    """

    def __init__(self, repo: Any, in_all_objects: bool) -> None:
        self.repo = repo
        self.cache = Path(repo.cache.local.path)
        self.outputs = _list_outputs(repo)
        self.listings = self._read_listings()
        self.files = {output: self._list_files(output) for output in self.outputs}
        self.owners = self._list_owners()
        self.objects = {oid: path for oid in self.owners if (path := self._locate(oid)).exists()}
        self.others = self._list_others() if in_all_objects else set()
        in_workspace = (path for files in self.files.values() for path in files.values())
        self.hashes = _compute_hashes({*self.objects.values(), *self.others, *in_workspace})

    def compare(self) -> Check:
        """Compare all hashes."""
        damaged = {oid: path for oid, path in self.objects.items() if not self._is_intact(oid)}
        others = sorted(path for path in self.others if not self._is_other_intact(path))
        different = {output: names for output in self.outputs if (names := self._list_differences(output))}
        wanted = {oid: self.owners[oid][0][0].remote for oid in damaged}
        wanted |= {_get_oid(path): None for path in others}
        wanted |= {output.hash: output.remote for output in different}
        remotes = _find_in_remotes(self.repo, wanted)
        runs = _list_runs(Path(self.repo.stage_cache.cache_dir))
        damages = [
            *(self._describe_object(oid, path, remotes) for oid, path in damaged.items()),
            *(self._describe_other(path, remotes) for path in others),
            *(self._describe_output(o, names, remotes) for o, names in different.items()),
            *_find_damaged_runs(runs),
        ]
        cached = {oid for oid, ((output, _), *_) in self.owners.items() if output.is_cached}
        n_bytes = sum(path.stat().st_size for path in (*self.hashes, *runs) if path.exists())
        return Check(len(self.hashes) + len(runs), n_bytes, len(cached - {*self.objects}), damages)

    def _list_others(self) -> set[Path]:
        """The objects that dvc.lock does not name; earlier versions of DVC have another folder for them."""
        folders = (self.cache, Path(self.repo.cache.legacy.path))
        return {path for folder in folders for path in _list_objects(folder)} - {*self.objects.values()}

    def _is_other_intact(self, path: Path) -> bool:
        expected = _get_oid(path).removesuffix(".dir")
        if self.hashes[path] == expected:
            return True
        if path.is_relative_to(self.cache) or not self.hashes[path]:
            return False
        return _hash(path.read_bytes().replace(b"\r\n", b"\n")) == expected  # DVC 2 changed the ends of lines

    def _locate(self, oid: str) -> Path:
        return self.cache / oid[:2] / oid[2:]

    def _is_intact(self, oid: str) -> bool:
        return oid in self.objects and self.hashes[self.objects[oid]] == oid.removesuffix(".dir")

    def _read_listings(self) -> dict[str, dict[str, str]]:
        """The hashes of the files of each folder, by the hash of the folder, where its object is intact."""
        listings = {}
        for oid in {output.hash for output in self.outputs if output.hash.endswith(".dir")}:
            if compute_hash(path := self._locate(oid)) == oid.removesuffix(".dir"):
                listings[oid] = {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
        return listings

    def _list_files(self, output: Output) -> dict[str, Path]:
        """The files of an output that exist, by their names in its folder."""
        path = Path(self.repo.root_dir, output.path)
        if not path.is_dir():
            return {"": path} if path.exists() else {}
        found = map(Path, self.repo.dvcignore.find(self.repo.fs, str(path)))
        return {file.relative_to(path).as_posix(): file for file in sorted(found)}

    def _list_owners(self) -> dict[str, list[tuple[Output, Path | None]]]:
        """The outputs that hold each object, and their files of this content."""
        owners = defaultdict(list)
        for output in sorted(self.outputs, key=lambda output: not output.is_cached):
            files = self.files[output]
            owners[output.hash].append((output, files.get("")))
            for name, oid in self.listings.get(output.hash, {}).items():
                owners[oid].append((output, files.get(name)))
        return owners

    def _list_differences(self, output: Output) -> list[str]:
        """The files of a folder that differ from dvc.lock; only "" for a file or a folder as a whole."""
        files = {name: self.hashes[path] for name, path in self.files[output].items()}
        if not files or output.hash == (files[""] if "" in files else _describe_folder(files)[0]):
            return []
        listing = self.listings.get(output.hash)
        if listing is None or "" in files:
            return [""]
        return sorted({name for name, _ in files.items() ^ listing.items()})

    def _describe_object(self, oid: str, path: Path, remotes: dict[str, str]) -> Damage:
        output, _ = self.owners[oid][0]
        facts = (os.path.relpath(path), f"this object of the cache, of {output.path}, is damaged")
        if content := self._find_content(oid):
            return Damage(*facts, f"{REPAIR}  # from the workspace", path, content)
        return Damage(*facts, f"{REPAIR} && {_format_command(output.stage, remotes.get(oid), 'fetch')}", path)

    def _find_content(self, oid: str) -> Path | bytes | None:
        """What the workspace holds of the content of an object."""
        for output, file in self.owners[oid]:
            if file and self.hashes[file] == oid:
                return file
            if oid.endswith(".dir") and "" not in self.files[output]:
                files = {name: self.hashes[path] for name, path in self.files[output].items()}
                found, content = _describe_folder(files)
                if found == oid:
                    return content
        return None

    def _describe_other(self, path: Path, remotes: dict[str, str]) -> Damage:
        remote = remotes.get(_get_oid(path))
        source = (
            f"dvc fetch --all-commits gets it from {remote}" if remote else "a run that needs it makes it"
        )
        problem = "this object of the cache, which dvc.lock does not name, is damaged"
        return Damage(os.path.relpath(path), problem, f"{REPAIR}  # then {source}", path)

    def _describe_output(self, output: Output, names: list[str], remotes: dict[str, str]) -> Damage:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        some = f": {', '.join(names[:3])}{more}" if names != [""] else ""
        remove = f"rm -rf {shlex.quote(str(output.path))} && "
        members = self.listings.get(output.hash, {"": output.hash}).values()
        if not output.is_cached and _hash_committed(output.path) == output.hash:
            command = f"git checkout HEAD -- {shlex.quote(str(output.path))}"
        elif output.is_cached and all(map(self._is_intact, [output.hash, *members])):
            command = f"dvc checkout {shlex.quote(str(output.path))}"
        else:
            command = _format_command(output.stage, remotes.get(output.hash), "pull")
        return Damage(str(output.path), f"differs from dvc.lock{some}", remove + command)


def _list_outputs(repo: Any) -> list[Output]:
    """The outputs in dvc.lock of the stages that dvc.yaml has."""
    return [
        Output(stage.addressing, Path(path), out.hash_info.value, out.use_cache, out.remote)
        for stage in repo.index.stages
        for out in stage.outs
        if out.hash_info and not (path := os.path.relpath(out.fs_path, repo.root_dir)).startswith("..")
    ]


def _list_objects(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("[0-9a-f][0-9a-f]/*") if OBJECT.fullmatch(path.name))


def _get_oid(path: Path) -> str:
    """The hash that an object has as its name."""
    return path.parent.name + path.name


def _compute_hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """The hashes of files, the largest first, so that no thread works alone at the end."""
    largest_first = sorted(paths, key=lambda path: (-path.stat().st_size if path.exists() else 0, path))
    return dict(zip(largest_first, map_threads(compute_hash, largest_first, "reading files"), strict=True))


def compute_hash(path: Path) -> str:
    """Return the MD5 hash of a file in hexadecimal digits; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""


def _describe_folder(files: dict[str, str]) -> tuple[str, bytes]:
    """The hash and the content of the object that DVC makes of a folder with these files."""
    entries = [{"md5": value, "relpath": name} for name, value in sorted(files.items())]
    content = json.dumps(entries).encode()
    return f"{_hash(content)}.dir", content


def _hash_committed(path: Path) -> str:
    """The hash of a file in HEAD; empty if git does not have it."""
    try:
        content = project.read_committed_bytes("HEAD", path.as_posix())
    except MurmurError:  # without git
        return ""
    return _hash(content) if content else ""


def _hash(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _find_in_remotes(repo: Any, wanted: dict[str, str | None]) -> dict[str, str]:
    """The names of the remotes that hold objects; `wanted` has the remote of each, None for the default."""
    found: dict[str, str] = {}
    for name in {*wanted.values()}:
        try:
            store = repo.cloud.get_remote_odb(name)
            oids = [oid for oid, remote in wanted.items() if remote == name and store.exists(oid)]
        except Exception:  # noqa: BLE001  # no such remote, or it cannot be reached: each kind has its own
            continue
        found |= dict.fromkeys(oids, name or repo.config["core"]["remote"])
    return found


def _format_command(stage: str, remote: str | None, fetch: str) -> str:
    if remote:
        return f"dvc {fetch} {shlex.quote(stage)}  # from the remote {remote}"
    return f"dvc repro {shlex.quote(stage)}  # runs the stage: no remote has it"


def _list_runs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*/*") if RUN.fullmatch(path.name))


def _find_damaged_runs(runs: list[Path]) -> Iterator[Damage]:
    """The entries of the run-cache that are not what their names require."""
    for path in track(runs, "reading the run-cache"):
        if not _is_run_intact(path):
            remedy = f"{REPAIR}  # then dvc fetch --run-cache; or the stage runs again"
            yield Damage(os.path.relpath(path), "this entry of the run-cache is damaged", remedy, path)


def _is_run_intact(path: Path) -> bool:
    from dvc.stage.cache import _get_cache_hash
    from dvc.utils.serialize import load_yaml

    try:
        content = load_yaml(str(path))
        return (path.name, path.parent.name) == (_get_cache_hash(content), _get_cache_hash(content, key=True))
    except Exception:  # noqa: BLE001  # YAML, encoding, types: a damaged file can be anything
        return False
