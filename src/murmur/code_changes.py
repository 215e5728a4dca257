"""Changes of the code of a stage while it runs: DVC would record the new code for the result of the old."""

from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from murmur.errors import MurmurError

FOLDERS = ("src", "stages")
State = dict[Path, tuple[int, int]]


def find_state() -> State:
    """Return the time of the last change, in ns, and the size of each file of code."""
    state = {}
    for path in (path for folder in FOLDERS for path in Path(folder).rglob("*.py")):
        with suppress(FileNotFoundError):  # an editor is replacing it
            status = path.stat()
            state[path] = status.st_mtime_ns, status.st_size
    return state


def make_check(stage: str) -> Callable[[], None]:
    """Return a function that checks whether the code of a stage is the same as now.

    Parameters
    ----------
    stage : str
        Its name, as DVC gives it to the stage: ``train@0``.

    Returns
    -------
    callable
        It raises a `MurmurError` that names the changed file.
    """
    before = find_state()

    def check() -> None:
        changed = sorted({path for path, _ in before.items() ^ find_state().items()})
        patterns = list_code(stage) if changed else []
        for path in changed:
            if any(fnmatch(path.as_posix(), pattern) for pattern in patterns):
                raise MurmurError(
                    f"{path}: changed while this stage ran, and DVC would record the new code for this "
                    "result: undo the change, or run it again; change code only when no stage runs"
                )

    return check


def list_code(stage: str) -> list[str]:
    """List the code on which a stage depends, as patterns of `fnmatch`; none without dvc.yaml."""
    from ruamel.yaml import YAML  # rarely used

    path = Path("dvc.yaml")
    stages: Any = YAML(typ="safe").load(path)["stages"] if path.exists() else {}
    definition = stages.get(stage.partition("@")[0], {})
    deps = [_replace_keys(dep) for dep in definition.get("do", definition).get("deps", [])]
    return [pattern for dep in deps if dep.startswith(FOLDERS) for pattern in (dep, f"{dep}/*")]


def _replace_keys(text: str) -> str:
    """Replace each ``${key}`` by ``*``."""
    return "*".join(part.split("}", 1)[-1] for part in text.split("${"))
