"""The layout of the library: imports go from later folders to earlier ones, and stages are short scripts."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests import made

SOURCE = made.ROOT / "src"
ROOT_MODULES = (
    "version",
    "logs",
    "errors",
    "code_changes",
    "interruption",
    "files",
    "spelling",
    "progress",
    "workers",
    "cluster",
    "input_csv",
    "formatting",
    "leaks",
    "devices",
    "circor_weights",
)
FOLDERS = (  # a folder may import those before it
    ("params",),
    ("tables",),
    *(
        ("models",),
        ("sections",),
        ("datasets",),
        ("recordings",),
        ("features",),
        ("splits",),
        ("training",),
        ("evaluation",),
    ),
    *(("generalisation",), ("inference",), ("experiments",), ("reporting",), ("commands",), ("__main__",)),
)
RANK = dict.fromkeys(ROOT_MODULES, 0) | {name: k for k, names in enumerate(FOLDERS, 1) for name in names}
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def list_imports(path):
    """The modules of the library that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & set(MODULES) or {node.module} & set(MODULES)


IMPORTS = {name: set(list_imports(path)) for name, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"murmur"}))
def test_a_module_imports_only_from_its_own_and_earlier_folders(module):
    folder = module.split(".")[1]
    imported = {name.split(".")[1] for name in IMPORTS[module]} - {folder}
    later = {name for name in imported if RANK[name] > RANK[folder] or RANK[name] == RANK[folder] != 0}
    assert not later


def test_no_modules_import_each_other_in_a_circle():
    assert len([*TopologicalSorter(IMPORTS).static_order()]) == len(MODULES)


def test_every_import_of_the_library_is_found():
    assert {"murmur.errors", "murmur.params.types"} <= set(IMPORTS["murmur.params.validation"])
    assert "murmur.features.one_recording" in IMPORTS["murmur"]  # only when it is used


def walk(node, *, at_start):
    """The statements and expressions in a node; at the start of a module those in functions do not run."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.Lambda)
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not (is_for_types or (at_start and is_function)):
            yield child
            yield from walk(child, at_start=at_start)


@cache
def list_names(path, *, at_start):
    """The names of all modules that a file imports, at its start or ever."""
    names = set()
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), at_start=at_start):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def list_libraries(path, *, at_start):
    """The packages that a script imports, itself or through modules of this library, at the start or ever."""
    found, waiting = set(), {path}
    while waiting:
        names = list_names(waiting.pop(), at_start=at_start) - found
        found |= names
        waiting |= {MODULES[name] for name in names & set(MODULES)}
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize(("at_start", "expected"), [(True, {"embed"}), (False, {"embed", "final", "train"})])
def test_only_these_stages_import_torch(at_start, expected):
    """The stages train and final import it in their worker processes, or when they have no other."""
    scripts = (made.ROOT / "stages").glob("*.py")
    assert {p.stem for p in scripts if "torch" in list_libraries(p, at_start=at_start)} == expected


def test_no_command_imports_a_slow_library_before_it_runs():
    slow = {
        "torch",
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "matplotlib",
        "psutil",
        "dvc",
        "optuna",
        "distributed",
    }
    assert not slow & list_libraries(MODULES["murmur.commands.cli"], at_start=True)


def test_predictions_do_not_import_dvc():
    def imports_dvc(name):
        return re.search(r"^\s*(import|from) dvc\b", MODULES[name].read_text(encoding="utf-8"), re.MULTILINE)

    found, waiting = set(), [name for name in MODULES if name.startswith("murmur.inference")]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += IMPORTS[name]
    assert not any(map(imports_dvc, found)) and imports_dvc("murmur.experiments.project")


@pytest.mark.parametrize("path", sorted((made.ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_is_a_short_script(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
