"""The wheel in an environment of its own, and the packages that pyproject.toml and requirements.txt name."""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.made import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN_TIME = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
DEV = [Requirement(line) for line in PYPROJECT["dependency-groups"]["dev"]]
OWN = {"preprocess", "murmur", "stages", "tests", "benchmarks"}
IMPORT_ALL = """
import importlib, json, pkgutil, murmur
names = sorted(module.name for module in pkgutil.walk_packages(murmur.__path__, "murmur."))
for name in names:
    importlib.import_module(name)
print(json.dumps([murmur.__file__, *names]))
"""


def names_of(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def lines_of(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.lstrip().startswith("#")]


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported_packages(*folders: str) -> set[str]:
    """The names under which pip knows what the Python files of these folders import."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    modules = {module.split(".")[0] for file in files for module in imported_modules(file)}
    distributions = packages_distributions()
    return {
        canonicalize_name(distributions.get(module, [module])[0])
        for module in modules - OWN - {file.stem for file in files} - sys.stdlib_module_names
    }


def test_the_dependencies_are_what_the_library_and_the_stages_import():
    assert names_of(RUN_TIME) == imported_packages("src", "stages")


def test_tests_documentation_and_benchmarks_import_declared_packages_only():
    assert imported_packages("tests", "docs", "benchmarks") <= names_of(RUN_TIME + DEV)


def test_the_lock_has_each_declared_package_in_an_allowed_version():
    locked = lines_of("requirements.txt")
    for requirement in RUN_TIME + DEV + lines_of("requirements.in"):
        found = [line for line in locked if names_of([line]) == names_of([requirement])]
        assert found, f"{requirement}: make lock"
        for line in found:
            (pin,) = line.specifier
            assert pin.operator == "==" and pin.version in requirement.specifier, f"{requirement}: make lock"


def without_python_variables() -> dict[str, str]:
    """The environment without variables such as PYTHONPATH, by which pip would find the project itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")  # the build leaves files beside its input
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (path,) = source.glob("dist/*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; all other packages are those of the running environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder]
    command = [*pip, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(command, env=without_python_variables(), check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    # Python reads no .pth files there, such as that of an editable murmur
    (packages / "others.pth").write_text("\n".join(sorted(paths)), encoding="utf-8")
    return folder


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [environment / "bin" / program, *arguments],
        cwd=folder,
        env=without_python_variables(),
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_every_file_of_the_library_and_requires_its_dependencies(wheel):
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("murmur/")}
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/murmur").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == expected and "murmur/reporting/report.html.j2" in names
    required = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    assert names_of(required) == imported_packages("src")


def test_every_module_of_the_installed_wheel_can_be_imported(environment, tmp_path):
    done = run(environment, tmp_path, "python", "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    file, *modules = json.loads(done.stdout)
    assert Path(file).is_relative_to(environment)
    files = {path.relative_to(ROOT / "src").with_suffix("") for path in (ROOT / "src/murmur").rglob("*.py")}
    expected = {".".join(path.parent.parts if path.name == "__init__" else path.parts) for path in files}
    assert {"murmur", *modules} == expected


def test_the_installed_command_shows_its_help_and_needs_a_project(environment, tmp_path):
    shown = run(environment, tmp_path, "murmur", "--help")
    assert shown.returncode == 0 and "Usage: murmur" in shown.stdout
    refused = run(environment, tmp_path, "murmur", "recipes")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr == "error: no dvc.yaml and recipes/ here: go to the project's folder\n"
    assert not list(tmp_path.iterdir())
